/* Tables of the master, page by page, while what they show changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "master/master.h"
#include "master/tables.h"

enum { STAY = 600, COME = 400, PAGES = 100 };

static struct hbt_master m;
static unsigned met[STAY];

static void forget_state(void)
{
	json_decref(m.queue_state);
	m.queue_state = NULL;
}

/* What the queue worker tells: STAY queues that are always there, and others
 * that were not there before; in another order each time. */
static void replace_state(unsigned round)
{
	json_t *queues = json_object();
	char key[64];

	forget_state();
	for (unsigned i = 0; i < STAY + COME; i++) {
		unsigned n = (i * 7919 + round * 131) % (STAY + COME);

		if (n < STAY)
			snprintf(key, sizeof(key), "poll://stays-%u/", n);
		else
			snprintf(key, sizeof(key), "poll://comes-%u-%u/", round,
			         n);
		json_object_set_new(queues, key,
		                    json_pack("{s:i}", "queued", 1));
	}
	m.queue_state = json_pack("{s:o}", "queues", queues);
	assert_non_null(m.queue_state);
}

static void note(struct hbt_page *page)
{
	struct hbt_rd r = hbt_rd_from(page->rows.buf.data, page->rows.buf.len);

	assert_int_equal(page->rows.status, HALIBUT_OK);
	for (uint32_t i = 0; i < page->n; i++) {
		struct hbt_subscription_row row;
		unsigned n;

		hbt_row_get(&r, HBT_TABLE_SUBSCRIPTIONS, &row);
		if (sscanf(row.uri, "poll://stays-%u/", &n) == 1)
			met[n]++;
		hbt_row_fini(HBT_TABLE_SUBSCRIPTIONS, &row);
	}
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	hbt_wr_fini(&page->rows);
}

static void a_queue_that_stays_in_redis_is_shown_once(void **state)
{
	struct hbt_rows_ask ask = {.table = HBT_TABLE_SUBSCRIPTIONS};
	struct event_base *base = event_base_new();
	unsigned pages = 0;

	(void)state;
	m.switchboard = hbt_switchboard_new(base, NULL, NULL);
	do {
		struct hbt_page page;
		uint64_t next = 0;

		replace_state(pages);
		hbt_page_init(&page, HBT_TABLE_SUBSCRIPTIONS);
		assert_true(hbt_tables_fill(&m, &ask, &page, &next));
		note(&page);
		ask.after = next;
		assert_in_range(++pages, 1, PAGES);
	} while (ask.after != 0);
	assert_in_range(pages, 3, PAGES);
	for (unsigned i = 0; i < STAY; i++)
		assert_int_equal(met[i], 1);
	forget_state();
	hbt_switchboard_free(&m.switchboard);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_queue_that_stays_in_redis_is_shown_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
