/*
 * A request that was taken out of Redis: read, its DataStreams opened, and held
 * for whoever carries it to the service. redis-queue 7
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "queue/ahead.h"
#include "queue/redis_receive.h"
#include "wire/stored.h"

/* ---- Its DataStreams ---- */

static void on_progress(void *arg, size_t stream, int64_t sent)
{
	struct redis_receive_streams *c = arg;

	if (c->receive != NULL)
		c->receive->sent[stream] = sent;
}

static ssize_t counted_read(struct hbt_source *src, void *buf, size_t cap,
                            struct halibut_error *err)
{
	struct redis_receive_streams *c = (struct redis_receive_streams *)src;

	c->inner->wake = src->wake;
	c->inner->wake_arg = src->wake_arg;
	return c->inner->ops->read(c->inner, buf, cap, err);
}

static void counted_free(struct hbt_source *src)
{
	struct redis_receive_streams *c = (struct redis_receive_streams *)src;

	if (c->receive != NULL)
		c->receive->streams = NULL;
	hbt_source_free(&c->inner);
	free(c);
}

static int load_streams(struct redis_receive *r, struct hbt_message *msg,
                        struct halibut_error *err)
{
	static const struct hbt_source_ops ops = {
		.read = counted_read,
		.free = counted_free,
	};
	struct redis_receive_streams *c = NULL;
	struct hbt_source *inner;
	int rc;

	if (msg->env.n_streams > 0) {
		c = calloc(1, sizeof(*c));
		r->sent = calloc(msg->env.n_streams, sizeof(*r->sent));
		if (c == NULL || r->sent == NULL) {
			free(c);
			return hbt_error_set(err, HALIBUT_ENOMEM,
			                     "out of memory");
		}
	}
	rc = hbt_store_load(&inner, r->node->store, msg, r->metadata,
	                    r->metadata_len, on_progress, c, err);
	if (rc != HALIBUT_OK || inner == NULL) {
		free(c);
		return rc;
	}
	c->source.ops = &ops;
	c->inner = inner;
	c->receive = r;
	r->streams = c;
	r->p.streams = &c->source;
	return HALIBUT_OK;
}

/* ---- What its taker says ---- */

static void on_answered(struct hbt_pending *p, struct hbt_message *msg,
                        struct hbt_source *streams, struct hbt_sink **sink)
{
	struct redis_receive *r = redis_receive_of(p);

	redis_receive_leave_queue(r);
	redis_receive_stop_watching(r);
	redis_receive_respond(r, msg, streams, sink);
}

static void on_failed(struct hbt_pending *p, const struct halibut_error *err)
{
	struct redis_receive *r = redis_receive_of(p);

	redis_receive_leave_queue(r);
	redis_receive_stop_watching(r);
	if (r->cancelled)
		redis_receive_destroy(r); /* nobody waits for it */
	else if (r->abandoned)
		redis_receive_respond_failure(r, HBT_REDIS_ABANDONED, NULL);
	else
		redis_receive_respond_error(r, err);
}

/* ---- Reading it ---- */

/* Ready for a taker. */
static void hold(struct redis_receive *r)
{
	struct redis_queue *rq = r->queue;
	int64_t now = hbt_now_ms();
	int64_t timeout = r->p.msg->env.queue_timeout_ms;

	r->stage = RECEIVE_HELD;
	if (timeout < 0)
		timeout = r->node->limits->polling_request_queue_timeout_ms;
	r->p.queue_timeout_ms = timeout;
	r->p.answered = on_answered;
	r->p.failed = on_failed;
	r->p.state = HBT_PENDING_WAITING;
	r->p.since_ms = now;
	r->p.deadline.at_ms =
		timeout < INT64_MAX / 2 ? now + timeout : INT64_MAX;
	redis_receive_returned(&r->p);
	r->coming = false;
	redis_queue_came(rq, &r->p);
}

void redis_receive_unreadable(struct redis_receive *r,
                              const struct halibut_error *err)
{
	log_limited("unreadable", HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "message_unreadable", .activity = r->id,
	                      .reason = err->message,
	                      .remedy = "the same wrappers and streams on all "
	                                "nodes"),
	            "queue request %s: it cannot be read, its caller is told: "
	            "%s",
	            r->id, err->message);
	redis_receive_leave_queue(r);
	/* A stream of another length than its message says is the caller's
	 * mistake: to try again is no cure, and the text must not promise it.
	 */
	if (err->status == HALIBUT_ESTREAM)
		redis_receive_respond_error(r, err);
	else
		redis_receive_respond_failure(r, HBT_REDIS_UNREADABLE,
		                              err->message);
}

static void opened(struct redis_receive *r)
{
	if (r->queue == NULL)
		redis_receive_respond_failure(r, HBT_REDIS_ABANDONED, NULL);
	else
		hold(r);
}

static void on_ahead(void *arg, struct hbt_source *streams,
                     const struct halibut_error *err)
{
	struct redis_receive *r = arg;

	r->ahead = NULL;
	r->p.streams = streams;
	if (err != NULL)
		redis_receive_unreadable(r, err);
	else
		opened(r);
}

static int read_ahead(struct redis_receive *r, struct halibut_error *err)
{
	struct hbt_source *streams = r->p.streams;

	r->p.streams = NULL;
	if (hbt_ahead_new(&r->ahead, r->node->base, streams, REDIS_READ_AHEAD,
	                  on_ahead, r) == HALIBUT_OK)
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
}

static void on_unwrapped(void *arg, uint8_t *data, size_t len,
                         const struct halibut_error *err)
{
	struct redis_receive *r = arg;
	struct halibut_error why = {.status = HALIBUT_OK};
	struct hbt_message *msg = NULL;
	int rc;

	r->wrapping = NULL;
	if (err != NULL) {
		redis_receive_unreadable(r, err);
		return;
	}
	rc = hbt_stored_to_message(
		hbt_deflater_shared(), data, len, HBT_MESSAGE_REQUEST,
		r->node->limits->max_streams_per_message, &msg, &why);
	free(data);
	r->p.msg = msg;
	if (rc == HALIBUT_OK)
		rc = load_streams(r, msg, &why);
	if (rc == HALIBUT_OK && r->p.streams != NULL)
		rc = read_ahead(r, &why);
	if (rc != HALIBUT_OK)
		redis_receive_unreadable(r, &why);
	else if (r->ahead == NULL)
		opened(r);
	halibut_error_clear(&why);
}

void redis_receive_open(struct redis_receive *r, uint8_t *body, size_t len)
{
	hbt_unwrap(&r->wrapping, r->node->wrappers, body, len, on_unwrapped, r);
}
