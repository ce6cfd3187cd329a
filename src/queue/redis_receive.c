/*
 * A request whose id this node popped: taken out of Redis, if nobody was
 * faster; and what its queue and its node ask of it. redis-queue 7
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "queue/redis_receive.h"

/* It is ours: whatever happens now, its sender hears of it. */
static void own(struct redis_receive *r, const redisReply *fields)
{
	struct redis_send *here = redis_send_find(r->node, r->ref);
	struct halibut_error err = {.status = HALIBUT_OK};
	int64_t now = hbt_now_ms();
	uint8_t *body;
	size_t len;

	r->beat_ms = redis_beat_time(now + r->node->times.heartbeat_delay_ms);
	r->watch_ms = now + r->node->times.heartbeat_delay_ms;
	r->stage = RECEIVE_OPENS;
	redis_receive_set_due(r);
	if (here != NULL)
		redis_send_taken_here(here);
	r->remote = here == NULL;
	if (r->remote && r->queue != NULL)
		r->queue->n_remote++;
	if (redis_read_message(fields, &body, &len, &r->metadata,
	                       &r->metadata_len, &err) == HALIBUT_OK)
		redis_receive_open(r, body, len);
	else
		redis_receive_unreadable(r, &err);
	halibut_error_clear(&err);
}

/*
 * Redis deleted it, perhaps, but its answer to us was lost: then nobody has
 * it, and its caller shall not wait until our silence is long enough.
 */
static void lose(struct redis_receive *r, const struct halibut_error *err)
{
	log_limited("request_lost", HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "request_lost", .activity = r->id,
	                      .reason = err != NULL ? err->message : NULL),
	            "queue request %s: it may be lost, Redis was gone while it "
	            "was taken%s%s",
	            r->id, err != NULL ? ": " : "",
	            err != NULL ? err->message : "");
	redis_receive_leave_queue(r);
	r->beat_ms = INT64_MAX;
	redis_receive_respond_failure(
		r, HBT_REDIS_ABANDONED,
		"Redis was gone while the request was taken, and the "
		"request with it; the service did not get it from this "
		"node");
}

static void on_taken(void *arg, redisReply **replies, size_t n,
                     const struct halibut_error *err)
{
	struct redis_receive *r = arg;
	bool repeated = hbt_redis_batch_was_repeated(r->batch);

	(void)n;
	r->batch = NULL;
	if (err == NULL && replies[1]->integer == 1)
		own(r, replies[0]);
	else if (repeated)
		lose(r, err);
	else
		redis_receive_destroy(
			r); /* another was faster, or it was withdrawn */
}

void redis_receive_new(struct redis_queue *rq, const struct hbt_guid *id)
{
	struct hbt_redis_node *n = rq->node;
	struct redis_receive *r = calloc(1, sizeof(*r));
	struct hbt_redis_name name;

	if (r == NULL) {
		redis_queue_lost(rq);
		return;
	}
	r->node = n;
	r->queue = rq;
	r->coming = true;
	r->due.fn = redis_receive_on_due;
	hbt_guid_format(id, r->id);
	TAILQ_INSERT_TAIL(&n->receives, r, of_node);
	TAILQ_INSERT_TAIL(&rq->received, r, of_queue);
	n->n_receiving++;
	r->ref = hbt_redis_ref(rq->q.key, r->id);
	r->batch = hbt_redis_batch_new(n->redis);
	if (r->ref == NULL || r->batch == NULL) {
		redis_receive_destroy(r);
		return;
	}
	hbt_redis_name(&name, n->prefix, HBT_REDIS_REQUEST, r->ref);
	hbt_redis_batch_add(r->batch, "HMGET %s %s %s", name.text,
	                    HBT_REDIS_MESSAGE_FIELD, HBT_REDIS_STREAMS_FIELD);
	hbt_redis_batch_add(r->batch, "UNLINK %s", name.text);
	/* As long as its sender would wait for news of it. */
	hbt_redis_batch_send(
		r->batch, n->times.receiver_gone_ms + n->times.retry_window_ms,
		on_taken, r);
}

/* ---- All of a queue, or of a node ---- */

void redis_receives_shutdown(struct redis_queue *rq)
{
	struct redis_receive *r;

	while ((r = TAILQ_FIRST(&rq->received)) != NULL) {
		r->coming = false;
		if (r->p.state != HBT_PENDING_IDLE)
			redis_receive_abandon(r);
		else
			redis_receive_leave_queue(r);
	}
}

static struct redis_receive *first_held(struct hbt_redis_node *n)
{
	struct redis_receive *r;

	TAILQ_FOREACH(r, &n->receives, of_node) {
		if (r->stage == RECEIVE_HELD && !r->abandoned)
			return r;
	}
	return NULL;
}

void redis_receives_lost(struct hbt_redis_node *n)
{
	struct redis_receive *r;

	while ((r = first_held(n)) != NULL)
		redis_receive_abandon(r);
}

void redis_receives_free(struct hbt_redis_node *n)
{
	struct redis_receive *r;

	while ((r = TAILQ_FIRST(&n->receives)) != NULL)
		redis_receive_destroy(r);
}
