/* TimeSpan texts of .NET, and the clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/timespan.h"
#include "halibut/error.h"

static const struct {
	int64_t ms;
	const char *text;
} pairs[] = {
	{0, "00:00:00"},
	{120000, "00:02:00"},
	{1, "00:00:00.0010000"},
	{90500, "00:01:30.5000000"},
	{129600000, "1.12:00:00"},
	{-1000, "-00:00:01"},
	{-129600001, "-1.12:00:00.0010000"},
	{86399999, "23:59:59.9990000"},
	{922337203685477, "10675199.02:48:05.4770000"},
};

static void milliseconds_are_written_as_dotnet_does(void **state)
{
	char text[HBT_TIMESPAN_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		hbt_timespan_format_ms(pairs[i].ms, text);
		assert_string_equal(text, pairs[i].text);
	}
}

static void what_dotnet_writes_is_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		int64_t ms = -7;

		assert_int_equal(hbt_timespan_parse_ms(pairs[i].text, &ms),
		                 HALIBUT_OK);
		assert_true(ms == pairs[i].ms);
	}
}

static void digits_below_a_millisecond_are_dropped(void **state)
{
	int64_t ms;

	(void)state;
	assert_int_equal(
		hbt_timespan_parse_ms("10675199.02:48:05.4775807", &ms),
		HALIBUT_OK);
	assert_true(ms == 922337203685477);
}

static void other_texts_are_refused(void **state)
{
	static const char *const bad[] = {
		"", "-", "1", "00:00", "24:00:00", "00:60:00", "00:00:60",
		"00:00:00.", "00:00:00.5", "00:00:00.12345678", "1.1:00:00",
		"--00:00:00", "00:00:00 ", " 00:00:00", "10675200.00:00:00",
		"99999999999999999999.00:00:00", "1.2.00:00:00", "a0:00:00",
	};
	int64_t ms = -7;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (hbt_timespan_parse_ms(bad[i], &ms) != HALIBUT_EINVAL)
			fail_msg("\"%s\" was read", bad[i]);
	assert_true(ms == -7);
}

static void the_largest_numbers_fit_the_text(void **state)
{
	char text[HBT_TIMESPAN_TEXT];

	(void)state;
	hbt_timespan_format_ms(INT64_MIN, text);
	assert_string_equal(text, "-106751991167.07:12:55.8080000");
	hbt_timespan_format_ms(INT64_MAX, text);
	assert_string_equal(text, "106751991167.07:12:55.8070000");
}

static void the_clock_does_not_go_back(void **state)
{
	int64_t us = hbt_now_us(), ms = hbt_now_ms();

	(void)state;
	assert_true(us > 0);
	assert_true(ms >= us / 1000);
	assert_true(hbt_now_us() >= us);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(milliseconds_are_written_as_dotnet_does),
		cmocka_unit_test(what_dotnet_writes_is_read),
		cmocka_unit_test(digits_below_a_millisecond_are_dropped),
		cmocka_unit_test(other_texts_are_refused),
		cmocka_unit_test(the_largest_numbers_fit_the_text),
		cmocka_unit_test(the_clock_does_not_go_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
