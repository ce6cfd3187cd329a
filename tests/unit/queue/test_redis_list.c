/*
 * The list of ids never stays in Redis for ever, and pulses of responses are
 * not missed: a node against a Redis that the test plays. redis-queue 2.4, 6
 */
#include "../redis/fake_redis.h"
#include "base/timespan.h"
#include "queue/redis_send.h"
#include "wire/compose.h"

#define EXPIRY "PendingRequestGuidsQueue::poll://tests/ 86400\n"
#define PUSH "RPUSH "
#define PULSE "RequestMessagesPulseChannel::poll://tests/ {}\n"
#define LOOK "HMGET list:HalibutRedis:hash:octopus::server::halibut::Response::"
#define NEVER_MS ((int64_t)3600000)

static struct fake fake;
static struct hbt_limits limits;
static struct hbt_store *store;
static struct hbt_wrappers *wrappers;
static struct hbt_redis_node *node;
static struct hbt_queue *queue;

/* What Redis does next. */
static int refuse_expiries;
static bool refuse_pushes;      /* until the list got its expiry */
static bool lose_withdrawal;    /* its answer, once */
static bool hold_pulses;        /* no answer to them */
static struct fake_conn *asked; /* by whom such a one came */

/* Who asks. */
struct origin {
	struct hbt_pending p;
	int ended;
};
static struct origin origins[4];

static bool is(const char *line, const char *command)
{
	return strncmp(line, command, strlen(command)) == 0;
}

static void answer_push(struct fake_conn *c)
{
	if (!refuse_pushes)
		fake_say(c, ":1\r\n");
	else if (fake_count(&fake, EXPIRY) == 0)
		fake_say(c, "-OOM command not allowed\r\n");
	else
		fake.mute = true;
}

static void answer_unlink(struct fake_conn *c, const char *line)
{
	if (strstr(line, "::RequestMessage::") == NULL || !lose_withdrawal) {
		fake_say(c, ":0\r\n");
		return;
	}
	lose_withdrawal = false;
	fake.cut = 1;
	fake_say(c, ":1\r\n");
}

static void answer(struct fake_conn *c, const char *line)
{
	if (is(line, "RPUSH")) {
		answer_push(c);
	} else if (is(line, "EXPIRE") && strstr(line, "GuidsQueue") != NULL &&
	           refuse_expiries > 0) {
		refuse_expiries--;
		fake_say(c, "-BUSY Redis is busy\r\n");
	} else if (is(line, "PUBLISH") && hold_pulses &&
	           strstr(line, "RequestMessagesPulse") != NULL) {
		asked = c;
	} else if (is(line, "UNLINK")) {
		answer_unlink(c, line);
	} else if (is(line, "GET")) {
		fake_say(c, "$36\r\n%s\r\n", node->guard.id);
	} else if (is(line, "HMGET")) {
		fake_say(c, "*2\r\n$-1\r\n$-1\r\n");
	} else if (is(line, "LPOP")) {
		fake_say(c, "$-1\r\n");
	} else if (is(line, "HMSET") || is(line, "SET")) {
		fake_say(c, "+OK\r\n");
	} else {
		fake_say(c, ":1\r\n"); /* whoever is counted */
	}
}

static void or_fail(int rc, const struct halibut_error *err)
{
	if (rc != HALIBUT_OK)
		fail_msg("%s",
		         err->message != NULL ? err->message : "out of memory");
}

static void make_node(void)
{
	static const struct hbt_store_config streams = {
		.kind = "metadata", .max_metadata_bytes = 1 << 20};
	struct hbt_redis_node_config config = {.limits = &limits,
	                                       .key_prefix = "list",
	                                       .pattern_responses = true};
	struct halibut_error err = {.status = HALIBUT_OK};

	hbt_limits_init(&limits);
	or_fail(hbt_store_new(&store, h.base, h.redis, &streams, &err), &err);
	or_fail(hbt_wrappers_new(&wrappers, h.base, NULL, 0, 1 << 20, 1000,
	                         &err),
	        &err);
	config.redis = h.redis;
	config.store = store;
	config.wrappers = wrappers;
	hbt_redis_times_init(&config.times);
	/* What is looked at by time alone is never. */
	config.times.sweep_ms = NEVER_MS;
	or_fail(hbt_redis_node_new(&node, h.base, &config), &err);
}

static struct redis_queue *rq(void)
{
	return (struct redis_queue *)queue;
}

static int set_up(void **state)
{
	refuse_expiries = 0;
	refuse_pushes = lose_withdrawal = hold_pulses = false;
	asked = NULL;
	memset(origins, 0, sizeof(origins));
	harness_start(state);
	fake_open(&fake);
	fake.answer = answer;
	harness_connect(fake.url);
	make_node();
	queue = hbt_redis_queue_new(node, "poll://tests/");
	assert_non_null(queue);
	AWAIT(harness_is_up() && node->guard.watched);
	return 0;
}

static int tear_down(void **state)
{
	hbt_queue_free(&queue);
	for (size_t i = 0; i < sizeof(origins) / sizeof(origins[0]); i++)
		hbt_pending_fini(&origins[i].p);
	hbt_redis_node_free(&node);
	hbt_wrappers_free(&wrappers);
	hbt_store_free(&store);
	hbt_redis_free(&h.redis);
	fake_close(&fake);
	return harness_stop(state);
}

static void on_answered(struct hbt_pending *p, struct hbt_message *msg,
                        struct hbt_source *streams, struct hbt_sink **sink)
{
	(void)sink;
	((struct origin *)p)->ended++;
	hbt_message_unref(&msg);
	hbt_source_free(&streams);
}

static void on_failed(struct hbt_pending *p, const struct halibut_error *err)
{
	(void)err;
	((struct origin *)p)->ended++;
}

static void push(struct origin *o)
{
	struct hbt_request_parts parts = {
		.id = "1",
		.activity_id = hbt_guid_new(),
		.destination = "poll://tests/",
		.limits = &limits,
		.service = "IEchoService",
		.method = "SayHello",
	};
	bson_t doc;

	assert_int_equal(hbt_compose_request(&parts, &doc), HALIBUT_OK);
	assert_int_equal(hbt_message_from_bson(hbt_deflater_shared(),
	                                       bson_get_data(&doc), doc.len,
	                                       &o->p.msg, NULL),
	                 HALIBUT_OK);
	bson_destroy(&doc);
	o->p.queue_timeout_ms = NEVER_MS;
	o->p.answered = on_answered;
	o->p.failed = on_failed;
	hbt_queue_push(queue, &o->p);
}

/* Of the last that was pushed. */
static enum redis_send_stage stage(void)
{
	return TAILQ_LAST(&rq()->sends, redis_send_list)->stage;
}

static void push_and_wait(struct origin *o)
{
	push(o);
	AWAIT(stage() == SEND_WAITS);
}

/* ---- The list ---- */

/* The node may be killed at any time. */
static void who_is_not_known_to_be_served_pushes_with_an_expiry(void **state)
{
	const char *push_at, *expiry, *pulse;

	(void)state;
	push_and_wait(&origins[0]);
	push_at = strstr(fake.log, PUSH);
	expiry = strstr(fake.log, EXPIRY);
	pulse = strstr(fake.log, PULSE);
	assert_true(push_at != NULL && expiry != NULL && pulse != NULL);
	assert_true(push_at < expiry && expiry < pulse);
}

static void an_expiry_that_redis_refuses_for_long_is_set_later(void **state)
{
	(void)state;
	node->times.retry_window_ms = 0;
	rq()->list.heard = rq()->list.served = true;
	refuse_expiries = 2;
	push_and_wait(&origins[0]);
	AWAIT(fake_count(&fake, EXPIRY) == 3);
}

static void
a_push_given_up_while_it_is_tried_again_is_followed_by_an_expiry(void **state)
{
	int before;

	(void)state;
	rq()->list.heard = rq()->list.served = true;
	refuse_pushes = true;
	push(&origins[0]);
	AWAIT(fake.mute);
	before = fake_count(&fake, EXPIRY);
	hbt_pending_cancel(&origins[0].p);
	AWAIT(fake_count(&fake, EXPIRY) > before);
}

/* The second UNLINK finds nothing, and the id is there all the same. */
static void
an_id_withdrawn_twice_is_not_taken_for_one_that_was_popped(void **state)
{
	(void)state;
	rq()->list.heard = rq()->list.served = true;
	push_and_wait(&origins[0]);
	lose_withdrawal = true;
	hbt_pending_cancel_soon(&origins[0].p);
	AWAIT(origins[0].ended == 1);
	AWAIT(fake_count(&fake, EXPIRY) > 0);
}

/* ---- The pulses of responses ---- */

static void
who_listens_to_its_own_is_left_alone_when_the_pattern_begins(void **state)
{
	(void)state;
	node->alone_max = 1;
	push_and_wait(&origins[0]);
	assert_null(node->pattern.channel);
	push_and_wait(&origins[1]);
	AWAIT(hbt_redis_is_established(&node->pattern));
	push_and_wait(&origins[2]);
	/* All are asked about only after two seconds. */
	assert_int_equal(fake_count(&fake, PUSH), 3);
}

static void what_a_late_pattern_has_missed_is_looked_for(void **state)
{
	(void)state;
	assert_true(redis_hears_responses(node));
	AWAIT(hbt_redis_is_established(&node->pattern) &&
	      node->guard.batch == NULL);
	hold_pulses = true;
	push(&origins[0]);
	AWAIT(asked != NULL);
	assert_int_equal(stage(), SEND_SUBMITS);
	/* As if it were established only now. */
	node->pattern.established(&node->pattern);
	fake_say(asked, ":1\r\n");
	AWAIT(fake_count(&fake, LOOK) > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(who_is_not_known_to_be_served_pushes_with_an_expiry),
		TEST(an_expiry_that_redis_refuses_for_long_is_set_later),
		TEST(a_push_given_up_while_it_is_tried_again_is_followed_by_an_expiry),
		TEST(an_id_withdrawn_twice_is_not_taken_for_one_that_was_popped),
		TEST(who_listens_to_its_own_is_left_alone_when_the_pattern_begins),
		TEST(what_a_late_pattern_has_missed_is_looked_for),
	};

	return cmocka_run_group_tests_name("redis list", tests, NULL, NULL);
}
