/*
 * Every way in which a request that goes through Redis ends: who waits for it
 * has its answer, and Redis is told. redis-queue 6
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "queue/ahead.h"
#include "queue/pump.h"
#include "queue/redis_send.h"
#include "queue/transitions.h"

#define FAREWELL_MS 120000

void redis_send_leave_fresh(struct redis_send *s)
{
	if (!s->fresh)
		return;
	s->fresh = false;
	TAILQ_REMOVE(&s->node->fresh, s, of_node);
	TAILQ_INSERT_TAIL(&s->node->sends, s, of_node);
}

void redis_send_note_collected(struct redis_send *s)
{
	struct redis_queue *rq = s->queue;

	if (s->collected || rq == NULL)
		return;
	s->collected = true;
	s->heard_ms = hbt_now_ms();
	rq->n_waiting--;
	rq->waiting_bytes -= s->msg->deflated_len;
	rq->n_collected++;
	if (s->here)
		redis_lost_stop(&s->lost);
	else {
		rq->q.totals.collected++;
		redis_lost_start(&s->lost, s->node);
	}
	s->p->state = HBT_PENDING_TAKEN;
	s->p->since_ms = s->heard_ms;
	if (s->stage == SEND_WAITS)
		s->stage = SEND_COLLECTED;
}

void redis_send_stop(struct redis_send *s)
{
	struct hbt_redis_node *n = s->node;

	if (s->hh.tbl != NULL)
		HASH_DEL(n->by_ref, s);
	s->hh.tbl = NULL;
	redis_due_clear(n, &s->due);
	hbt_redis_unlisten(n->redis, &s->pulse);
	hbt_redis_unlisten(n->redis, &s->beats);
	hbt_redis_batch_cancel(&s->batch);
	hbt_redis_batch_cancel(&s->look);
	hbt_redis_batch_cancel(&s->check);
	hbt_redis_batch_cancel(&s->beat);
	hbt_redis_batch_cancel(&s->withdrawal);
	redis_lost_stop(&s->lost);
	hbt_wrapping_cancel(&s->wrapping);
	hbt_saving_cancel(&s->saving);
	hbt_ahead_cancel(&s->ahead);
	if (s->feed != NULL) {
		struct halibut_error why = {.status = HALIBUT_OK};

		hbt_error_set(&why, HALIBUT_ESHUTDOWN,
		              "the request was given up");
		hbt_feed_end(&s->feed, &why);
		halibut_error_clear(&why);
	}
}

void redis_send_destroy(struct redis_send *s)
{
	assert(s->p == NULL);
	redis_send_stop(s);
	redis_send_leave_fresh(s);
	TAILQ_REMOVE(&s->node->sends, s, of_node);
	hbt_message_unref(&s->msg);
	hbt_message_unref(&s->response);
	free(s->body);
	free(s->metadata);
	free(s->ref);
	free(s);
}

void redis_send_discard_streams(struct redis_send *s)
{
	if (s->msg->env.n_streams > 0)
		hbt_store_discard(s->node->store, s->msg, s->metadata,
		                  s->metadata_len);
}

static void on_farewell(void *arg, redisReply **replies, size_t n,
                        const struct halibut_error *err)
{
	struct redis_send *s = arg;

	(void)n;
	s->batch = NULL;
	if (err != NULL)
		log_limited("not cancelled", HBT_LOG_INFO,
		            LOG_ABOUT(.event = "request_not_cancelled",
		                      .activity = s->id,
		                      .reason = err->message),
		            "queue request %s: Redis could not be told that "
		            "its caller does not wait any more: %s",
		            s->id, err->message);
	else if (!s->collected && replies[0]->integer == 1)
		redis_send_discard_streams(s); /* nobody reads them */
	redis_send_destroy(s);
}

void redis_send_farewell(struct redis_send *s, bool abort)
{
	struct hbt_redis_node *n = s->node;
	enum redis_send_stage stage = s->stage;
	struct hbt_redis_name name;
	struct hbt_redis_batch *b;

	redis_send_stop(s);
	s->stage = SEND_ENDED;
	if (stage < SEND_STORES && s->saved)
		redis_send_discard_streams(s);
	if (stage < SEND_STORES || s->withdrawn || (s->collected && !abort) ||
	    (b = hbt_redis_batch_new(n->redis)) == NULL) {
		redis_send_destroy(s);
		return;
	}
	if (!s->collected)
		hbt_redis_batch_add(b, "UNLINK %s",
		                    hbt_redis_name(&name, n->prefix,
		                                   HBT_REDIS_REQUEST, s->ref));
	if (abort) {
		hbt_redis_batch_publish(
			b,
			hbt_redis_name(&name, n->prefix,
		                       HBT_REDIS_CANCELLED_PULSE, s->ref),
			"{}", 2);
		hbt_redis_batch_add(b, "SET %s {}",
		                    hbt_redis_name(&name, n->prefix,
		                                   HBT_REDIS_CANCELLED,
		                                   s->ref));
		redis_add_expire(b, name.text, n->times.cancel_marker_ttl_ms);
	}
	s->batch = b;
	hbt_redis_batch_send(b, FAREWELL_MS, on_farewell, s);
}

/* ---- What its origin hears ---- */

static void fail(struct redis_send *s, const struct halibut_error *err,
                 bool abort)
{
	s->p->state = HBT_PENDING_TAKEN; /* as hbt_pending_fail() wants it */
	hbt_pending_fail(s->p, err);
	redis_send_farewell(s, abort);
}

void redis_send_fail(struct redis_send *s, enum hbt_redis_failure what,
                     const char *cause, bool abort)
{
	struct halibut_error err = {.status = HALIBUT_OK};

	hbt_redis_error(&err, what, s->id, cause);
	fail(s, &err, abort);
	halibut_error_clear(&err);
}

void redis_send_expire(struct redis_send *s)
{
	bool abort = !s->withdrawn;

	s->p->state = HBT_PENDING_WAITING;
	hbt_pending_expire(s->p);
	redis_send_farewell(s, abort);
}

void redis_send_expire_unsure(struct redis_send *s,
                              const struct halibut_error *why)
{
	struct halibut_error err = {.status = HALIBUT_OK};

	hbt_pending_not_collected(s->p, &err);
	err.status = HALIBUT_ENO_RESPONSE;
	err.connection_state = HALIBUT_CONNECTION_UNKNOWN;
	free(err.details);
	if (asprintf(&err.details,
	             "%s\n ---> Redis could not be asked whether somebody has "
	             "collected it, and perhaps executed it: %s",
	             err.message, why->message) < 0)
		err.details = NULL;
	fail(s, &err, true);
	halibut_error_clear(&err);
}

void redis_send_end_cancelled(struct redis_send *s)
{
	struct halibut_error err = {.status = HALIBUT_OK};

	if (s->withdrawn || !s->late) {
		hbt_pending_cancel(s->p);
		return;
	}
	hbt_error_set(&err, HALIBUT_ETRANSFERRING_CANCELLED,
	              "A request was sent to a polling endpoint, the polling "
	              "endpoint collected it but the request was cancelled "
	              "before the polling endpoint responded.");
	fail(s, &err, true);
	halibut_error_clear(&err);
}
