/* Pauses between attempts to connect. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "redis/backoff.h"

static void pauses_grow_to_their_limit_and_begin_again(void **state)
{
	struct hbt_backoff b = {.min_ms = 250, .max_ms = 10000};

	(void)state;
	for (int round = 0; round < 50; round++) {
		int64_t ceiling = 250, ms = hbt_backoff_next(&b);

		assert_in_range(ms, 0, 250);
		for (int i = 0; i < 20; i++) {
			ceiling += ceiling * 6 / 10 + 1;
			if (ceiling > 10000)
				ceiling = 10000;
			ms = hbt_backoff_next(&b);
			assert_in_range(ms, ceiling / 2, ceiling);
		}
		assert_int_equal(ceiling, 10000);
		hbt_backoff_reset(&b);
	}
}

static void two_nodes_do_not_come_back_together(void **state)
{
	struct hbt_backoff b = {.min_ms = 1 << 20, .max_ms = 1 << 24};
	struct hbt_backoff c = b;
	int same = 0;

	(void)state;
	for (int i = 0; i < 20; i++)
		same += hbt_backoff_next(&b) == hbt_backoff_next(&c);
	assert_in_range(same, 0, 3);
}

static void limits_of_zero_are_no_division_and_no_standstill(void **state)
{
	struct hbt_backoff b = {0};

	(void)state;
	for (int i = 0; i < 20; i++)
		assert_in_range(hbt_backoff_next(&b), 0, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pauses_grow_to_their_limit_and_begin_again),
		cmocka_unit_test(two_nodes_do_not_come_back_together),
		cmocka_unit_test(
			limits_of_zero_are_no_division_and_no_standstill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
