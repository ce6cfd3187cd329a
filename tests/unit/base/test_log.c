/* Log lines: levels, escaping, length, and the default sink. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

struct heard {
	int lines;
	enum hbt_log_level level;
	char text[8192];
};

static void hear(void *arg, enum hbt_log_level level, const char *line)
{
	struct heard *h = arg;

	h->lines++;
	h->level = level;
	snprintf(h->text, sizeof(h->text), "%s", line);
}

static int start(void **state)
{
	static struct heard h;

	memset(&h, 0, sizeof(h));
	hbt_log_set_process("");
	hbt_log_set_level(HBT_LOG_INFO);
	hbt_log_set_sink(hear, &h);
	*state = &h;
	return 0;
}

static int stop(void **state)
{
	(void)state;
	hbt_log_set_sink(NULL, NULL);
	return 0;
}

static void a_line_names_the_process_first(void **state)
{
	struct heard *h = *state;

	hbt_log_set_process("worker 3");
	log_warning("no hello within %d s", 30);
	assert_int_equal(h->level, HBT_LOG_WARNING);
	assert_string_equal(h->text, "worker 3: no hello within 30 s");
}

static void a_long_process_name_is_cut(void **state)
{
	struct heard *h = *state;

	hbt_log_set_process("0123456789012345678901234567890123456789");
	log_info("x");
	assert_string_equal(h->text, "0123456789012345678901234567890: x");
}

static void lines_above_the_level_are_not_written(void **state)
{
	struct heard *h = *state;

	assert_false(hbt_log_wants(HBT_LOG_DEBUG));
	log_debug("x");
	assert_int_equal(h->lines, 0);
	hbt_log_set_level(HBT_LOG_DEBUG);
	log_debug("x");
	assert_int_equal(h->lines, 1);
	hbt_log_set_level(HBT_LOG_ERROR);
	log_warning("x");
	assert_int_equal(h->lines, 1);
	log_error("x");
	assert_int_equal(h->lines, 2);
}

static void control_bytes_cannot_forge_a_line(void **state)
{
	struct heard *h = *state;

	log_info("%s", "a\r\nworker 1: all is well\x1b[2J\x7f\t\xc3\xa9");
	assert_string_equal(h->text, "a\\x0d\\x0aworker 1: all is well"
	                             "\\x1b[2J\\x7f\\x09\xc3\xa9");
}

static void a_line_stays_under_4096_bytes(void **state)
{
	struct heard *h = *state;
	char big[6000];

	memset(big, '\n', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_info("%s", big);
	assert_true(strlen(h->text) < 4096);
	assert_true(strlen(h->text) > 4000);
	assert_string_equal(h->text + strlen(h->text) - 7, "\\x0a\xe2\x80\xa6");
}

static void what_is_no_utf8_or_turns_text_around_is_escaped(void **state)
{
	struct heard *h = *state;

	log_info("%s", "\xff\xc3(\xc2\x9b" "31m\xed\xa0\x80\xe2\x80\xae"
	               "\xf0\x9f\x90\x9f\xc0\xaf\xe2\x82");
	assert_string_equal(h->text, "\\xff\\xc3(\\xc2\\x9b" "31m"
	                             "\\xed\\xa0\\x80\\xe2\\x80\\xae"
	                             "\xf0\x9f\x90\x9f\\xc0\\xaf"
	                             "\\xe2\\x82");
}

static void an_area_has_a_level_of_its_own(void **state)
{
	(void)state;
	hbt_log_set_area_level(HBT_LOG_REDIS, HBT_LOG_DEBUG);
	hbt_log_set_area_level(HBT_LOG_QUEUES, HBT_LOG_ERROR);
	assert_true(hbt_log_wants_from("../src/redis/link.c", HBT_LOG_DEBUG));
	assert_true(hbt_log_wants_from("src/store/store.c", HBT_LOG_DEBUG));
	assert_false(hbt_log_wants_from("src/queue/memory.c", HBT_LOG_INFO));
	assert_true(hbt_log_wants_from("workers/connection/main.c",
	                               HBT_LOG_INFO));
	assert_false(hbt_log_wants_from("workers/connection/main.c",
	                                HBT_LOG_DEBUG));
	assert_false(hbt_log_wants(HBT_LOG_DEBUG));
	hbt_log_set_level(HBT_LOG_WARNING);
	assert_int_equal(hbt_log_area_level(HBT_LOG_REDIS), HBT_LOG_WARNING);
	assert_false(hbt_log_wants_from("src/redis/link.c", HBT_LOG_INFO));
}

static void areas_and_formats_are_read_by_name(void **state)
{
	(void)state;
	for (int i = 0; i < HBT_LOG_AREAS; i++)
		assert_int_equal(
			hbt_log_area_parse(
				hbt_log_area_name((enum hbt_log_area)i)),
			i);
	assert_int_equal(hbt_log_area_parse("nets"), -1);
	assert_int_equal(hbt_log_format_parse("json"), HBT_LOG_JSON);
	assert_int_equal(hbt_log_format_parse("text"), HBT_LOG_TEXT);
	assert_int_equal(hbt_log_format_parse("journal"), HBT_LOG_JOURNAL);
	assert_int_equal(hbt_log_format_parse("xml"), -1);
}

static void errno_survives_a_log_line(void **state)
{
	(void)state;
	errno = EPIPE;
	log_info("x");
	assert_int_equal(errno, EPIPE);
}

static void levels_are_read_by_name(void **state)
{
	(void)state;
	assert_int_equal(hbt_log_level_parse("error"), HBT_LOG_ERROR);
	assert_int_equal(hbt_log_level_parse("warning"), HBT_LOG_WARNING);
	assert_int_equal(hbt_log_level_parse("info"), HBT_LOG_INFO);
	assert_int_equal(hbt_log_level_parse("debug"), HBT_LOG_DEBUG);
	assert_int_equal(hbt_log_level_parse("Debug"), -1);
	assert_int_equal(hbt_log_level_parse(""), -1);
}

/* Standard error is a pipe between these two. */
static int saved_stderr, pipe_out;

static void catch_stderr(void)
{
	int fds[2];

	saved_stderr = dup(STDERR_FILENO);
	assert_true(saved_stderr >= 0);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
	close(fds[1]);
	pipe_out = fds[0];
	hbt_log_set_sink(NULL, NULL);
}

/* What was written first. */
static ssize_t release_stderr(char *out, size_t cap)
{
	ssize_t n;

	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	n = read(pipe_out, out, cap); /* one write arrives as one read */
	close(pipe_out);
	return n;
}

/* Logs one line to the default sink and returns what standard error got. */
static ssize_t log_to_stderr(const char *text, char *out, size_t cap)
{
	catch_stderr();
	log_warning("%s", text);
	return release_stderr(out, cap);
}

/* The object of the one line that standard error got. */
static json_t *caught_object(void)
{
	char out[8192];
	ssize_t n = release_stderr(out, sizeof(out));
	json_error_t err;
	json_t *doc;

	hbt_log_set_format(HBT_LOG_TEXT);
	assert_true(n > 0 && n < 4096);
	assert_int_equal(out[n - 1], '\n');
	assert_null(memchr(out, '\n', (size_t)n - 1));
	doc = json_loadb(out, (size_t)n, JSON_REJECT_DUPLICATES, &err);
	if (doc == NULL)
		fail_msg("%s: %.*s", err.text, (int)n, out);
	return doc;
}

static const char *field(const json_t *doc, const char *name)
{
	const char *text = json_string_value(json_object_get(doc, name));

	return text != NULL ? text : "(none)";
}

static void json_has_what_a_line_is_about(void **state)
{
	json_t *doc;

	(void)state;
	hbt_log_set_process("worker 3");
	hbt_log_set_format(HBT_LOG_JSON);
	catch_stderr();
	log_event(HBT_LOG_WARNING,
	          LOG_ABOUT(.event = "refused", .peer = "192.0.2.1:5",
	                    .thumbprint = "AB", .endpoint = "poll://x/",
	                    .activity = "a", .reason = "not \"trusted\"\\",
	                    .remedy = "trust it"),
	          "%s refused\n", "192.0.2.1:5");
	doc = caught_object();
	assert_int_equal(strlen(field(doc, "time")), 24);
	assert_string_equal(field(doc, "level"), "warning");
	assert_string_equal(field(doc, "area"), "gateway");
	assert_string_equal(field(doc, "process"), "worker 3");
	assert_int_equal(json_integer_value(json_object_get(doc, "pid")),
	                 getpid());
	assert_string_equal(field(doc, "event"), "refused");
	assert_string_equal(field(doc, "peer"), "192.0.2.1:5");
	assert_string_equal(field(doc, "thumbprint"), "AB");
	assert_string_equal(field(doc, "endpoint"), "poll://x/");
	assert_string_equal(field(doc, "activity"), "a");
	assert_string_equal(field(doc, "reason"), "not \"trusted\"\\");
	assert_string_equal(field(doc, "remedy"), "trust it");
	assert_string_equal(field(doc, "message"), "192.0.2.1:5 refused\\x0a");
	json_decref(doc);
}

static void json_stays_whole_whatever_a_peer_sends(void **state)
{
	static const char *const mark = "\xe2\x80\xa6";
	char big[6000];
	json_t *doc;

	(void)state;
	for (int c = 1; c < 256; c += 3) {
		memset(big, c, sizeof(big) - 1);
		big[sizeof(big) - 1] = '\0';
		hbt_log_set_format(HBT_LOG_JSON);
		catch_stderr();
		log_event(HBT_LOG_ERROR,
		          LOG_ABOUT(.event = big, .peer = big, .reason = big,
		                    .thumbprint = big, .endpoint = big,
		                    .activity = big, .remedy = big),
		          "%s", big);
		doc = caught_object();
		assert_non_null(strstr(field(doc, "message"), mark));
		assert_non_null(strstr(field(doc, "remedy"), mark));
		assert_true(strlen(field(doc, "peer")) > 200);
		json_decref(doc);
	}
}

static void the_journal_gets_a_priority_and_no_time(void **state)
{
	char out[8192];
	ssize_t n;

	(void)state;
	hbt_log_set_process("master");
	hbt_log_set_format(HBT_LOG_JOURNAL);
	n = log_to_stderr("hello", out, sizeof(out) - 1);
	hbt_log_set_format(HBT_LOG_TEXT);
	assert_true(n > 0);
	out[n] = '\0';
	assert_string_equal(out, "<4>master: hello\n");
}

static void the_format_suits_standard_error(void **state)
{
	enum hbt_log_format of_pipe, of_journal, of_other, told;
	char stream[64], out[16];
	struct stat st;

	(void)state;
	unsetenv("HALIBUT_LOG_FORMAT");
	unsetenv("JOURNAL_STREAM");
	catch_stderr();
	of_pipe = hbt_log_detect_format();
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu",
	         (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	of_journal = hbt_log_detect_format();
	setenv("JOURNAL_STREAM", "8:1", 1);
	of_other = hbt_log_detect_format();
	setenv("HALIBUT_LOG_FORMAT", "text", 1);
	told = hbt_log_detect_format();
	unsetenv("HALIBUT_LOG_FORMAT");
	unsetenv("JOURNAL_STREAM");
	release_stderr(out, sizeof(out));
	assert_int_equal(of_pipe, HBT_LOG_JSON);
	assert_int_equal(of_journal, HBT_LOG_JOURNAL);
	assert_int_equal(of_other, HBT_LOG_JSON);
	assert_int_equal(told, HBT_LOG_TEXT);
}

static void standard_error_gets_time_level_and_text(void **state)
{
	char out[8192];
	int year, month, day, hour, minute, second, ms, end = 0;
	ssize_t n = log_to_stderr("hello", out, sizeof(out) - 1);

	(void)state;
	assert_true(n > 0);
	out[n] = '\0';
	assert_int_equal(sscanf(out, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year,
	                        &month, &day, &hour, &minute, &second, &ms,
	                        &end),
	                 7);
	assert_string_equal(out + end, "warning hello\n");
}

static void a_cut_line_still_ends_in_a_newline(void **state)
{
	char big[6000], out[8192];
	ssize_t n;

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	n = log_to_stderr(big, out, sizeof(out));
	assert_true(n > 4000 && n < 4096);
	assert_int_equal(out[n - 1], '\n');
}

/* /dev/full says what a full disk says. */
static void lines_that_were_lost_are_counted_once_there_is_room(void **state)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC), pipe_in;
	char out[8192];
	ssize_t n;

	(void)state;
	assert_true(full >= 0);
	catch_stderr();
	pipe_in = dup(STDERR_FILENO);
	dup2(full, STDERR_FILENO);
	for (int i = 0; i < 3; i++)
		log_warning("lost");
	dup2(pipe_in, STDERR_FILENO);
	log_warning("there is room");
	log_warning("nothing is lost");
	close(pipe_in);
	close(full);
	n = release_stderr(out, sizeof(out) - 1);
	assert_true(n > 0);
	out[n] = '\0';
	assert_non_null(strstr(out, "3 lines could not be written before this "
	                            "one\n"));
	assert_null(strstr(out, "warning lost"));
	assert_non_null(strstr(out, "there is room\n"));
	assert_null(strstr(strstr(out, "there is room"), "could not"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_line_names_the_process_first,
	                                        start, stop),
		cmocka_unit_test_setup_teardown(a_long_process_name_is_cut,
	                                        start, stop),
		cmocka_unit_test_setup_teardown(
			lines_above_the_level_are_not_written, start, stop),
		cmocka_unit_test_setup_teardown(
			control_bytes_cannot_forge_a_line, start, stop),
		cmocka_unit_test_setup_teardown(a_line_stays_under_4096_bytes,
	                                        start, stop),
		cmocka_unit_test_setup_teardown(errno_survives_a_log_line,
	                                        start, stop),
		cmocka_unit_test_setup_teardown(levels_are_read_by_name, start,
	                                        stop),
		cmocka_unit_test_setup_teardown(
			standard_error_gets_time_level_and_text, start, stop),
		cmocka_unit_test_setup_teardown(
			a_cut_line_still_ends_in_a_newline, start, stop),
		cmocka_unit_test_setup_teardown(
			lines_that_were_lost_are_counted_once_there_is_room,
			start, stop),
		cmocka_unit_test_setup_teardown(
			what_is_no_utf8_or_turns_text_around_is_escaped, start,
			stop),
		cmocka_unit_test_setup_teardown(an_area_has_a_level_of_its_own,
	                                        start, stop),
		cmocka_unit_test_setup_teardown(
			areas_and_formats_are_read_by_name, start, stop),
		cmocka_unit_test_setup_teardown(json_has_what_a_line_is_about,
	                                        start, stop),
		cmocka_unit_test_setup_teardown(
			json_stays_whole_whatever_a_peer_sends, start, stop),
		cmocka_unit_test_setup_teardown(
			the_journal_gets_a_priority_and_no_time, start, stop),
		cmocka_unit_test_setup_teardown(the_format_suits_standard_error,
	                                        start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
