#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "queue/switchboard.h"

static struct event_base *base;
static struct hbt_switchboard *sb;

static int set_up(void **state)
{
	(void)state;
	base = event_base_new();
	sb = hbt_switchboard_new(base, NULL, NULL);
	return sb != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	hbt_switchboard_free(&sb);
	event_base_free(base);
	return 0;
}

static void count_one(void *arg, struct hbt_queue *q)
{
	(void)q;
	++*(int *)arg;
}

static int n_queues(void)
{
	int n = 0;

	hbt_switchboard_each(sb, count_one, &n);
	return n;
}

static void do_nothing(struct hbt_taker *t, struct hbt_pending *p)
{
	(void)t;
	(void)p;
}

static void one_endpoint_has_one_queue(void **state)
{
	struct hbt_queue *q = hbt_switchboard_queue(sb, "poll://tentacle/");

	(void)state;
	assert_non_null(q);
	assert_string_equal(q->key, "poll://tentacle/");
	assert_ptr_equal(hbt_switchboard_queue(sb, "poll://tentacle/"), q);
	assert_ptr_equal(hbt_switchboard_queue(sb, "POLL://Tentacle"), q);
	assert_ptr_not_equal(hbt_switchboard_queue(sb, "poll://other/"), q);
	assert_ptr_not_equal(hbt_switchboard_queue(sb, "queue://tentacle/"),
	                     q);
	assert_ptr_not_equal(hbt_switchboard_queue(sb, "poll://tentacle/A"),
	                     hbt_switchboard_queue(sb, "poll://tentacle/a"));
	assert_int_equal(n_queues(), 5);
}

static void what_is_dialled_has_no_queue(void **state)
{
	(void)state;
	assert_null(hbt_switchboard_queue(sb, "https://tentacle:10933/"));
	assert_null(hbt_switchboard_queue(sb, "wss://tentacle/Halibut"));
	assert_null(hbt_switchboard_queue(sb, "not a URI"));
	assert_null(hbt_switchboard_queue(sb, ""));
	assert_int_equal(n_queues(), 0);
}

static void idle_queues_are_trimmed_and_used_ones_are_not(void **state)
{
	struct hbt_taker t = {.deliver = do_nothing};
	struct hbt_queue *kept;

	(void)state;
	hbt_switchboard_queue(sb, "poll://idle-1/");
	hbt_switchboard_queue(sb, "poll://idle-2/");
	hbt_queue_offer(hbt_switchboard_queue(sb, "poll://served/"), &t);
	kept = hbt_switchboard_queue(sb, "poll://kept/");
	kept->users++;
	hbt_switchboard_trim(sb, 1000000);
	assert_int_equal(n_queues(), 4);
	hbt_switchboard_trim(sb, 0);
	assert_int_equal(n_queues(), 2);
	assert_ptr_equal(hbt_switchboard_queue(sb, "poll://kept/"), kept);
	hbt_queue_withdraw(&t);
	kept->users--;
	hbt_switchboard_trim(sb, 0);
	assert_int_equal(n_queues(), 0);
}

static void many_idle_queues_are_trimmed_in_slices(void **state)
{
	struct hbt_queue *kept;
	char uri[64];

	(void)state;
	for (int i = 0; i < 2500; i++) {
		snprintf(uri, sizeof(uri), "poll://idle-%d/", i);
		hbt_switchboard_queue(sb, uri);
	}
	kept = hbt_switchboard_queue(sb, "poll://idle-0/");
	kept->users++;
	hbt_switchboard_trim(sb, 0);
	assert_int_equal(n_queues(), 1501);
	hbt_switchboard_trim(sb, 0);
	assert_int_equal(n_queues(), 501);
	hbt_switchboard_trim(sb, 0);
	assert_int_equal(n_queues(), 1);
	kept->users--;
	hbt_switchboard_trim(sb, 0); /* from the beginning */
	assert_int_equal(n_queues(), 0);
}

static void all_queues_are_seen_in_sixty_calls_however_many(void **state)
{
	char uri[64];
	int calls = 0;

	(void)state;
	for (int i = 0; i < 90000; i++) {
		snprintf(uri, sizeof(uri), "poll://idle-%d/", i);
		hbt_switchboard_queue(sb, uri);
	}
	for (; n_queues() > 0 && calls < 1000; calls++)
		hbt_switchboard_trim(sb, 0);
	assert_in_range(calls, 50, 60);
	/* The places are free, and still there. */
	hbt_switchboard_queue(sb, "poll://idle/");
	for (calls = 0; n_queues() > 0 && calls < 1000; calls++)
		hbt_switchboard_trim(sb, 0);
	assert_in_range(calls, 1, 61);
}

static void a_use_makes_the_idle_time_start_again(void **state)
{
	struct hbt_taker t = {.deliver = do_nothing};

	(void)state;
	hbt_queue_offer(hbt_switchboard_queue(sb, "poll://served/"), &t);
	hbt_switchboard_trim(sb, 0); /* sees it in use */
	hbt_queue_withdraw(&t);
	hbt_switchboard_trim(sb, 60000);
	assert_int_equal(n_queues(), 1);
}

static void ten_thousand_endpoints_are_found_again(void **state)
{
	char uri[64];

	(void)state;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 10000; i++) {
			snprintf(uri, sizeof(uri), "poll://t%d/", i);
			assert_string_equal(
				hbt_switchboard_queue(sb, uri)->key, uri);
		}
		assert_int_equal(n_queues(), 10000);
	}
}

static struct hbt_queue *no_queue(void *arg, const char *key)
{
	assert_string_equal(arg, "the argument");
	assert_string_equal(key, "poll://x/");
	return NULL;
}

static void a_factory_may_fail(void **state)
{
	char arg[] = "the argument";
	struct hbt_switchboard *other =
		hbt_switchboard_new(base, no_queue, arg);

	(void)state;
	assert_null(hbt_switchboard_queue(other, "poll://x"));
	assert_null(hbt_switchboard_queue(other, "poll://x"));
	hbt_switchboard_free(&other);
}

static int failures;

static void on_failed(struct hbt_pending *p, const struct halibut_error *err)
{
	(void)p;
	assert_int_equal(err->status, HALIBUT_ECONNECTING_CANCELLED);
	failures++;
	/* Somebody asks elsewhere now: there is no elsewhere any more. */
	assert_null(hbt_switchboard_queue(sb, "poll://elsewhere/"));
}

static void freeing_cancels_and_makes_nothing_new(void **state)
{
	struct hbt_pending p = {.queue_timeout_ms = 60000,
	                        .failed = on_failed};

	(void)state;
	failures = 0;
	hbt_queue_push(hbt_switchboard_queue(sb, "poll://a/"), &p);
	hbt_switchboard_free(&sb);
	assert_null(sb);
	assert_int_equal(failures, 1);
	hbt_switchboard_free(&sb); /* no-op */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_endpoint_has_one_queue),
		TEST(what_is_dialled_has_no_queue),
		TEST(idle_queues_are_trimmed_and_used_ones_are_not),
		TEST(many_idle_queues_are_trimmed_in_slices),
		TEST(all_queues_are_seen_in_sixty_calls_however_many),
		TEST(a_use_makes_the_idle_time_start_again),
		TEST(ten_thousand_endpoints_are_found_again),
		TEST(a_factory_may_fail),
		TEST(freeing_cancels_and_makes_nothing_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
