#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "master/preflight.h"
#include "text_file.h"

struct fixture {
	char dir[64];
	char *base; /* settings with which all is there */
};

static void put(const struct fixture *f, const char *name, mode_t mode)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	fd = open(path, O_CREAT | O_WRONLY, mode);
	assert_true(fd >= 0);
	close(fd);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	snprintf(f->dir, sizeof(f->dir), "/tmp/halibut-test.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	put(f, "halibut-connection-worker", 0755);
	put(f, "halibut-service-worker", 0755);
	put(f, "halibut-queue-worker", 0755);
	put(f, "halibut-status-worker", 0755);
	put(f, "plain", 0644);
	assert_true(asprintf(&f->base,
	                     "worker_directory = \"%s\"\n"
	                     "spool_directory = \"%s\"\n",
	                     f->dir, f->dir) > 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char command[128];

	snprintf(command, sizeof(command), "rm -r %s", f->dir);
	free(f->base);
	free(f);
	return system(command);
}

/* words NULL: all is right. */
__attribute__((format(printf, 3, 4)))
static void assert_finds(struct fixture *f, const char *words,
                         const char *format, ...)
{
	struct halibut_error err = {0};
	struct hbt_config *cfg;
	char *more, *text;
	va_list ap;
	int rc;

	va_start(ap, format);
	assert_true(vasprintf(&more, format, ap) >= 0);
	va_end(ap);
	assert_true(asprintf(&text, "%s%s", f->base, more) > 0);
	if (config_from(text, &cfg, &err) != HALIBUT_OK)
		fail_msg("%s", err.message);
	rc = hbt_preflight(cfg, &err);
	if (words == NULL && rc != HALIBUT_OK)
		fail_msg("%s", err.message);
	if (words != NULL && (rc == HALIBUT_OK ||
	                      strstr(err.message, words) == NULL))
		fail_msg("\"%s\" is not in: %s", words,
		         rc == HALIBUT_OK ? "" : err.message);
	halibut_error_clear(&err);
	hbt_config_free(&cfg);
	free(text);
	free(more);
}

static void what_is_there_is_right(void **state)
{
	struct fixture *f = *state;

	assert_finds(f, NULL, "%s", "");
	assert_finds(f, NULL, "service \"A\" {\n command = \"sh -c :\"\n}\n");
	assert_finds(f, NULL,
	             "redis {\n url = \"redis://h\"\n key_prefix = p\n"
	             " streams = directory\n streams_directory = \"%s\"\n"
	             " wrappers = {\"program cat -\"}\n}\n",
	             f->dir);
}

static void what_is_missing_is_named_with_its_setting(void **state)
{
	struct fixture *f = *state;

	assert_finds(f, "worker_directory", "worker_directory = \"%s/x\"\n",
	             f->dir);
	assert_finds(f, "spool_directory", "spool_directory = \"%s/x\"\n",
	             f->dir);
	assert_finds(f, "spool_directory", "spool_directory = \"%s/plain\"\n",
	             f->dir);
	assert_finds(f, "service \"A\"",
	             "service \"A\" {\n command = \"%s/plain\"\n}\n", f->dir);
	assert_finds(f, "service \"A\"",
	             "service \"A\" {\n command = no-such-program\n}\n");
	assert_finds(f, "service \"A\"",
	             "service \"A\" {\n command = sh\n directory = \"%s/x\"\n"
	             "}\n",
	             f->dir);
}

static void what_the_queue_needs_is_looked_for_if_there_is_one(void **state)
{
#define REDIS "redis {\n url = \"redis://h\"\n key_prefix = p\n"
	struct fixture *f = *state;
	char path[128];

	assert_finds(f, "streams_command",
	             REDIS "streams = program\n"
	                   "streams_command = \"%s/x put\"\n}\n",
	             f->dir);
	assert_finds(f, "streams_directory",
	             REDIS "streams = directory\n"
	                   "streams_directory = \"%s/x\"\n}\n",
	             f->dir);
	assert_finds(f, "wrappers",
	             REDIS "wrappers = {\"program no-such-program\"}\n}\n");
	assert_finds(f, "tls_ca", REDIS "tls_ca = \"%s/x\"\n}\n", f->dir);
	snprintf(path, sizeof(path), "%s/halibut-queue-worker", f->dir);
	unlink(path);
	assert_finds(f, NULL, "%s", "");
	assert_finds(f, "halibut-queue-worker", REDIS "}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_there_is_right, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(
			what_is_missing_is_named_with_its_setting, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			what_the_queue_needs_is_looked_for_if_there_is_one,
			set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
