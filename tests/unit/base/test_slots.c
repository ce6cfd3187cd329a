/* A walk in steps meets what was there all the time once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/slots.h"

#define N 1000

struct item {
	uint32_t at;
	int met;
};

static struct hbt_slots slots;
static struct item items[N];

static int set_up(void **state)
{
	(void)state;
	for (int i = 0; i < N; i++) {
		items[i].met = 0;
		if (hbt_slots_add(&slots, &items[i], &items[i].at) != 0)
			return -1;
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	hbt_slots_fini(&slots);
	return 0;
}

static void a_walk_meets_each_once(void **state)
{
	struct item *item;
	uint64_t at = 0;

	(void)state;
	while ((item = hbt_slots_next(&slots, &at)) != NULL)
		item->met++;
	assert_int_equal(at, 0);
	for (int i = 0; i < N; i++)
		assert_int_equal(items[i].met, 1);
}

static void what_stays_is_met_once_while_others_come_and_go(void **state)
{
	struct item *item, come[N / 2];
	uint64_t at = 0;
	int n = 0;

	(void)state;
	while ((item = hbt_slots_next(&slots, &at)) != NULL) {
		item->met++;
		if (n < N / 2) { /* one before us or behind us goes */
			hbt_slots_remove(&slots, items[n * 2].at);
			come[n].met = 0;
			assert_int_equal(
				hbt_slots_add(&slots, &come[n], &come[n].at),
				0);
			n++;
		}
	}
	assert_int_equal(slots.used, N);
	for (int i = 1; i < N; i += 2)
		assert_int_equal(items[i].met, 1);
	for (int i = 0; i < N / 2; i++)
		assert_in_range(come[i].met, 0, 1);
}

static void a_place_that_was_left_is_used_again(void **state)
{
	uint32_t at, n = slots.n;

	(void)state;
	hbt_slots_remove(&slots, items[7].at);
	hbt_slots_remove(&slots, items[3].at);
	assert_int_equal(hbt_slots_add(&slots, &items[7], &at), 0);
	assert_int_equal(hbt_slots_add(&slots, &items[3], &at), 0);
	assert_int_equal(slots.n, n);
	assert_int_equal(hbt_slots_add(&slots, &items[3], &at), 0);
	assert_int_equal(at, n);
}

static void a_walk_through_nothing_takes_more_than_one_turn(void **state)
{
	static struct item many[100000];
	uint64_t at = N;
	int turns = 0;

	(void)state;
	for (size_t i = 0; i < 100000; i++)
		assert_int_equal(hbt_slots_add(&slots, &many[i], &many[i].at),
		                 0);
	for (size_t i = 0; i < 100000; i++)
		hbt_slots_remove(&slots, many[i].at);
	do {
		assert_null(hbt_slots_next(&slots, &at));
		turns++;
	} while (at != 0);
	assert_in_range(turns, 2, 50);
}

static void a_place_that_never_was_is_the_end(void **state)
{
	uint64_t at = UINT64_MAX;

	(void)state;
	assert_null(hbt_slots_next(&slots, &at));
	assert_int_equal(at, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(a_walk_meets_each_once),
		T(what_stays_is_met_once_while_others_come_and_go),
		T(a_place_that_was_left_is_used_again),
		T(a_walk_through_nothing_takes_more_than_one_turn),
		T(a_place_that_never_was_is_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
