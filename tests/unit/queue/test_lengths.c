/* Which queues the queue worker asks Redis about, and how often. */
#include "../../../workers/queue/worker.h"
#include "../redis/fake_redis.h"

enum {
	QUEUES = 1000,
	BUSY_FROM = 500, /* something is under way in these */
	MINUTE = 12,     /* turns of lengths.c */
};

static struct fake fake;
static struct worker worker;
static struct hbt_redis_setup setup;
static struct event *timer; /* of lengths.c */
static bool asked[QUEUES];

/* A queue that does nothing. */
static void counts(struct hbt_queue *q, struct hbt_queue_counts *out)
{
	*out = (struct hbt_queue_counts){
		.waiting = atoi(q->key + strlen("poll://q")) >= BUSY_FROM,
	};
}

static void free_queue(struct hbt_queue *q)
{
	free(q->key);
	free(q);
}

static struct hbt_queue *make_queue(void *arg, const char *key)
{
	static const struct hbt_queue_ops ops = {.counts = counts,
	                                         .free = free_queue};
	struct hbt_queue *q = calloc(1, sizeof(*q));

	(void)arg;
	q->ops = &ops;
	q->key = strdup(key);
	return q;
}

static void answer(struct fake_conn *c, const char *line)
{
	const char *key = strstr(line, "::poll://q");

	fake.log[0] = '\0';
	assert_non_null(key);
	asked[atoi(key + strlen("::poll://q"))] = true;
	fake_say(c, ":0\r\n");
}

static int find_timer(const struct event_base *base, const struct event *e,
                      void *arg)
{
	(void)base;
	(void)arg;
	if (event_get_fd(e) == -1 && (event_get_events(e) & EV_PERSIST) != 0)
		timer = (struct event *)e;
	return 0;
}

static int set_up(void **state)
{
	char uri[32];

	harness_start(state);
	fake_open(&fake);
	fake.answer = answer;
	harness_connect(fake.url);
	setup.redis = h.redis;
	worker = (struct worker){.base = h.base, .setup = &setup};
	worker.queue.key_prefix = (char *)"lengths";
	worker.switchboard = hbt_switchboard_new(h.base, make_queue, NULL);
	for (int i = 0; i < QUEUES; i++) {
		snprintf(uri, sizeof(uri), "poll://q%d/", i);
		assert_non_null(hbt_switchboard_queue(worker.switchboard, uri));
	}
	assert_int_equal(lengths_start(&worker), HALIBUT_OK);
	event_base_foreach_event(h.base, find_timer, NULL);
	assert_non_null(timer);
	AWAIT(harness_is_up());
	return 0;
}

static int tear_down(void **state)
{
	hbt_redis_free(&h.redis);
	lengths_free(&worker);
	hbt_switchboard_free(&worker.switchboard);
	fake_close(&fake);
	return harness_stop(state);
}

static bool nothing_is_asked(void)
{
	struct hbt_redis_state s;

	hbt_redis_state(h.redis, &s);
	return s.in_flight == 0;
}

static void take_turns(int n)
{
	while (n-- > 0) {
		event_active(timer, EV_TIMEOUT, 0);
		event_base_loop(h.base, EVLOOP_NONBLOCK);
		AWAIT(nothing_is_asked());
	}
}

static int count_asked(int from, int to)
{
	int n = 0;

	for (int i = from; i < to; i++)
		n += asked[i];
	return n;
}

static void each_queue_is_asked_about_once_a_minute(void **state)
{
	(void)state;
	for (int minute = 0; minute < 6; minute++) {
		memset(asked, 0, sizeof(asked));
		take_turns(MINUTE);
		assert_int_equal(count_asked(0, QUEUES), QUEUES);
	}
}

static void where_something_is_under_way_it_is_asked_more_often(void **state)
{
	(void)state;
	take_turns(QUEUES / 200);
	memset(asked, 0, sizeof(asked));
	take_turns(3);
	assert_int_equal(count_asked(0, BUSY_FROM), 0);
	assert_int_equal(count_asked(BUSY_FROM, QUEUES), QUEUES - BUSY_FROM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			each_queue_is_asked_about_once_a_minute, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			where_something_is_under_way_it_is_asked_more_often,
			set_up, tear_down),
	};

	return cmocka_run_group_tests_name("lengths", tests, NULL, NULL);
}
