#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "queue/pump.h"

/* ---- Ends that do what a test tells them ---- */

struct tap {
	struct hbt_source src;
	size_t left;   /* bytes until its end; SIZE_MAX: endless */
	size_t ready;  /* of these, there now */
	size_t given;
	bool fails, freed;
};

struct drain {
	struct hbt_sink sink;
	size_t room, taken, wrong;
	bool fails, ended;
	struct halibut_error why;
};

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 2654435761u >> 13);
}

static ssize_t tap_read(struct hbt_source *src, void *buf, size_t cap,
                        struct halibut_error *err)
{
	struct tap *t = (struct tap *)src;
	size_t n = cap < t->ready ? cap : t->ready;

	if (t->fails)
		return -hbt_error_set(err, HALIBUT_ECLOSED, "tap broke");
	if (t->left == 0)
		return 0;
	if (n > t->left)
		n = t->left;
	if (n == 0)
		return -HALIBUT_EAGAIN;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)buf)[i] = byte_at(t->given + i);
	if (t->left != SIZE_MAX) {
		t->left -= n;
		t->ready -= n;
	}
	t->given += n;
	return (ssize_t)n;
}

static void tap_free(struct hbt_source *src)
{
	struct tap *t = (struct tap *)src;

	assert_false(t->freed);
	t->freed = true;
}

static ssize_t drain_write(struct hbt_sink *sink, const void *data, size_t len,
                           struct halibut_error *err)
{
	struct drain *d = (struct drain *)sink;
	size_t n = len < d->room ? len : d->room;

	if (d->fails)
		return -hbt_error_set(err, HALIBUT_ELIMIT, "drain is full");
	for (size_t i = 0; i < n; i++)
		d->wrong += ((const uint8_t *)data)[i] != byte_at(d->taken + i);
	d->taken += n;
	if (d->room != SIZE_MAX)
		d->room -= n;
	return (ssize_t)n;
}

static void drain_end(struct hbt_sink *sink, const struct halibut_error *why)
{
	struct drain *d = (struct drain *)sink;

	assert_false(d->ended);
	assert_null(sink->wake);
	d->ended = true;
	if (why != NULL)
		hbt_error_copy(&d->why, why);
}

static const struct hbt_source_ops tap_ops = {tap_read, tap_free};
static const struct hbt_sink_ops drain_ops = {drain_write, drain_end};

static struct event_base *base;
static struct tap tap;
static struct drain drain;
static struct hbt_feed *pump;

static int set_up(void **state)
{
	(void)state;
	base = event_base_new();
	memset(&tap, 0, sizeof(tap));
	memset(&drain, 0, sizeof(drain));
	tap.src.ops = &tap_ops;
	drain.sink.ops = &drain_ops;
	drain.room = SIZE_MAX;
	return base != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	assert_null(pump);
	assert_true(tap.freed);
	assert_true(drain.ended);
	assert_int_equal(drain.wrong, 0);
	halibut_error_clear(&drain.why);
	event_base_free(base);
	return 0;
}

static void start(void)
{
	assert_int_equal(
		hbt_feed_new(&pump, base, &tap.src, &drain.sink), HALIBUT_OK);
	assert_non_null(pump);
	assert_int_equal(tap.given, 0); /* from the loop alone */
}

/* Until there is nothing to do now. */
static void run(void)
{
	for (int i = 0; i < 1000; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

/* ---- Tests ---- */

static void all_of_it_arrives(void **state)
{
	(void)state;
	tap.left = tap.ready = 3000001;
	start();
	run();
	assert_int_equal(drain.taken, 3000001);
	assert_int_equal(drain.why.status, HALIBUT_OK);
}

static void nothing_at_all_ends_as_well(void **state)
{
	(void)state;
	start();
	run();
	assert_int_equal(drain.taken, 0);
	assert_int_equal(drain.why.status, HALIBUT_OK);
}

static void a_slow_source_is_waited_for(void **state)
{
	(void)state;
	tap.left = 100;
	start();
	for (size_t i = 0; i < 100; i++) {
		run();
		assert_int_equal(drain.taken, i);
		assert_false(drain.ended);
		tap.ready = 1;
		tap.src.wake(tap.src.wake_arg);
	}
	run();
	assert_int_equal(drain.taken, 100);
}

static void a_slow_sink_is_waited_for(void **state)
{
	size_t given;

	(void)state;
	tap.left = tap.ready = 1 << 20;
	drain.room = 0;
	start();
	run();
	given = tap.given;
	assert_true(given > 0 && given <= 16384); /* held, and no more */
	drain.room = 5;
	drain.sink.wake(drain.sink.wake_arg);
	run();
	assert_int_equal(drain.taken, 5);
	assert_int_equal(tap.given, given);
	/* Wakings for nothing do no harm. */
	drain.sink.wake(drain.sink.wake_arg);
	tap.src.wake(tap.src.wake_arg);
	run();
	assert_int_equal(tap.given, given);
	drain.room = SIZE_MAX;
	drain.sink.wake(drain.sink.wake_arg);
	run();
	assert_int_equal(drain.taken, 1 << 20);
}

static void a_source_that_fails_fails_the_sink(void **state)
{
	(void)state;
	tap.left = 100;
	tap.ready = 10;
	start();
	run();
	tap.fails = true;
	tap.src.wake(tap.src.wake_arg);
	run();
	assert_int_equal(drain.taken, 10);
	assert_int_equal(drain.why.status, HALIBUT_ECLOSED);
	assert_string_equal(drain.why.message, "tap broke");
}

static void a_sink_that_fails_is_ended_with_its_error(void **state)
{
	(void)state;
	tap.left = tap.ready = 100;
	drain.fails = true;
	start();
	run();
	assert_int_equal(drain.why.status, HALIBUT_ELIMIT);
	assert_string_equal(drain.why.message, "drain is full");
}

static void ended_early_it_says_why_at_once(void **state)
{
	const struct halibut_error why = {.status = HALIBUT_ESHUTDOWN,
	                                  .message = (char *)"never mind"};

	(void)state;
	tap.left = 100;
	tap.ready = 10;
	start();
	run();
	hbt_feed_end(&pump, &why);
	assert_null(pump);
	assert_true(tap.freed);
	assert_true(drain.ended);
	assert_string_equal(drain.why.message, "never mind");
	hbt_feed_end(&pump, &why); /* nothing is left to end */
}

static void it_may_end_before_it_ran(void **state)
{
	const struct halibut_error why = {.status = HALIBUT_ESHUTDOWN,
	                                  .message = (char *)"never mind"};

	(void)state;
	tap.left = tap.ready = 10;
	start();
	hbt_feed_end(&pump, &why);
	assert_int_equal(drain.taken, 0);
}

static void end_it(evutil_socket_t fd, short what, void *arg)
{
	const struct halibut_error why = {.status = HALIBUT_ESHUTDOWN,
	                                  .message = (char *)"enough"};

	(void)fd;
	(void)what;
	(void)arg;
	hbt_feed_end(&pump, &why);
}

static void others_have_their_turn_while_it_runs(void **state)
{
	struct event *other = event_new(base, -1, 0, end_it, NULL);
	struct timeval soon = {.tv_usec = 1000};

	(void)state;
	tap.left = tap.ready = SIZE_MAX;
	start();
	event_add(other, &soon);
	event_base_dispatch(base); /* returns, or this test never does */
	assert_true(drain.taken > 0);
	event_free(other);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_of_it_arrives),
		TEST(nothing_at_all_ends_as_well),
		TEST(a_slow_source_is_waited_for),
		TEST(a_slow_sink_is_waited_for),
		TEST(a_source_that_fails_fails_the_sink),
		TEST(a_sink_that_fails_is_ended_with_its_error),
		TEST(ended_early_it_says_why_at_once),
		TEST(it_may_end_before_it_ran),
		TEST(others_have_their_turn_while_it_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
