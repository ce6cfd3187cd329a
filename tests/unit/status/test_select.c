/* Rows that somebody wants, of many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "select.h"

/* A snapshot of calls: number i, started at i, age (i * 7919) % n. */
static struct snapshot *make(uint32_t n)
{
	struct snapshot *s = calloc(1, sizeof(*s));

	s->refs = 1;
	s->table = HBT_TABLE_CALLS;
	s->pages = calloc(n / 100 + 1, sizeof(*s->pages));
	for (uint32_t i = 0; i < n;) {
		struct hbt_wr w;
		uint32_t k = 0;

		hbt_wr_init(&w, 1024 * 1024);
		for (; k < 100 && i < n; k++, i++) {
			char service[32];
			struct hbt_call_row row = {
				.number = i,
				.service = service,
				.asker = i % 2 == 0 ? "10.0.0.1:77 ABC"
				                    : "10.0.0.2:78 DEF",
				.started_at = i,
				.age_ms = (uint64_t)i * 7919 % n,
			};

			snprintf(service, sizeof(service), "S%06u", n - i);
			hbt_row_put(&w, HBT_TABLE_CALLS, &row);
		}
		assert_int_equal(w.status, 0);
		s->pages[s->n_pages++] =
			(struct snapshot_page){w.buf.data, w.buf.len, k};
	}
	s->n_rows = n;
	return s;
}

/* The selection of a query over n rows, done. */
static struct selection *choose(const char *text, uint32_t n)
{
	struct snapshot *snapshot = make(n);
	enum select_result rc;
	struct selection *s;
	struct query q;
	char *wrong;

	assert_null(query_parse(&q, text));
	wrong = select_new(&s, HBT_TABLE_CALLS, &q, NULL, NULL);
	if (wrong != NULL)
		fail_msg("%s", wrong);
	assert_true(select_add(s, snapshot));
	snapshot_unref(&snapshot);
	query_fini(&q);
	while ((rc = select_slice(s)) == SELECT_MORE)
		;
	assert_int_equal(rc, SELECT_DONE);
	assert_int_equal(select_slice(s), SELECT_DONE);
	return s;
}

static uint64_t number(struct selection *s, const char *field)
{
	struct view v;

	if (!select_next(s, &v))
		return UINT64_MAX;
	return v.v[view_field(HBT_TABLE_CALLS, field)].number;
}

static void without_parameters_they_come_as_they_are(void **state)
{
	struct selection *s = choose("/", 2500);

	(void)state;
	assert_int_equal(select_total(s), 2500);
	assert_int_equal(select_count(s), SELECT_DEFAULT_LIMIT);
	for (uint64_t i = 0; i < SELECT_DEFAULT_LIMIT; i++)
		assert_int_equal(number(s, "number"), i);
	assert_int_equal(number(s, "number"), UINT64_MAX);
	select_free(&s);
}

static void the_largest_numbers_and_the_first_texts_come_first(void **state)
{
	struct selection *s = choose("/?sort=age&limit=5", 20011);

	(void)state;
	for (uint64_t i = 1; i <= 5; i++)
		assert_int_equal(number(s, "age_ms"), 20011 - i);
	select_free(&s);
	s = choose("/?sort=-age&limit=5", 20011);
	for (uint64_t i = 0; i < 5; i++)
		assert_int_equal(number(s, "age_ms"), i);
	select_free(&s);
	s = choose("/?sort=service&limit=5", 20011);
	for (uint64_t i = 1; i <= 5; i++)
		assert_int_equal(number(s, "number"), 20011 - i);
	select_free(&s);
	s = choose("/?sort=-started&limit=2", 20011);
	assert_int_equal(number(s, "number"), 0);
	select_free(&s);
}

static void pages_fit_together(void **state)
{
	uint64_t expected = 9999;

	(void)state;
	for (int offset = 0; offset < 10000; offset += 1000) {
		char text[64];
		struct selection *s;

		snprintf(text, sizeof(text), "/?sort=age&offset=%d&limit=1000",
		         offset);
		s = choose(text, 10000);
		assert_int_equal(select_count(s), 1000);
		for (int i = 0; i < 1000; i++)
			assert_int_equal(number(s, "age_ms"), expected--);
		select_free(&s);
	}
}

static void an_offset_behind_the_end_gives_nothing(void **state)
{
	struct selection *s = choose("/?offset=100", 100);

	(void)state;
	assert_int_equal(select_total(s), 100);
	assert_int_equal(select_count(s), 0);
	select_free(&s);
	s = choose("/?limit=0", 100);
	assert_int_equal(select_total(s), 100);
	assert_int_equal(select_count(s), 0);
	select_free(&s);
}

static void filters_leave_out_what_does_not_match(void **state)
{
	struct selection *s = choose("/?asker=10.0.0.2*", 1000);

	(void)state;
	assert_int_equal(select_total(s), 500);
	assert_int_equal(number(s, "number"), 1);
	select_free(&s);
	s = choose("/?asker=*ABC&number=4*", 1000);
	assert_int_equal(select_total(s), 1 + 5 + 50);
	select_free(&s);
	s = choose("/?service=s000001", 1000);
	assert_int_equal(select_total(s), 1);
	assert_int_equal(number(s, "number"), 999);
	select_free(&s);
}

static void wrong_parameters_are_told_with_those_that_there_are(void **state)
{
	static const char *const texts[][2] = {
		{"/?colour=red", "phase"},  {"/?sort=colour", "phase"},
		{"/?limit=x", "limit"},     {"/?limit=10001", "limit"},
		{"/?offset=-1", "offset"},  {"/?sort=", "phase"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct selection *s;
		struct query q;
		char *wrong;

		assert_null(query_parse(&q, texts[i][0]));
		wrong = select_new(&s, HBT_TABLE_CALLS, &q, NULL, NULL);
		assert_null(s);
		assert_non_null(wrong);
		assert_non_null(strstr(wrong, texts[i][1]));
		free(wrong);
		query_fini(&q);
	}
}

static void a_page_that_is_malformed_ends_early(void **state)
{
	struct snapshot *snapshot = make(200);
	struct selection *s;
	struct query q;

	(void)state;
	snapshot->pages[0].len /= 2;
	assert_null(query_parse(&q, "/"));
	assert_null(select_new(&s, HBT_TABLE_CALLS, &q, NULL, NULL));
	assert_true(select_add(s, snapshot));
	snapshot_unref(&snapshot);
	query_fini(&q);
	while (select_slice(s) == SELECT_MORE)
		;
	assert_in_range(select_total(s), 140, 155);
	select_free(&s);
}

static int64_t cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* The promise to the loop. In CPU time: others may run in between. */
static void a_slice_of_many_rows_is_short(void **state)
{
	struct snapshot *snapshot = make(50000);
	int64_t shortest = INT64_MAX;
	struct selection *s;
	struct query q;

	(void)state;
	assert_null(query_parse(&q, "/?sort=age&limit=10000"));
	for (int try = 0; try < 5; try++) {
		enum select_result rc = SELECT_MORE;
		int64_t longest = 0;

		assert_null(select_new(&s, HBT_TABLE_CALLS, &q, NULL, NULL));
		assert_true(select_add(s, snapshot));
		while (rc == SELECT_MORE) {
			int64_t began = cpu_us();

			rc = select_slice(s);
			if (cpu_us() - began > longest)
				longest = cpu_us() - began;
		}
		select_free(&s);
		if (longest < shortest)
			shortest = longest;
	}
	query_fini(&q);
	snapshot_unref(&snapshot);
	print_message("# longest slice of 50000 rows: %lld us\n",
	              (long long)shortest);
	assert_in_range(shortest, 0, 10000);
	assert_int_equal(select_held_bytes(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_parameters_they_come_as_they_are),
		cmocka_unit_test(
			the_largest_numbers_and_the_first_texts_come_first),
		cmocka_unit_test(pages_fit_together),
		cmocka_unit_test(an_offset_behind_the_end_gives_nothing),
		cmocka_unit_test(filters_leave_out_what_does_not_match),
		cmocka_unit_test(
			wrong_parameters_are_told_with_those_that_there_are),
		cmocka_unit_test(a_page_that_is_malformed_ends_early),
		cmocka_unit_test(a_slice_of_many_rows_is_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
