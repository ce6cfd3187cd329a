#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>

#include "base/log.h"
#include "text_file.h"

#define PRINT1 "8A7D5BC0F0F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1"
#define PRINT2 "9A7D5BC0F0F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1"

/* It fails, on that line, and says these words. */
static void assert_wrong(const char *text, int line, const char *words)
{
	struct halibut_error err = {0};
	struct hbt_config *cfg;
	char at[32];

	assert_int_not_equal(config_from(text, &cfg, &err), HALIBUT_OK);
	assert_null(cfg);
	snprintf(at, sizeof(at), ":%d: ", line);
	if (strstr(err.message, at) == NULL ||
	    strstr(err.message, words) == NULL)
		fail_msg("\"%s\" has not \"%s\" and \"%s\"", err.message, at,
		         words);
	halibut_error_clear(&err);
}

static struct hbt_config *right(const char *text)
{
	struct halibut_error err = {0};
	struct hbt_config *cfg;

	if (config_from(text, &cfg, &err) != HALIBUT_OK)
		fail_msg("%s", err.message);
	return cfg;
}

static void an_empty_file_gives_the_defaults(void **state)
{
	struct hbt_config *cfg = right("");
	struct hbt_limits limits;

	(void)state;
	hbt_limits_init(&limits);
	assert_int_equal(cfg->listen.n, 1);
	assert_string_equal(cfg->listen.v[0], "10943");
	assert_int_equal(cfg->stop_timeout_ms, 60000);
	assert_int_equal(cfg->control_mode, 0660);
	assert_int_equal(cfg->log_level, HBT_LOG_INFO);
	assert_true(cfg->serves_clients);
	assert_int_equal(cfg->limits.max_message_bytes,
	                 limits.max_message_bytes);
	assert_int_equal(cfg->trusted.n, 0);
	assert_non_null(cfg->node);
	hbt_config_free(&cfg);
}

static void settings_of_every_kind_are_read(void **state)
{
	struct hbt_config *cfg = right("node = 'n1' # a comment\n"
	                               "listen = {\"127.0.0.1:0\", '[::1]:0'}\n"
	                               "certificate = \"/etc/x.pem\"\n"
	                               "serve_clients = no\n"
	                               "workers = 3\n"
	                               "stop_timeout = 2min\n"
	                               "control_mode = 0600\n"
	                               "log_level = debug\n"
	                               "max_waiting_bytes = 5MiB\n"
	                               "spool_max_total = 6GiB\n"
	                               "max_streams_per_message = 7\n"
	                               "keep_alive = off\n");

	(void)state;
	assert_string_equal(cfg->node, "n1");
	assert_int_equal(cfg->listen.n, 2);
	assert_string_equal(cfg->listen.v[1], "[::1]:0");
	assert_string_equal(cfg->certificate, "/etc/x.pem");
	assert_false(cfg->serves_clients);
	assert_int_equal(cfg->workers, 3);
	assert_int_equal(cfg->stop_timeout_ms, 120000);
	assert_int_equal(cfg->control_mode, 0600);
	assert_int_equal(cfg->log_level, HBT_LOG_DEBUG);
	assert_int_equal(cfg->max_waiting_bytes, 5 << 20);
	assert_int_equal(cfg->limits.spool_max_bytes_total, (int64_t)6 << 30);
	assert_int_equal(cfg->limits.max_streams_per_message, 7);
	assert_false(cfg->limits.tcp_keep_alive_enabled);
	hbt_config_free(&cfg);
}

static void paths_are_relative_to_the_file(void **state)
{
	struct hbt_config *cfg = right("certificate = \"node.pem\"\n");
	char *slash = strrchr(cfg->certificate, '/');

	(void)state;
	assert_non_null(slash);
	assert_string_equal(slash, "/node.pem");
	assert_int_equal(strncmp(cfg->path, cfg->certificate,
	                         (size_t)(slash - cfg->certificate)),
	                 0);
	hbt_config_free(&cfg);
}

static void an_unknown_setting_is_an_error_with_a_hint(void **state)
{
	(void)state;
	assert_wrong("node = a\n\nlitsen = {\"1\"}\n", 3,
	             "did you mean \"listen\"?");
	assert_wrong("quux_quux = 1\n", 1, "halibutd.conf(5) has the list");
	assert_wrong("service \"A\" {\n comand = \"x\"\n}\n", 2,
	             "in section service; did you mean \"command\"?");
	assert_wrong("redis {\n password = \"x\"\n}\n", 2,
	             "in section redis; did you mean \"password_file\"?");
}

static void a_wrong_value_is_told_with_its_line(void **state)
{
	(void)state;
	assert_wrong("\nstop_timeout = 10\n", 2, "needs a unit");
	assert_wrong("workers = -1\n", 1, "no whole number");
	assert_wrong("workers = 1000\n", 1, "0 to 256 is allowed");
	assert_wrong("max_message_size = 1TiB\n", 1, "1KiB to 128MiB");
	assert_wrong("log_level = loud\n", 1, "error, warning, info or debug");
	assert_wrong("control_mode = 999\n", 1, "octal");
	assert_wrong("serve_clients = maybe\n", 1, "neither yes nor no");
	assert_wrong("listen = {\"1\",\n \"localhost:1\"}\n", 2,
	             "no numeric address");
	assert_wrong("trust = {\"" PRINT1 "\",\n\"AB\"}\n", 2, "no thumbprint");
	assert_wrong("workers =\n", 3, "is missing");
	assert_wrong("friendly_headers = {\"X\"}\n", 1, "no HTTP header");
}

static void a_mistake_is_told_with_its_line_below_comments(void **state)
{
	(void)state;
	assert_wrong("# one\n## two\n#\n// four\n//five\nbad = 1\n", 6, "bad");
	assert_wrong("/* one\n two */ /* */\nbad = 1\n", 3, "bad");
	assert_wrong("node = a # \"\nlog_level = info // {\nbad = 1\n", 3,
	             "bad");
	assert_wrong("route \"a\" {\n # }\n bad = 1\n}\n", 3, "bad");
	assert_wrong("# \xc3\xa4'\"{\nstop_timeout = 10\n", 2, "a unit");
}

static void a_comment_is_none_where_it_is_a_part_of_a_value(void **state)
{
	static const char *const nodes[] = {
		"a # b",         "\"a // b\"", "'a /* b */'", "\"\\\"#\"",
		"'it\\'s #1'",   "a//b",       "a/",          "\"${NONE:-#}\"",
		"${NONE:-a//b#}"};
	static const char *const meant[] = {
		"a",    "a // b", "a /* b */", "\"#", "it's #1",
		"a//b", "a/",     "#",         "a//b#"};

	(void)state;
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		char text[64];
		struct hbt_config *cfg;

		snprintf(text, sizeof(text), "node = %s\n", nodes[i]);
		cfg = right(text);
		assert_string_equal(cfg->node, meant[i]);
		hbt_config_free(&cfg);
	}
}

static void what_has_no_end_is_told_where_it_begins(void **state)
{
	(void)state;
	assert_wrong("# x\nnode = 'a\n\n", 2, "a quote begins");
	assert_wrong("# x\nnode = \"a\n\n", 2, "a quote begins");
	assert_wrong("\nlisten = {\"1\",\n\n", 2, "a brace begins");
	assert_wrong("node = a\n/* b\nlisten = {\"1\"}\n", 2,
	             "a comment begins");
	/* A file that was cut: libConfuse takes the section for complete. */
	assert_wrong("# x\nroute \"a\" {\n to = \"poll://a/\"\n", 2,
	             "a brace begins");
}

static void a_queue_endpoint_has_a_name_and_somebody_to_serve_it(void **state)
{
	(void)state;
	assert_wrong("queue \"poll://x/\" {\n}\n", 1, "queue://NAME/");
	assert_wrong("queue \"queue://x/path\" {\n}\n", 1,
	             "queue://NAME/");
	assert_wrong("queue \"queue://x/\" {\n}\n", 1,
	             "add a section service");
	assert_wrong("queue \"queue://x/\" {\nconcurrency = 0\n}\n", 2,
	             "1 to 1024");
}

static void a_section_without_what_it_needs_is_an_error(void **state)
{
	(void)state;
	assert_wrong("route \"x\" {\n}\n", 1, "needs to =");
	assert_wrong("service \"A\" {\n}\n", 1, "needs command =");
	assert_wrong("endpoint \"https://a:1\" {\n}\n", 1,
	             "needs thumbprint =");
	assert_wrong("endpoint \"poll://a\" {\n}\n", 1, "https://server");
	assert_wrong("poll \"https://a:1\" {\n thumbprint = " PRINT1 "\n}\n", 1,
	             "needs subscription =");
	assert_wrong("poll \"https://a:1\" {\n subscription = \"x\"\n}\n", 2,
	             "poll://");
	assert_wrong("route \"x\" {\n to = \"https://a:1\"\n}\n", 1,
	             "needs thumbprint =");
	assert_wrong("route \"x\" {\n to = \"poll://{label}/\"\n}\n", 1,
	             "{label}");
	assert_wrong("route \"x\" {\n to = \"ftp://a\"\n}\n", 2, "to:");
	assert_wrong("route \"a*\" {\n to = \"hosted\"\n}\n", 1, "no pattern");
}

static void the_same_twice_is_an_error(void **state)
{
	(void)state;
	assert_wrong("route \"x\" { to = hosted }\n"
	             "route \"X\" { to = hosted }\n",
	             2, "two routes");
	assert_wrong("service \"A\" { command = x }\n"
	             "service \"a\" { command = x }\n",
	             2, "there twice");
}

static void sections_are_read(void **state)
{
	struct hbt_config *cfg = right(
		"service \"IEcho\" { command = \"/bin/echo 'a b'\"\n"
		" processes = 9  timeout = 7s  max_memory = 1MiB\n"
		" directory = \"/tmp\" }\n"
		"poll \"https://Server:10943/\" { thumbprint = " PRINT1 "\n"
		" subscription = \"poll://me/\"  connections = 3\n"
		" proxy = \"p:3128\"  proxy_user = u  proxy_password = 'w$' }\n"
		"endpoint \"https://e:10933\" { thumbprint = '"
		"8a:7d:5b:c0:f0:f4:b4:a7:a3:c1:e2:d3:f4:a5:b6:c7:d8:e9:f0:a1'"
		"\n connect_host = \"192.0.2.1\" }\n");

	(void)state;
	assert_int_equal(cfg->n_programs, 1);
	assert_string_equal(cfg->programs[0].service, "IEcho");
	assert_string_equal(cfg->programs[0].command, "/bin/echo 'a b'");
	assert_int_equal(cfg->programs[0].processes, 9);
	assert_int_equal(cfg->programs[0].timeout_ms, 7000);
	assert_int_equal(cfg->programs[0].max_memory_bytes, 1 << 20);
	assert_int_equal(cfg->n_polls, 1);
	assert_string_equal(cfg->polls[0].server.url, "https://server:10943/");
	assert_string_equal(cfg->polls[0].subscription, "poll://me/");
	assert_int_equal(cfg->polls[0].connections, 3);
	assert_string_equal(cfg->polls[0].server.proxy_host, "p");
	assert_int_equal(cfg->polls[0].server.proxy_port, 3128);
	assert_string_equal(cfg->polls[0].server.proxy_password, "w$");
	assert_int_equal(cfg->n_routes, 1);
	assert_string_equal(cfg->routes[0].endpoint.thumbprint, PRINT1);
	assert_string_equal(cfg->routes[0].endpoint.connect_host, "192.0.2.1");
	hbt_config_free(&cfg);
}

static void trusted_thumbprints_come_from_both_places_once(void **state)
{
	char *trusted =
		text_file("# header\n\n  " PRINT1 "  # a\n" PRINT2 "\n" PRINT1);
	struct hbt_config *cfg;
	char text[512];

	(void)state;
	snprintf(text, sizeof(text), "trust = {" PRINT2 "}\ntrust_file = '%s'",
	         trusted);
	cfg = right(text);
	unlink(trusted);
	free(trusted);
	assert_int_equal(cfg->trusted.n, 2);
	assert_int_equal(cfg->trusted.list[0].sha1[0], 0x8a);
	assert_int_equal(cfg->trusted.list[1].sha1[0], 0x9a);
	assert_int_equal(cfg->trusted.list[1].sha1[19], 0xa1);
	hbt_config_free(&cfg);
}

static void a_wrong_line_of_the_trust_file_is_told(void **state)
{
	char *trusted = text_file("# header\nnonsense\n");
	char text[512];

	(void)state;
	snprintf(text, sizeof(text), "trust_file = '%s'", trusted);
	assert_wrong(text, 2, trusted);
	unlink(trusted);
	free(trusted);
}

static void count_changed(void *arg, const char *setting)
{
	char *names = arg;

	strcat(strcat(names, " "), setting);
}

#define REDIS "redis {\n url = \"redis://h\"\n key_prefix = \"p\"\n"

static void the_queue_of_several_nodes_is_read(void **state)
{
	struct hbt_config *cfg = right(
		"redis {\n"
		" url = \"rediss://redis.example.com:6380/2\"\n"
		" key_prefix = \"production\"\n"
		" channel_prefix = \"c\"\n"
		" tls_ca = \"/etc/ca.pem\"\n"
		" streams = directory\n"
		" streams_directory = \"/mnt\"\n"
		" streams_max = 5GiB\n"
		" wrappers = {\"gzip\", \"program seal --hard\"}\n"
		" memory_endpoints = {\"POLL://Test-*\", \"queue://a/\"}\n"
		" response_pulses = each\n"
		" heartbeat_interval = 200ms\n"
		"}\n"
		"max_waiting_requests = 7\n");
	struct hbt_queue_settings s = hbt_config_queue(cfg);

	(void)state;
	assert_true(cfg->shares);
	assert_string_equal(s.url, "rediss://redis.example.com:6380/2");
	assert_int_equal(s.database, -1);
	assert_string_equal(s.tls_ca, "/etc/ca.pem");
	assert_int_equal(s.streams_max_bytes, (int64_t)5 << 30);
	assert_int_equal(s.n_wrappers, 2);
	assert_string_equal(s.wrappers[1], "program seal --hard");
	assert_true(s.own_response_pulses);
	assert_int_equal(s.times.heartbeat_interval_ms, 200);
	assert_int_equal(s.max_waiting_requests, 7);
	assert_string_equal(cfg->memory_endpoints.v[0], "poll://test-*/");
	assert_string_equal(cfg->memory_endpoints.v[1], "queue://a/");
	hbt_config_free(&cfg);
}

static void nodes_understand_each_other_by_default(void **state)
{
	struct hbt_config *cfg = right(REDIS "}\n");
	struct hbt_queue_settings s = hbt_config_queue(cfg);
	struct hbt_redis_times times;

	(void)state;
	hbt_redis_times_init(&times);
	times.idle_look_ms = s.times.idle_look_ms; /* the worker sets it */
	assert_memory_equal(&s.times, &times, sizeof(times));
	assert_false(s.own_response_pulses);
	assert_string_equal(s.streams, "redis");
	hbt_config_free(&cfg);
	cfg = right("");
	assert_false(cfg->shares);
	hbt_config_free(&cfg);
}

static void a_queue_that_cannot_work_is_told(void **state)
{
	(void)state;
	assert_wrong("redis {\n}\n", 1, "needs url =");
	assert_wrong("redis {\n url = \"redis://h\"\n}\n", 1,
	             "needs key_prefix =");
	assert_wrong("redis {\n url = \"http://h\"\n}\n", 2, "http");
	assert_wrong("redis {\n url = \"redis://h:x\"\n}\n", 2, "x");
	assert_wrong(REDIS "prefix = \"x\"\n}\n", 4, "prefix");
	assert_wrong(REDIS "}\n" REDIS "}\n", 5, "twice");
	assert_wrong(REDIS "streams = tape\n}\n", 4, "directory, metadata");
	assert_wrong(REDIS "streams = directory\n}\n", 1,
	             "needs streams_directory");
	assert_wrong(REDIS "streams = program\n}\n", 1,
	             "needs streams_command");
	assert_wrong(REDIS "wrappers = {\"zip\"}\n}\n", 4, "gzip");
	assert_wrong(REDIS "tls_key = \"k\"\n}\n", 1, "tls_certificate");
	assert_wrong(REDIS "receiver_gone = 10s\n}\n", 1, "look dead");
	assert_wrong(REDIS "heartbeat_delay = 7\n}\n", 4, "unit");
	assert_wrong(REDIS "memory_endpoints = {\"https://x\"}\n}\n", 4,
	             "no pattern");
}

static void a_password_is_the_first_line_of_a_file_of_our_own(void **state)
{
	char *file = text_file("geheim\nand a remark\n"), *text;
	struct hbt_config *cfg;

	(void)state;
	assert_true(asprintf(&text, REDIS "password_file = \"%s\"\n}\n",
	                     file) > 0);
	cfg = right(text);
	assert_string_equal(cfg->redis.password, "geheim");
	hbt_config_free(&cfg);
	assert_int_equal(chmod(file, 0644), 0);
	assert_wrong(text, 1, "everybody can read it");
	free(text);
	assert_true(asprintf(&text,
	                     "redis {\n url = \"redis://:a@h\"\n"
	                     "key_prefix = p\npassword_file = \"%s\"\n}\n",
	                     file) > 0);
	assert_int_equal(chmod(file, 0600), 0);
	assert_wrong(text, 1, "remove one of them");
	free(text);
	unlink(file);
	free(file);
}

static void settings_that_need_a_restart_are_told(void **state)
{
	struct hbt_config *a = right("workers = 1\nlisten = {\"1\"}\n"
	                             "trust = {" PRINT1 "}\n");
	struct hbt_config *b = right("workers = 2\nlisten = {\"2\"}\n"
	                             "trust = {" PRINT2 "}\n"
	                             "keep_alive_time = 17s\nuser = u\n"
	                             "control_socket = \"x\"\n"
	                             "sandbox = no\nlog_file = \"y\"\n");
	char names[256] = "";

	(void)state;
	hbt_config_compare(a, b, count_changed, names);
	assert_string_equal(names, " sandbox control_socket log_file");
	names[0] = '\0';
	hbt_config_compare(a, a, count_changed, names);
	assert_string_equal(names, "");
	hbt_config_free(&a);
	hbt_config_free(&b);
}

static void fixed_settings_are_kept_and_others_are_not(void **state)
{
	struct hbt_config *old = right("workers = 1\nsandbox = no\n"
	                               "control_socket = \"/old\"\n");
	struct hbt_config *fresh = right("workers = 2\n"
	                                 "control_socket = \"/new\"\n"
	                                 "redis {\n url = \"redis://x\"\n"
	                                 " key_prefix = \"p\"\n}\n");
	char names[256] = "";

	(void)state;
	hbt_config_swap_fixed(fresh, old);
	assert_int_equal(fresh->workers, 2);
	assert_false(fresh->sandbox);
	assert_string_equal(fresh->control_socket, "/old");
	assert_false(fresh->shares);
	assert_string_equal(old->control_socket, "/new");
	assert_true(old->shares);
	hbt_config_compare(old, fresh, count_changed, names);
	assert_string_equal(names,
	                    " sandbox control_socket the section redis");
	hbt_config_swap_fixed(fresh, old);
	assert_string_equal(fresh->control_socket, "/new");
	assert_string_equal(fresh->redis.url, "redis://x");
	hbt_config_free(&old);
	hbt_config_free(&fresh);
}

/* The sample, with each "#name = value" of a default made a setting; those
 * that say they are examples only if so wished. */
static struct hbt_config *sample(bool examples)
{
	const char *top = getenv("top_srcdir");
	char name[512], line[512], *text = NULL;
	struct hbt_config *cfg;
	size_t len;
	FILE *in, *out = open_memstream(&text, &len);

	snprintf(name, sizeof(name), "%s/etc/halibutd.conf",
	         top != NULL ? top : ".");
	in = fopen(name, "r");
	assert_non_null(in);
	while (fgets(line, sizeof(line), in) != NULL) {
		bool commented =
			line[0] == '#' && line[1] >= 'a' && line[1] <= 'z';
		bool part = line[0] == '#' && (strncmp(line, "#    ", 5) == 0 ||
		                               strncmp(line, "#}", 2) == 0);
		bool section = commented && strstr(line, " {\n") != NULL;
		bool example = strstr(line, "# example") != NULL ||
		               strstr(line, "_file = ") != NULL;

		if (!examples && (part || section || example))
			continue;
		if (strstr(line, "_file = ") != NULL)
			continue; /* it is not there */
		fputs(commented || part ? line + 1 : line, out);
	}
	fclose(in);
	fclose(out);
	cfg = right(text);
	free(text);
	return cfg;
}

static void the_sample_file_shows_the_defaults(void **state)
{
	struct hbt_config *empty = right("");
	struct hbt_config *shown = sample(false);
	char names[1024] = "";

	(void)state;
	hbt_config_compare(empty, shown, count_changed, names);
	/* Where the build puts things is not what the sample shows. */
	if (strcmp(names, "") != 0 && strcmp(names, " certificate") != 0 &&
	    strcmp(names, " control_socket") != 0 &&
	    strcmp(names, " certificate control_socket") != 0)
		fail_msg("the sample differs in%s", names);
	hbt_config_free(&empty);
	hbt_config_free(&shown);
}

static void the_examples_of_the_sample_are_right(void **state)
{
	struct hbt_config *cfg = sample(true);

	(void)state;
	assert_int_equal(cfg->n_routes, 4);
	assert_int_equal(cfg->n_programs, 1);
	assert_int_equal(cfg->n_polls, 1);
	assert_int_equal(cfg->trusted.n, 1);
	hbt_config_free(&cfg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_file_gives_the_defaults),
		cmocka_unit_test(settings_of_every_kind_are_read),
		cmocka_unit_test(paths_are_relative_to_the_file),
		cmocka_unit_test(an_unknown_setting_is_an_error_with_a_hint),
		cmocka_unit_test(a_wrong_value_is_told_with_its_line),
		cmocka_unit_test(a_mistake_is_told_with_its_line_below_comments),
		cmocka_unit_test(a_comment_is_none_where_it_is_a_part_of_a_value),
		cmocka_unit_test(what_has_no_end_is_told_where_it_begins),
		cmocka_unit_test(
			a_queue_endpoint_has_a_name_and_somebody_to_serve_it),
		cmocka_unit_test(a_section_without_what_it_needs_is_an_error),
		cmocka_unit_test(the_same_twice_is_an_error),
		cmocka_unit_test(sections_are_read),
		cmocka_unit_test(
			trusted_thumbprints_come_from_both_places_once),
		cmocka_unit_test(a_wrong_line_of_the_trust_file_is_told),
		cmocka_unit_test(the_queue_of_several_nodes_is_read),
		cmocka_unit_test(nodes_understand_each_other_by_default),
		cmocka_unit_test(a_queue_that_cannot_work_is_told),
		cmocka_unit_test(
			a_password_is_the_first_line_of_a_file_of_our_own),
		cmocka_unit_test(settings_that_need_a_restart_are_told),
		cmocka_unit_test(fixed_settings_are_kept_and_others_are_not),
		cmocka_unit_test(the_sample_file_shows_the_defaults),
		cmocka_unit_test(the_examples_of_the_sample_are_right),
	};

	unsetenv("HALIBUT_CONTROL");
	unsetenv("HALIBUT_LIBEXEC");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
