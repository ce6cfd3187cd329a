#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "queue/deadlines.h"

#define N 500

/* A generator of our own: the same numbers wherever this runs. */
static uint32_t chance(uint32_t below)
{
	static uint32_t x = 2463534242u;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x % below;
}

static void the_soonest_is_always_in_front(void **state)
{
	static struct hbt_deadline d[N];
	struct hbt_deadlines all = {NULL};

	(void)state;
	for (int step = 0; step < 50000; step++) {
		struct hbt_deadline *one = &d[chance(N)];
		int64_t soonest = INT64_MAX;
		size_t n = 0;

		if (hbt_deadline_is_set(&all, one)) {
			hbt_deadline_clear(&all, one);
		} else {
			one->at_ms = chance(1000);
			hbt_deadline_set(&all, one);
		}
		if (step % 20 != 0)
			continue;
		for (int i = 0; i < N; i++) {
			if (!hbt_deadline_is_set(&all, &d[i]))
				continue;
			n++;
			if (d[i].at_ms < soonest)
				soonest = d[i].at_ms;
		}
		assert_int_equal(all.soonest != NULL, n > 0);
		if (n > 0)
			assert_int_equal(all.soonest->at_ms, soonest);
	}
	while (all.soonest != NULL)
		hbt_deadline_clear(&all, all.soonest);
	for (int i = 0; i < N; i++)
		assert_false(hbt_deadline_is_set(&all, &d[i]));
}

static void many_leave_in_order(void **state)
{
	enum { MANY = 200000 };
	struct hbt_deadline *d = calloc(MANY, sizeof(*d));
	struct hbt_deadlines all = {NULL};
	int64_t last = 0;

	(void)state;
	for (int i = 0; i < MANY; i++) {
		/* Half of them in order, as equal time-outs come. */
		d[i].at_ms = i % 2 ? i : (int64_t)chance(MANY);
		hbt_deadline_set(&all, &d[i]);
	}
	for (int i = 0; i < MANY; i++) {
		assert_non_null(all.soonest);
		assert_true(all.soonest->at_ms >= last);
		last = all.soonest->at_ms;
		hbt_deadline_clear(&all, all.soonest);
	}
	assert_null(all.soonest);
	free(d);
}

static void clearing_what_is_not_set_does_nothing(void **state)
{
	struct hbt_deadline a = {.at_ms = 1}, b = {.at_ms = 2};
	struct hbt_deadlines all = {NULL};

	(void)state;
	hbt_deadline_clear(&all, &a);
	hbt_deadline_set(&all, &a);
	hbt_deadline_clear(&all, &b);
	assert_ptr_equal(all.soonest, &a);
	hbt_deadline_clear(&all, &a);
	hbt_deadline_clear(&all, &a);
	assert_null(all.soonest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_soonest_is_always_in_front),
		cmocka_unit_test(many_leave_in_order),
		cmocka_unit_test(clearing_what_is_not_set_does_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
