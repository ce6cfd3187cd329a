/* Lines that others can cause, and outages: how many lines they become. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/log_limit.h"
#include "base/timespan.h"

#define MINUTE_MS 60000

struct heard {
	int lines;
	char last[4096];
};

static void hear(void *arg, enum hbt_log_level level, const char *line)
{
	struct heard *h = arg;

	(void)level;
	h->lines++;
	snprintf(h->last, sizeof(h->last), "%s", line);
}

static int start(void **state)
{
	static struct heard h;

	memset(&h, 0, sizeof(h));
	hbt_log_set_level(HBT_LOG_INFO);
	hbt_log_set_sink(hear, &h);
	*state = &h;
	return 0;
}

/* Nothing of a test is left for the next one. */
static int stop(void **state)
{
	(void)state;
	hbt_log_limit_tick(hbt_now_ms() + 10 * MINUTE_MS);
	hbt_log_set_sink(NULL, NULL);
	return 0;
}

static void of_a_thousand_lines_a_minute_two_are_logged(void **state)
{
	struct heard *h = *state;

	for (int i = 0; i < 1000; i++)
		log_limited("k", HBT_LOG_WARNING, NULL, "line %d", i);
	assert_int_equal(h->lines, 1);
	assert_string_equal(h->last, "line 0");
	hbt_log_limit_tick(hbt_now_ms() + MINUTE_MS / 2);
	assert_int_equal(h->lines, 1);
	hbt_log_limit_tick(hbt_now_ms() + MINUTE_MS);
	assert_int_equal(h->lines, 2);
	assert_string_equal(h->last,
	                    "999 more like this within a minute: line 0");
	hbt_log_limit_tick(hbt_now_ms() + 3 * MINUTE_MS);
	assert_int_equal(h->lines, 2);
	log_limited("k", HBT_LOG_WARNING, NULL, "anew");
	assert_string_equal(h->last, "anew");
}

static void one_line_is_not_counted(void **state)
{
	struct heard *h = *state;

	log_limited("k", HBT_LOG_WARNING, NULL, "once");
	hbt_log_limit_tick(hbt_now_ms() + MINUTE_MS);
	assert_int_equal(h->lines, 1);
}

static void with_debug_lines_all_are_logged(void **state)
{
	struct heard *h = *state;

	hbt_log_set_level(HBT_LOG_DEBUG);
	for (int i = 0; i < 10; i++)
		log_limited("k", HBT_LOG_WARNING, NULL, "line");
	assert_int_equal(h->lines, 10);
}

static void whoever_invents_keys_gets_no_line_for_each(void **state)
{
	struct heard *h = *state;
	char key[32];

	for (int i = 0; i < 5000; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		log_limited(key, HBT_LOG_WARNING, LOG_ABOUT(.event = "e"),
		            "line");
	}
	assert_int_equal(h->lines, 51);
	hbt_log_limit_tick(hbt_now_ms() + MINUTE_MS);
	assert_int_equal(h->lines, 52);
	assert_string_equal(h->last,
	                    "4949 more like this within a minute: line");
}

static void another_event_still_has_its_lines(void **state)
{
	struct heard *h = *state;
	char key[32];

	for (int i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		log_limited(key, HBT_LOG_WARNING, LOG_ABOUT(.event = "e"),
		            "line");
	}
	h->lines = 0;
	log_limited("other", HBT_LOG_WARNING, LOG_ABOUT(.event = "f"), "news");
	assert_int_equal(h->lines, 1);
	assert_string_equal(h->last, "news");
}

static void there_is_an_end_to_keys_of_no_event(void **state)
{
	struct heard *h = *state;
	char key[32];

	for (int i = 0; i < 5000; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		log_limited(key, HBT_LOG_WARNING, NULL, "line");
	}
	assert_int_equal(h->lines, 1025);
}

static void a_key_is_of_an_address_at_any_port(void **state)
{
	char key[HBT_LOG_KEY];

	(void)state;
	hbt_log_key(key, "full", "192.0.2.1:1000");
	assert_string_equal(key, "full 192.0.2.1");
	hbt_log_key(key, "full", "[2001:db8::1]:7");
	assert_string_equal(key, "full [2001:db8::1]");
	hbt_log_key(key, "full", "a process");
	assert_string_equal(key, "full a process");
	hbt_log_key(key, "full", "");
	assert_string_equal(key, "full ");
}

static void refusals_are_a_line_a_reason_and_source(void **state)
{
	struct heard *h = *state;

	hbt_log_refusal("192.0.2.1:1000", "AB", "192.0.2.1:1000 is unknown");
	hbt_log_refusal("192.0.2.1:1001", "AB", "192.0.2.1:1001 is unknown");
	assert_int_equal(h->lines, 1);
	assert_string_equal(h->last, "192.0.2.1:1000 refused: "
	                             "192.0.2.1:1000 is unknown");
	hbt_log_refusal("192.0.2.1:1002", NULL, "192.0.2.1:1002 says nothing");
	assert_int_equal(h->lines, 2);
	hbt_log_refusal("192.0.2.2:1000", "AB", "192.0.2.2:1000 is unknown");
	assert_int_equal(h->lines, 3);
	hbt_log_refusal("[2001:db8::1]:7", NULL, "x");
	hbt_log_refusal("[2001:db8::1]:8", NULL, "x");
	assert_int_equal(h->lines, 4);
}

static void an_outage_begins_once_and_ends_once(void **state)
{
	struct hbt_outage was;

	(void)state;
	assert_false(hbt_outage_over("a", &was));
	assert_true(hbt_outage_began("a", 1000));
	assert_false(hbt_outage_began("a", 2000));
	assert_true(hbt_outage_began("b", 2500));
	assert_false(hbt_outage_began("a", 3000));
	assert_true(hbt_outage_over("a", &was));
	assert_int_equal(was.since_ms, 1000);
	assert_int_equal(was.failures, 3);
	assert_false(hbt_outage_over("a", &was));
	assert_true(hbt_outage_over("b", &was));
	assert_int_equal(was.failures, 1);
}

static void of_too_many_outages_the_oldest_is_forgotten(void **state)
{
	struct hbt_outage was;
	char key[32];
	int left = 0;

	(void)state;
	for (int i = 0; i < 3000; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_true(hbt_outage_began(key, i));
	}
	for (int i = 0; i < 3000; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		left += hbt_outage_over(key, &was);
	}
	assert_int_equal(left, 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			of_a_thousand_lines_a_minute_two_are_logged, start,
			stop),
		cmocka_unit_test_setup_teardown(one_line_is_not_counted, start,
	                                        stop),
		cmocka_unit_test_setup_teardown(with_debug_lines_all_are_logged,
	                                        start, stop),
		cmocka_unit_test_setup_teardown(
			whoever_invents_keys_gets_no_line_for_each, start,
			stop),
		cmocka_unit_test_setup_teardown(
			another_event_still_has_its_lines, start, stop),
		cmocka_unit_test_setup_teardown(
			there_is_an_end_to_keys_of_no_event, start, stop),
		cmocka_unit_test(a_key_is_of_an_address_at_any_port),
		cmocka_unit_test_setup_teardown(
			refusals_are_a_line_a_reason_and_source, start, stop),
		cmocka_unit_test(an_outage_begins_once_and_ends_once),
		cmocka_unit_test(of_too_many_outages_the_oldest_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
