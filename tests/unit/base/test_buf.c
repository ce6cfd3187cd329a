/* Buffers with a largest size; sticky reader and writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "halibut/error.h"

static void appending_grows_up_to_the_maximum_and_no_further(void **state)
{
	struct hbt_buf b;
	uint8_t kib[1024];

	(void)state;
	memset(kib, 'x', sizeof(kib));
	hbt_buf_init(&b, 3000);
	assert_int_equal(hbt_buf_append(&b, kib, 1024), HALIBUT_OK);
	assert_int_equal(hbt_buf_append(&b, kib, 1024), HALIBUT_OK);
	assert_int_equal(hbt_buf_append(&b, kib, 1024), HALIBUT_ELIMIT);
	assert_int_equal(b.len, 2048);
	assert_int_equal(hbt_buf_append(&b, kib, 952), HALIBUT_OK);
	assert_int_equal(b.len, 3000);
	assert_true(b.cap <= 3000);
	hbt_buf_fini(&b);
}

static void reserving_past_the_maximum_gives_null(void **state)
{
	struct hbt_buf b;

	(void)state;
	hbt_buf_init(&b, 10);
	assert_non_null(hbt_buf_reserve(&b, 10));
	assert_null(hbt_buf_reserve(&b, 11));
	assert_null(hbt_buf_reserve(&b, SIZE_MAX));
	b.len = 10;
	assert_null(hbt_buf_reserve(&b, 1));
	assert_non_null(hbt_buf_reserve(&b, 0));
	hbt_buf_fini(&b);
}

static void a_buffer_without_a_bound_does_not_overflow_its_sizes(void **state)
{
	struct hbt_buf b;

	(void)state;
	/* More than PTRDIFF_MAX is an error of its own under valgrind. */
	hbt_buf_init(&b, PTRDIFF_MAX);
	assert_int_equal(hbt_buf_append(&b, "abc", 3), HALIBUT_OK);
	assert_null(hbt_buf_reserve(&b, PTRDIFF_MAX - 3));
	assert_null(hbt_buf_reserve(&b, SIZE_MAX - 2));
	assert_int_equal(b.len, 3);
	assert_memory_equal(b.data, "abc", 3);
	hbt_buf_fini(&b);
}

static void an_empty_append_needs_no_memory(void **state)
{
	struct hbt_buf b;

	(void)state;
	hbt_buf_init(&b, 0);
	assert_int_equal(hbt_buf_append(&b, NULL, 0), HALIBUT_OK);
	assert_null(b.data);
	assert_int_equal(hbt_buf_append(&b, "x", 1), HALIBUT_ELIMIT);
}

static void consuming_moves_the_rest_to_the_front(void **state)
{
	struct hbt_buf b;

	(void)state;
	hbt_buf_init(&b, 100);
	hbt_buf_append(&b, "abcdef", 6);
	hbt_buf_consume(&b, 2);
	assert_int_equal(b.len, 4);
	assert_memory_equal(b.data, "cdef", 4);
	hbt_buf_consume(&b, 4);
	assert_int_equal(b.len, 0);
	assert_null(b.data);
	assert_int_equal(hbt_buf_append(&b, "again", 5), HALIBUT_OK);
	hbt_buf_fini(&b);
	assert_int_equal(b.max, 100);
}

static void detaching_gives_the_memory_away(void **state)
{
	struct hbt_buf b;
	uint8_t *data;
	size_t len;

	(void)state;
	hbt_buf_init(&b, 100);
	hbt_buf_append(&b, "abc", 3);
	data = hbt_buf_detach(&b, &len);
	assert_int_equal(len, 3);
	assert_memory_equal(data, "abc", 3);
	assert_null(b.data);
	assert_int_equal(b.len, 0);
	free(data);
}

static void numbers_are_little_endian(void **state)
{
	static const uint8_t expected[] = {1, 3, 2, 7, 6, 5, 4, 15,
	                                   14, 13, 12, 11, 10, 9, 8};
	struct hbt_wr w;

	(void)state;
	hbt_wr_init(&w, 100);
	hbt_wr_u8(&w, 1);
	hbt_wr_u16(&w, 0x0203);
	hbt_wr_u32(&w, 0x04050607);
	hbt_wr_u64(&w, 0x08090a0b0c0d0e0f);
	assert_int_equal(w.status, HALIBUT_OK);
	assert_int_equal(w.buf.len, sizeof(expected));
	assert_memory_equal(w.buf.data, expected, sizeof(expected));
	hbt_wr_fini(&w);
}

static void what_is_written_is_read_back(void **state)
{
	struct hbt_wr w;
	struct hbt_rd r;
	struct hbt_str s;
	char *text;

	(void)state;
	hbt_wr_init(&w, 1000);
	hbt_wr_u8(&w, 0xff);
	hbt_wr_u16(&w, 0xfffe);
	hbt_wr_u32(&w, 0xfffffffd);
	hbt_wr_u64(&w, 0xfffffffffffffffc);
	hbt_wr_str(&w, "a\0b", 3);
	hbt_wr_cstr(&w, "text");
	hbt_wr_cstr(&w, "");
	hbt_wr_cstr(&w, NULL);
	hbt_wr_bytes(&w, "raw", 3);
	assert_int_equal(w.status, HALIBUT_OK);

	r = hbt_rd_from(w.buf.data, w.buf.len);
	assert_int_equal(hbt_rd_u8(&r), 0xff);
	assert_int_equal(hbt_rd_u16(&r), 0xfffe);
	assert_int_equal(hbt_rd_u32(&r), 0xfffffffd);
	assert_true(hbt_rd_u64(&r) == 0xfffffffffffffffc);
	s = hbt_rd_str(&r);
	assert_int_equal(s.len, 3);
	assert_memory_equal(s.s, "a\0b", 3);
	text = hbt_rd_strdup(&r);
	assert_string_equal(text, "text");
	free(text);
	text = hbt_rd_strdup(&r);
	assert_string_equal(text, "");
	free(text);
	assert_null(hbt_rd_strdup(&r));
	assert_memory_equal(hbt_rd_bytes(&r, 3), "raw", 3);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	hbt_wr_fini(&w);
}

static void a_short_body_fails_once_and_stays_failed(void **state)
{
	struct hbt_rd r = hbt_rd_from("\1\2\3", 3);

	(void)state;
	assert_int_equal(hbt_rd_u32(&r), 0);
	assert_int_equal(hbt_rd_u8(&r), 0);
	assert_null(hbt_rd_bytes(&r, 0));
	assert_null(hbt_rd_strdup(&r));
	assert_int_equal(hbt_rd_str(&r).len, 0);
	assert_string_equal(hbt_rd_str(&r).s, "");
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_EPROTO);
}

static void bytes_that_are_left_over_are_an_error(void **state)
{
	struct hbt_rd r = hbt_rd_from("\1\2", 2);

	(void)state;
	assert_int_equal(hbt_rd_u8(&r), 1);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_EPROTO);
}

static void a_length_beyond_the_body_reads_nothing(void **state)
{
	struct hbt_rd r = hbt_rd_from("\xfe\xff\xff\xff" "abc", 7);

	(void)state;
	assert_int_equal(hbt_rd_str(&r).len, 0);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_EPROTO);
}

static void an_empty_body_holds_zero_bytes(void **state)
{
	struct hbt_rd r = hbt_rd_from(NULL, 0);

	(void)state;
	assert_non_null(hbt_rd_bytes(&r, 0));
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
}

static void a_text_with_a_nul_byte_is_not_copied(void **state)
{
	struct hbt_rd r = hbt_rd_from("\3\0\0\0a\0b", 7);

	(void)state;
	assert_null(hbt_rd_strdup(&r));
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
}

static void a_writer_that_passed_its_maximum_stays_failed(void **state)
{
	struct hbt_wr w;

	(void)state;
	hbt_wr_init(&w, 6);
	hbt_wr_u32(&w, 1);
	hbt_wr_u32(&w, 2);
	hbt_wr_u8(&w, 3);
	assert_int_equal(w.status, HALIBUT_ELIMIT);
	assert_int_equal(w.buf.len, 4);
	hbt_wr_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			appending_grows_up_to_the_maximum_and_no_further),
		cmocka_unit_test(reserving_past_the_maximum_gives_null),
		cmocka_unit_test(
			a_buffer_without_a_bound_does_not_overflow_its_sizes),
		cmocka_unit_test(an_empty_append_needs_no_memory),
		cmocka_unit_test(consuming_moves_the_rest_to_the_front),
		cmocka_unit_test(detaching_gives_the_memory_away),
		cmocka_unit_test(numbers_are_little_endian),
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(a_short_body_fails_once_and_stays_failed),
		cmocka_unit_test(bytes_that_are_left_over_are_an_error),
		cmocka_unit_test(a_length_beyond_the_body_reads_nothing),
		cmocka_unit_test(an_empty_body_holds_zero_bytes),
		cmocka_unit_test(a_text_with_a_nul_byte_is_not_copied),
		cmocka_unit_test(a_writer_that_passed_its_maximum_stays_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
