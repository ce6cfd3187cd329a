#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>

#include "text_file.h"

#define PRINT1 "8A7D5BC0F0F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1"
#define PRINT2 "9A7D5BC0F0F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1"

static const char *const variables[] = {
	"HALIBUT_NODE",         "HALIBUT_LISTEN",
	"HALIBUT_TRUST",        "HALIBUT_WORKERS",
	"HALIBUT_STOP_TIMEOUT", "HALIBUT_CERTIFICATE",
	"HALIBUT_LOG_LEVEL",    "HALIBUT_LOG_FORMAT",
	"HALIBUT_LIBEXEC",      "HALIBUT_WORKER_DIRECTORY",
	"HALIBUT_SANDBOX",      "HALIBUT_FRIENDLY_HEADERS",
	"HALIBUT_REDIS_URL",    "HALIBUT_REDIS_KEY_PREFIX",
	"HALIBUT_REDIS_SWEEP",  "HALIBUT_PORT",
	"HALIBUT_CERTIFICATE_PASSWORD_FILE",
};

static int forget(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(variables) / sizeof(*variables); i++)
		unsetenv(variables[i]);
	return 0;
}

static void set(const char *name, const char *value)
{
	assert_int_equal(setenv(name, value, 1), 0);
}

static struct hbt_config *right(const char *text)
{
	struct halibut_error err = {0};
	struct hbt_config *cfg;

	if (config_from(text, &cfg, &err) != HALIBUT_OK)
		fail_msg("%s", err.message);
	return cfg;
}

static void assert_wrong(const char *text, const char *words)
{
	struct halibut_error err = {0};
	struct hbt_config *cfg;

	assert_int_not_equal(config_from(text, &cfg, &err), HALIBUT_OK);
	assert_null(cfg);
	if (strstr(err.message, words) == NULL)
		fail_msg("\"%s\" has not \"%s\"", err.message, words);
	halibut_error_clear(&err);
}

static void settings_of_every_kind_come_from_the_environment(void **state)
{
	struct hbt_config *cfg;

	(void)state;
	set("HALIBUT_NODE", "n1");
	set("HALIBUT_LISTEN", "127.0.0.1:0, [::1]:0");
	set("HALIBUT_TRUST", "\n" PRINT1 "\n  " PRINT2 " \r\n\n");
	set("HALIBUT_WORKERS", "3");
	set("HALIBUT_STOP_TIMEOUT", "2min");
	set("HALIBUT_CERTIFICATE", "/run/secrets/node.pem");
	set("HALIBUT_LOG_LEVEL", "debug");
	set("HALIBUT_FRIENDLY_HEADERS", "A: 1, 2\nB: 3\n");
	cfg = right("");
	assert_string_equal(cfg->node, "n1");
	assert_int_equal(cfg->listen.n, 2);
	assert_string_equal(cfg->listen.v[1], "[::1]:0");
	assert_int_equal(cfg->trusted.n, 2);
	assert_int_equal(cfg->workers, 3);
	assert_int_equal(cfg->stop_timeout_ms, 120000);
	assert_string_equal(cfg->certificate, "/run/secrets/node.pem");
	assert_int_equal(cfg->log_level, 3);
	assert_int_equal(cfg->friendly_headers.n, 2);
	assert_string_equal(cfg->friendly_headers.v[0], "A: 1, 2");
	assert_false(cfg->shares);
	hbt_config_free(&cfg);
}

static void the_file_comes_after_the_environment(void **state)
{
	struct hbt_config *cfg;

	(void)state;
	set("HALIBUT_NODE", "n1");
	set("HALIBUT_TRUST", PRINT1);
	set("HALIBUT_WORKERS", "3");
	cfg = right("node = \"n2\"\ntrust = {\"" PRINT2 "\"}\n");
	assert_string_equal(cfg->node, "n2");
	assert_int_equal(cfg->trust.n, 1);
	assert_string_equal(cfg->trust.v[0], PRINT2);
	assert_int_equal(cfg->trusted.n, 1);
	assert_int_equal(cfg->workers, 3);
	hbt_config_free(&cfg);
}

static void an_empty_variable_says_nothing(void **state)
{
	struct hbt_config *cfg;

	(void)state;
	set("HALIBUT_WORKERS", "");
	set("HALIBUT_LISTEN", " , ");
	set("HALIBUT_REDIS_URL", "");
	cfg = right("");
	assert_int_equal(cfg->workers, 0);
	assert_int_equal(cfg->listen.n, 1);
	assert_string_equal(cfg->listen.v[0], "10943");
	assert_false(cfg->shares);
	hbt_config_free(&cfg);
}

static void a_wrong_value_is_told_with_its_variable(void **state)
{
	(void)state;
	set("HALIBUT_STOP_TIMEOUT", "ten");
	assert_wrong("", "HALIBUT_STOP_TIMEOUT: ");
	assert_wrong("stop_timeout = 5s\n", "HALIBUT_STOP_TIMEOUT: ");
	unsetenv("HALIBUT_STOP_TIMEOUT");
	set("HALIBUT_TRUST", PRINT1 ",nonsense");
	assert_wrong("", "HALIBUT_TRUST: \"nonsense\"");
}

/* Kubernetes sets such ones for a service that is called halibut. */
static void variables_that_are_no_settings_do_not_matter(void **state)
{
	struct hbt_config *cfg;

	(void)state;
	set("HALIBUT_PORT", "tcp://10.0.0.1:10943");
	cfg = right("");
	hbt_config_free(&cfg);
}

static void redis_needs_no_section_when_the_environment_has_it(void **state)
{
	struct hbt_config *cfg;

	(void)state;
	set("HALIBUT_REDIS_URL", "redis://:secret@redis.internal:6379");
	assert_wrong("", "needs key_prefix");
	set("HALIBUT_REDIS_KEY_PREFIX", "production");
	set("HALIBUT_REDIS_SWEEP", "20s");
	cfg = right("");
	assert_true(cfg->shares);
	assert_string_equal(cfg->redis.key_prefix, "production");
	assert_int_equal(cfg->redis.times.sweep_ms, 20000);
	hbt_config_free(&cfg);
	cfg = right("redis {\n key_prefix = \"staging\"\n}\n");
	assert_string_equal(cfg->redis.key_prefix, "staging");
	assert_int_equal(cfg->redis.times.sweep_ms, 20000);
	hbt_config_free(&cfg);
}

static void old_names_still_count_and_new_ones_come_first(void **state)
{
	struct hbt_config *cfg;

	(void)state;
	set("HALIBUT_LIBEXEC", "/old");
	cfg = right("");
	assert_string_equal(cfg->worker_directory, "/old");
	hbt_config_free(&cfg);
	set("HALIBUT_WORKER_DIRECTORY", "/new");
	cfg = right("");
	assert_string_equal(cfg->worker_directory, "/new");
	hbt_config_free(&cfg);
}

/* base/log.h and ipc/sandbox.h read these themselves. */
static void log_format_and_a_strict_sandbox_are_left_alone(void **state)
{
	struct hbt_config *cfg;

	(void)state;
	set("HALIBUT_LOG_FORMAT", "json");
	set("HALIBUT_SANDBOX", "strict");
	cfg = right("");
	assert_string_equal(cfg->log_format, "auto");
	assert_true(cfg->sandbox);
	hbt_config_free(&cfg);
	set("HALIBUT_SANDBOX", "no");
	cfg = right("");
	assert_false(cfg->sandbox);
	hbt_config_free(&cfg);
}

static void the_password_of_the_certificate_comes_from_a_file(void **state)
{
	char *secret = text_file("pass word\nand more\n");
	struct hbt_config *cfg;

	(void)state;
	set("HALIBUT_CERTIFICATE_PASSWORD_FILE", secret);
	cfg = right("");
	assert_string_equal(cfg->certificate_password, "pass word");
	hbt_config_free(&cfg);
	assert_wrong("certificate_password = 'x'\n", "remove one of them");
	assert_int_equal(chmod(secret, 0644), 0);
	assert_wrong("", "everybody can read it; chmod o=");
	unlink(secret);
	assert_wrong("", "cannot be read");
	free(secret);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, forget, forget)
	const struct CMUnitTest tests[] = {
		TEST(settings_of_every_kind_come_from_the_environment),
		TEST(the_file_comes_after_the_environment),
		TEST(an_empty_variable_says_nothing),
		TEST(a_wrong_value_is_told_with_its_variable),
		TEST(variables_that_are_no_settings_do_not_matter),
		TEST(redis_needs_no_section_when_the_environment_has_it),
		TEST(old_names_still_count_and_new_ones_come_first),
		TEST(log_format_and_a_strict_sandbox_are_left_alone),
		TEST(the_password_of_the_certificate_comes_from_a_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
