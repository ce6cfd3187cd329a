/*
 * A request on its way through Redis, seen from the node whose caller waits:
 * stored, announced, watched until it is collected, then until its response
 * is there. redis-queue 6
 */
#include <assert.h>
#include <stdio.h>
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
#include "wire/stored.h"

/* How long a receiver may take to read a DataStream, beyond the time until
 * the request is collected. */
#define STREAMS_TTL_MS ((int64_t)3600 * 1000)
#define FAREWELL_MS 120000
#define LONGEST_POLL_MS 120000
/* What was not answered by then is perhaps with a node that lost it: the sooner
 * it is known to be collected, the sooner that is known. */
#define FIRST_CHECK_MS 2000
/* How much later than we another node may be back at Redis. */
#define COMES_BACK_MS 2000

static const struct halibut_error no_memory = {
	.status = HALIBUT_ENOMEM, .message = (char *)"out of memory"};

enum stage {
	SEND_UNGUARDED, /* waits until Redis' data is watched over */
	SEND_PREPARES,  /* wraps its document, stores its DataStreams */
	SEND_STORES,    /* its key is written; nobody knows of it yet */
	SEND_SUBMITS,   /* its id is pushed: a receiver may have it */
	SEND_WAITS,     /* in Redis; not known to be collected */
	SEND_COLLECTED,
	SEND_READS,     /* its response is in this process */
	SEND_ENDED,     /* p has its answer; Redis is told */
};

struct redis_send {
	struct hbt_redis_node *node;
	struct redis_queue *queue; /* these two are NULL when p is answered */
	struct hbt_pending *p;
	struct hbt_taker taker; /* p's, to hear that it is cancelled */
	struct hbt_message *msg;
	char id[HBT_GUID_TEXT];
	char *ref; /* NULL: it did not get that far */
	enum stage stage;
	bool withdrawn;   /* our delete came first: nobody had it */
	bool collected;   /* somebody else's did */
	bool here;        /* that was this process */
	bool wants_end;   /* its origin wants no answer any more */
	bool late;        /* the time to collect it is over */
	bool heard;       /* a heart beat of its receiver */
	bool last_chance; /* the receiver is silent; one more look, or two */
	bool is_lost;     /* the receiver is there, and does not carry it */
	bool look_again, push_again;
	bool wrapped, saved;
	bool fresh; /* on that list of its node */

	struct hbt_wrapping *wrapping;
	struct hbt_saving *saving;
	struct hbt_feed *feed;
	struct hbt_message *response;
	struct hbt_ahead *ahead; /* reads its DataStreams */
	uint8_t *body, *metadata;
	size_t body_len, metadata_len;

	/* Submission or farewell; looks for the response; for the request. */
	struct hbt_redis_batch *batch, *look, *check, *withdrawal, *beat;
	struct hbt_redis_listener pulse, beats;
	struct redis_lost lost;
	struct redis_due due;
	int64_t since_ms; /* when it began, then when it was submitted */
	int64_t beat_ms, check_ms, look_ms, look_wait_ms, heard_ms, again_ms;

	UT_hash_handle hh;
	TAILQ_ENTRY(redis_send) of_node, of_queue;
};

static struct redis_send *of_taker(struct hbt_taker *t)
{
	return (struct redis_send *)((char *)t -
	                             offsetof(struct redis_send, taker));
}

/* ---- The end ---- */

static void set_due(struct redis_send *s);

static void stop(struct redis_send *s)
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

static void leave_fresh(struct redis_send *s)
{
	if (!s->fresh)
		return;
	s->fresh = false;
	TAILQ_REMOVE(&s->node->fresh, s, of_node);
	TAILQ_INSERT_TAIL(&s->node->sends, s, of_node);
}

static void destroy(struct redis_send *s)
{
	assert(s->p == NULL);
	stop(s);
	leave_fresh(s);
	TAILQ_REMOVE(&s->node->sends, s, of_node);
	hbt_message_unref(&s->msg);
	hbt_message_unref(&s->response);
	free(s->body);
	free(s->metadata);
	free(s->ref);
	free(s);
}

static void discard_streams(struct redis_send *s)
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
		discard_streams(s); /* nobody reads them */
	destroy(s);
}

/*
 * p has its answer. Takes the request out of Redis if it may still lie there;
 * abort: tells a receiver that nobody waits for it. s is gone afterwards, or
 * as soon as Redis was told.
 */
static void farewell(struct redis_send *s, bool abort)
{
	struct hbt_redis_node *n = s->node;
	enum stage stage = s->stage;
	struct hbt_redis_name name;
	struct hbt_redis_batch *b;

	stop(s);
	s->stage = SEND_ENDED;
	if (stage < SEND_STORES && s->saved)
		discard_streams(s);
	if (stage < SEND_STORES || s->withdrawn ||
	    (s->collected && !abort) ||
	    (b = hbt_redis_batch_new(n->redis)) == NULL) {
		destroy(s);
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

void redis_send_forget(struct redis_queue *rq, struct hbt_pending *p)
{
	struct redis_send *s = of_taker(p->taker);

	assert(s->p == p);
	if (s->collected)
		rq->n_collected--;
	else
		rq->n_waiting--;
	if (!s->collected)
		rq->waiting_bytes -= s->msg->deflated_len;
	TAILQ_REMOVE(&rq->sends, s, of_queue);
	rq->node->n_sending--;
	s->p = NULL;
	s->queue = NULL;
}

/* Somebody has it, or had it. */
static void note_collected(struct redis_send *s)
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

/* By what Redis, the store or the watch over them did. */
static void fail(struct redis_send *s, const struct halibut_error *err,
                 bool abort)
{
	s->p->state = HBT_PENDING_TAKEN; /* as hbt_pending_fail() wants it */
	hbt_pending_fail(s->p, err);
	farewell(s, abort);
}

static void fail_with(struct redis_send *s, enum hbt_redis_failure what,
                      const char *cause, bool abort)
{
	struct halibut_error err = {.status = HALIBUT_OK};

	hbt_redis_error(&err, what, s->id, cause);
	fail(s, &err, abort);
	halibut_error_clear(&err);
}

/* The time to collect it is over. */
static void expire(struct redis_send *s)
{
	bool abort = !s->withdrawn;

	s->p->state = HBT_PENDING_WAITING;
	hbt_pending_expire(s->p);
	farewell(s, abort);
}

/* The same, but Redis could not say whether somebody has it. */
static void expire_unsure(struct redis_send *s, const struct halibut_error *why)
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

/* The origin gives it up; p has left the queue already. */
static bool on_cancelled(struct hbt_taker *t, struct hbt_pending *p)
{
	struct redis_send *s = of_taker(t);
	bool seen = s->stage >= SEND_SUBMITS && !s->withdrawn;

	(void)p;
	farewell(s, seen && s->stage < SEND_READS);
	return seen;
}

/* The origin gave it up, and Redis has said what became of it. */
static void end_cancelled(struct redis_send *s)
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

void redis_sends_shutdown(struct redis_queue *rq)
{
	struct redis_send *s;

	while ((s = TAILQ_FIRST(&rq->sends)) != NULL)
		fail_with(s, HBT_REDIS_SHUTDOWN, NULL,
		          s->stage >= SEND_SUBMITS && s->stage < SEND_READS);
}

int64_t redis_sends_oldest_ms(const struct redis_queue *rq)
{
	const struct redis_send *s;

	TAILQ_FOREACH(s, &rq->sends, of_queue) {
		if (!s->collected)
			return s->p->since_ms;
	}
	return 0;
}

/* ---- The response ---- */

static void unreadable(struct redis_send *s, const struct halibut_error *err)
{
	log_limited("unreadable response", HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "message_unreadable",
	                      .activity = s->id, .reason = err->message,
	                      .remedy = "the same wrappers and streams on all "
	                                "nodes"),
	            "queue request %s: its response cannot be read: %s", s->id,
	            err->message);
	fail_with(s, HBT_REDIS_UNREADABLE, err->message, false);
}

static void answer(struct redis_send *s, struct hbt_source *streams)
{
	struct hbt_message *msg = s->response;

	s->response = NULL;
	hbt_pending_answer(s->p, msg, streams, NULL);
	farewell(s, false);
}

static void on_ahead(void *arg, struct hbt_source *streams,
                     const struct halibut_error *err)
{
	struct redis_send *s = arg;

	s->ahead = NULL;
	if (err != NULL)
		unreadable(s, err);
	else
		answer(s, streams);
}

static int read_message(struct redis_send *s, const uint8_t *bson, size_t len,
                        struct halibut_error *err)
{
	hbt_message_unref(&s->response);
	return hbt_stored_to_message(
		hbt_deflater_shared(), bson, len, HBT_MESSAGE_RESPONSE,
		s->node->limits->max_streams_per_message, &s->response, err);
}

/* A receiver that lost the request, or could not read it, does not know its
 * id; whoever asked knows the response by it. */
static int set_id(struct redis_send *s, const uint8_t *bson, size_t len,
                  struct halibut_error *err)
{
	const struct hbt_envelope *env = &s->response->env;
	uint8_t *doc = NULL;
	int rc;

	if (!env->is_error || s->msg->env.id == NULL || env->id == NULL ||
	    strcmp(env->id, s->msg->env.id) == 0)
		return HALIBUT_OK;
	rc = hbt_stored_set_id(bson, len, s->msg->env.id, &doc, &len, err);
	if (rc == HALIBUT_OK)
		rc = read_message(s, doc, len, err);
	free(doc);
	return rc;
}

static void open_response(struct redis_send *s, const uint8_t *bson, size_t len)
{
	struct hbt_redis_node *n = s->node;
	struct halibut_error err = {.status = HALIBUT_OK};
	struct hbt_source *streams = NULL;
	int rc = read_message(s, bson, len, &err);

	if (rc == HALIBUT_OK)
		rc = set_id(s, bson, len, &err);
	if (rc == HALIBUT_OK)
		rc = hbt_store_load(&streams, n->store, s->response,
		                    s->metadata, s->metadata_len, NULL, NULL,
		                    &err);
	if (rc == HALIBUT_OK && streams != NULL &&
	    (rc = hbt_ahead_new(&s->ahead, n->base, streams, REDIS_READ_AHEAD,
	                        on_ahead, s)) != HALIBUT_OK)
		hbt_error_set(&err, rc, "out of memory");
	if (rc != HALIBUT_OK)
		unreadable(s, &err);
	else if (streams == NULL)
		answer(s, NULL);
	halibut_error_clear(&err);
}

static void on_unwrapped(void *arg, uint8_t *data, size_t len,
                         const struct halibut_error *err)
{
	struct redis_send *s = arg;

	s->wrapping = NULL;
	if (err != NULL)
		unreadable(s, err);
	else
		open_response(s, data, len);
	free(data);
}

static bool has_bytes(const redisReply *r)
{
	return r->type == REDIS_REPLY_STRING && r->len > 0;
}

/* The reply to an HMGET of both fields. */
static void read_response(struct redis_send *s, const redisReply *r)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	const redisReply *body = r->element[0], *metadata = r->element[1];
	uint8_t *data;

	redis_tidy(s->node, s->ref);
	note_collected(s);
	stop(s);
	s->stage = SEND_READS;
	free(s->metadata);
	s->metadata = NULL;
	s->metadata_len = 0;
	if (!has_bytes(body)) {
		hbt_error_set(&err, HALIBUT_EPROTO,
		              "it has no RequestMessageField");
		unreadable(s, &err);
		halibut_error_clear(&err);
		return;
	}
	data = malloc(body->len);
	if (has_bytes(metadata))
		s->metadata = malloc(metadata->len);
	if (data == NULL || (has_bytes(metadata) && s->metadata == NULL)) {
		free(data);
		hbt_error_set(&err, HALIBUT_ENOMEM, "out of memory");
		unreadable(s, &err);
		halibut_error_clear(&err);
		return;
	}
	memcpy(data, body->str, body->len);
	if (s->metadata != NULL) {
		memcpy(s->metadata, metadata->str, metadata->len);
		s->metadata_len = metadata->len;
	}
	hbt_unwrap(&s->wrapping, s->node->wrappers, data, body->len,
	           on_unwrapped, s);
}

static void look(struct redis_send *s);

static const char *why_silent(const struct redis_send *s)
{
	if (s->is_lost)
		return "The node that took the request is connected to Redis "
		       "and does not carry it: it could not read it. Look into "
		       "its log. A .NET node loses a request with types that "
		       "it does not know, which a client made for that "
		       "contract in its process registers, and one whose "
		       "DataStreams are in another kind of store than its own.";
	return s->heard ? "Its heart beats came until then, so it stopped or "
	                  "lost its connection to Redis. The service may have "
	                  "executed the request."
	                : "Not one heart beat came from the node that took the "
	                  "request: it died at once, or could not read it. Look "
	                  "into its log; a .NET node loses a request with types "
	                  "that it does not know, which a client made for that "
	                  "contract in its process registers.";
}

/* When a silent receiver is given up, whatever Redis does. */
static int64_t last_chance_end(const struct redis_send *s)
{
	const struct hbt_redis_times *t = &s->node->times;

	return s->heard_ms + t->receiver_gone_ms + t->retry_window_ms;
}

/*
 * Redis was away while the receiver was silent: it may not be back there yet,
 * with its beats and the response that it kept. When to look once more.
 */
static bool may_come_late(struct redis_send *s)
{
	int64_t back, end = last_chance_end(s);
	struct hbt_redis_state redis;

	hbt_redis_state(s->node->redis, &redis);
	back = redis.up_since_ms != 0 ? redis.up_since_ms : hbt_now_ms();
	if (s->is_lost || back <= s->heard_ms)
		return false;
	/* A beat may have been published before we listened again. */
	s->again_ms = back + s->node->times.heartbeat_interval_ms +
	              COMES_BACK_MS;
	if (s->again_ms > end)
		s->again_ms = end;
	return hbt_now_ms() < s->again_ms;
}

static void on_look(void *arg, redisReply **replies, size_t n,
                    const struct halibut_error *err)
{
	struct redis_send *s = arg;
	const redisReply *r = err == NULL ? replies[0] : NULL;

	(void)n;
	s->look = NULL;
	if (r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements == 2 &&
	    (has_bytes(r->element[0]) || has_bytes(r->element[1]))) {
		read_response(s, r);
		return;
	}
	if (s->look_again && (err == NULL || !s->last_chance ||
	                      hbt_now_ms() < last_chance_end(s))) {
		s->look_again = false;
		look(s);
		return;
	}
	if (s->last_chance && (err != NULL || !may_come_late(s))) {
		fail_with(s, HBT_REDIS_OFFLINE,
		          err != NULL ? err->message : why_silent(s), false);
		return;
	}
	set_due(s);
}

static void look(struct redis_send *s)
{
	struct hbt_redis_node *n = s->node;
	int64_t window = n->times.retry_window_ms;
	struct hbt_redis_name name;

	if (s->look != NULL) {
		s->look_again = true;
		return;
	}
	if (s->last_chance && last_chance_end(s) - hbt_now_ms() < window)
		window = last_chance_end(s) - hbt_now_ms();
	if ((s->look = hbt_redis_batch_new(n->redis)) == NULL)
		return;
	hbt_redis_batch_add(
		s->look, "HMGET %s %s %s",
		hbt_redis_name(&name, n->prefix, HBT_REDIS_RESPONSE, s->ref),
		HBT_REDIS_MESSAGE_FIELD, HBT_REDIS_STREAMS_FIELD);
	hbt_redis_batch_send(s->look, window > 0 ? window : 0, on_look, s);
}

void redis_send_pulse(struct redis_send *s)
{
	if (s->stage >= SEND_SUBMITS && s->stage <= SEND_COLLECTED)
		look(s);
}

static void on_pulse(struct hbt_redis_listener *l, const char *channel,
                     const char *payload, size_t len)
{
	struct redis_send *s =
		(struct redis_send *)((char *)l -
	                              offsetof(struct redis_send, pulse));

	(void)channel;
	(void)payload;
	(void)len;
	redis_send_pulse(s);
}

/* A response cannot be there before its request was: only a subscription that
 * comes later, or again, may have missed the pulse. */
static void on_pulse_established(struct hbt_redis_listener *l)
{
	struct redis_send *s =
		(struct redis_send *)((char *)l -
	                              offsetof(struct redis_send, pulse));

	if (s->stage >= SEND_WAITS)
		redis_send_pulse(s);
}

static void listen_to(struct redis_send *s)
{
	struct hbt_redis_name name;

	if (s->pulse.channel != NULL)
		return;
	s->pulse.message = on_pulse;
	s->pulse.established = on_pulse_established;
	/* Without memory for it, the looks by time remain. */
	(void)hbt_redis_listen(s->node->redis, &s->pulse,
	                       hbt_redis_name(&name, s->node->prefix,
	                                      HBT_REDIS_RESPONSE_PULSE,
	                                      s->ref),
	                       false);
}

/* ---- The watch over the receiver ---- */

static void on_beat(struct hbt_redis_listener *l, const char *channel,
                    const char *payload, size_t len)
{
	struct redis_send *s =
		(struct redis_send *)((char *)l -
	                              offsetof(struct redis_send, beats));

	(void)channel;
	s->heard_ms = hbt_now_ms();
	s->heard = true;
	s->last_chance = s->is_lost = false;
	redis_lost_stop(&s->lost);
	s->node->beats_in++;
	if (s->p->progress != NULL &&
	    hbt_beat_read(payload, len, s->p->progress, s->p) != HALIBUT_OK)
		log_debug("queue request %s: a heart beat makes no sense",
		          s->id);
}

static void watch_receiver(struct redis_send *s)
{
	struct hbt_redis_name name;

	if (s->beats.channel != NULL)
		return;
	s->heard_ms = hbt_now_ms();
	s->beats.message = on_beat;
	(void)hbt_redis_listen(s->node->redis, &s->beats,
	                       hbt_redis_name(&name, s->node->prefix,
	                                      HBT_REDIS_RECEIVER_BEAT,
	                                      s->ref),
	                       false);
}

/* The receiver is silent. Ends s, or leads to on_look(). */
static void last_look(struct redis_send *s)
{
	redis_lost_stop(&s->lost);
	s->last_chance = true;
	s->again_ms = INT64_MAX; /* until this look is back */
	s->look_again = false;
	look(s);
	if (s->look == NULL)
		fail_with(s, HBT_REDIS_OFFLINE, no_memory.message, false);
	else
		set_due(s);
}

static void on_lost_answer(struct redis_lost *l, bool is_lost)
{
	struct redis_send *s =
		(struct redis_send *)((char *)l -
	                              offsetof(struct redis_send, lost));

	if (is_lost && !s->last_chance &&
	    hbt_redis_is_established(&s->beats)) {
		s->is_lost = true;
		last_look(s);
	} else {
		set_due(s);
	}
}

void redis_send_taken_here(struct redis_send *s)
{
	if (s->stage < SEND_SUBMITS)
		return; /* its id's double */
	s->here = true;
	note_collected(s);
	if (s->stage == SEND_COLLECTED)
		set_due(s);
}

/* ---- Collected, or not? ---- */

static void push_again(struct redis_send *s)
{
	struct hbt_redis_node *n = s->node;
	struct hbt_redis_batch *b = hbt_redis_batch_new(n->redis);
	struct hbt_redis_name name;

	s->push_again = false;
	if (b == NULL)
		return;
	hbt_redis_name(&name, n->prefix, HBT_REDIS_LIST, s->queue->q.key);
	hbt_redis_batch_add(b, "RPUSH %s %s", name.text, s->id);
	redis_queue_pushed(s->queue, b, name.text);
	hbt_redis_batch_publish(b,
	                        hbt_redis_name(&name, n->prefix,
	                                       HBT_REDIS_PULSE,
	                                       s->queue->q.key),
	                        "{}", 2);
	hbt_redis_batch_send(b, 0, NULL, NULL);
}

static void check(struct redis_send *s);

/*
 * A request that is there while the list is empty: whoever popped its id died,
 * or lost Redis' reply, before it took the request. If not, and it is about
 * to, the second id finds nothing.
 */
static void on_check(void *arg, redisReply **replies, size_t n,
                     const struct halibut_error *err)
{
	struct redis_send *s = arg;

	s->check = NULL;
	if (s->stage != SEND_WAITS)
		return;
	if (err == NULL && replies[0]->integer == 0)
		redis_guard_suspect(s->node);
	if (err == NULL && replies[0]->integer == 0 && s->withdrawal == NULL)
		note_collected(s);
	else if (err == NULL && s->withdrawal == NULL &&
	         (s->push_again || (n > 1 && replies[1]->integer == 0)))
		push_again(s);
	if (err != NULL && !s->node->no_llen &&
	    strstr(err->message, "NOPERM") != NULL) {
		s->node->no_llen = true;
		check(s);
	}
	set_due(s);
}

static void check(struct redis_send *s)
{
	struct hbt_redis_node *n = s->node;
	struct hbt_redis_name name;

	if (s->check != NULL ||
	    (s->check = hbt_redis_batch_new(n->redis)) == NULL)
		return;
	hbt_redis_batch_add(
		s->check, "HEXISTS %s %s",
		hbt_redis_name(&name, n->prefix, HBT_REDIS_REQUEST, s->ref),
		HBT_REDIS_MESSAGE_FIELD);
	if (!n->no_llen)
		hbt_redis_batch_add(s->check, "LLEN %s",
		                    hbt_redis_name(&name, n->prefix,
		                                   HBT_REDIS_LIST,
		                                   s->queue->q.key));
	hbt_redis_batch_send(s->check, 0, on_check, s);
}

static void on_withdrawn(void *arg, redisReply **replies, size_t n,
                         const struct halibut_error *err)
{
	struct redis_send *s = arg;

	(void)n;
	s->withdrawal = NULL;
	if (err == NULL && replies[0]->integer == 1) {
		s->withdrawn = true;
		discard_streams(s);
	} else if (err == NULL) {
		note_collected(s);
	}
	if (s->wants_end)
		end_cancelled(s);
	else if (s->withdrawn)
		expire(s);
	else if (err != NULL)
		expire_unsure(s, err);
	else {
		look(s);
		set_due(s);
	}
}

/* Whoever deletes the request decides: us, or a receiver. s may be gone
 * afterwards. */
static void withdraw(struct redis_send *s)
{
	struct hbt_redis_node *n = s->node;
	struct hbt_redis_name name;

	if (s->withdrawal != NULL)
		return;
	if ((s->withdrawal = hbt_redis_batch_new(n->redis)) == NULL) {
		on_withdrawn(s, NULL, 0, &no_memory);
		return;
	}
	hbt_redis_batch_add(
		s->withdrawal, "UNLINK %s",
		hbt_redis_name(&name, n->prefix, HBT_REDIS_REQUEST, s->ref));
	hbt_redis_batch_send(s->withdrawal, n->times.retry_window_ms,
	                     on_withdrawn, s);
}

void redis_send_cancel(struct hbt_pending *p)
{
	struct redis_send *s = of_taker(p->taker);

	s->wants_end = true;
	if (s->stage < SEND_WAITS)
		hbt_pending_cancel(p);
	else if (s->collected)
		end_cancelled(s);
	else
		withdraw(s);
}

/* ---- Time ---- */

static int64_t pickup_end(const struct redis_send *s)
{
	if (s->p->queue_timeout_ms > INT64_MAX / 2)
		return INT64_MAX;
	return s->since_ms + s->p->queue_timeout_ms;
}

static void lower(int64_t *to, int64_t at)
{
	if (at < *to)
		*to = at;
}

/* When the receiver was silent for too long. */
static int64_t patience_end(const struct redis_send *s)
{
	return s->last_chance
	               ? s->again_ms
	               : s->heard_ms + s->node->times.receiver_gone_ms + 1;
}

static void set_due(struct redis_send *s)
{
	int64_t at = s->beat_ms;

	if (s->stage != SEND_WAITS && s->stage != SEND_COLLECTED)
		return;
	if (s->look == NULL)
		lower(&at, s->look_ms);
	if (s->stage == SEND_WAITS) {
		if (s->check == NULL)
			lower(&at, s->check_ms);
		if (!s->late)
			lower(&at, pickup_end(s));
	} else {
		watch_receiver(s);
		if (s->lost.batch == NULL)
			lower(&at, s->lost.at_ms);
		lower(&at, patience_end(s));
	}
	redis_due_set(s->node, &s->due, at);
}

static void on_time(struct redis_send *s, int64_t now)
{
	const struct hbt_redis_times *t = &s->node->times;

	if (now >= s->beat_ms) {
		redis_beat(s->node, &s->beat, HBT_REDIS_SENDER_BEAT, s->ref,
		           "{\"DataStreamProgress\":{}}");
		s->beat_ms = redis_beat_time(now + t->heartbeat_interval_ms);
	}
	if (now >= s->look_ms) {
		s->look_wait_ms += t->sweep_ms;
		if (s->look_wait_ms > LONGEST_POLL_MS)
			s->look_wait_ms = LONGEST_POLL_MS;
		s->look_ms = now + s->look_wait_ms;
		look(s);
	}
	if (s->stage == SEND_WAITS && !s->late && now >= pickup_end(s)) {
		s->late = true;
		set_due(s);
		withdraw(s);
		return;
	}
	if (s->stage == SEND_WAITS && now >= s->check_ms) {
		s->check_ms = now + t->sweep_ms;
		check(s);
	}
	if (s->stage == SEND_COLLECTED && now >= s->lost.at_ms)
		redis_lost_ask(&s->lost, s->node, s->queue->q.key, s->ref);
	if (s->stage == SEND_COLLECTED && now >= patience_end(s))
		last_look(s);
	else
		set_due(s);
}

/* ---- Into Redis ---- */

static void on_submitted(void *arg, redisReply **replies, size_t n,
                         const struct halibut_error *err)
{
	struct redis_send *s = arg;
	int64_t now = hbt_now_ms();

	s->batch = NULL;
	if (err == NULL) /* the pulse comes last */
		s->lost.listeners = replies[n - 1]->integer;
	if (err != NULL) {
		fail_with(s, HBT_REDIS_NOT_INSERTED, err->message, false);
		return;
	}
	s->stage = s->collected ? SEND_COLLECTED : SEND_WAITS;
	s->since_ms = now;
	s->check_ms = now + s->node->times.sweep_ms;
	lower(&s->check_ms, now + FIRST_CHECK_MS);
	s->look_wait_ms = s->node->times.sweep_ms;
	s->look_ms = now + s->look_wait_ms;
	set_due(s);
}

/* What is left of the time in which it must be in Redis. */
static int64_t window_left(const struct redis_send *s)
{
	int64_t left = s->since_ms + s->node->times.retry_window_ms -
	               hbt_now_ms();

	return left > 0 ? left : 0;
}

static void announce(struct redis_send *s)
{
	struct hbt_redis_node *n = s->node;
	const char *key = s->queue->q.key;
	struct hbt_redis_batch *b = hbt_redis_batch_new(n->redis);
	struct hbt_redis_name name;

	if (b == NULL) {
		fail_with(s, HBT_REDIS_NOT_INSERTED, "out of memory", false);
		return;
	}
	s->stage = SEND_SUBMITS;
	hbt_redis_name(&name, n->prefix, HBT_REDIS_LIST, key);
	hbt_redis_batch_add(b, "RPUSH %s %s", name.text, s->id);
	redis_queue_pushed(s->queue, b, name.text);
	hbt_redis_batch_publish(
		b, hbt_redis_name(&name, n->prefix, HBT_REDIS_PULSE, key),
		"{}", 2);
	s->batch = b;
	hbt_redis_batch_send(b, window_left(s), on_submitted, s);
}

static void on_stored(void *arg, redisReply **replies, size_t n,
                      const struct halibut_error *err)
{
	struct redis_send *s = arg;

	(void)replies;
	(void)n;
	s->batch = NULL;
	if (err != NULL)
		fail_with(s, HBT_REDIS_NOT_INSERTED, err->message, false);
	else
		announce(s);
}

/*
 * Its key first, and its id only once that is there: either part may be sent
 * again when the connection breaks. Both in one would bring back a request
 * that a receiver took while our connection broke, and execute it twice.
 */
static void submit(struct redis_send *s)
{
	struct hbt_redis_node *n = s->node;
	struct hbt_redis_batch *b;
	struct hbt_redis_name name;
	int64_t ttl = n->times.request_ttl_surcharge_ms;

	if (s->p->queue_timeout_ms < INT64_MAX / 2)
		ttl += s->p->queue_timeout_ms;
	else
		ttl = s->p->queue_timeout_ms;
	if ((b = hbt_redis_batch_new(n->redis)) == NULL) {
		fail_with(s, HBT_REDIS_NOT_INSERTED, "out of memory", false);
		return;
	}
	s->stage = SEND_STORES;
	s->since_ms = hbt_now_ms();
	s->beat_ms = redis_beat_time(s->since_ms +
	                             n->times.heartbeat_delay_ms);
	if (!n->use_pattern)
		listen_to(s);
	redis_add_message(
		b, hbt_redis_name(&name, n->prefix, HBT_REDIS_REQUEST, s->ref),
		s->body, s->body_len, s->metadata, s->metadata_len, ttl);
	free(s->body);
	s->body = NULL;
	s->batch = b;
	hbt_redis_batch_send(b, window_left(s), on_stored, s);
}

/* ---- Preparing ---- */

static void on_wrapped(void *arg, uint8_t *data, size_t len,
                       const struct halibut_error *err)
{
	struct redis_send *s = arg;

	s->wrapping = NULL;
	if (err != NULL) {
		fail_with(s, HBT_REDIS_NOT_PREPARED, err->message, false);
		return;
	}
	s->body = data;
	s->body_len = len;
	s->wrapped = true;
	if (s->saved)
		submit(s);
}

static void on_saved(void *arg, const uint8_t *metadata, size_t len,
                     const struct halibut_error *err)
{
	struct redis_send *s = arg;

	s->saving = NULL;
	if (err == NULL && len > 0 && (s->metadata = malloc(len)) == NULL) {
		fail_with(s, HBT_REDIS_NOT_PREPARED, "out of memory", false);
		return;
	}
	if (err != NULL) {
		fail_with(s, HBT_REDIS_NOT_PREPARED, err->message, false);
		return;
	}
	if (len > 0)
		memcpy(s->metadata, metadata, len);
	s->metadata_len = len;
	s->saved = true;
	if (s->wrapped)
		submit(s);
}

static int save_streams(struct redis_send *s)
{
	struct hbt_redis_node *n = s->node;
	struct hbt_source *streams = s->p->streams;
	struct hbt_sink *sink;
	int64_t ttl = n->times.request_ttl_surcharge_ms + STREAMS_TTL_MS;
	int rc;

	if (s->p->queue_timeout_ms < INT64_MAX / 2)
		ttl += s->p->queue_timeout_ms;
	rc = hbt_store_save(&s->saving, n->store, s->msg, ttl, &sink, on_saved,
	                    s);
	if (rc != HALIBUT_OK || sink == NULL)
		return rc;
	s->p->streams = NULL;
	assert(streams != NULL);
	return hbt_feed_new(&s->feed, n->base, streams, sink);
}

/* s may be gone afterwards. */
static void prepare(struct redis_send *s)
{
	struct hbt_redis_node *n = s->node;
	struct halibut_error err = {.status = HALIBUT_OK};
	uint8_t *bson;
	size_t len;

	s->stage = SEND_PREPARES;
	leave_fresh(s);
	redis_due_clear(n, &s->due);
	if (!s->msg->env.has_activity_id) {
		fail_with(s, HBT_REDIS_NOT_PREPARED,
		          "it has no activity id: its client is older than the "
		          "Redis queue",
		          false);
		return;
	}
	s->ref = hbt_redis_ref(s->queue->q.key, s->id);
	if (s->ref == NULL) {
		fail_with(s, HBT_REDIS_NOT_PREPARED, "out of memory", false);
		return;
	}
	if (redis_send_find(n, s->ref) != NULL) {
		fail_with(s, HBT_REDIS_NOT_PREPARED,
		          "a request with the same activity id is on its way",
		          false);
		return;
	}
	HASH_ADD_KEYPTR(hh, n->by_ref, s->ref, strlen(s->ref), s);
	if (hbt_stored_from_message(s->msg, n->limits->max_message_bytes,
	                            &bson, &len, &err) != HALIBUT_OK) {
		fail_with(s, HBT_REDIS_NOT_PREPARED, err.message, false);
		halibut_error_clear(&err);
		return;
	}
	if (save_streams(s) != HALIBUT_OK) {
		free(bson);
		fail_with(s, HBT_REDIS_NOT_PREPARED, "out of memory", false);
		return;
	}
	hbt_wrap(&s->wrapping, n->wrappers, bson, len, on_wrapped, s);
}

static void on_due(struct redis_due *due)
{
	struct redis_send *s =
		(struct redis_send *)((char *)due -
	                              offsetof(struct redis_send, due));
	int64_t now = hbt_now_ms();

	if (s->stage >= SEND_SUBMITS) {
		on_time(s, now);
	} else if (s->node->guard.watched) {
		redis_sends_guarded(s->node); /* in the order of their pushes */
	} else if (now - s->since_ms >= s->node->times.data_loss_wait_ms) {
		struct hbt_redis_state state;

		hbt_redis_state(s->node->redis, &state);
		fail_with(s, HBT_REDIS_NOT_WATCHED, state.last_error, false);
	} else {
		redis_due_set(s->node, &s->due,
		              s->since_ms + s->node->times.data_loss_wait_ms);
	}
}

bool redis_send_new(struct redis_queue *rq, struct hbt_pending *p)
{
	struct redis_send *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return false;
	s->node = rq->node;
	s->queue = rq;
	s->p = p;
	s->msg = hbt_message_ref(p->msg);
	s->taker.cancelled = on_cancelled;
	s->lost.at_ms = INT64_MAX;
	s->lost.answered = on_lost_answer;
	p->taker = &s->taker;
	hbt_guid_format(&p->msg->env.activity_id, s->id);
	TAILQ_INSERT_TAIL(&rq->sends, s, of_queue);
	s->fresh = true;
	TAILQ_INSERT_TAIL(&rq->node->fresh, s, of_node);
	rq->n_waiting++;
	rq->waiting_bytes += s->msg->deflated_len;
	rq->node->n_sending++;
	s->since_ms = hbt_now_ms();
	s->due.fn = on_due;
	/* From the loop: nothing may be heard of it before push returned. */
	redis_due_set(rq->node, &s->due, s->since_ms);
	return true;
}

/* ---- All of a node ---- */

struct redis_send *redis_send_find(struct hbt_redis_node *n, const char *ref)
{
	struct redis_send *s;

	HASH_FIND_STR(n->by_ref, ref, s);
	return s;
}

void redis_sends_guarded(struct hbt_redis_node *n)
{
	struct redis_send *s;

	while (n->guard.watched && (s = TAILQ_FIRST(&n->fresh)) != NULL)
		prepare(s);
}

/* Whoever is told may push or end others. */
static struct redis_send *first_unanswered(struct hbt_redis_node *n)
{
	struct redis_send *s;

	TAILQ_FOREACH(s, &n->sends, of_node) {
		if (s->p != NULL)
			return s;
	}
	return NULL;
}

void redis_sends_lost(struct hbt_redis_node *n)
{
	struct redis_send *s;

	while ((s = first_unanswered(n)) != NULL)
		fail_with(s, HBT_REDIS_DATA_LOST, NULL,
		          s->stage >= SEND_SUBMITS);
}

void redis_sends_look(struct hbt_redis_node *n)
{
	struct redis_send *s;

	TAILQ_FOREACH(s, &n->sends, of_node) {
		if (s->stage != SEND_WAITS && s->stage != SEND_COLLECTED)
			continue;
		look(s);
		/* A reply to a receiver's LPOP may have been lost. */
		if (s->stage == SEND_WAITS && s->withdrawal == NULL) {
			s->push_again = true;
			check(s);
		}
	}
}

void redis_sends_listen(struct hbt_redis_node *n)
{
	struct redis_send *s;

	TAILQ_FOREACH(s, &n->sends, of_node) {
		if (s->stage >= SEND_STORES && s->stage <= SEND_COLLECTED)
			listen_to(s);
	}
}

void redis_sends_free(struct hbt_redis_node *n)
{
	struct redis_send *s;

	while ((s = TAILQ_FIRST(&n->fresh)) != NULL)
		destroy(s);
	while ((s = TAILQ_FIRST(&n->sends)) != NULL)
		destroy(s);
}
