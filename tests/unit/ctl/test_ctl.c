/* The parts of halibutctl that need no peer: arguments, texts, files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/x509.h>
#include "ctl/args.h"
#include "ctl/cert_facts.h"
#include "ctl/ctl.h"
#include "ctl/landing.h"
#include "ctl/progress.h"

static char directory[] = "/tmp/test_ctl.XXXXXX";

static int make_directory(void **state)
{
	(void)state;
	return mkdtemp(directory) != NULL && chdir(directory) == 0 ? 0 : -1;
}

static int remove_directory(void **state)
{
	(void)state;
	unlink("file");
	unlink("stream-0");
	unlink("stream-1");
	return chdir("/") == 0 && rmdir(directory) == 0 ? 0 : -1;
}

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void assert_file(const char *name, const char *text)
{
	char buf[64] = "";
	FILE *f = fopen(name, "r");

	assert_non_null(f);
	buf[fread(buf, 1, sizeof(buf) - 1, f)] = '\0';
	fclose(f);
	assert_string_equal(buf, text);
}

/* What the arguments become, as one JSON text. */
static void assert_args(char *const *texts, size_t n, const char *wanted)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	struct hbt_ctl_args a;
	char *got;

	assert_int_equal(hbt_ctl_args_read(&a, texts, n, &err), HALIBUT_OK);
	got = json_dumps(a.values, JSON_COMPACT);
	assert_string_equal(got, wanted);
	free(got);
	hbt_ctl_args_fini(&a);
}

static void assert_no_args(const char *text, const char *sentence)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	char *texts[] = {(char *)text};
	struct hbt_ctl_args a;

	assert_int_equal(hbt_ctl_args_read(&a, texts, 1, &err),
	                 HALIBUT_EINVAL);
	assert_non_null(strstr(err.message, sentence));
	halibut_error_clear(&err);
	hbt_ctl_args_fini(&a);
}

static void arguments_are_json_of_every_kind(void **state)
{
	char *texts[] = {"5", "\"a b\"", " -2.5", "null", "[1,{\"x\":true}]"};

	(void)state;
	assert_args(texts, 5, "[5,\"a b\",-2.5,null,[1,{\"x\":true}]]");
}

static void a_bare_word_is_told_about_its_quotes(void **state)
{
	(void)state;
	assert_no_args("World", "'\"World\"'");
}

static void broken_json_is_told_where_it_breaks(void **state)
{
	(void)state;
	assert_no_args("{\"a\":}", "column");
}

static void files_become_streams_in_the_order_of_the_document(void **state)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	char *texts[] = {"@file", "{\"a\":[{\"$file\":\"file\"}],"
	                          "\"b\":{\"$file\":\"file\"}}"};
	struct hbt_ctl_args a;
	char *got;

	(void)state;
	write_file("file", "12345");
	assert_int_equal(hbt_ctl_args_read(&a, texts, 2, &err), HALIBUT_OK);
	got = json_dumps(a.values, JSON_COMPACT);
	assert_string_equal(got, "[{\"$dataStream\":0},{\"a\":["
	                         "{\"$dataStream\":1}],\"b\":"
	                         "{\"$dataStream\":2}}]");
	assert_int_equal(a.n_streams, 3);
	assert_int_equal(a.streams[2].length, 5);
	assert_int_not_equal(a.streams[0].fd, a.streams[1].fd);
	free(got);
	hbt_ctl_args_fini(&a);
}

static void a_missing_file_is_named(void **state)
{
	(void)state;
	assert_no_args("@not-there", "not-there");
	assert_no_args("[{\"$file\":\"not-there\"}]", "not-there");
}

static void a_directory_makes_no_stream(void **state)
{
	(void)state;
	assert_no_args("@.", "directory");
}

static void a_stream_number_is_not_for_the_command_line(void **state)
{
	(void)state;
	assert_no_args("{\"$dataStream\":0}", "$file");
}

static void a_pipe_is_measured_before_it_is_sent(void **state)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	char name[32], buf[8] = "";
	char *texts[] = {name};
	struct hbt_ctl_args a;
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "piped", 5), 5);
	close(ends[1]);
	snprintf(name, sizeof(name), "@/dev/fd/%d", ends[0]);
	assert_int_equal(hbt_ctl_args_read(&a, texts, 1, &err), HALIBUT_OK);
	assert_int_equal(a.streams[0].length, 5);
	assert_int_equal(read(a.streams[0].fd, buf, sizeof(buf)), 5);
	assert_string_equal(buf, "piped");
	close(ends[0]);
	hbt_ctl_args_fini(&a);
}

static void assert_landed(struct hbt_ctl_landing *l, const char *data)
{
	assert_int_equal(hbt_ctl_landing_begin(l, (int64_t)strlen(data), NULL),
	                 HALIBUT_OK);
	assert_int_equal(hbt_ctl_landing_data(l, data, strlen(data), NULL),
	                 HALIBUT_OK);
	assert_int_equal(hbt_ctl_landing_end(l, NULL), HALIBUT_OK);
}

static void streams_land_in_the_file_and_the_directory(void **state)
{
	struct hbt_ctl_landing l = {.file = "file", .directory = ".", .fd = -1};

	(void)state;
	assert_landed(&l, "first");
	assert_landed(&l, "second");
	assert_file("file", "first");
	assert_file("./stream-1", "second");
	assert_int_equal(l.n, 2);
	assert_string_equal(l.landed[1].path, "./stream-1");
	hbt_ctl_landing_fini(&l);
}

static void half_a_stream_leaves_the_old_file_alone(void **state)
{
	struct hbt_ctl_landing l = {.file = "file", .fd = -1};

	(void)state;
	write_file("file", "old");
	assert_int_equal(hbt_ctl_landing_begin(&l, 10, NULL), HALIBUT_OK);
	assert_int_equal(hbt_ctl_landing_data(&l, "ha", 2, NULL), HALIBUT_OK);
	hbt_ctl_landing_fini(&l);
	assert_file("file", "old");
}

static void a_stream_that_nobody_wants_is_counted(void **state)
{
	struct hbt_ctl_landing l = {.fd = -1};

	(void)state;
	assert_landed(&l, "unwanted");
	assert_int_equal(l.landed[0].length, 8);
	assert_null(l.landed[0].path);
	hbt_ctl_landing_fini(&l);
}

static void a_directory_that_is_missing_fails_with_its_name(void **state)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	struct hbt_ctl_landing l = {.file = "nowhere/file", .fd = -1};

	(void)state;
	assert_int_equal(hbt_ctl_landing_begin(&l, 1, &err), HALIBUT_ESYSTEM);
	assert_non_null(strstr(err.message, "nowhere/file"));
	halibut_error_clear(&err);
	hbt_ctl_landing_fini(&l);
}

static void durations_are_read_with_their_units(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = {
		{"5", 5000},      {"500ms", 500}, {"30s", 30000},
		{"2min", 120000}, {"2 m", 120000}, {"1h", 3600000},
		{"1d", 86400000},
	};
	static const char *const bad[] = {
		"", "0", "-1", "s", "5x", "1.5s", "99999999999999999999",
	};
	int64_t ms;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(hbt_ctl_parse_duration(good[i].text, &ms));
		assert_int_equal(ms, good[i].ms);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(hbt_ctl_parse_duration(bad[i], &ms));
}

static void addresses_are_a_host_and_a_port(void **state)
{
	static const char *const bad[] = {
		"", "host", ":5", "host:", "host:x", "host:65536", "::1:5",
		"[]:5",
	};
	uint16_t port;
	char *host;

	(void)state;
	assert_true(hbt_ctl_parse_host_port("web1:10933", &host, &port));
	assert_string_equal(host, "web1");
	assert_int_equal(port, 10933);
	free(host);
	assert_true(hbt_ctl_parse_host_port("[::1]:0", &host, &port));
	assert_string_equal(host, "::1");
	free(host);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(hbt_ctl_parse_host_port(bad[i], &host, &port));
}

static void sizes_and_times_are_written_for_people(void **state)
{
	char text[32];

	(void)state;
	hbt_ctl_format_bytes(1023, text);
	assert_string_equal(text, "1023 B");
	hbt_ctl_format_bytes(1536, text);
	assert_string_equal(text, "1.5 KiB");
	hbt_ctl_format_bytes((int64_t)5 << 50, text);
	assert_string_equal(text, "5120.0 TiB");
	hbt_ctl_format_ms(999, text);
	assert_string_equal(text, "999 ms");
	hbt_ctl_format_ms(1500, text);
	assert_string_equal(text, "1.5 s");
	hbt_ctl_format_ms(3723000, text);
	assert_string_equal(text, "1 h 2 min");
}

static void every_status_has_an_exit_code_of_its_class(void **state)
{
	(void)state;
	for (int status = 0; status < HALIBUT_STATUS_COUNT; status++) {
		int code = hbt_ctl_exit_code(status);

		assert_true(code >= HBT_EXIT_OK && code <= HBT_EXIT_MACHINE);
		assert_int_equal(code == HBT_EXIT_OK, status == HALIBUT_OK);
	}
	assert_int_equal(hbt_ctl_exit_code(HALIBUT_EINVOCATION),
	                 HBT_EXIT_REMOTE);
	assert_int_equal(hbt_ctl_exit_code(HALIBUT_ENOT_COLLECTED),
	                 HBT_EXIT_TIMEOUT);
}

static void the_bar_is_full_when_all_is_done(void **state)
{
	struct hbt_ctl_progress p = {.what = "sending", .total = 2048};
	char text[128];

	(void)state;
	p.done = 1024;
	hbt_ctl_progress_format(&p, 1000, text, sizeof(text));
	assert_string_equal(text, "sending   [############------------]  50 %"
	                          "  1.0 KiB of 2.0 KiB  1.0 KiB/s");
	p.done = 2048;
	hbt_ctl_progress_format(&p, 0, text, sizeof(text));
	assert_non_null(strstr(text, "[########################] 100 %"));
	p.total = p.done = 0;
	hbt_ctl_progress_format(&p, 0, text, sizeof(text));
	assert_non_null(strstr(text, "100 %"));
	p.total = INT64_MAX;
	p.done = INT64_MAX / 2;
	hbt_ctl_progress_format(&p, 1, text, sizeof(text));
	assert_non_null(strstr(text, "############------------"));
}

struct validity {
	long days_left;
	bool not_yet_valid;
};

/* Of a certificate that is valid from and until so many seconds from now. */
static struct validity validity_of(long from, long until)
{
	EVP_PKEY *key = EVP_RSA_gen(1024);
	X509 *cert = X509_new();
	struct hbt_ctl_cert_facts facts;
	struct validity v;

	X509_gmtime_adj(X509_getm_notBefore(cert), from);
	X509_gmtime_adj(X509_getm_notAfter(cert), until);
	assert_int_equal(X509_set_pubkey(cert, key), 1);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	assert_int_equal(hbt_ctl_cert_facts_read(&facts, cert, NULL), 0);
	X509_free(cert);
	EVP_PKEY_free(key);
	v = (struct validity){facts.days_left, facts.not_yet_valid};
	hbt_ctl_cert_facts_fini(&facts);
	return v;
}

static void a_certificate_says_whether_it_is_valid_now(void **state)
{
	struct validity v;

	(void)state;
	v = validity_of(-86400, 10 * 86400 + 3600);
	assert_int_equal(v.days_left, 10);
	assert_false(v.not_yet_valid);
	v = validity_of(-86400, -60);
	assert_true(v.days_left < 0);
	assert_false(v.not_yet_valid);
	v = validity_of(60, 86400);
	assert_true(v.not_yet_valid);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_certificate_says_whether_it_is_valid_now),
		cmocka_unit_test(arguments_are_json_of_every_kind),
		cmocka_unit_test(a_bare_word_is_told_about_its_quotes),
		cmocka_unit_test(broken_json_is_told_where_it_breaks),
		cmocka_unit_test(
			files_become_streams_in_the_order_of_the_document),
		cmocka_unit_test(a_missing_file_is_named),
		cmocka_unit_test(a_directory_makes_no_stream),
		cmocka_unit_test(a_stream_number_is_not_for_the_command_line),
		cmocka_unit_test(a_pipe_is_measured_before_it_is_sent),
		cmocka_unit_test(streams_land_in_the_file_and_the_directory),
		cmocka_unit_test(half_a_stream_leaves_the_old_file_alone),
		cmocka_unit_test(a_stream_that_nobody_wants_is_counted),
		cmocka_unit_test(
			a_directory_that_is_missing_fails_with_its_name),
		cmocka_unit_test(durations_are_read_with_their_units),
		cmocka_unit_test(addresses_are_a_host_and_a_port),
		cmocka_unit_test(sizes_and_times_are_written_for_people),
		cmocka_unit_test(every_status_has_an_exit_code_of_its_class),
		cmocka_unit_test(the_bar_is_full_when_all_is_done),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
