/*
 * While a request that was taken out of Redis is here: the watch over its
 * sender, our heart beats, and what is due when. redis-queue 7
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "queue/redis_beat.h"
#include "queue/redis_receive.h"
#include "queue/transitions.h"

/* How long a request that came back waits for another taker. A service whose
 * connection broke is back after 5 s. */
#define RETURNED_MS 30000
/* Looks at the cancellation marker: every so many sweeps. */
#define MARKER_SWEEPS 4

/* ---- Its sender ---- */

void redis_receive_abandon(struct redis_receive *r)
{
	r->abandoned = true;
	hbt_pending_cancel(&r->p);
}

static void on_cancel(struct redis_receive *r)
{
	if (r->stage != RECEIVE_HELD)
		return;
	log_debug("queue request %s: cancelled by its sender", r->id);
	r->cancelled = true;
	hbt_pending_cancel(&r->p);
}

static void on_marker(void *arg, redisReply **replies, size_t n,
                      const struct halibut_error *err)
{
	struct redis_receive *r = arg;

	(void)n;
	r->marker = NULL;
	if (err == NULL && replies[0]->type != REDIS_REPLY_NIL)
		on_cancel(r);
}

static void look_at_marker(struct redis_receive *r)
{
	struct hbt_redis_node *n = r->node;
	struct hbt_redis_name name;

	r->marker_ms = hbt_now_ms() + MARKER_SWEEPS * n->times.sweep_ms;
	if (r->marker != NULL ||
	    (r->marker = hbt_redis_batch_new(n->redis)) == NULL)
		return;
	hbt_redis_batch_add(
		r->marker, "GET %s",
		hbt_redis_name(&name, n->prefix, HBT_REDIS_CANCELLED, r->ref));
	hbt_redis_batch_send(r->marker, 0, on_marker, r);
}

static struct redis_receive *of_cancel(struct hbt_redis_listener *l)
{
	return (struct redis_receive *)((char *)l -
	                                offsetof(struct redis_receive, cancel));
}

static void on_cancel_pulse(struct hbt_redis_listener *l, const char *channel,
                            const char *payload, size_t len)
{
	(void)channel;
	(void)payload;
	(void)len;
	on_cancel(of_cancel(l));
}

/* What was cancelled before we listened left a marker. */
static void on_cancel_established(struct hbt_redis_listener *l)
{
	look_at_marker(of_cancel(l));
}

static void on_beat(struct hbt_redis_listener *l, const char *channel,
                    const char *payload, size_t len)
{
	struct redis_receive *r =
		(struct redis_receive *)((char *)l -
	                                 offsetof(struct redis_receive, beats));

	(void)channel;
	(void)payload;
	(void)len;
	r->heard_ms = hbt_now_ms();
	r->node->beats_in++;
}

static void watch_sender(struct redis_receive *r, int64_t now)
{
	struct hbt_redis_node *n = r->node;
	struct hbt_redis_name name;

	r->watch_ms = INT64_MAX;
	r->heard_ms = now;
	r->marker_ms = now + MARKER_SWEEPS * n->times.sweep_ms;
	r->cancel.message = on_cancel_pulse;
	r->cancel.established = on_cancel_established;
	r->beats.message = on_beat;
	(void)hbt_redis_listen(n->redis, &r->cancel,
	                       hbt_redis_name(&name, n->prefix,
	                                      HBT_REDIS_CANCELLED_PULSE,
	                                      r->ref),
	                       false);
	(void)hbt_redis_listen(
		n->redis, &r->beats,
		hbt_redis_name(&name, n->prefix, HBT_REDIS_SENDER_BEAT, r->ref),
		false);
}

void redis_receive_stop_watching(struct redis_receive *r)
{
	hbt_redis_unlisten(r->node->redis, &r->cancel);
	hbt_redis_unlisten(r->node->redis, &r->beats);
	hbt_redis_batch_cancel(&r->marker);
}

/* ---- Time ---- */

static bool is_watched(const struct redis_receive *r)
{
	return r->stage == RECEIVE_HELD && r->watch_ms == INT64_MAX;
}

void redis_receive_set_due(struct redis_receive *r)
{
	int64_t at = r->beat_ms;

	if (r->stage == RECEIVE_HELD)
		redis_due_lower(&at, r->watch_ms);
	if (is_watched(r)) {
		redis_due_lower(&at, r->marker_ms);
		redis_due_lower(&at, r->heard_ms +
		                             r->node->times.sender_gone_ms + 1);
	}
	if (r->p.state == HBT_PENDING_WAITING)
		redis_due_lower(&at, r->returned_until_ms);
	redis_due_set(r->node, &r->due, at);
}

static void send_beat(struct redis_receive *r, int64_t now)
{
	size_t n = r->sent != NULL ? r->p.msg->env.n_streams : 0;
	char *json = hbt_beat_write(n > 0 ? r->p.msg->env.streams : NULL,
	                            r->sent, n);

	if (json != NULL)
		redis_beat(r->node, &r->beat, HBT_REDIS_RECEIVER_BEAT, r->ref,
		           json);
	free(json);
	r->beat_ms =
		redis_beat_time(now + r->node->times.heartbeat_interval_ms);
}

void redis_receive_on_due(struct redis_due *due)
{
	struct redis_receive *r =
		(struct redis_receive *)((char *)due -
	                                 offsetof(struct redis_receive, due));
	int64_t now = hbt_now_ms();

	if (now >= r->beat_ms)
		send_beat(r, now);
	if (r->stage == RECEIVE_HELD && now >= r->watch_ms)
		watch_sender(r, now);
	if (is_watched(r) && now >= r->marker_ms)
		look_at_marker(r);
	if (is_watched(r) &&
	    now > r->heard_ms + r->node->times.sender_gone_ms) {
		log_limited(
			"sender_silent", HBT_LOG_INFO,
			LOG_ABOUT(.event = "sender_silent", .activity = r->id),
			"queue request %s: the node of its sender is "
			"silent; given up",
			r->id);
		redis_receive_abandon(r);
		return;
	}
	if (r->p.state == HBT_PENDING_WAITING && now >= r->returned_until_ms) {
		hbt_pending_expire(&r->p);
		return;
	}
	redis_receive_set_due(r);
}

void redis_receive_returned(struct hbt_pending *p)
{
	struct redis_receive *r = redis_receive_of(p);

	r->returned_until_ms = hbt_now_ms() + RETURNED_MS;
	redis_due_lower(&r->returned_until_ms, p->deadline.at_ms);
	redis_receive_set_due(r);
}
