#include "vectors.h"

#include <stdlib.h>
#include <string.h>

#include "wire/reader.h"
#include "wire/writer.h"

/* A section under construction, in one fixed buffer. */
struct built {
	uint8_t data[1024];
	size_t len;
};

static struct hbt_stream_ref ref(uint8_t n)
{
	struct hbt_stream_ref r = {.length = 0};

	memset(r.id.wire, n, sizeof(r.id.wire));
	return r;
}

static void put(struct built *b, uint8_t n, int64_t length, const char *data,
                int64_t tail)
{
	struct hbt_stream_ref r = ref(n);

	hbt_section_head(&r.id, length, b->data + b->len);
	b->len += 24;
	memcpy(b->data + b->len, data, strlen(data));
	b->len += strlen(data);
	hbt_section_tail(tail, b->data + b->len);
	b->len += 8;
}

/* Scans it with all ways of cutting it in two; the status is the same. */
static int scan(const struct built *b, const struct hbt_stream_ref *refs,
                size_t n_refs, size_t *used, struct halibut_error *err)
{
	struct hbt_section s;
	size_t first, second;
	int rc = HALIBUT_OK;

	for (size_t cut = 0; cut <= b->len; cut++) {
		halibut_error_clear(err);
		assert_int_equal(hbt_section_init(&s, refs, n_refs), 0);
		rc = hbt_section_scan(&s, b->data, cut, &first, err);
		second = 0;
		if (rc == HALIBUT_OK)
			rc = hbt_section_scan(&s, b->data + first,
			                      b->len - first, &second, err);
		*used = first + second;
		if (rc == HALIBUT_OK)
			assert_true(hbt_section_finished(&s) ||
			            *used == b->len);
		hbt_section_fini(&s);
	}
	return rc;
}

static void streams_may_come_in_any_order(void **state)
{
	struct hbt_stream_ref refs[] = {ref(1), ref(2), ref(3)};
	struct halibut_error err = {0};
	struct built b = {.len = 0};
	size_t used;

	(void)state;
	put(&b, 3, 5, "third", 5);
	put(&b, 1, 0, "", 0);
	put(&b, 2, 2, "no", 2);
	assert_int_equal(scan(&b, refs, 3, &used, &err), HALIBUT_OK);
	assert_int_equal(used, b.len);
}

static void what_follows_the_section_is_left(void **state)
{
	struct hbt_stream_ref refs[] = {ref(1)};
	struct halibut_error err = {0};
	struct built b = {.len = 0};
	size_t used;

	(void)state;
	put(&b, 1, 2, "ab", 2);
	memcpy(b.data + b.len, "NEXT\r\n", 6);
	b.len += 6;
	assert_int_equal(scan(&b, refs, 1, &used, &err), HALIBUT_OK);
	assert_int_equal(used, b.len - 6);
}

static void no_streams_use_no_bytes(void **state)
{
	struct hbt_section s;
	size_t used = 9;

	(void)state;
	assert_int_equal(hbt_section_init(&s, NULL, 0), HALIBUT_OK);
	assert_true(hbt_section_finished(&s));
	assert_int_equal(
		hbt_section_scan(&s, (const uint8_t *)"x", 1, &used, NULL),
		HALIBUT_OK);
	assert_int_equal(used, 0);
	hbt_section_fini(&s);
}

static void an_unknown_stream_is_an_error(void **state)
{
	struct hbt_stream_ref refs[] = {ref(1)};
	struct halibut_error err = {0};
	struct built b = {.len = 0};
	size_t used;

	(void)state;
	put(&b, 2, 2, "ab", 2);
	assert_int_equal(scan(&b, refs, 1, &used, &err), HALIBUT_EPROTO);
	assert_non_null(strstr(err.message, "Unexpected stream!"));
	halibut_error_clear(&err);
}

static void a_stream_named_once_comes_once(void **state)
{
	struct hbt_stream_ref refs[] = {ref(1), ref(2)};
	struct halibut_error err = {0};
	struct built b = {.len = 0};
	size_t used;

	(void)state;
	put(&b, 1, 2, "ab", 2);
	put(&b, 1, 2, "ab", 2);
	assert_int_equal(scan(&b, refs, 2, &used, &err), HALIBUT_EPROTO);
	halibut_error_clear(&err);
}

static void a_stream_named_twice_comes_twice(void **state)
{
	struct hbt_stream_ref refs[] = {ref(1), ref(2), ref(1)};
	struct halibut_error err = {0};
	struct built b = {.len = 0};
	size_t used;

	(void)state;
	put(&b, 1, 2, "ab", 2);
	put(&b, 1, 2, "ab", 2);
	put(&b, 2, 1, "c", 1);
	assert_int_equal(scan(&b, refs, 3, &used, &err), HALIBUT_OK);
	assert_int_equal(used, b.len);
}

static void another_length_behind_the_data_is_an_error(void **state)
{
	struct hbt_stream_ref refs[] = {ref(1)};
	struct halibut_error err = {0};
	struct built b = {.len = 0};
	size_t used;

	(void)state;
	put(&b, 1, 2, "ab", 3);
	assert_int_equal(scan(&b, refs, 1, &used, &err), HALIBUT_EPROTO);
	assert_non_null(
		strstr(err.message, "Data stream size mismatch detected"));
	halibut_error_clear(&err);
}

static void a_negative_length_means_no_data(void **state)
{
	struct hbt_stream_ref refs[] = {ref(1)};
	struct halibut_error err = {0};
	struct built b = {.len = 0}, wrong = {.len = 0};
	size_t used;

	(void)state;
	put(&b, 1, -1, "", -1);
	assert_int_equal(scan(&b, refs, 1, &used, &err), HALIBUT_OK);
	assert_int_equal(used, b.len);
	put(&wrong, 1, INT64_MIN, "", 0);
	assert_int_equal(scan(&wrong, refs, 1, &used, &err), HALIBUT_EPROTO);
	halibut_error_clear(&err);
}

static void the_largest_length_is_counted_down(void **state)
{
	struct hbt_stream_ref refs[] = {ref(1)};
	struct hbt_section s;
	struct built b = {.len = 0};
	uint8_t data[100] = {0};
	size_t used;

	(void)state;
	put(&b, 1, INT64_MAX, "", 0);
	assert_int_equal(hbt_section_init(&s, refs, 1), HALIBUT_OK);
	assert_int_equal(hbt_section_scan(&s, b.data, 24, &used, NULL), 0);
	assert_int_equal(hbt_section_scan(&s, data, 100, &used, NULL), 0);
	assert_int_equal(used, 100);
	assert_true(s.left == INT64_MAX - 100);
	/* Near the end of it, without sending 8 EiB. */
	s.left = 3;
	assert_int_equal(hbt_section_scan(&s, data, 3, &used, NULL), 0);
	hbt_section_tail(INT64_MAX, data);
	assert_int_equal(hbt_section_scan(&s, data, 9, &used, NULL), 0);
	assert_int_equal(used, 8);
	assert_true(hbt_section_finished(&s));
	hbt_section_fini(&s);
}

/* Takes streams apart with pieces of the input of at most step bytes. */
static void take_apart(size_t step)
{
	struct hbt_stream_ref refs[] = {ref(1), ref(2)};
	struct hbt_section s;
	struct built b = {.len = 0};
	char text[64] = "";
	size_t at = 0;

	put(&b, 2, 3, "abc", 3);
	put(&b, 1, 0, "", 0);
	assert_int_equal(hbt_section_init(&s, refs, 2), HALIBUT_OK);
	while (at < b.len) {
		size_t len = b.len - at < step ? b.len - at : step;
		size_t used, piece_len;
		const uint8_t *piece;
		bool begin, end;

		assert_int_equal(hbt_section_next(&s, b.data + at, len, &used,
		                                  &piece, &piece_len, &begin,
		                                  &end, NULL),
		                 HALIBUT_OK);
		assert_int_not_equal(used, 0);
		at += used;
		if (begin) {
			assert_memory_equal(s.id.wire,
			                    refs[s.length == 3].id.wire, 16);
			strcat(text, "<");
		}
		if (piece_len > 0)
			strncat(text, (const char *)piece, piece_len);
		if (end)
			strcat(text, ">");
	}
	assert_string_equal(text, "<abc><>");
	assert_true(hbt_section_finished(&s));
	hbt_section_fini(&s);
}

static void streams_are_taken_apart_however_they_are_cut(void **state)
{
	(void)state;
	for (size_t step = 1; step < 80; step++)
		take_apart(step);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_may_come_in_any_order),
		cmocka_unit_test(what_follows_the_section_is_left),
		cmocka_unit_test(no_streams_use_no_bytes),
		cmocka_unit_test(an_unknown_stream_is_an_error),
		cmocka_unit_test(a_stream_named_once_comes_once),
		cmocka_unit_test(a_stream_named_twice_comes_twice),
		cmocka_unit_test(another_length_behind_the_data_is_an_error),
		cmocka_unit_test(a_negative_length_means_no_data),
		cmocka_unit_test(the_largest_length_is_counted_down),
		cmocka_unit_test(streams_are_taken_apart_however_they_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
