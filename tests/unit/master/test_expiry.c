/* What is said of the dates of our own certificates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "master/expiry.h"

#define DAY INT64_C(86400000)
#define NOW (20000 * DAY) /* 2024-10-04 */

static const char *said(int64_t not_before_ms, int64_t not_after_ms)
{
	const struct hbt_cert_facts facts = {
		.not_before_ms = not_before_ms,
		.not_after_ms = not_after_ms,
	};
	static char text[HBT_EXPIRY_TEXT];

	return hbt_expiry_text(text, &facts, NOW, 30 * DAY) != HBT_EXPIRY_NONE
	               ? text
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
	                    "will end at 2024-11-03T00:00:00Z, in 30 days");
	assert_string_equal(said(NOW - DAY, NOW + 1000),
	                    "will end at 2024-10-04T00:00:01Z, in less than "
	                    "two days");
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

/* ---- While it runs ---- */

static int lines;
static char last[512];

static void count_line(void *arg, enum hbt_log_level level, const char *line)
{
	(void)arg;
	assert_int_equal(level, HBT_LOG_WARNING);
	lines++;
	snprintf(last, sizeof(last), "%s", line);
}

/* So many days after the beginning, and what it says then. */
static void tick(struct hbt_own_certs *certs, double days, int expected,
                 const char *words)
{
	int64_t since = (int64_t)(days * (double)DAY);

	lines = 0;
	hbt_expiry_tick(certs, 5000 + since, NOW + since);
	assert_int_equal(lines, expected);
	if (words != NULL)
		assert_non_null(strstr(last, words));
}

static void it_is_said_once_a_day_and_when_it_ends(void **state)
{
	static char file[] = "node.pem";
	struct hbt_own_cert one = {
		.file = file,
		.thumbprint = "AB",
		.facts = {.not_before_ms = NOW - DAY,
		          .not_after_ms = NOW + 40 * DAY + DAY / 2},
	};
	struct hbt_own_certs certs = {&one, 1, 30 * DAY};

	(void)state;
	hbt_log_set_sink(count_line, NULL);
	tick(&certs, 0, 0, NULL);
	tick(&certs, 10.4, 0, NULL);
	tick(&certs, 10.6, 1, "in 29 days");
	tick(&certs, 10.7, 0, NULL);
	tick(&certs, 11.5, 0, NULL);
	tick(&certs, 11.6, 1, "node.pem (AB) will end at ");
	tick(&certs, 40.4, 1, "in less than two days");
	tick(&certs, 40.6, 1, "ended at ");
	tick(&certs, 40.7, 0, NULL);
	tick(&certs, 41.6, 1, "ended at ");
	/* Whoever does not want to hear of it. */
	one.told = HBT_EXPIRY_NONE;
	certs.warning_ms = 0;
	tick(&certs, 20, 0, NULL);
	hbt_log_set_sink(NULL, NULL);
}

/* A clock that jumps does not make a flood. */
static void a_clock_that_jumps_is_said_as_often_as_it_does(void **state)
{
	static char file[] = "node.pem";
	struct hbt_own_cert one = {
		.use = HBT_CERT_STATUS,
		.file = file,
		.facts = {.not_before_ms = NOW - DAY,
		          .not_after_ms = NOW + 400 * DAY},
	};
	struct hbt_own_certs certs = {&one, 1, 30 * DAY};

	(void)state;
	hbt_log_set_sink(count_line, NULL);
	lines = 0;
	for (int i = 0; i < 100; i++)
		hbt_expiry_tick(&certs, 5000 + i, NOW - 9 * DAY);
	assert_int_equal(lines, 1);
	assert_non_null(strstr(last, "is not valid before"));
	assert_non_null(strstr(last, "clients of the status"));
	for (int i = 0; i < 100; i++)
		hbt_expiry_tick(&certs, 6000 + i, NOW);
	assert_int_equal(lines, 1);
	hbt_log_set_sink(NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_has_ended_says_when),
		cmocka_unit_test(one_that_begins_later_says_when),
		cmocka_unit_test(one_that_ends_within_thirty_days_says_when),
		cmocka_unit_test(nothing_is_said_of_dates_that_are_unknown),
		cmocka_unit_test(a_date_far_away_fits),
		cmocka_unit_test(it_is_said_once_a_day_and_when_it_ends),
		cmocka_unit_test(
			a_clock_that_jumps_is_said_as_often_as_it_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
