/*
 * A request's way into Redis: its document wrapped, its DataStreams saved, its
 * key stored, and then its id pushed. redis-queue 6
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/timespan.h"
#include "queue/pump.h"
#include "queue/redis_send.h"
#include "wire/stored.h"

/* How long a receiver may take to read a DataStream, beyond the time until
 * the request is collected. */
#define STREAMS_TTL_MS ((int64_t)3600 * 1000)

/* ---- Into Redis ---- */

static void on_submitted(void *arg, redisReply **replies, size_t n,
                         const struct halibut_error *err)
{
	struct redis_send *s = arg;
	bool repeated = hbt_redis_batch_was_repeated(s->batch);
	int64_t listeners;

	s->batch = NULL;
	if (err != NULL) {
		redis_send_fail(s, HBT_REDIS_NOT_INSERTED, err->message, false);
		return;
	}
	/* The pulse comes last, before it perhaps an expiry. */
	listeners = replies[n - 1]->integer;
	redis_list_pushed(s->queue, &s->list_round, listeners > 0,
	                  n > 2 || (listeners > 0 && !repeated));
	redis_send_watch(s, listeners);
}

/* What is left of the time in which it must be in Redis. */
static int64_t window_left(const struct redis_send *s)
{
	int64_t left =
		s->since_ms + s->node->times.retry_window_ms - hbt_now_ms();

	return left > 0 ? left : 0;
}

static void announce(struct redis_send *s)
{
	struct hbt_redis_node *n = s->node;
	const char *key = s->queue->q.key;
	struct hbt_redis_batch *b = hbt_redis_batch_new(n->redis);
	struct hbt_redis_name name;

	if (b == NULL) {
		redis_send_fail(s, HBT_REDIS_NOT_INSERTED, "out of memory",
		                false);
		return;
	}
	s->stage = SEND_SUBMITS;
	hbt_redis_name(&name, n->prefix, HBT_REDIS_LIST, key);
	hbt_redis_batch_add(b, "RPUSH %s %s", name.text, s->id);
	redis_list_pushing(s->queue, b, name.text, &s->list_round);
	hbt_redis_batch_publish(
		b, hbt_redis_name(&name, n->prefix, HBT_REDIS_PULSE, key), "{}",
		2);
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
		redis_send_fail(s, HBT_REDIS_NOT_INSERTED, err->message, false);
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
		redis_send_fail(s, HBT_REDIS_NOT_INSERTED, "out of memory",
		                false);
		return;
	}
	s->stage = SEND_STORES;
	s->since_ms = hbt_now_ms();
	s->beat_ms = redis_beat_time(s->since_ms + n->times.heartbeat_delay_ms);
	if (!redis_hears_responses(n))
		redis_send_listen(s);
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
		redis_send_fail(s, HBT_REDIS_NOT_PREPARED, err->message, false);
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
		redis_send_fail(s, HBT_REDIS_NOT_PREPARED, "out of memory",
		                false);
		return;
	}
	if (err != NULL) {
		redis_send_fail(s, HBT_REDIS_NOT_PREPARED, err->message, false);
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

struct redis_send *redis_send_find(struct hbt_redis_node *n, const char *ref)
{
	struct redis_send *s;

	HASH_FIND_STR(n->by_ref, ref, s);
	return s;
}

void redis_send_prepare(struct redis_send *s)
{
	struct hbt_redis_node *n = s->node;
	struct halibut_error err = {.status = HALIBUT_OK};
	uint8_t *bson;
	size_t len;

	s->stage = SEND_PREPARES;
	redis_send_leave_fresh(s);
	redis_due_clear(n, &s->due);
	if (!s->msg->env.has_activity_id) {
		redis_send_fail(
			s, HBT_REDIS_NOT_PREPARED,
			"it has no activity id: its client is older than the "
			"Redis queue",
			false);
		return;
	}
	s->ref = hbt_redis_ref(s->queue->q.key, s->id);
	if (s->ref == NULL) {
		redis_send_fail(s, HBT_REDIS_NOT_PREPARED, "out of memory",
		                false);
		return;
	}
	if (redis_send_find(n, s->ref) != NULL) {
		redis_send_fail(
			s, HBT_REDIS_NOT_PREPARED,
			"a request with the same activity id is on its way",
			false);
		return;
	}
	HASH_ADD_KEYPTR(hh, n->by_ref, s->ref, strlen(s->ref), s);
	if (s->hh.tbl == NULL) {
		redis_send_fail(s, HBT_REDIS_NOT_PREPARED, "out of memory",
		                false);
		return;
	}
	if (hbt_stored_from_message(s->msg, n->limits->max_message_bytes, &bson,
	                            &len, &err) != HALIBUT_OK) {
		redis_send_fail(s, HBT_REDIS_NOT_PREPARED, err.message, false);
		halibut_error_clear(&err);
		return;
	}
	if (save_streams(s) != HALIBUT_OK) {
		free(bson);
		redis_send_fail(s, HBT_REDIS_NOT_PREPARED, "out of memory",
		                false);
		return;
	}
	hbt_wrap(&s->wrapping, n->wrappers, bson, len, on_wrapped, s);
}
