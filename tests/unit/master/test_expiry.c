/* What is said of the dates of our own certificates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "master/expiry.h"

#define DAY INT64_C(86400000)
#define NOW (20000 * DAY) /* 2024-10-04 */

static const char *said(int64_t not_before_ms, int64_t not_after_ms)
{
	static char text[HBT_EXPIRY_TEXT];

	return hbt_expiry_text(text, not_before_ms, not_after_ms, NOW) ? text
	                                                               : "";
}

static void one_that_has_ended_says_when(void **state)
{
	(void)state;
	assert_string_equal(said(NOW - 9 * DAY, NOW - DAY),
	                    "ended at 2024-10-03T00:00:00Z");
	assert_string_equal(said(NOW - 9 * DAY, NOW),
	                    "ended at 2024-10-04T00:00:00Z");
}

static void one_that_begins_later_says_when(void **state)
{
	(void)state;
	assert_string_equal(said(NOW + DAY, NOW + 400 * DAY),
	                    "is not valid before 2024-10-05T00:00:00Z, if the "
	                    "clock of this machine is right");
	assert_string_equal(said(NOW, NOW + 400 * DAY), "");
}

static void one_that_ends_within_thirty_days_says_when(void **state)
{
	(void)state;
	assert_string_equal(said(NOW - DAY, NOW + 30 * DAY),
	                    "will end at 2024-11-03T00:00:00Z");
	assert_string_equal(said(NOW - DAY, NOW + 1000),
	                    "will end at 2024-10-04T00:00:01Z");
	assert_string_equal(said(NOW - DAY, NOW + 30 * DAY + 1), "");
}

static void nothing_is_said_of_dates_that_are_unknown(void **state)
{
	(void)state;
	assert_string_equal(said(0, 0), "");
	assert_string_equal(said(NOW - DAY, 0), "");
	assert_string_equal(said(0, NOW + 400 * DAY), "");
}

/* The longest text there is fits. */
static void a_date_far_away_fits(void **state)
{
	const char *text = said(INT64_MAX, 0);

	(void)state;
	assert_true(strlen(text) < HBT_EXPIRY_TEXT - 1);
	assert_non_null(strstr(text, "clock of this machine is right"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_has_ended_says_when),
		cmocka_unit_test(one_that_begins_later_says_when),
		cmocka_unit_test(one_that_ends_within_thirty_days_says_when),
		cmocka_unit_test(nothing_is_said_of_dates_that_are_unknown),
		cmocka_unit_test(a_date_far_away_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
