/* Command lines of service programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/split.h"

/* words: each with a | behind it. */
static void check(const char *command, const char *words)
{
	struct halibut_error err = {0};
	char text[256] = "";
	char **argv;

	assert_int_equal(hbt_split(command, &argv, &err), HALIBUT_OK);
	for (size_t i = 0; argv[i] != NULL; i++) {
		strcat(text, argv[i]);
		strcat(text, "|");
	}
	assert_string_equal(text, words);
	free(argv);
}

static void check_refused(const char *command, const char *why)
{
	struct halibut_error err = {0};
	char **argv;

	assert_int_equal(hbt_split(command, &argv, &err), HALIBUT_EINVAL);
	assert_null(argv);
	assert_non_null(strstr(err.message, why));
	halibut_error_clear(&err);
}

static void blanks_part_words(void **state)
{
	(void)state;
	check("a", "a|");
	check(" a\tbc \n d ", "a|bc|d|");
	check("a b c d e f", "a|b|c|d|e|f|");
}

static void single_quotes_keep_everything(void **state)
{
	(void)state;
	check("a 'b  c' '\"' '\\' '$x|y'", "a|b  c|\"|\\|$x|y|");
	check("a ''", "a||");
	check("a'b'c", "abc|");
}

static void double_quotes_keep_all_but_a_few_escapes(void **state)
{
	(void)state;
	check("a \"b  c\" \"'\"", "a|b  c|'|");
	check("a \"\\\"\\\\\\$\\`\"", "a|\"\\$`|");
	check("a \"\\n\"", "a|\\n|");
	check("a \"b\\\nc\"", "a|bc|");
	check("a\"b\"'c'd", "abcd|");
}

static void a_backslash_quotes_one_character(void **state)
{
	(void)state;
	check("a\\ b \\$5 \\' \\\\", "a b|$5|'|\\|");
	check("a \\\n b", "a|b|");
	check("a\\\nb", "ab|");
}

static void what_a_shell_would_leave_alone_is_left_alone(void **state)
{
	(void)state;
	check("a * ? ~ # x=1 {} [a] !", "a|*|?|~|#|x=1|{}|[a]|!|");
	check("a \xc3\xa9", "a|\xc3\xa9|");
}

static void an_open_quote_is_refused(void **state)
{
	(void)state;
	check_refused("a 'b", "inside single quotes");
	check_refused("a \"b", "inside double quotes");
	check_refused("a \"b\\", "inside double quotes");
	check_refused("a b\\", "inside a \\ escape");
}

static void what_needs_a_shell_is_refused_with_the_remedy(void **state)
{
	static const char *const commands[] = {
		"a | b", "a & b", "a; b", "a < b", "a > b", "a $b",
		"a `b`", "(a)",   "a \"$b\"", "a \"`b`\"",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		check_refused(commands[i], "write sh -c");
}

static void a_line_without_program_is_refused(void **state)
{
	(void)state;
	check_refused("", "names no program");
	check_refused("  ", "names no program");
	check_refused("'' a", "names no program");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blanks_part_words),
		cmocka_unit_test(single_quotes_keep_everything),
		cmocka_unit_test(double_quotes_keep_all_but_a_few_escapes),
		cmocka_unit_test(a_backslash_quotes_one_character),
		cmocka_unit_test(what_a_shell_would_leave_alone_is_left_alone),
		cmocka_unit_test(an_open_quote_is_refused),
		cmocka_unit_test(what_needs_a_shell_is_refused_with_the_remedy),
		cmocka_unit_test(a_line_without_program_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
