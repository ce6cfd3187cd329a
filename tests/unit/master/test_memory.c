/* What the master remembers for the status: bounded, whatever comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "master/histogram.h"
#include "master/holders.h"
#include "master/past_calls.h"
#include "master/refused.h"
#include "master/trust.h"

#define PRINT "8A7D5BC0F0F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1"

/* All rows of a table that is filled by pages, counted; the last ones stay in
 * rows[]. */

struct all {
	union hbt_row rows[2048];
	size_t n;
	enum hbt_table table;
};

static void take_page(struct all *all, struct hbt_page *page)
{
	struct hbt_rd r = hbt_rd_from(page->rows.buf.data, page->rows.buf.len);

	assert_int_equal(page->rows.status, HALIBUT_OK);
	for (uint32_t i = 0; i < page->n; i++) {
		assert_true(all->n < 2048);
		hbt_row_get(&r, all->table, &all->rows[all->n++]);
	}
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	hbt_wr_fini(&page->rows);
}

#define TAKE_ALL(all, of, fill, from)                                          \
	do {                                                                   \
		uint64_t at = 0;                                               \
                                                                               \
		(all)->table = (of);                                           \
		(all)->n = 0;                                                  \
		do {                                                           \
			struct hbt_page page;                                  \
                                                                               \
			hbt_page_init(&page, (of));                            \
			fill((from), at, &page, &at);                          \
			take_page((all), &page);                               \
		} while (at != 0);                                             \
	} while (0)

static void drop_all(struct all *all)
{
	for (size_t i = 0; i < all->n; i++)
		hbt_row_fini(all->table, &all->rows[i]);
}

static struct all all;

/* Refused */

static void the_same_peer_at_another_port_is_the_same(void **state)
{
	struct hbt_refused *r = hbt_refused_new();
	const struct hbt_refused_row *row = &all.rows[0].refused;

	(void)state;
	hbt_refused_add(r, "192.0.2.1:1000", PRINT,
	                "192.0.2.1:1000 is not trusted");
	hbt_refused_add(r, "192.0.2.1:1001", PRINT,
	                "192.0.2.1:1001 is not trusted");
	hbt_refused_add(r, "192.0.2.1:1002", NULL, "no certificate");
	hbt_refused_add(r, "[2001:db8::1]:1", NULL, "no certificate");
	TAKE_ALL(&all, HBT_TABLE_REFUSED, hbt_refused_fill, r);
	assert_int_equal(all.n, 3);
	assert_string_equal(row[0].address, "192.0.2.1");
	assert_string_equal(row[0].thumbprint, PRINT);
	assert_string_equal(row[0].reason, "192.0.2.1 is not trusted");
	assert_int_equal(row[0].count, 2);
	assert_true(row[0].first_at > 0);
	assert_true(row[0].last_at >= row[0].first_at);
	assert_null(all.rows[1].refused.thumbprint);
	assert_int_equal(all.rows[1].refused.count, 1);
	assert_string_equal(all.rows[2].refused.address, "2001:db8::1");
	assert_int_equal(hbt_refused_total(r), 4);
	drop_all(&all);
	hbt_refused_free(&r);
}

static void strangers_cannot_make_the_list_of_refused_endless(void **state)
{
	struct hbt_refused *r = hbt_refused_new();
	bool faithful = false;

	(void)state;
	for (int i = 0; i < 5000; i++) {
		char peer[32];

		snprintf(peer, sizeof(peer), "10.0.%d.%d:1", i / 256, i % 256);
		hbt_refused_add(r, peer, NULL, "why");
		hbt_refused_add(r, "192.0.2.1:5", NULL, "why");
	}
	TAKE_ALL(&all, HBT_TABLE_REFUSED, hbt_refused_fill, r);
	assert_int_equal(all.n, 1000);
	for (size_t i = 0; i < all.n; i++)
		if (strcmp(all.rows[i].refused.address, "192.0.2.1") == 0)
			faithful = all.rows[i].refused.count == 5000;
	assert_true(faithful); /* the oldest goes, not the first that came */
	drop_all(&all);
	hbt_refused_free(&r);
}

static void endless_texts_are_cut(void **state)
{
	struct hbt_refused *r = hbt_refused_new();
	static char text[100000];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	hbt_refused_add(r, text, text, text);
	hbt_refused_add(r, "", "", "");
	TAKE_ALL(&all, HBT_TABLE_REFUSED, hbt_refused_fill, r);
	assert_int_equal(all.n, 2);
	assert_true(strlen(all.rows[0].refused.reason) < 1024);
	drop_all(&all);
	hbt_refused_free(&r);
}

/* Past calls */

static void add_past(struct hbt_past_calls *past, uint64_t number,
                     const char *error)
{
	const struct hbt_past_call_row row = {
		.number = number,
		.service = "IEcho",
		.error = error,
		.slow = error == NULL,
	};

	hbt_past_calls_add(past, &row);
}

static void the_youngest_past_call_comes_first(void **state)
{
	struct hbt_past_calls *past = hbt_past_calls_new();

	(void)state;
	add_past(past, 1, NULL);
	add_past(past, 2, "ECLOSED");
	TAKE_ALL(&all, HBT_TABLE_PAST_CALLS, hbt_past_calls_fill, past);
	assert_int_equal(all.n, 2);
	assert_int_equal(all.rows[0].past_call.number, 2);
	assert_string_equal(all.rows[0].past_call.error, "ECLOSED");
	assert_int_equal(all.rows[1].past_call.number, 1);
	assert_string_equal(all.rows[1].past_call.service, "IEcho");
	drop_all(&all);
	hbt_past_calls_free(&past);
}

static void a_flood_of_failures_leaves_the_slow_ones(void **state)
{
	struct hbt_past_calls *past = hbt_past_calls_new();
	size_t slow = 0;

	(void)state;
	for (uint64_t i = 1; i <= 10; i++)
		add_past(past, i, NULL);
	for (uint64_t i = 11; i <= 5000; i++)
		add_past(past, i, "ETIMEOUT");
	TAKE_ALL(&all, HBT_TABLE_PAST_CALLS, hbt_past_calls_fill, past);
	assert_int_equal(all.n, 210);
	for (size_t i = 0; i < all.n; i++)
		slow += all.rows[i].past_call.slow;
	assert_int_equal(slow, 10);
	assert_int_equal(all.rows[0].past_call.number, 5000);
	drop_all(&all);
	hbt_past_calls_free(&past);
}

/* Holders */

static void a_holder_is_remembered_when_it_left(void **state)
{
	struct hbt_holders *hs = hbt_holders_new();
	struct hbt_holder *a, *b;
	uint8_t sha1[20];

	(void)state;
	assert_true(hbt_sha1_parse(PRINT, sha1));
	assert_null(hbt_holders_find(hs, sha1));
	a = hbt_holders_enter(hs, PRINT);
	b = hbt_holders_enter(hs, PRINT);
	assert_ptr_equal(a, b);
	assert_int_equal(a->connections, 2);
	hbt_holders_seen(hs, PRINT);
	hbt_holders_leave(hs, a);
	hbt_holders_leave(hs, a);
	assert_ptr_equal(hbt_holders_find(hs, sha1), a);
	assert_int_equal(a->connections, 0);
	assert_true(a->seen_ms > 0);
	assert_ptr_equal(hbt_holders_enter(hs, PRINT), a);
	assert_null(hbt_holders_enter(hs, "no thumbprint"));
	assert_null(hbt_holders_enter(hs, NULL));
	hbt_holders_leave(hs, NULL);
	hbt_holders_free(&hs);
}

static void so_many_absent_holders_are_remembered_and_no_more(void **state)
{
	struct hbt_holders *hs = hbt_holders_new();
	struct hbt_holder *present = hbt_holders_enter(hs, PRINT);
	uint8_t sha1[20];
	char print[41];

	(void)state;
	for (int i = 0; i < 100100; i++) {
		snprintf(print, sizeof(print), "%040X", i);
		hbt_holders_seen(hs, print);
	}
	assert_true(hbt_sha1_parse(print, sha1));
	assert_non_null(hbt_holders_find(hs, sha1));
	snprintf(print, sizeof(print), "%040X", 50);
	assert_true(hbt_sha1_parse(print, sha1));
	assert_null(hbt_holders_find(hs, sha1)); /* the longest away */
	assert_true(hbt_sha1_parse(PRINT, sha1));
	assert_ptr_equal(hbt_holders_find(hs, sha1), present);
	hbt_holders_free(&hs);
}

/* Histograms */

static void each_time_falls_into_one_bucket(void **state)
{
	struct hbt_histogram h = {.count = 0};

	(void)state;
	for (int i = 1; i < HBT_HISTOGRAM_N; i++)
		assert_true(hbt_histogram_bounds[i] >
		            hbt_histogram_bounds[i - 1]);
	hbt_histogram_add(&h, -5);
	hbt_histogram_add(&h, (int64_t)hbt_histogram_bounds[0]);
	hbt_histogram_add(&h, (int64_t)hbt_histogram_bounds[0] + 1);
	hbt_histogram_add(&h, INT64_C(1) << 50);
	assert_int_equal(h.buckets[0], 2);
	assert_int_equal(h.buckets[1], 1);
	assert_int_equal(h.buckets[HBT_HISTOGRAM_N], 1);
	assert_int_equal(h.count, 4);
	assert_int_equal(h.sum_us, 2 * hbt_histogram_bounds[0] + 1 +
	                                   (UINT64_C(1) << 50));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_peer_at_another_port_is_the_same),
		cmocka_unit_test(
			strangers_cannot_make_the_list_of_refused_endless),
		cmocka_unit_test(endless_texts_are_cut),
		cmocka_unit_test(the_youngest_past_call_comes_first),
		cmocka_unit_test(a_flood_of_failures_leaves_the_slow_ones),
		cmocka_unit_test(a_holder_is_remembered_when_it_left),
		cmocka_unit_test(
			so_many_absent_holders_are_remembered_and_no_more),
		cmocka_unit_test(each_time_falls_into_one_bucket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
