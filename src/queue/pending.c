/*
 * The life of a pending request, whatever kind of queue keeps it: every change
 * of its state is here, with its log line. runtime-behaviour 7.3, 7.4
 */
#include <assert.h>
#include <stdlib.h>

#include "base/guid.h"
#include "base/log.h"
#include "base/timespan.h"
#include "queue/transitions.h"

static const char *id_of(const struct hbt_pending *p)
{
	if (p->msg == NULL || p->msg->env.id == NULL)
		return "(no id)";
	return p->msg->env.id;
}

static const char *key_of(const struct hbt_pending *p)
{
	return p->queue != NULL ? p->queue->key : "(none)";
}

/* The line of a transition; what it is about is written out only where it is
 * wanted. */
#define tell(p, key, name, ...)                                                \
	do {                                                                   \
		char activity[HBT_GUID_TEXT];                                  \
		if (hbt_log_wants(HBT_LOG_DEBUG))                              \
			log_event(HBT_LOG_DEBUG,                               \
			          LOG_ABOUT(.event = name, .endpoint = key,    \
			                    .activity =                        \
			                            activity_of(p, activity)), \
			          __VA_ARGS__);                                \
	} while (0)

static const char *activity_of(const struct hbt_pending *p,
                               char text[HBT_GUID_TEXT])
{
	if (p->msg == NULL || !p->msg->env.has_activity_id)
		return NULL;
	hbt_guid_format(&p->msg->env.activity_id, text);
	return text;
}

/* Out of its queue and IDLE: from here on it is its origin's again. Returns
 * the counters that this is for. */
static struct hbt_queue_counts *release(struct hbt_pending *p)
{
	static struct hbt_queue_counts without_queue; /* nobody reads it */
	struct hbt_queue *q = p->queue;

	assert(p->state != HBT_PENDING_IDLE);
	if (q != NULL)
		q->ops->forget(q, p);
	p->state = HBT_PENDING_IDLE;
	p->queue = NULL;
	p->taker = NULL;
	return q != NULL ? &q->totals : &without_queue;
}

void hbt_queue_push(struct hbt_queue *q, struct hbt_pending *p)
{
	assert(p->state == HBT_PENDING_IDLE);
	tell(p, q->key, "request_queued",
	     "queue %s: request %s was queued", q->key, id_of(p));
	p->state = HBT_PENDING_WAITING;
	p->queue = q;
	p->taker = NULL;
	p->since_ms = hbt_now_ms();
	p->deadline = (struct hbt_deadline){.at_ms = INT64_MAX};
	if (p->queue_timeout_ms < INT64_MAX - p->since_ms)
		p->deadline.at_ms = p->since_ms + p->queue_timeout_ms;
	q->ops->push(q, p);
}

void hbt_queue_offer(struct hbt_queue *q, struct hbt_taker *t)
{
	assert(t->queue == NULL);
	t->queue = q;
	q->ops->offer(q, t);
}

void hbt_queue_withdraw(struct hbt_taker *t)
{
	struct hbt_queue *q = t->queue;

	if (q == NULL)
		return;
	q->ops->withdraw(q, t);
	t->queue = NULL;
}

void hbt_queue_free(struct hbt_queue **q)
{
	if (*q != NULL)
		(*q)->ops->free(*q);
	*q = NULL;
}

void hbt_pending_hand_over(struct hbt_pending *p, struct hbt_taker *t)
{
	assert(p->state == HBT_PENDING_WAITING);
	p->state = HBT_PENDING_TAKEN;
	p->taker = t;
	p->since_ms = hbt_now_ms();
	p->queue->totals.collected++;
	t->queue = NULL;
	t->deliver(t, p);
}

void hbt_pending_assign(struct hbt_pending *p, struct hbt_taker *t)
{
	assert(p->state == HBT_PENDING_IDLE);
	p->state = HBT_PENDING_TAKEN;
	p->queue = NULL;
	p->taker = t;
	p->since_ms = hbt_now_ms();
}

void hbt_pending_put_back(struct hbt_pending *p)
{
	struct hbt_queue *q = p->queue;

	assert(p->state == HBT_PENDING_TAKEN && q != NULL);
	tell(p, q->key, "request_put_back",
	     "queue %s: request %s was put back, nothing of it was sent",
	     q->key, id_of(p));
	p->state = HBT_PENDING_WAITING;
	p->taker = NULL;
	/* For the age of the oldest: when it was submitted. */
	if (p->deadline.at_ms != INT64_MAX)
		p->since_ms = p->deadline.at_ms - p->queue_timeout_ms;
	q->ops->put_back(q, p);
}

void hbt_pending_not_collected(const struct hbt_pending *p,
                               struct halibut_error *err)
{
	char time[HBT_TIMESPAN_TEXT];

	hbt_timespan_format_ms(p->queue_timeout_ms, time);
	hbt_error_set(err, HALIBUT_ENOT_COLLECTED,
	              "A request was sent to a polling endpoint, but the "
	              "polling endpoint did not collect the request within the "
	              "allowed time (%s), so the request timed out.",
	              time);
	err->connection_state = HALIBUT_CONNECTION_CONNECTING;
}

void hbt_pending_expire(struct hbt_pending *p)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	char time[HBT_TIMESPAN_TEXT];

	assert(p->state == HBT_PENDING_WAITING);
	hbt_timespan_format_ms(p->queue_timeout_ms, time);
	tell(p, key_of(p), "request_timed_out",
	     "queue %s: request %s timed out before it could be collected by "
	     "the polling endpoint, after %s",
	     key_of(p), id_of(p), time);
	hbt_pending_not_collected(p, &err);
	release(p)->not_collected++;
	p->failed(p, &err);
	halibut_error_clear(&err);
}

void hbt_pending_answer(struct hbt_pending *p, struct hbt_message *msg,
                        struct hbt_source *streams, struct hbt_sink **sink)
{
	struct hbt_sink *none = NULL;
	bool needs_sink = streams == NULL && msg->env.n_streams > 0;

	assert(p->state == HBT_PENDING_TAKEN);
	assert(!needs_sink || sink != NULL);
	tell(p, key_of(p), "request_answered",
	     "queue %s: request %s was collected by the polling endpoint, and "
	     "answered",
	     key_of(p), id_of(p));
	release(p)->answered++;
	if (sink == NULL)
		sink = &none;
	*sink = NULL;
	p->answered(p, msg, streams, sink);
	if (needs_sink && *sink == NULL)
		*sink = hbt_discard_sink();
}

void hbt_pending_fail(struct hbt_pending *p, const struct halibut_error *err)
{
	assert(p->state == HBT_PENDING_TAKEN);
	tell(p, key_of(p), "request_failed",
	     "queue %s: request %s failed after it was collected by the "
	     "polling endpoint: %s",
	     key_of(p), id_of(p), err->message ? err->message : "");
	release(p)->failed++;
	p->failed(p, err);
}

void hbt_pending_cancel(struct hbt_pending *p)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	bool taken = p->state == HBT_PENDING_TAKEN;
	struct hbt_taker *t = p->taker;

	if (p->state == HBT_PENDING_IDLE)
		return;
	tell(p, key_of(p), "request_cancelled",
	     "queue %s: request %s was cancelled before %s by the polling "
	     "endpoint",
	     key_of(p), id_of(p),
	     taken ? "it was answered" : "it could be collected");
	release(p)->cancelled++;
	/* The taker first: the origin may free p. */
	if (t != NULL && t->cancelled(t, p)) {
		hbt_error_set(&err, HALIBUT_ETRANSFERRING_CANCELLED,
		              "The Request was cancelled while Transferring.");
	} else {
		hbt_error_set(&err, HALIBUT_ECONNECTING_CANCELLED,
		              "The Request was cancelled while Connecting.");
		err.connection_state = HALIBUT_CONNECTION_CONNECTING;
	}
	p->failed(p, &err);
	halibut_error_clear(&err);
}

void hbt_pending_cancel_soon(struct hbt_pending *p)
{
	struct hbt_queue *q = p->queue;

	if (p->state != HBT_PENDING_IDLE && q != NULL &&
	    q->ops->cancel != NULL)
		q->ops->cancel(q, p);
	else
		hbt_pending_cancel(p);
}

void hbt_pending_fini(struct hbt_pending *p)
{
	assert(p->state == HBT_PENDING_IDLE);
	hbt_message_unref(&p->msg);
	hbt_source_free(&p->streams);
}
