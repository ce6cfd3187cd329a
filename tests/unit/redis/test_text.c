/* Commands as bytes: what hiredis makes of a format, we make of it too. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "redis/text.h"

static void same_bytes(const char *format, ...)
{
	struct hbt_text *t = NULL;
	char *expected;
	va_list ap;
	int n;

	va_start(ap, format);
	n = redisvFormatCommand(&expected, format, ap);
	va_end(ap);
	va_start(ap, format);
	assert_int_equal(hbt_text_vadd(&t, format, ap), HALIBUT_OK);
	va_end(ap);
	assert_int_equal(t->len, n);
	assert_memory_equal(t->bytes, expected, n);
	assert_int_equal(t->commands, 1);
	redisFreeCommand(expected);
	hbt_text_unref(&t);
}

static void formats_are_those_of_hiredis(void **state)
{
	(void)state;
	same_bytes("PING");
	same_bytes("  PING   x ");
	same_bytes("SET %s %b", "key with space", "a\0b", (size_t)3);
	same_bytes("SET %s %s", "", "");
	same_bytes("SET k:%s:x %lld", "v", 1234567890123LL);
	same_bytes("EXPIRE %s %d", "k", 86400);
	same_bytes("EXPIRE %s %lld", "k", 86400LL);
	same_bytes("ZADD k %lld %b %lld", -1LL, "a\0b", (size_t)3, LLONG_MIN);
	same_bytes("ZADD %lld %lld %lld", 1LL, 2LL, 3LL);
	same_bytes("SET a%%b %b", "", (size_t)0);
	same_bytes("MSET 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 %s", "18");
	same_bytes("SET %s 12345678901", "k");
}

static void each_command_has_a_name(void **state)
{
	static const char value[] = "\r\n*1\r\n$3\r\nSET";
	const char *const names[] = {"GET", "HGET", "PUBLISH"};
	struct hbt_text *t = NULL;
	const char *name;
	size_t at = 0, len, n = 0;

	(void)state;
	hbt_text_add(&t, "GET %b", value, sizeof(value) - 1);
	hbt_text_add(&t, "HGET a %s", "");
	hbt_text_add(&t, "PUBLISH c %b", value, sizeof(value) - 1);
	for (; hbt_text_command(t, &at, &name, &len); n++) {
		assert_int_equal(len, strlen(names[n]));
		assert_memory_equal(name, names[n], len);
	}
	assert_int_equal(n, 3);
	assert_int_equal(at, t->len);
	assert_false(hbt_text_stores(t));
	hbt_text_add(&t, "EXPIRE a 1");
	assert_false(hbt_text_stores(t));
	hbt_text_add(&t, "HMSET a b c");
	assert_true(hbt_text_stores(t));
	hbt_text_unref(&t);
}

static void a_bad_format_leaves_the_text_as_it_was(void **state)
{
	struct hbt_text *t = NULL;

	(void)state;
	assert_int_equal(hbt_text_add(&t, "SET k %y", 1), HALIBUT_EINVAL);
	assert_null(t);
	assert_int_equal(hbt_text_add(&t, "PING"), HALIBUT_OK);
	assert_int_equal(hbt_text_add(&t, "SET k %y", 1), HALIBUT_EINVAL);
	assert_int_equal(t->commands, 1);
	assert_int_equal(t->len, 14);
	hbt_text_unref(&t);
}

static void values_that_redis_refuses_are_refused_here(void **state)
{
	const char *argv[] = {"SET", "k", "v"};
	size_t lens[] = {3, 1, (size_t)HBT_REDIS_MAX_VALUE + 1};
	struct hbt_text *t = NULL;

	(void)state;
	assert_int_equal(hbt_text_add_argv(&t, 3, argv, lens), HALIBUT_ELIMIT);
	assert_null(t);
}

static void long_texts_are_written_without_a_copy(void **state)
{
	struct evbuffer *out = evbuffer_new();
	char *value = malloc(1 << 20);
	struct hbt_text *t = NULL;
	struct evbuffer_iovec v;

	(void)state;
	memset(value, 'v', 1 << 20);
	hbt_text_add(&t, "SET k %b", value, (size_t)1 << 20);
	free(value);
	assert_true(hbt_text_write(t, out));
	assert_int_equal(evbuffer_peek(out, -1, NULL, &v, 1), 1);
	assert_ptr_equal(v.iov_base, t->bytes);
	assert_int_equal(v.iov_len, t->len);
	assert_int_equal(t->refs, 2);
	hbt_text_unref(&t);
	evbuffer_free(out); /* has the last reference */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats_are_those_of_hiredis),
		cmocka_unit_test(each_command_has_a_name),
		cmocka_unit_test(a_bad_format_leaves_the_text_as_it_was),
		cmocka_unit_test(values_that_redis_refuses_are_refused_here),
		cmocka_unit_test(long_texts_are_written_without_a_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
