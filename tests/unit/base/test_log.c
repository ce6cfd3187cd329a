/* Log lines: levels, escaping, length, and the default sink. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
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
	assert_string_equal(h->text + strlen(h->text) - 4, "\\x0a");
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

/* Logs one line to the default sink and returns what standard error got. */
static ssize_t log_to_stderr(const char *text, char *out, size_t cap)
{
	int old = dup(STDERR_FILENO);
	int fds[2];
	ssize_t n;

	assert_true(old >= 0);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
	hbt_log_set_sink(NULL, NULL);
	log_warning("%s", text);
	dup2(old, STDERR_FILENO);
	close(old);
	close(fds[1]);
	n = read(fds[0], out, cap); /* one write arrives as one read */
	close(fds[0]);
	return n;
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
