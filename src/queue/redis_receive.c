/*
 * A request that this node took out of Redis, until its response is there:
 * taken, handed to whoever carries it to the service, watched meanwhile.
 * redis-queue 7
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "queue/ahead.h"
#include "queue/pump.h"
#include "queue/redis_beat.h"
#include "queue/redis_private.h"
#include "queue/transitions.h"
#include "wire/compose.h"
#include "wire/stored.h"

/* How long a sender may take to read a response's DataStreams, beyond the
 * response's own time-to-live. */
#define STREAMS_TTL_MS ((int64_t)3600 * 1000)
/* How long a response is tried to be written while Redis is gone: 4. */
#define WRITE_WINDOW_MS 600000
/* How long a request that came back waits for another taker. A service whose
 * connection broke is back after 5 s. */
#define RETURNED_MS 30000
/* Looks at the cancellation marker: every so many sweeps. */
#define MARKER_SWEEPS 4

enum stage {
	RECEIVE_TAKES,  /* asks Redis whether it gets it */
	RECEIVE_OPENS,  /* unwraps it */
	RECEIVE_HELD,   /* p waits for a taker, or has one */
	RECEIVE_WRITES, /* there is a response; on its way into Redis */
};

/* The request's DataStreams, as its taker reads them. Knows how far they got;
 * may outlive the receive. */
struct counted {
	struct hbt_source source;
	struct hbt_source *inner;
	struct redis_receive *receive; /* NULL: gone */
};

struct redis_receive {
	struct hbt_pending p; /* first: see of_pending() */
	struct hbt_redis_node *node;
	struct redis_queue *queue; /* NULL: freed, or p has ended */
	enum stage stage;
	char id[HBT_GUID_TEXT];
	char *ref;
	bool coming;    /* one of the queue's n_coming */
	bool remote;    /* its sender is another node */
	bool cancelled; /* by its sender */
	bool abandoned; /* by us: 9 */
	bool wrapped, saved, is_error;

	struct hbt_redis_batch *batch, *marker, *beat;
	struct hbt_redis_listener cancel, beats;
	struct redis_due due;
	int64_t beat_ms, watch_ms, marker_ms, heard_ms, returned_until_ms;

	struct hbt_wrapping *wrapping;
	struct hbt_ahead *ahead;
	struct counted *streams;
	int64_t *sent; /* of each DataStream of the request */

	struct hbt_message *response;
	struct hbt_saving *saving;
	struct hbt_feed *feed;
	uint8_t *body, *metadata; /* of the request, then of the response */
	size_t body_len, metadata_len;

	TAILQ_ENTRY(redis_receive) of_node, of_queue;
};

static struct redis_receive *of_pending(struct hbt_pending *p)
{
	return (struct redis_receive *)p;
}

/* ---- The end ---- */

static void leave_queue(struct redis_receive *r)
{
	struct redis_queue *rq = r->queue;

	if (rq == NULL)
		return;
	r->queue = NULL;
	TAILQ_REMOVE(&rq->received, r, of_queue);
	if (r->remote)
		rq->n_remote--;
	if (r->coming) {
		r->coming = false;
		redis_queue_lost(rq);
	}
}

static void end_feed(struct redis_receive *r)
{
	struct halibut_error why = {.status = HALIBUT_OK};

	if (r->feed == NULL)
		return;
	hbt_error_set(&why, HALIBUT_ESHUTDOWN, "the response was given up");
	hbt_feed_end(&r->feed, &why);
	halibut_error_clear(&why);
}

static void stop_watching(struct redis_receive *r)
{
	hbt_redis_unlisten(r->node->redis, &r->cancel);
	hbt_redis_unlisten(r->node->redis, &r->beats);
	hbt_redis_batch_cancel(&r->marker);
}

static void destroy(struct redis_receive *r)
{
	struct hbt_redis_node *n = r->node;

	assert(r->p.state == HBT_PENDING_IDLE);
	leave_queue(r);
	stop_watching(r);
	redis_due_clear(n, &r->due);
	hbt_redis_batch_cancel(&r->batch);
	hbt_redis_batch_cancel(&r->beat);
	hbt_wrapping_cancel(&r->wrapping);
	hbt_saving_cancel(&r->saving);
	hbt_ahead_cancel(&r->ahead);
	end_feed(r);
	if (r->streams != NULL)
		r->streams->receive = NULL;
	hbt_pending_fini(&r->p);
	hbt_message_unref(&r->response);
	TAILQ_REMOVE(&n->receives, r, of_node);
	n->n_receiving--;
	free(r->sent);
	free(r->body);
	free(r->metadata);
	free(r->ref);
	free(r);
}

/* ---- The response ---- */

static void set_due(struct redis_receive *r);
static void respond_error(struct redis_receive *r,
                          const struct halibut_error *err);

static void on_written(void *arg, redisReply **replies, size_t n,
                       const struct halibut_error *err)
{
	struct redis_receive *r = arg;

	(void)replies;
	(void)n;
	r->batch = NULL;
	if (err != NULL) {
		log_limited("response_lost", HBT_LOG_WARNING,
		            LOG_ABOUT(.event = "response_lost",
		                      .activity = r->id,
		                      .reason = err->message),
		            "queue request %s: its response could not be "
		            "written and is lost: %s",
		            r->id, err->message);
		if (r->response->env.n_streams > 0)
			hbt_store_discard(r->node->store, r->response,
			                  r->metadata, r->metadata_len);
	}
	destroy(r);
}

static void write_response(struct redis_receive *r)
{
	struct hbt_redis_node *n = r->node;
	struct hbt_redis_batch *b = hbt_redis_batch_new(n->redis);
	struct hbt_redis_name name;

	if (b == NULL) {
		log_error("queue request %s: out of memory, its response is "
		          "lost",
		          r->id);
		destroy(r);
		return;
	}
	redis_add_message(
		b, hbt_redis_name(&name, n->prefix, HBT_REDIS_RESPONSE, r->ref),
		r->body, r->body_len, r->metadata, r->metadata_len,
		n->times.response_ttl_ms);
	hbt_redis_batch_publish(b,
	                        hbt_redis_name(&name, n->prefix,
	                                       HBT_REDIS_RESPONSE_PULSE,
	                                       r->ref),
	                        "{}", 2);
	free(r->body);
	r->body = NULL;
	r->batch = b;
	hbt_redis_batch_send(b, WRITE_WINDOW_MS, on_written, r);
}

/* An answer that cannot be stored becomes one that can: an error. */
static void not_storable(struct redis_receive *r,
                         const struct halibut_error *err)
{
	struct halibut_error why = {.status = HALIBUT_OK};

	if (r->is_error) {
		log_error("queue request %s: no response can be written: %s",
		          r->id, err->message);
		destroy(r);
		return;
	}
	hbt_error_copy(&why, err);
	hbt_error_prefix(&why, "The response could not be put into the queue: ");
	respond_error(r, &why);
	halibut_error_clear(&why);
}

static void on_wrapped(void *arg, uint8_t *data, size_t len,
                       const struct halibut_error *err)
{
	struct redis_receive *r = arg;

	r->wrapping = NULL;
	if (err != NULL) {
		not_storable(r, err);
		return;
	}
	r->body = data;
	r->body_len = len;
	r->wrapped = true;
	if (r->saved)
		write_response(r);
}

static void on_saved(void *arg, const uint8_t *metadata, size_t len,
                     const struct halibut_error *err)
{
	struct redis_receive *r = arg;
	struct halibut_error why = {.status = HALIBUT_OK};

	r->saving = NULL;
	if (err == NULL && len > 0 && (r->metadata = malloc(len)) == NULL) {
		hbt_error_set(&why, HALIBUT_ENOMEM, "out of memory");
		err = &why;
	}
	if (err != NULL) {
		not_storable(r, err);
		halibut_error_clear(&why);
		return;
	}
	if (len > 0)
		memcpy(r->metadata, metadata, len);
	r->metadata_len = len;
	r->saved = true;
	if (r->wrapped)
		write_response(r);
}

/*
 * msg is ours. Its DataStreams come from streams, or go into *sink. r may be
 * gone afterwards, but not before *sink is set.
 */
static void respond(struct redis_receive *r, struct hbt_message *msg,
                    struct hbt_source *streams, struct hbt_sink **sink)
{
	struct hbt_redis_node *n = r->node;
	struct halibut_error err = {.status = HALIBUT_OK};
	struct hbt_sink *store = NULL;
	uint8_t *bson;
	size_t len;
	int rc;

	hbt_message_unref(&r->response);
	r->response = msg;
	r->stage = RECEIVE_WRITES;
	r->wrapped = r->saved = false;
	free(r->metadata);
	r->metadata = NULL;
	r->metadata_len = 0;
	set_due(r);
	rc = hbt_store_save(&r->saving, n->store, msg,
	                    n->times.response_ttl_ms + STREAMS_TTL_MS, &store,
	                    on_saved, r);
	if (rc == HALIBUT_OK)
		hbt_saving_set_window(r->saving, WRITE_WINDOW_MS);
	if (rc == HALIBUT_OK && store != NULL && streams != NULL) {
		rc = hbt_feed_new(&r->feed, n->base, streams, store);
		streams = NULL;
	} else if (store != NULL) {
		*sink = store;
	}
	hbt_source_free(&streams);
	if (rc != HALIBUT_OK)
		hbt_error_set(&err, rc, "out of memory");
	else
		rc = hbt_stored_from_message(msg, n->limits->max_message_bytes,
		                             &bson, &len, &err);
	if (rc == HALIBUT_OK)
		hbt_wrap(&r->wrapping, n->wrappers, bson, len, on_wrapped, r);
	else
		not_storable(r, &err);
	halibut_error_clear(&err);
}

static void respond_error(struct redis_receive *r,
                          const struct halibut_error *err)
{
	const char *id = r->p.msg != NULL ? r->p.msg->env.id : r->id;
	struct hbt_message *msg = NULL;
	struct hbt_sink *none = NULL;
	bson_t doc;

	hbt_wrapping_cancel(&r->wrapping);
	hbt_saving_cancel(&r->saving);
	end_feed(r);
	free(r->body);
	r->body = NULL;
	r->is_error = true;
	if (hbt_compose_error(id, err, &doc) == HALIBUT_OK)
		(void)hbt_message_from_bson(hbt_deflater_shared(),
		                            bson_get_data(&doc), doc.len, &msg,
		                            NULL);
	bson_destroy(&doc);
	if (msg == NULL) {
		log_error("queue request %s: out of memory, its response is "
		          "lost",
		          r->id);
		destroy(r);
		return;
	}
	respond(r, msg, NULL, &none);
}

static void respond_with(struct redis_receive *r, enum hbt_redis_failure what,
                         const char *cause)
{
	struct halibut_error err = {.status = HALIBUT_OK};

	hbt_redis_error(&err, what, r->id, cause);
	respond_error(r, &err);
	halibut_error_clear(&err);
}

/* ---- What the taker says ---- */

static void on_answered(struct hbt_pending *p, struct hbt_message *msg,
                        struct hbt_source *streams, struct hbt_sink **sink)
{
	struct redis_receive *r = of_pending(p);

	leave_queue(r);
	stop_watching(r);
	respond(r, msg, streams, sink);
}

static void on_failed(struct hbt_pending *p, const struct halibut_error *err)
{
	struct redis_receive *r = of_pending(p);

	leave_queue(r);
	stop_watching(r);
	if (r->cancelled)
		destroy(r); /* nobody waits for it */
	else if (r->abandoned)
		respond_with(r, HBT_REDIS_ABANDONED, NULL);
	else
		respond_error(r, err);
}

static void abandon(struct redis_receive *r)
{
	r->abandoned = true;
	hbt_pending_cancel(&r->p);
}

/* ---- The watch over the sender ---- */

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
	                                offsetof(struct redis_receive,
	                                         cancel));
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
	(void)hbt_redis_listen(n->redis, &r->beats,
	                       hbt_redis_name(&name, n->prefix,
	                                      HBT_REDIS_SENDER_BEAT, r->ref),
	                       false);
}

/* ---- Time ---- */

static void lower(int64_t *to, int64_t at)
{
	if (at < *to)
		*to = at;
}

static bool is_watched(const struct redis_receive *r)
{
	return r->stage == RECEIVE_HELD && r->watch_ms == INT64_MAX;
}

static void set_due(struct redis_receive *r)
{
	int64_t at = r->beat_ms;

	if (r->stage == RECEIVE_HELD)
		lower(&at, r->watch_ms);
	if (is_watched(r)) {
		lower(&at, r->marker_ms);
		lower(&at, r->heard_ms + r->node->times.sender_gone_ms + 1);
	}
	if (r->p.state == HBT_PENDING_WAITING)
		lower(&at, r->returned_until_ms);
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
	r->beat_ms = redis_beat_time(now + r->node->times.heartbeat_interval_ms);
}

static void on_due(struct redis_due *due)
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
		log_limited("sender_silent", HBT_LOG_INFO,
		            LOG_ABOUT(.event = "sender_silent",
		                      .activity = r->id),
		            "queue request %s: the node of its sender is "
		            "silent; given up",
		            r->id);
		abandon(r);
		return;
	}
	if (r->p.state == HBT_PENDING_WAITING &&
	    now >= r->returned_until_ms) {
		hbt_pending_expire(&r->p);
		return;
	}
	set_due(r);
}

void redis_receive_returned(struct hbt_pending *p)
{
	struct redis_receive *r = of_pending(p);

	r->returned_until_ms = hbt_now_ms() + RETURNED_MS;
	lower(&r->returned_until_ms, p->deadline.at_ms);
	set_due(r);
}

/* ---- Out of Redis ---- */

static void on_progress(void *arg, size_t stream, int64_t sent)
{
	struct counted *c = arg;

	if (c->receive != NULL)
		c->receive->sent[stream] = sent;
}

static ssize_t counted_read(struct hbt_source *src, void *buf, size_t cap,
                            struct halibut_error *err)
{
	struct counted *c = (struct counted *)src;

	c->inner->wake = src->wake;
	c->inner->wake_arg = src->wake_arg;
	return c->inner->ops->read(c->inner, buf, cap, err);
}

static void counted_free(struct hbt_source *src)
{
	struct counted *c = (struct counted *)src;

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
	struct counted *c = NULL;
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

static void cannot_be_read(struct redis_receive *r,
                           const struct halibut_error *err)
{
	log_limited("unreadable", HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "message_unreadable",
	                      .activity = r->id, .reason = err->message,
	                      .remedy = "the same wrappers and streams on all "
	                                "nodes"),
	            "queue request %s: it cannot be read, its caller is told: "
	            "%s",
	            r->id, err->message);
	leave_queue(r);
	/* A stream of another length than its message says is the caller's
	 * mistake: to try again is no cure, and the text must not promise it. */
	if (err->status == HALIBUT_ESTREAM)
		respond_error(r, err);
	else
		respond_with(r, HBT_REDIS_UNREADABLE, err->message);
}

static void opened(struct redis_receive *r)
{
	if (r->queue == NULL)
		respond_with(r, HBT_REDIS_ABANDONED, NULL);
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
		cannot_be_read(r, err);
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
		cannot_be_read(r, err);
		return;
	}
	rc = hbt_stored_to_message(hbt_deflater_shared(), data, len,
	                           HBT_MESSAGE_REQUEST,
	                           r->node->limits->max_streams_per_message,
	                           &msg, &why);
	free(data);
	r->p.msg = msg;
	if (rc == HALIBUT_OK)
		rc = load_streams(r, msg, &why);
	if (rc == HALIBUT_OK && r->p.streams != NULL)
		rc = read_ahead(r, &why);
	if (rc != HALIBUT_OK)
		cannot_be_read(r, &why);
	else if (r->ahead == NULL)
		opened(r);
	halibut_error_clear(&why);
}

static bool copy(uint8_t **to, size_t *to_len, const redisReply *r)
{
	*to = NULL;
	*to_len = 0;
	if (r->type != REDIS_REPLY_STRING || r->len == 0)
		return true;
	if ((*to = malloc(r->len)) == NULL)
		return false;
	memcpy(*to, r->str, r->len);
	*to_len = r->len;
	return true;
}

/* It is ours: whatever happens now, its sender hears of it. */
static void own(struct redis_receive *r, const redisReply *fields)
{
	struct redis_send *here = redis_send_find(r->node, r->ref);
	struct halibut_error err = {.status = HALIBUT_OK};
	int64_t now = hbt_now_ms();
	uint8_t *body = NULL;
	size_t len = 0;

	r->beat_ms = redis_beat_time(now + r->node->times.heartbeat_delay_ms);
	r->watch_ms = now + r->node->times.heartbeat_delay_ms;
	r->stage = RECEIVE_OPENS;
	set_due(r);
	if (here != NULL)
		redis_send_taken_here(here);
	r->remote = here == NULL;
	if (r->remote && r->queue != NULL)
		r->queue->n_remote++;
	if (fields->type != REDIS_REPLY_ARRAY || fields->elements != 2 ||
	    !copy(&body, &len, fields->element[0]) ||
	    !copy(&r->metadata, &r->metadata_len, fields->element[1]))
		hbt_error_set(&err, HALIBUT_ENOMEM, "out of memory");
	else if (body == NULL)
		hbt_error_set(&err, HALIBUT_EPROTO,
		              "it has no RequestMessageField");
	if (err.status == HALIBUT_OK) {
		hbt_unwrap(&r->wrapping, r->node->wrappers, body, len,
		           on_unwrapped, r);
		return;
	}
	free(body);
	cannot_be_read(r, &err);
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
	leave_queue(r);
	r->beat_ms = INT64_MAX;
	respond_with(r, HBT_REDIS_ABANDONED,
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
		destroy(r); /* another was faster, or it was withdrawn */
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
	r->due.fn = on_due;
	hbt_guid_format(id, r->id);
	TAILQ_INSERT_TAIL(&n->receives, r, of_node);
	TAILQ_INSERT_TAIL(&rq->received, r, of_queue);
	n->n_receiving++;
	r->ref = hbt_redis_ref(rq->q.key, r->id);
	r->batch = hbt_redis_batch_new(n->redis);
	if (r->ref == NULL || r->batch == NULL) {
		destroy(r);
		return;
	}
	hbt_redis_name(&name, n->prefix, HBT_REDIS_REQUEST, r->ref);
	hbt_redis_batch_add(r->batch, "HMGET %s %s %s", name.text,
	                    HBT_REDIS_MESSAGE_FIELD, HBT_REDIS_STREAMS_FIELD);
	hbt_redis_batch_add(r->batch, "UNLINK %s", name.text);
	/* As long as its sender would wait for news of it. */
	hbt_redis_batch_send(r->batch,
	                     n->times.receiver_gone_ms +
	                             n->times.retry_window_ms,
	                     on_taken, r);
}

/* ---- All of a queue, or of a node ---- */

void redis_receives_shutdown(struct redis_queue *rq)
{
	struct redis_receive *r;

	while ((r = TAILQ_FIRST(&rq->received)) != NULL) {
		r->coming = false;
		if (r->p.state != HBT_PENDING_IDLE)
			abandon(r);
		else
			leave_queue(r);
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
		abandon(r);
}

void redis_receives_free(struct hbt_redis_node *n)
{
	struct redis_receive *r;

	while ((r = TAILQ_FIRST(&n->receives)) != NULL)
		destroy(r);
}
