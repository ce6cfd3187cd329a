#include "queue_suite_private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/compose.h"

const struct queue_suite *suite;
struct event_base *base;
struct hbt_queue *queue;
static int next_id;

int set_up(void **state)
{
	(void)state;
	if ((base = event_base_new()) == NULL)
		return -1;
	queue = suite->make(base, "poll://tests/");
	return queue != NULL ? 0 : -1;
}

int tear_down(void **state)
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

const struct hbt_guid stream_id = {{1, 2, 3}};

struct hbt_message *response(const char *id, bool has_stream)
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

void ask(struct origin *o, int64_t timeout_ms)
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

void forget(struct origin *o)
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

void offer(struct carrier *c)
{
	c->t.deliver = on_deliver;
	c->t.cancelled = on_cancelled;
	hbt_queue_offer(queue, &c->t);
}

void answer(struct carrier *c)
{
	struct hbt_pending *p = c->got;

	c->got = NULL;
	hbt_pending_answer(p, response(p->msg->env.id, false), NULL, NULL);
}

void assert_carries(const struct carrier *c, const struct origin *o)
{
	assert_non_null(c->got);
	if (!suite->remote)
		assert_ptr_equal(c->got, &o->p);
	assert_string_equal(c->got->msg->env.id, o->p.msg->env.id);
}

void put_back(struct carrier *c)
{
	struct hbt_pending *p = c->got;

	c->got = NULL;
	hbt_pending_put_back(p);
}

static void nothing(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

void turn(void)
{
	struct timeval tv = {.tv_usec = 2000};

	event_base_once(base, -1, EV_TIMEOUT, nothing, NULL, &tv);
	event_base_loop(base, EVLOOP_ONCE);
}

struct hbt_queue_counts counts(void)
{
	struct hbt_queue_counts n;

	queue->ops->counts(queue, &n);
	return n;
}

void take(struct carrier *c, const struct origin *o)
{
	int before = c->delivered;

	offer(c);
	await(c->delivered == before + 1);
	assert_carries(c, o);
}

void answer_to(struct carrier *c, const struct origin *o)
{
	answer(c);
	await(o->answers == 1);
}

int queue_suite_run(const struct queue_suite *what)
{
	const struct queue_suite_part *const parts[] = {
		&queue_suite_takers,
		&queue_suite_ends,
		&queue_suite_crowds,
		/* Not for a queue that needs no table. */
		what->no_table != NULL ? &queue_suite_no_table : NULL,
	};
	struct CMUnitTest tests[64];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (parts[i] == NULL)
			continue;
		assert(n + parts[i]->n <= sizeof(tests) / sizeof(tests[0]));
		memcpy(tests + n, parts[i]->tests,
		       parts[i]->n * sizeof(tests[0]));
		n += parts[i]->n;
	}
	suite = what;
	return _cmocka_run_group_tests(what->name, tests, n, NULL, NULL);
}
