/* What programs say on their standard error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "stderr_log.h"

static char logged[4096];
static unsigned n_logged;

static void keep(void *arg, enum hbt_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	n_logged++;
	snprintf(logged, sizeof(logged), "%s", line);
}

static int setup(void **state)
{
	(void)state;
	hbt_log_set_sink(keep, NULL);
	n_logged = 0;
	*logged = '\0';
	return 0;
}

static void say(struct hbt_svc_stderr *s, const char *text, int64_t now_ms)
{
	hbt_svc_stderr_add(s, "S", text, strlen(text), now_ms);
}

static void check_last(const struct hbt_svc_stderr *s, const char *text)
{
	char *last = hbt_svc_stderr_last(s);

	assert_string_equal(last, text);
	free(last);
}

static void a_line_is_logged_with_its_name_once_it_is_complete(void **state)
{
	struct hbt_svc_stderr s;

	(void)state;
	hbt_svc_stderr_init(&s, 0);
	say(&s, "hel", 0);
	assert_int_equal(n_logged, 0);
	say(&s, "lo\r\nw", 0);
	assert_int_equal(n_logged, 1);
	assert_non_null(strstr(logged, "S: hello"));
	hbt_svc_stderr_end(&s, "S", 0);
	assert_int_equal(n_logged, 2);
	assert_non_null(strstr(logged, "S: w"));
}

static void the_last_lines_are_kept(void **state)
{
	struct hbt_svc_stderr s;

	(void)state;
	hbt_svc_stderr_init(&s, 0);
	check_last(&s, "");
	say(&s, "a\n", 0);
	check_last(&s, "a");
	say(&s, "\n\nb\nc\nd\n", 0);
	check_last(&s, "b / c / d");
}

static void a_long_line_is_cut_in_pieces(void **state)
{
	struct hbt_svc_stderr s;
	char text[2 * SVC_STDERR_LINE + 2];

	(void)state;
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\n';
	hbt_svc_stderr_init(&s, 0);
	hbt_svc_stderr_add(&s, "S", text, sizeof(text), 0);
	assert_int_equal(n_logged, 3);
	assert_int_equal(strlen(s.last[0]), SVC_STDERR_LINE);
	assert_int_equal(strlen(s.last[1]), SVC_STDERR_LINE);
	assert_string_equal(s.last[2], "x");
}

static void bytes_of_zero_do_not_hide_what_follows(void **state)
{
	struct hbt_svc_stderr s;

	(void)state;
	hbt_svc_stderr_init(&s, 0);
	hbt_svc_stderr_add(&s, "S", "a\0b\n", 4, 0);
	check_last(&s, "a b");
}

static void too_many_lines_are_counted_instead(void **state)
{
	struct hbt_svc_stderr s;

	(void)state;
	hbt_svc_stderr_init(&s, 0);
	for (int i = 0; i < SVC_STDERR_BURST + 7; i++)
		say(&s, "x\n", 0);
	assert_int_equal(n_logged, SVC_STDERR_BURST);
	/* A second later there is room again, and a word about the 7. */
	say(&s, "y\n", 1000);
	assert_int_equal(n_logged, SVC_STDERR_BURST + 2);
	assert_non_null(strstr(logged, "S: y"));
	for (int i = 0; i < 2 * SVC_STDERR_RATE; i++)
		say(&s, "z\n", 1000);
	assert_int_equal(n_logged, SVC_STDERR_BURST + 1 + SVC_STDERR_RATE);
	hbt_svc_stderr_end(&s, "S", 1000);
	assert_non_null(strstr(logged, "lines of its standard error"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			a_line_is_logged_with_its_name_once_it_is_complete,
			setup),
		cmocka_unit_test_setup(the_last_lines_are_kept, setup),
		cmocka_unit_test_setup(a_long_line_is_cut_in_pieces, setup),
		cmocka_unit_test_setup(bytes_of_zero_do_not_hide_what_follows,
		                       setup),
		cmocka_unit_test_setup(too_many_lines_are_counted_instead,
		                       setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
