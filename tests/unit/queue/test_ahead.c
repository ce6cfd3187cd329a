#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "queue/ahead.h"

enum { MAX = 10000 };

static struct event_base *base;

struct tap {
	struct hbt_source src;
	size_t left, ready, given;
	bool fails, freed;
};

/* What came of it. */
struct news {
	int times;
	struct hbt_source *src;
	char why[64];
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

	if (n > t->left)
		n = t->left;
	if (n == 0 && t->fails)
		return -hbt_error_set(err, HALIBUT_ECLOSED, "tap broke");
	if (t->left == 0)
		return 0;
	if (n == 0)
		return -HALIBUT_EAGAIN;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)buf)[i] = byte_at(t->given + i);
	t->left -= n;
	t->ready -= n;
	t->given += n;
	return (ssize_t)n;
}

static void tap_free(struct hbt_source *src)
{
	struct tap *t = (struct tap *)src;

	assert_false(t->freed);
	t->freed = true;
}

static struct tap tap(size_t left, size_t ready)
{
	static const struct hbt_source_ops ops = {tap_read, tap_free};

	return (struct tap){
		.src = {.ops = &ops}, .left = left, .ready = ready};
}

static void on_done(void *arg, struct hbt_source *src,
                    const struct halibut_error *err)
{
	struct news *n = arg;

	n->times++;
	n->src = src;
	if (err != NULL)
		strcpy(n->why, err->message);
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static void ready(struct tap *t, size_t n)
{
	t->ready += n;
	if (t->src.wake != NULL)
		t->src.wake(t->src.wake_arg);
	turn();
}

static void woke(void *arg)
{
	(*(int *)arg)++;
}

static int set_up(void **state)
{
	(void)state;
	return (base = event_base_new()) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	event_base_free(base);
	return 0;
}

/* Reads src to its end, or until it has to wait. */
static size_t drain(struct hbt_source *src, size_t at, ssize_t *last)
{
	uint8_t buf[777];

	while ((*last = src->ops->read(src, buf, sizeof(buf), NULL)) > 0)
		for (ssize_t i = 0; i < *last; i++)
			assert_int_equal(buf[i], byte_at(at++));
	return at;
}

/* A source around another, which hands on its wake when it is read. */
struct around {
	struct hbt_source src;
	struct hbt_source *inner;
};

static ssize_t around_read(struct hbt_source *src, void *buf, size_t cap,
                           struct halibut_error *err)
{
	struct around *o = (struct around *)src;

	o->inner->wake = src->wake;
	o->inner->wake_arg = src->wake_arg;
	return o->inner->ops->read(o->inner, buf, cap, err);
}

static void around_free(struct hbt_source *src)
{
	hbt_source_free(&((struct around *)src)->inner);
}

static void more_may_come_before_it_is_read(void **state)
{
	static const struct hbt_source_ops ops = {around_read, around_free};
	struct tap t = tap(2 * MAX, 1);
	struct around o = {.src = {.ops = &ops}, .inner = &t.src};
	struct news n = {0};
	struct hbt_ahead *a;
	ssize_t last;
	int times = 0;

	(void)state;
	assert_int_equal(hbt_ahead_new(&a, base, &o.src, MAX, on_done, &n), 0);
	turn();
	ready(&t, MAX);
	assert_int_equal(n.times, 1);
	ready(&t, 1); /* nobody reads yet */
	n.src->wake = woke;
	n.src->wake_arg = &times;
	ready(&t, 1);
	assert_int_equal(times, 1);
	assert_int_equal(drain(n.src, 0, &last), MAX + 3);
	assert_int_equal(last, -HALIBUT_EAGAIN);
	ready(&t, 1);
	assert_int_equal(times, 2);
	hbt_source_free(&n.src);
	assert_true(t.freed);
	assert_int_equal(n.times, 1);
}

static void all_of_a_small_source_is_there_before_it_is_told(void **state)
{
	struct tap t = tap(5000, 1);
	struct news n = {0};
	struct hbt_ahead *a;
	ssize_t last;

	(void)state;
	assert_int_equal(hbt_ahead_new(&a, base, &t.src, MAX, on_done, &n), 0);
	turn();
	for (size_t i = 1; i < 5000; i++) {
		assert_int_equal(n.times, 0);
		ready(&t, 1);
	}
	assert_int_equal(n.times, 1);
	assert_int_equal(drain(n.src, 0, &last), 5000);
	assert_int_equal(last, 0);
	hbt_source_free(&n.src);
	assert_true(t.freed);
}

static void the_rest_of_a_large_source_follows(void **state)
{
	struct tap t = tap(100000, 20000);
	struct news n = {0};
	struct hbt_ahead *a;
	ssize_t last;
	int wakes = 0;
	size_t at;

	(void)state;
	assert_int_equal(hbt_ahead_new(&a, base, &t.src, MAX, on_done, &n), 0);
	turn();
	assert_int_equal(n.times, 1);
	assert_int_equal(t.given, MAX);
	n.src->wake = woke;
	n.src->wake_arg = &wakes;
	at = drain(n.src, 0, &last);
	assert_int_equal(at, 20000);
	assert_int_equal(last, -HALIBUT_EAGAIN);
	ready(&t, 80000);
	assert_int_equal(wakes, 1);
	assert_int_equal(drain(n.src, at, &last), 100000);
	assert_int_equal(last, 0);
	hbt_source_free(&n.src);
	assert_true(t.freed);
}

static void a_failure_before_that_is_told_instead(void **state)
{
	struct tap t = tap(5000, 4000);
	struct news n = {0};
	struct hbt_ahead *a;

	(void)state;
	t.fails = true;
	assert_int_equal(hbt_ahead_new(&a, base, &t.src, MAX, on_done, &n), 0);
	turn();
	assert_int_equal(n.times, 1);
	assert_null(n.src);
	assert_string_equal(n.why, "tap broke");
	assert_true(t.freed);
}

static void when_it_is_cancelled_nobody_is_told(void **state)
{
	struct tap t = tap(5000, 4000);
	struct news n = {0};
	struct hbt_ahead *a;

	(void)state;
	assert_int_equal(hbt_ahead_new(&a, base, &t.src, MAX, on_done, &n), 0);
	turn();
	hbt_ahead_cancel(&a);
	assert_null(a);
	turn();
	assert_int_equal(n.times, 0);
	assert_true(t.freed);
	hbt_ahead_cancel(&a);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			all_of_a_small_source_is_there_before_it_is_told),
		cmocka_unit_test(the_rest_of_a_large_source_follows),
		cmocka_unit_test(more_may_come_before_it_is_read),
		cmocka_unit_test(a_failure_before_that_is_told_instead),
		cmocka_unit_test(when_it_is_cancelled_nobody_is_told),
	};

	return cmocka_run_group_tests_name("ahead", tests, set_up, tear_down);
}
