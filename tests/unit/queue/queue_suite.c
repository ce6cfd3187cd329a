/*
 * What every kind of queue must do, whatever keeps the requests: inventory
 * rows QUE-01 to QUE-16, and the state table of runtime-behaviour 7.3. The
 * tests wait for conditions only, so a queue may need turns of the loop for
 * everything. What must not happen is shown by something later that does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/timespan.h"
#include "queue_suite.h"
#include "wire/compose.h"
#include "wire/writer.h"

#define LONG_MS 60000
#define PATIENCE_MS 20000

static const struct queue_suite *suite;
static struct event_base *base;
static struct hbt_queue *queue;
static int next_id;

/* Who asks. */
struct origin {
	struct hbt_pending p;
	int answers, failures;
	int status, connection_state;
	char text[256];
	struct hbt_message *response;
	struct hbt_sink *sink;          /* offered for a response's streams */
	void (*then)(struct origin *o); /* after either callback */
};

/* Who carries. */
struct carrier {
	struct hbt_taker t;
	struct hbt_pending *got; /* what it carries now */
	int delivered, cancelled;
	bool began; /* says that the service may have seen it */
	void (*then)(struct carrier *c); /* inside deliver() */
};

static int set_up(void **state)
{
	(void)state;
	if ((base = event_base_new()) == NULL)
		return -1;
	queue = suite->make(base, "poll://tests/");
	return queue != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	hbt_queue_free(&queue);
	if (suite->finish != NULL)
		suite->finish();
	event_base_free(base);
	return 0;
}

static struct hbt_message *message_of(bson_t *doc)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	struct hbt_message *m;

	if (hbt_message_from_bson(hbt_deflater_shared(), bson_get_data(doc),
	                          doc->len, &m, &err) != HALIBUT_OK)
		fail_msg("%s", err.message);
	bson_destroy(doc);
	return m;
}

static struct hbt_message *request(const char *id, int64_t timeout_ms)
{
	static struct hbt_limits limits;
	struct hbt_request_parts parts = {
		.id = id,
		.activity_id = hbt_guid_new(),
		.destination = "poll://tests/",
		.limits = &limits,
		.service = "IEchoService",
		.method = "SayHello",
	};
	bson_t doc;

	hbt_limits_init(&limits);
	if (timeout_ms <= LONG_MS) /* a time span has an end */
		limits.polling_request_queue_timeout_ms = timeout_ms;
	assert_int_equal(hbt_compose_request(&parts, &doc), HALIBUT_OK);
	return message_of(&doc);
}

static const struct hbt_guid stream_id = {{1, 2, 3}};
#define STREAM "abc"

static struct hbt_message *response(const char *id, bool has_stream)
{
	bson_t doc, result = BSON_INITIALIZER, stream;

	if (has_stream) {
		bson_append_document_begin(&result, "result", -1, &stream);
		bson_append_utf8(&stream, "$type", -1,
		                 "Halibut.DataStream, Halibut", -1);
		bson_append_binary(&stream, "id", -1, BSON_SUBTYPE_UUID,
		                   stream_id.wire, 16);
		bson_append_int64(&stream, "length", -1, strlen(STREAM));
		bson_append_document_end(&result, &stream);
	}
	assert_int_equal(hbt_compose_response(id, has_stream ? &result : NULL,
	                                      &doc),
	                 HALIBUT_OK);
	bson_destroy(&result);
	return message_of(&doc);
}

static void on_answered(struct hbt_pending *p, struct hbt_message *msg,
                        struct hbt_source *streams, struct hbt_sink **sink)
{
	struct origin *o = (struct origin *)p;

	assert_int_equal(p->state, HBT_PENDING_IDLE);
	if (!suite->remote)
		assert_null(streams);
	hbt_source_free(&streams);
	o->answers++;
	o->response = msg;
	*sink = o->sink;
	if (o->then != NULL)
		o->then(o);
}

static void on_failed(struct hbt_pending *p, const struct halibut_error *err)
{
	struct origin *o = (struct origin *)p;

	assert_int_equal(p->state, HBT_PENDING_IDLE);
	o->failures++;
	o->status = err->status;
	o->connection_state = err->connection_state;
	snprintf(o->text, sizeof(o->text), "%s", err->message);
	if (o->then != NULL)
		o->then(o);
}

static void ask(struct origin *o, int64_t timeout_ms)
{
	char id[32];

	snprintf(id, sizeof(id), "request-%d", ++next_id);
	if (o->p.msg == NULL)
		o->p.msg = request(id, timeout_ms);
	o->p.queue_timeout_ms = timeout_ms;
	o->p.answered = on_answered;
	o->p.failed = on_failed;
	hbt_queue_push(queue, &o->p);
}

static void forget(struct origin *o)
{
	hbt_pending_fini(&o->p);
	hbt_message_unref(&o->response);
}

static void on_deliver(struct hbt_taker *t, struct hbt_pending *p)
{
	struct carrier *c = (struct carrier *)t;

	assert_null(c->got);
	assert_null(t->queue);
	assert_int_equal(p->state, HBT_PENDING_TAKEN);
	assert_ptr_equal(p->taker, t);
	c->got = p;
	c->delivered++;
	if (c->then != NULL)
		c->then(c);
}

static bool on_cancelled(struct hbt_taker *t, struct hbt_pending *p)
{
	struct carrier *c = (struct carrier *)t;
	assert_ptr_equal(c->got, p);
	if (!suite->remote) /* it hears after us */
		assert_int_equal(((struct origin *)p)->failures, 0);
	c->got = NULL;
	c->cancelled++;
	return c->began;
}

static void offer(struct carrier *c)
{
	c->t.deliver = on_deliver;
	c->t.cancelled = on_cancelled;
	hbt_queue_offer(queue, &c->t);
}

static void answer(struct carrier *c)
{
	struct hbt_pending *p = c->got;

	c->got = NULL;
	hbt_pending_answer(p, response(p->msg->env.id, false), NULL, NULL);
}

/* A remote queue's carriers have a pending of their own. */
static void assert_carries(const struct carrier *c, const struct origin *o)
{
	assert_non_null(c->got);
	if (!suite->remote)
		assert_ptr_equal(c->got, &o->p);
	assert_string_equal(c->got->msg->env.id, o->p.msg->env.id);
}

static void put_back(struct carrier *c)
{
	struct hbt_pending *p = c->got;

	c->got = NULL;
	hbt_pending_put_back(p);
}

/* Runs the loop until the condition holds. */
#define await(condition)                                                       \
	do {                                                                   \
		int64_t give_up = hbt_now_ms() + PATIENCE_MS;                  \
                                                                               \
		event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);                        \
		while (!(condition)) {                                         \
			assert_true(hbt_now_ms() < give_up);                   \
			turn();                                                \
		}                                                              \
	} while (0)

static void nothing(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/* One turn, at most as long as until the next look at a condition. */
static void turn(void)
{
	struct timeval tv = {.tv_usec = 2000};

	event_base_once(base, -1, EV_TIMEOUT, nothing, NULL, &tv);
	event_base_loop(base, EVLOOP_ONCE);
}

static struct hbt_queue_counts counts(void)
{
	struct hbt_queue_counts n;

	queue->ops->counts(queue, &n);
	return n;
}

static void a_request_waits_until_it_is_taken_and_answered(void **state)
{
	struct origin o = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	ask(&o, LONG_MS);
	await(counts().waiting == 1);
	assert_int_equal(o.p.state, HBT_PENDING_WAITING);
	offer(&c);
	await(c.delivered == 1);
	assert_carries(&c, &o);
	assert_int_equal(o.answers, 0);
	answer(&c);
	await(o.answers == 1);
	assert_string_equal(o.response->env.id, o.p.msg->env.id);
	assert_int_equal(o.failures, 0);
	assert_int_equal(counts().waiting + counts().taken, 0);
	forget(&o);
}

static void a_request_that_finds_no_memory_fails_alone(void **state)
{
	struct origin o = {.answers = 0}, next = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	*suite->no_table = true;
	ask(&o, LONG_MS);
	await(o.failures == 1);
	assert_false(*suite->no_table);
	assert_non_null(strstr(o.text, "preparing request for queue"));
	ask(&next, LONG_MS);
	offer(&c);
	await(c.delivered == 1);
	assert_carries(&c, &next);
	answer(&c);
	await(next.answers == 1);
	forget(&o);
	forget(&next);
}

static void a_waiting_taker_gets_a_request_as_soon_as_it_comes(void **state)
{
	struct origin o = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	offer(&c);
	await(counts().takers == 1);
	ask(&o, LONG_MS);
	await(c.delivered == 1);
	answer(&c);
	await(o.answers == 1);
	forget(&o);
}

static void a_failure_of_the_taker_is_the_origins(void **state)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	struct origin o = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	ask(&o, LONG_MS);
	offer(&c);
	await(c.delivered == 1);
	hbt_error_set(&err, HALIBUT_ECLOSED, "the line went dead");
	hbt_pending_fail(c.got, &err);
	halibut_error_clear(&err);
	await(o.failures + o.answers == 1);
	if (suite->remote) { /* what the carrier's node writes is a response */
		assert_true(o.response->env.is_error);
		forget(&o);
		return;
	}
	assert_int_equal(o.status, HALIBUT_ECLOSED);
	assert_int_equal(o.connection_state, HALIBUT_CONNECTION_UNKNOWN);
	assert_string_equal(o.text, "the line went dead");
	assert_int_equal(counts().failed, 1);
	forget(&o);
}

static void requests_are_taken_first_in_first_out(void **state)
{
	struct origin o[10] = {{.answers = 0}};
	struct carrier c = {.delivered = 0};

	(void)state;
	for (int i = 0; i < 10; i++)
		ask(&o[i], LONG_MS + i % 3);
	for (int i = 0; i < 10; i++) {
		offer(&c);
		await(c.delivered == i + 1);
		assert_carries(&c, &o[i]);
		answer(&c);
	}
	for (int i = 0; i < 10; i++) {
		await(o[i].answers == 1);
		forget(&o[i]);
	}
}

/* A queue may have to wait for something before the first. */
static void requests_of_one_moment_keep_their_order(void **state)
{
	struct origin first = {.answers = 0}, o[40] = {{.answers = 0}};
	struct carrier c = {.delivered = 0};

	(void)state;
	ask(&first, LONG_MS);
	offer(&c);
	await(c.delivered == 1);
	answer(&c);
	await(first.answers == 1);
	for (int i = 0; i < 40; i++)
		ask(&o[i], LONG_MS);
	for (int i = 0; i < 40; i++) {
		offer(&c);
		await(c.delivered == i + 2);
		assert_carries(&c, &o[i]);
		answer(&c);
	}
	for (int i = 0; i < 40; i++) {
		await(o[i].answers == 1);
		forget(&o[i]);
	}
	forget(&first);
}

static void takers_are_served_in_the_order_of_their_offers(void **state)
{
	struct origin o[10] = {{.answers = 0}};
	struct carrier c[10] = {{.delivered = 0}};

	(void)state;
	for (int i = 0; i < 10; i++)
		offer(&c[i]);
	for (int i = 0; i < 10; i++) {
		ask(&o[i], LONG_MS);
		await(c[i].delivered == 1);
		assert_carries(&c[i], &o[i]);
	}
	for (int i = 0; i < 10; i++) {
		answer(&c[i]);
		await(o[i].answers == 1);
		forget(&o[i]);
	}
}

static void of_thirty_takers_one_gets_the_only_request(void **state)
{
	struct origin o = {.answers = 0};
	struct carrier c[30] = {{.delivered = 0}};
	int delivered = 0;

	(void)state;
	for (int i = 0; i < 30; i++)
		offer(&c[i]);
	ask(&o, LONG_MS);
	await(o.p.state == HBT_PENDING_TAKEN && c[0].got != NULL);
	for (int i = 0; i < 30; i++)
		delivered += c[i].delivered;
	assert_int_equal(delivered, 1);
	assert_int_equal(counts().takers, 29);
	answer(&c[0]);
	await(o.answers == 1);
	for (int i = 0; i < 30; i++)
		hbt_queue_withdraw(&c[i].t);
	assert_int_equal(counts().takers, 0);
	forget(&o);
}

static void an_uncollected_request_fails_with_its_time_in_the_text(void **state)
{
	struct origin o = {.answers = 0};
	int64_t start = hbt_now_ms();

	(void)state;
	ask(&o, 1000);
	await(o.failures == 1);
	assert_true(hbt_now_ms() - start >= 1000);
	assert_int_equal(o.status, HALIBUT_ENOT_COLLECTED);
	assert_int_equal(o.connection_state, HALIBUT_CONNECTION_CONNECTING);
	assert_string_equal(
		o.text,
		"A request was sent to a polling endpoint, but the polling "
		"endpoint did not collect the request within the allowed time "
		"(00:00:01), so the request timed out.");
	assert_int_equal(counts().not_collected, 1);
	assert_int_equal(counts().waiting, 0);
	forget(&o);
}

static void what_timed_out_is_never_handed_out(void **state)
{
	struct origin late = {.answers = 0}, next = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	ask(&late, 5);
	await(late.failures == 1);
	offer(&c);
	ask(&next, LONG_MS);
	await(c.delivered == 1);
	assert_carries(&c, &next);
	answer(&c);
	await(next.answers == 1);
	assert_int_equal(late.answers, 0);
	forget(&late);
	forget(&next);
}

static void a_collected_request_has_no_queue_timeout(void **state)
{
	struct origin o = {.answers = 0}, clock = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	ask(&o, 300);
	offer(&c);
	await(c.delivered == 1);
	ask(&clock, 400); /* its end shows that 300 ms are over */
	await(clock.failures == 1);
	assert_int_equal(o.failures + c.cancelled, 0);
	answer(&c);
	await(o.answers == 1);
	assert_int_equal(counts().waiting + counts().taken, 0);
	forget(&o);
	forget(&clock);
}

static struct origin *ended[3];
static int n_ended;

static void note_end(struct origin *o)
{
	ended[n_ended++] = o;
}

static void each_request_has_a_time_of_its_own(void **state)
{
	struct origin o[3] = {{.answers = 0}};
	static const int64_t ms[3] = {90, 30, 60};

	(void)state;
	n_ended = 0;
	for (int i = 0; i < 3; i++) {
		o[i].then = note_end;
		ask(&o[i], ms[i]);
	}
	await(n_ended == 3);
	assert_ptr_equal(ended[0], &o[1]);
	assert_ptr_equal(ended[1], &o[2]);
	assert_ptr_equal(ended[2], &o[0]);
	for (int i = 0; i < 3; i++)
		forget(&o[i]);
}

static void without_any_time_it_fails_but_not_inside_push(void **state)
{
	struct origin o = {.answers = 0};

	(void)state;
	ask(&o, 0);
	assert_int_equal(o.failures, 0);
	await(o.failures == 1);
	assert_int_equal(o.status, HALIBUT_ENOT_COLLECTED);
	forget(&o);
}

static void an_endless_time_is_no_overflow(void **state)
{
	struct origin o = {.answers = 0}, clock = {.answers = 0};

	(void)state;
	ask(&o, INT64_MAX);
	ask(&clock, 5);
	await(clock.failures == 1);
	assert_int_equal(o.failures, 0);
	hbt_pending_cancel(&o.p);
	forget(&o);
	forget(&clock);
}

static void cancelled_while_waiting_it_is_gone_and_was_connecting(void **state)
{
	struct origin o = {.answers = 0}, next = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	ask(&o, LONG_MS);
	ask(&next, LONG_MS);
	hbt_pending_cancel(&o.p);
	assert_int_equal(o.failures, 1);
	assert_int_equal(o.status, HALIBUT_ECONNECTING_CANCELLED);
	assert_int_equal(o.connection_state, HALIBUT_CONNECTION_CONNECTING);
	assert_string_equal(o.text,
	                    "The Request was cancelled while Connecting.");
	hbt_pending_cancel(&o.p); /* no-op */
	assert_int_equal(o.failures, 1);
	offer(&c);
	await(c.delivered == 1);
	assert_carries(&c, &next);
	answer(&c);
	await(next.answers == 1);
	assert_int_equal(counts().cancelled, 1);
	forget(&o);
	forget(&next);
}

static void cancelled_when_taken_both_hear_of_it(void **state)
{
	struct origin o = {.answers = 0};
	struct carrier c = {.began = true};

	(void)state;
	ask(&o, LONG_MS);
	offer(&c);
	await(c.delivered == 1);
	hbt_pending_cancel(&o.p);
	assert_int_equal(o.failures, 1);
	await(c.cancelled == 1);
	assert_int_equal(o.status, HALIBUT_ETRANSFERRING_CANCELLED);
	assert_int_equal(o.connection_state, HALIBUT_CONNECTION_UNKNOWN);
	assert_string_equal(o.text,
	                    "The Request was cancelled while Transferring.");
	assert_int_equal(counts().taken + counts().waiting, 0);
	forget(&o);
}

static void cancelled_before_a_byte_was_sent_it_was_connecting(void **state)
{
	struct origin o = {.answers = 0};
	struct carrier c = {.began = false};

	(void)state;
	ask(&o, LONG_MS);
	offer(&c);
	await(c.delivered == 1);
	hbt_pending_cancel(&o.p);
	await(c.cancelled == 1);
	if (suite->remote) { /* nobody knows here */
		assert_int_equal(o.status, HALIBUT_ETRANSFERRING_CANCELLED);
	} else {
		assert_int_equal(o.status, HALIBUT_ECONNECTING_CANCELLED);
		assert_int_equal(o.connection_state,
		                 HALIBUT_CONNECTION_CONNECTING);
	}
	forget(&o);
}

static void a_withdrawn_taker_gets_nothing(void **state)
{
	struct origin o = {.answers = 0};
	struct carrier gone = {.delivered = 0}, here = {.delivered = 0};

	(void)state;
	offer(&gone);
	offer(&here);
	hbt_queue_withdraw(&gone.t);
	assert_null(gone.t.queue);
	hbt_queue_withdraw(&gone.t); /* no-op */
	ask(&o, LONG_MS);
	await(here.delivered == 1);
	assert_int_equal(gone.delivered, 0);
	answer(&here);
	await(o.answers == 1);
	forget(&o);
}

static void what_is_put_back_comes_first_again(void **state)
{
	struct origin a = {.answers = 0}, b = {.answers = 0};
	struct carrier broken = {.delivered = 0}, good = {.delivered = 0};

	(void)state;
	ask(&a, LONG_MS);
	ask(&b, LONG_MS);
	offer(&broken);
	await(broken.delivered == 1);
	assert_carries(&broken, &a);
	put_back(&broken);
	if (!suite->remote)
		assert_int_equal(a.p.state, HBT_PENDING_WAITING);
	offer(&good);
	await(good.delivered == 1);
	assert_carries(&good, &a);
	answer(&good);
	offer(&good);
	await(good.delivered == 2);
	assert_carries(&good, &b);
	answer(&good);
	await(a.answers == 1 && b.answers == 1);
	assert_int_equal(broken.delivered, 1);
	assert_int_equal(counts().collected, 3);
	forget(&a);
	forget(&b);
}

static void what_is_put_back_goes_to_who_waits_already(void **state)
{
	struct origin o = {.answers = 0};
	struct carrier broken = {.delivered = 0}, good = {.delivered = 0};

	(void)state;
	offer(&broken);
	offer(&good);
	ask(&o, LONG_MS);
	await(broken.delivered == 1);
	put_back(&broken);
	await(good.delivered == 1);
	answer(&good);
	await(o.answers == 1);
	forget(&o);
}

static void the_time_of_what_is_put_back_ran_on(void **state)
{
	struct origin o = {.answers = 0}, clock = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	ask(&o, 300);
	offer(&c);
	await(c.delivered == 1);
	ask(&clock, 400);
	await(clock.failures == 1);
	assert_int_equal(o.failures, 0);
	put_back(&c);
	assert_int_equal(o.failures, 0); /* not before it returned */
	await(o.failures + o.answers == 1);
	if (suite->remote)
		assert_true(o.response->env.is_error);
	else
		assert_int_equal(o.status, HALIBUT_ENOT_COLLECTED);
	forget(&o);
	forget(&clock);
}

static void a_freed_queue_cancels_what_it_has(void **state)
{
	struct origin waiting = {.answers = 0}, taken = {.answers = 0};
	struct carrier c = {.began = true}, idle = {.delivered = 0};

	(void)state;
	ask(&taken, LONG_MS);
	offer(&c);
	await(c.delivered == 1);
	ask(&waiting, LONG_MS);
	hbt_queue_free(&queue);
	assert_null(queue);
	assert_int_equal(waiting.failures, 1);
	assert_int_equal(taken.failures, 1);
	if (suite->remote) {
		assert_int_equal(waiting.status, HALIBUT_ESHUTDOWN);
		assert_int_equal(taken.status, HALIBUT_ESHUTDOWN);
	} else {
		assert_int_equal(waiting.status, HALIBUT_ECONNECTING_CANCELLED);
		assert_int_equal(taken.status, HALIBUT_ETRANSFERRING_CANCELLED);
	}
	assert_int_equal(c.cancelled, 1);
	forget(&waiting);
	forget(&taken);

	queue = suite->make(base, "poll://tests/");
	offer(&idle);
	hbt_queue_free(&queue);
	assert_null(idle.t.queue);
}

static void after_mass_cancellation_only_the_others_are_taken(void **state)
{
	struct origin o[200] = {{.answers = 0}};
	struct carrier c[100] = {{.delivered = 0}};

	(void)state;
	for (int i = 0; i < 200; i++)
		ask(&o[i], LONG_MS);
	for (int i = 0; i < 100; i++) {
		hbt_pending_cancel(&o[2 * i].p);
		offer(&c[i]);
	}
	for (int i = 0; i < 100; i++) {
		await(c[i].delivered == 1);
		answer(&c[i]);
	}
	for (int i = 0; i < 200; i++) {
		await(o[i].answers + o[i].failures == 1);
		assert_int_equal(o[i].answers, i % 2);
		forget(&o[i]);
	}
}

/* Counts how deep deliver() is inside itself. */
static int depth, deepest;

static void answer_and_offer_again(struct carrier *c)
{
	if (++depth > deepest)
		deepest = depth;
	answer(c);
	offer(c);
	depth--;
}

static void five_thousand_requests_leave_the_stack_alone(void **state)
{
	struct origin *o = calloc(5000, sizeof(*o));
	struct carrier c = {.then = answer_and_offer_again};

	(void)state;
	depth = deepest = 0;
	for (int i = 0; i < 5000; i++)
		ask(&o[i], LONG_MS + (i * 7919) % 5000);
	offer(&c);
	await(c.delivered == 5000);
	assert_int_equal(deepest, 1);
	for (int i = 0; i < 5000; i++) {
		await(o[i].answers == 1);
		forget(&o[i]);
	}
	assert_int_equal(counts().answered, 5000);
	hbt_queue_withdraw(&c.t);
	free(o);
}

static void twenty_thousand_takers_come_and_go(void **state)
{
	struct origin *o = calloc(5000, sizeof(*o));
	struct carrier *c = calloc(20000, sizeof(*c));
	int answered = 0;

	(void)state;
	for (int i = 0; i < 20000; i++)
		offer(&c[i]);
	for (int i = 1; i < 20000; i += 2)
		hbt_queue_withdraw(&c[i].t);
	for (int i = 0; i < 5000; i++)
		ask(&o[i], LONG_MS);
	await(counts().collected == 5000);
	for (int i = 0; i < 20000; i++) {
		if (c[i].got != NULL) {
			assert_int_equal(i % 2, 0);
			answer(&c[i]);
			answered++;
		} else {
			hbt_queue_withdraw(&c[i].t);
		}
	}
	assert_int_equal(answered, 5000);
	for (int i = 0; i < 5000; i++) {
		await(o[i].answers == 1);
		forget(&o[i]);
	}
	assert_int_equal(counts().takers, 0);
	free(o);
	free(c);
}

static void ask_again(struct origin *o)
{
	if (o->answers == 3)
		return;
	hbt_message_unref(&o->response);
	ask(o, LONG_MS);
}

static void an_origin_may_ask_again_from_its_callback(void **state)
{
	struct origin o = {.then = ask_again};
	struct carrier c = {.then = answer_and_offer_again};

	(void)state;
	depth = deepest = 0;
	offer(&c);
	ask(&o, LONG_MS);
	await(o.answers == 3);
	assert_int_equal(c.delivered, 3);
	assert_int_equal(deepest, 1);
	hbt_queue_withdraw(&c.t);
	forget(&o);
}

static int freed;

static void free_origin(struct origin *o)
{
	forget(o);
	free(o);
	freed++;
}

static void an_origin_may_free_itself_in_its_callback(void **state)
{
	struct origin *o[4];
	struct carrier c[2] = {{.delivered = 0}};

	(void)state;
	freed = 0;
	for (int i = 0; i < 4; i++) {
		o[i] = calloc(1, sizeof(*o[i]));
		o[i]->then = free_origin;
		ask(o[i], i == 3 ? 5 : LONG_MS);
	}
	offer(&c[0]);
	offer(&c[1]);
	await(c[0].got != NULL && c[1].got != NULL);
	hbt_pending_cancel(&o[0]->p); /* taken */
	hbt_pending_cancel(&o[2]->p); /* waiting */
	answer(&c[1]);
	await(freed == 4); /* the last by its time */
	await(c[0].cancelled == 1);
	assert_int_equal(counts().waiting + counts().taken, 0);
}

static struct origin *victim;

static void cancel_victim(struct origin *o)
{
	(void)o;
	hbt_pending_cancel(&victim->p);
}

static void a_failing_request_may_cancel_another(void **state)
{
	struct origin a = {.then = cancel_victim}, b = {.answers = 0};

	(void)state;
	victim = &b;
	ask(&a, 5);
	ask(&b, 5);
	await(a.failures == 1 && b.failures == 1);
	assert_int_equal(a.status, HALIBUT_ENOT_COLLECTED);
	if (!suite->remote)
		assert_int_equal(b.status, HALIBUT_ECONNECTING_CANCELLED);
	forget(&a);
	forget(&b);
}

static void streams_of_a_response_always_have_a_sink(void **state)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	struct origin o = {.sink = NULL}; /* does not want them */
	struct carrier c = {.delivered = 0};
	struct hbt_sink *sink = NULL;
	struct hbt_pending *p;
	uint8_t section[24 + 3 + 8];

	(void)state;
	ask(&o, LONG_MS);
	offer(&c);
	await(c.delivered == 1);
	p = c.got;
	hbt_pending_answer(p, response("x", true), NULL, &sink);
	assert_non_null(sink);
	hbt_section_head(&stream_id, 3, section);
	memcpy(section + 24, STREAM, 3);
	hbt_section_tail(3, section + 27);
	assert_int_equal(sink->ops->write(sink, section, sizeof(section), &err),
	                 sizeof(section));
	hbt_sink_end(&sink, NULL);
	await(o.answers == 1);
	forget(&o);
}

static void counts_tell_what_is_there(void **state)
{
	struct origin a = {.answers = 0}, b = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	assert_int_equal(counts().oldest_waiting_ms, 0);
	ask(&a, LONG_MS);
	ask(&b, LONG_MS);
	await(counts().waiting == 2);
	assert_int_equal(counts().waiting_bytes,
	                 a.p.msg->deflated_len + b.p.msg->deflated_len);
	await(counts().oldest_waiting_ms > 0);
	offer(&c);
	await(counts().taken == 1);
	assert_int_equal(counts().waiting, 1);
	assert_int_equal(counts().waiting_bytes, b.p.msg->deflated_len);
	assert_int_equal(counts().collected, 1);
	answer(&c);
	await(a.answers == 1);
	assert_int_equal(counts().answered, 1);
	hbt_pending_cancel(&b.p);
	assert_int_equal(counts().cancelled, 1);
	assert_int_equal(counts().waiting_bytes, 0);
	forget(&a);
	forget(&b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int queue_suite_run(const struct queue_suite *what)
{
	const struct CMUnitTest tests[] = {
		TEST(a_request_waits_until_it_is_taken_and_answered),
		TEST(a_waiting_taker_gets_a_request_as_soon_as_it_comes),
		TEST(a_failure_of_the_taker_is_the_origins),
		TEST(requests_are_taken_first_in_first_out),
		TEST(requests_of_one_moment_keep_their_order),
		TEST(takers_are_served_in_the_order_of_their_offers),
		TEST(of_thirty_takers_one_gets_the_only_request),
		TEST(an_uncollected_request_fails_with_its_time_in_the_text),
		TEST(what_timed_out_is_never_handed_out),
		TEST(a_collected_request_has_no_queue_timeout),
		TEST(each_request_has_a_time_of_its_own),
		TEST(without_any_time_it_fails_but_not_inside_push),
		TEST(an_endless_time_is_no_overflow),
		TEST(cancelled_while_waiting_it_is_gone_and_was_connecting),
		TEST(cancelled_when_taken_both_hear_of_it),
		TEST(cancelled_before_a_byte_was_sent_it_was_connecting),
		TEST(a_withdrawn_taker_gets_nothing),
		TEST(what_is_put_back_comes_first_again),
		TEST(what_is_put_back_goes_to_who_waits_already),
		TEST(the_time_of_what_is_put_back_ran_on),
		TEST(a_freed_queue_cancels_what_it_has),
		TEST(after_mass_cancellation_only_the_others_are_taken),
		TEST(five_thousand_requests_leave_the_stack_alone),
		TEST(twenty_thousand_takers_come_and_go),
		TEST(an_origin_may_ask_again_from_its_callback),
		TEST(an_origin_may_free_itself_in_its_callback),
		TEST(a_failing_request_may_cancel_another),
		TEST(streams_of_a_response_always_have_a_sink),
		TEST(counts_tell_what_is_there),
		/* The last: not for a queue that needs no table. */
		TEST(a_request_that_finds_no_memory_fails_alone),
	};
	size_t n = sizeof(tests) / sizeof(tests[0]);

	suite = what;
	return _cmocka_run_group_tests(what->name, tests,
	                               what->no_table != NULL ? n : n - 1, NULL,
	                               NULL);
}
