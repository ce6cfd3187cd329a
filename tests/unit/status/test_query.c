/* What clients ask for, and with which token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "authorize.h"
#include "query.h"

static void a_path_is_cut_from_its_parameters(void **state)
{
	struct query q;

	(void)state;
	assert_null(query_parse(&q, "/connz?sort=idle&limit=5&peer=a%3a1"));
	assert_string_equal(q.path, "/connz");
	assert_string_equal(query_get(&q, "sort"), "idle");
	assert_string_equal(query_get(&q, "limit"), "5");
	assert_string_equal(query_get(&q, "peer"), "a:1");
	assert_null(query_get(&q, "offset"));
	query_fini(&q);
	assert_null(query_parse(&q, "/varz/?"));
	assert_string_equal(q.path, "/varz");
	query_fini(&q);
	assert_null(query_parse(&q, "/"));
	assert_string_equal(q.path, "/");
	query_fini(&q);
}

static void what_makes_no_sense_is_refused(void **state)
{
	static const char *const wrong[] = {
		"",           "connz",        "http://x/connz", "*",
		"/a?=b",      "/a?b",         "/a?b=1&b=2",     "/a?b=%0",
		"/a?b=%zz",   "/a?b=x%00y",   "/a?b=%",         "/a?&",
		("/0123456789012345678901234567890123456789012345678901234567890"
		 "123456789"),
	};
	char many[QUERY_MAX_TEXT + 100];
	struct query q;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		if (query_parse(&q, wrong[i]) == NULL)
			fail_msg("taken: %s", wrong[i]);
		query_fini(&q);
	}
	strcpy(many, "/a?x=1");
	for (int i = 0; i < QUERY_MAX_PARAMETERS; i++)
		sprintf(many + strlen(many), "&x%d=1", i);
	assert_non_null(query_parse(&q, many));
	query_fini(&q);
	memset(many, 'x', sizeof(many) - 1);
	memcpy(many, "/a?b=", 5);
	many[sizeof(many) - 1] = '\0';
	assert_non_null(query_parse(&q, many));
	query_fini(&q);
}

static void it_may_end_anywhere(void **state)
{
	static const char whole[] = "/connz?sort=-idle&limit=5&peer=a%3a1%20b";
	char cut[sizeof(whole)];
	struct query q;

	(void)state;
	for (size_t n = 0; n <= strlen(whole); n++) {
		memcpy(cut, whole, n);
		cut[n] = '\0';
		(void)query_parse(&q, cut);
		query_fini(&q);
	}
}

static void numbers_are_numbers_and_not_too_large(void **state)
{
	struct query q;
	uint64_t n;

	(void)state;
	assert_null(query_parse(&q, "/a?x=12&y=-1&z=1e3&v=&w=12345678901234567"));
	assert_true(query_number(&q, "x", 5, 12, &n));
	assert_int_equal(n, 12);
	assert_false(query_number(&q, "x", 5, 11, &n));
	assert_true(query_number(&q, "nothing", 5, 11, &n));
	assert_int_equal(n, 5);
	assert_false(query_number(&q, "y", 5, 11, &n));
	assert_false(query_number(&q, "z", 5, 11, &n));
	assert_false(query_number(&q, "v", 5, 11, &n));
	assert_false(query_number(&q, "w", 5, UINT64_MAX, &n));
	query_fini(&q);
}

static bool matches(const char *pattern, const char *text)
{
	return query_matches(pattern, text, strlen(text));
}

static void a_star_stands_for_anything(void **state)
{
	char text[1000];

	(void)state;
	assert_true(matches("poll://a/", "poll://A/"));
	assert_true(matches("*", ""));
	assert_true(matches("", ""));
	assert_true(matches("poll://*/", "poll://abc/"));
	assert_true(matches("*b*d*", "abcde"));
	assert_true(matches("a*", "a"));
	assert_true(matches("a**b", "axxb"));
	assert_false(matches("", "a"));
	assert_false(matches("a", ""));
	assert_false(matches("a*b", "abc"));
	assert_false(matches("*x*", "abc"));
	/* Nothing of the text behind its end counts. */
	assert_true(query_matches("ab", "abc", 2));
	/* A pattern that makes others take for ever. */
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_false(matches("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", text));
}

static void a_token_is_taken_only_as_it_is(void **state)
{
	static const char token[] = "0123456789abcdef";

	(void)state;
	assert_true(authorize_token(token, "Bearer 0123456789abcdef"));
	assert_true(authorize_token(token, "bearer   0123456789abcdef"));
	assert_false(authorize_token(token, NULL));
	assert_false(authorize_token(token, ""));
	assert_false(authorize_token(token, "Bearer"));
	assert_false(authorize_token(token, "Bearer "));
	assert_false(authorize_token(token, "0123456789abcdef"));
	assert_false(authorize_token(token, "Bearer0123456789abcdef"));
	assert_false(authorize_token(token, "Basic 0123456789abcdef"));
	assert_false(authorize_token(token, "Bearer 0123456789abcdeF"));
	assert_false(authorize_token(token, "Bearer 0123456789abcde"));
	assert_false(authorize_token(token, "Bearer 0123456789abcdef "));
	assert_false(authorize_token(token, "Bearer 0123456789abcdefg"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_is_cut_from_its_parameters),
		cmocka_unit_test(what_makes_no_sense_is_refused),
		cmocka_unit_test(it_may_end_anywhere),
		cmocka_unit_test(numbers_are_numbers_and_not_too_large),
		cmocka_unit_test(a_star_stands_for_anything),
		cmocka_unit_test(a_token_is_taken_only_as_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
