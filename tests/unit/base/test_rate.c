/* So many a second. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rate.h"

static int taken(struct hbt_rate *r, int per_second, int burst, int64_t from_ms,
                 int64_t to_ms)
{
	int n = 0;

	for (int64_t now = from_ms; now < to_ms; now++)
		while (hbt_rate_take(r, per_second, burst, now))
			n++;
	return n;
}

static void a_burst_is_taken_at_once_and_then_so_many_a_second(void **state)
{
	struct hbt_rate r = {0};

	(void)state;
	assert_int_equal(taken(&r, 10, 5, 1000, 1001), 5);
	assert_int_equal(taken(&r, 10, 5, 1001, 1100), 0);
	assert_int_equal(taken(&r, 10, 5, 1100, 11100), 100);
}

static void more_than_one_a_millisecond_is_possible(void **state)
{
	struct hbt_rate r = {0};

	(void)state;
	assert_in_range(taken(&r, 4000, 4, 1000, 2000), 3990, 4010);
}

static void the_wait_ends_when_one_can_be_taken(void **state)
{
	struct hbt_rate r = {0};
	int64_t wait;

	(void)state;
	assert_int_equal(hbt_rate_wait_ms(&r, 3, 1, 1000), 0);
	assert_true(hbt_rate_take(&r, 3, 1, 1000));
	wait = hbt_rate_wait_ms(&r, 3, 1, 1000);
	assert_int_equal(wait, 334);
	assert_false(hbt_rate_take(&r, 3, 1, 1000 + wait - 1));
	assert_true(hbt_rate_take(&r, 3, 1, 1000 + wait));
}

static void what_rests_long_enough_is_as_good_as_new(void **state)
{
	struct hbt_rate r = {0};

	(void)state;
	assert_true(hbt_rate_is_fresh(&r, 1000));
	assert_int_equal(taken(&r, 10, 5, 1000, 1001), 5);
	assert_false(hbt_rate_is_fresh(&r, 1499));
	assert_true(hbt_rate_is_fresh(&r, 1500));
	assert_int_equal(taken(&r, 10, 5, 90000, 90001), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_burst_is_taken_at_once_and_then_so_many_a_second),
		cmocka_unit_test(more_than_one_a_millisecond_is_possible),
		cmocka_unit_test(the_wait_ends_when_one_can_be_taken),
		cmocka_unit_test(what_rests_long_enough_is_as_good_as_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
