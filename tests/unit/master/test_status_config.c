/* Where the status may be served, and with which secrets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/status_config.h"
#include "master/status_port.h"
#include "net/tls.h"
#include "text_file.h"

static char dir[] = "/tmp/halibut-status-XXXXXX";
static char *node_cert, *node_key;

static void put(const char *name, const char *text, mode_t mode)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
}

/* The configuration is refused, with these words. */
static void assert_refused(const char *text, const char *words)
{
	struct halibut_error err = {0};
	struct hbt_config *cfg = NULL;

	if (config_from(text, &cfg, &err) == HALIBUT_OK)
		fail_msg("taken: %s", text);
	if (strstr(err.message, words) == NULL)
		fail_msg("\"%s\" has no \"%s\"", err.message, words);
	halibut_error_clear(&err);
}

static struct hbt_config *right(const char *text)
{
	struct halibut_error err = {0};
	struct hbt_config *cfg = NULL;

	if (config_from(text, &cfg, &err) != HALIBUT_OK)
		fail_msg("%s", err.message);
	return cfg;
}

static void nobody_is_let_in_from_elsewhere_without_a_secret(void **state)
{
	static const char *const open[] = {
		"status_listen = {\"10949\"}",
		"status_listen = {\"*:0\"}",
		"status_listen = {\"0.0.0.0:0\"}",
		"status_listen = {\"[::]:0\"}",
		"status_listen = {\"192.0.2.1:10949\"}",
		"status_listen = {\"[::ffff:192.0.2.1]:0\"}",
		"status_listen = {\"127.0.0.1:0\", \"192.0.2.1:0\"}",
		"status_listen = {\"10949\"}\nstatus_certificate = \"x\"",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(open) / sizeof(*open); i++)
		assert_refused(open[i], "everybody could see the status");
}

static void loopback_and_paths_need_no_secret(void **state)
{
	struct hbt_config *cfg;

	(void)state;
	cfg = right("status_listen = {\"/a/b\", \"x/y\", \"127.0.0.1:0\", "
	            "\"127.9.9.9:1\", \"[::1]:0\", \"[::ffff:127.0.0.1]:0\"}");
	assert_int_equal(cfg->status_listen.n, 6);
	hbt_config_free(&cfg);
	cfg = right("status_listen = {\"none\"}");
	hbt_config_free(&cfg);
	cfg = right("status_listen = {\"10949\"}\nstatus_token_file = \"x\"");
	hbt_config_free(&cfg);
	cfg = right("status_listen = {\"10949\"}\nstatus_certificate = \"x\"\n"
	            "status_client_ca = \"y\"");
	hbt_config_free(&cfg);
}

static void what_does_not_go_together_is_refused(void **state)
{
	(void)state;
	assert_refused("status_listen = {\"none\", \"/a/b\"}", "\"none\"");
	assert_refused("status_listen = {\"monitor\"}", "status_listen");
	assert_refused("status_client_ca = \"x\"", "status_certificate");
	assert_refused("status_key = \"x\"", "status_key goes with");
}

static void the_socket_is_beside_the_control_socket(void **state)
{
	static const char *const paths[][2] = {
		{"/run/halibut/control", "/run/halibut/status"},
		{"/run/a.control", "/run/a.status"},
		{"/run/halibut.sock", "/run/halibut.sock.status"},
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct hbt_config *cfg;
		char text[128], *path;

		snprintf(text, sizeof(text), "control_socket = \"%s\"",
		         paths[i][0]);
		cfg = right(text);
		path = hbt_status_default_path(cfg);
		assert_string_equal(path, paths[i][1]);
		free(path);
		hbt_config_free(&cfg);
	}
}

/* NULL: the secrets are good; else what is said of them. Paths are relative
 * to the directory. */
static char *load(const char *text)
{
	struct halibut_error err = {0};
	struct hbt_status_settings s = {0};
	struct hbt_config *cfg = NULL;
	char path[128], *said;

	put("halibutd.conf", text, 0600);
	snprintf(path, sizeof(path), "%s/halibutd.conf", dir);
	if (hbt_config_load(&cfg, path, &err) == HALIBUT_OK)
		(void)hbt_status_settings_load(&s, cfg, node_cert, &err);
	said = err.message != NULL ? strdup(err.message) : NULL;
	halibut_error_clear(&err);
	hbt_status_settings_fini(&s);
	hbt_config_free(&cfg);
	return said;
}

static void assert_said(const char *text, const char *words)
{
	char *said = load(text);

	if (said == NULL || strstr(said, words) == NULL)
		fail_msg("\"%s\" has no \"%s\"", said, words);
	free(said);
}

static void a_token_is_long_and_for_our_eyes_alone(void **state)
{
	static const char setting[] = "status_token_file = \"token\"";

	(void)state;
	put("token", "0123456789abcdef\nand more\n", 0600);
	assert_null(load(setting));
	put("token", "0123456789abcde\n", 0600);
	assert_said(setting, "openssl rand");
	put("token", "0123456789 abcdef\n", 0600);
	assert_said(setting, "openssl rand");
	put("token", "0123456789abcdef\n", 0644);
	assert_said(setting, "status_token_file");
	assert_said("status_token_file = \"nothing\"", "nothing");
}

static void the_key_of_the_node_is_not_for_the_status(void **state)
{
	char *cert, *key;
	struct halibut_error err = {0};

	(void)state;
	put("own.pem", node_cert, 0600);
	put("own.key", node_key, 0600);
	assert_said("status_certificate = \"own.pem\"\n"
	            "status_key = \"own.key\"",
	            "the key of the node itself");
	assert_said("status_certificate = \"own.pem\"", "status_key");
	assert_int_equal(
		hbt_tls_self_signed("status", 2048, 10, &cert, &key, &err), 0);
	put("other.pem", cert, 0600);
	put("other.key", key, 0600);
	assert_null(load("status_certificate = \"other.pem\"\n"
	                 "status_key = \"other.key\"\n"
	                 "status_client_ca = \"own.pem\""));
	assert_said("status_certificate = \"other.pem\"\n"
	            "status_key = \"own.key\"",
	            "key");
	assert_said("status_certificate = \"other.pem\"\n"
	            "status_key = \"other.key\"\n"
	            "status_client_ca = \"other.key\"",
	            "status_client_ca");
	free(cert);
	free(key);
}

/* Two gateways on one machine: the second one starts without the port. */
static void what_is_taken_is_left_out_unless_it_was_asked_for(void **state)
{
	struct hbt_status_port *first, *second;
	struct halibut_error err = {0};
	struct hbt_config *cfg;
	char text[256];

	(void)state;
	snprintf(text, sizeof(text), "control_socket = \"%s/control\"", dir);
	cfg = right(text);
	assert_int_equal(
		hbt_status_port_open(&first, cfg, node_cert, &err), 0);
	assert_int_equal(
		hbt_status_port_open(&second, cfg, node_cert, &err), 0);
	assert_true(hbt_status_port_count(first) >= 1);
	assert_non_null(strstr(hbt_status_port_address(first, 0), "/status"));
	for (size_t i = 0; i < hbt_status_port_count(second); i++)
		assert_null(strstr(hbt_status_port_address(second, i),
		                   "/status"));
	hbt_config_free(&cfg);
	snprintf(text, sizeof(text), "status_listen = {\"%s/status\"}", dir);
	cfg = right(text);
	hbt_status_port_free(&second);
	assert_int_not_equal(
		hbt_status_port_open(&second, cfg, node_cert, &err), 0);
	assert_non_null(strstr(err.message, "status_listen"));
	halibut_error_clear(&err);
	hbt_status_port_free(&first);
	assert_int_equal(
		hbt_status_port_open(&second, cfg, node_cert, &err), 0);
	assert_int_equal(hbt_status_port_count(second), 1);
	hbt_status_port_free(&second);
	hbt_config_free(&cfg);
}

static int set_up(void **state)
{
	struct halibut_error err = {0};

	(void)state;
	unsetenv("HALIBUT_CONTROL");
	return mkdtemp(dir) == NULL ||
	       hbt_tls_self_signed("node", 2048, 10, &node_cert, &node_key,
	                           &err) != 0;
}

static int tear_down(void **state)
{
	char command[64];

	(void)state;
	free(node_cert);
	free(node_key);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			nobody_is_let_in_from_elsewhere_without_a_secret),
		cmocka_unit_test(loopback_and_paths_need_no_secret),
		cmocka_unit_test(what_does_not_go_together_is_refused),
		cmocka_unit_test(the_socket_is_beside_the_control_socket),
		cmocka_unit_test(a_token_is_long_and_for_our_eyes_alone),
		cmocka_unit_test(the_key_of_the_node_is_not_for_the_status),
		cmocka_unit_test(
			what_is_taken_is_left_out_unless_it_was_asked_for),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
