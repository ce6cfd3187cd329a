/* What is due in a node of the Redis queue: in order, and at once if it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/timespan.h"
#include "queue/redis_private.h"

static struct event_base *base;
static struct hbt_limits limits;
static struct hbt_redis *redis;
static struct hbt_redis_node *node;
static char order[8];
static size_t n_fired;

struct named {
	struct redis_due due;
	char name;
	struct named *sets; /* when it fires */
};

static void fire(struct redis_due *due)
{
	struct named *d = (struct named *)due;

	assert_true(n_fired + 1 < sizeof(order));
	order[n_fired++] = d->name;
	order[n_fired] = '\0';
	if (d->sets != NULL)
		redis_due_set(node, &d->sets->due, hbt_now_ms());
}

static void set(struct named *d, char name, int64_t at_ms)
{
	d->name = name;
	d->due.fn = fire;
	redis_due_set(node, &d->due, at_ms);
}

static int set_up(void **state)
{
	struct hbt_redis_node_config config = {.limits = &limits,
	                                       .key_prefix = "due"};
	struct halibut_error err = {.status = HALIBUT_OK};
	struct hbt_redis_options options;
	int rc;

	(void)state;
	n_fired = 0;
	hbt_limits_init(&limits);
	hbt_redis_times_init(&config.times);
	hbt_redis_options_init(&options);
	base = event_base_new();
	rc = hbt_redis_options_parse(&options, "unix:///nowhere/redis", &err);
	if (rc == HALIBUT_OK)
		rc = hbt_redis_new(&redis, base, NULL, &options, &err);
	hbt_redis_options_fini(&options);
	halibut_error_clear(&err);
	config.redis = redis;
	return rc == HALIBUT_OK ? hbt_redis_node_new(&node, base, &config) : rc;
}

static int tear_down(void **state)
{
	(void)state;
	hbt_redis_node_free(&node);
	hbt_redis_free(&redis);
	event_base_free(base);
	return 0;
}

static void what_is_due_is_done_in_this_turn(void **state)
{
	struct named now = {.due = {.fn = NULL}}, late = now;

	(void)state;
	set(&now, 'n', hbt_now_ms());
	set(&late, 'l', hbt_now_ms() + 3600000);
	assert_int_equal(n_fired, 0); /* not inside of what sets it */
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_string_equal(order, "n");
	redis_due_clear(node, &late.due);
}

/* The clock that libevent goes by is behind ours. */
static void it_does_not_wait_for_a_timer_that_is_late(void **state)
{
	struct named first = {.due = {.fn = NULL}}, second = first;

	(void)state;
	for (int i = 0; i < 20; i++) {
		n_fired = 0;
		set(&first, '1', hbt_now_ms() + 1);
		while (hbt_now_ms() < first.due.deadline.at_ms)
			;
		set(&second, '2', hbt_now_ms());
		event_base_loop(base, EVLOOP_NONBLOCK);
		assert_string_equal(order, "12");
	}
}

static void what_is_set_by_what_is_due_is_done_as_well(void **state)
{
	struct named second = {.name = '2', .due = {.fn = fire}};
	struct named first = {.sets = &second};

	(void)state;
	set(&first, '1', hbt_now_ms());
	while (n_fired < 2)
		event_base_loop(base, EVLOOP_ONCE);
	assert_string_equal(order, "12");
}

struct restless {
	struct redis_due due;
	long fired;
	int wakes;       /* a descriptor of somebody else */
	bool let_others; /* have their turn */
};

static void fire_again(struct redis_due *due)
{
	struct restless *r = (struct restless *)due;

	if (++r->fired == 1)
		assert_int_equal(write(r->wakes, "x", 1), 1);
	if (r->fired < 5000000 && !r->let_others)
		redis_due_set(node, due, hbt_now_ms());
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* A caller that begins again at once, and fails at once. */
static void what_is_always_due_leaves_time_for_others(void **state)
{
	struct restless r = {.due = {.fn = fire_again}};
	struct event *readable;
	int pipe_fds[2];

	(void)state;
	assert_int_equal(pipe(pipe_fds), 0);
	readable = event_new(base, pipe_fds[0], EV_READ, on_readable,
	                     &r.let_others);
	event_add(readable, NULL);
	r.wakes = pipe_fds[1];
	redis_due_set(node, &r.due, hbt_now_ms());
	while (!r.let_others)
		event_base_loop(base, EVLOOP_ONCE);
	assert_true(r.fired < 5000000);
	redis_due_clear(node, &r.due);
	event_free(readable);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void what_is_cleared_is_not_done(void **state)
{
	struct named gone = {.due = {.fn = NULL}}, stays = gone;

	(void)state;
	set(&gone, 'g', hbt_now_ms());
	set(&stays, 's', hbt_now_ms());
	redis_due_clear(node, &gone.due);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_string_equal(order, "s");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			what_is_due_is_done_in_this_turn, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			it_does_not_wait_for_a_timer_that_is_late, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			what_is_set_by_what_is_due_is_done_as_well, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			what_is_always_due_leaves_time_for_others, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(what_is_cleared_is_not_done,
	                                        set_up, tear_down),
	};

	return cmocka_run_group_tests_name("redis due", tests, NULL, NULL);
}
