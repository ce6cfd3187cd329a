/*
 * The response to a request that was taken out of Redis: stored, announced, and
 * with it the end. redis-queue 7
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "queue/ahead.h"
#include "queue/pump.h"
#include "queue/redis_receive.h"
#include "wire/compose.h"
#include "wire/stored.h"

/* How long a sender may take to read a response's DataStreams, beyond the
 * response's own time-to-live. */
#define STREAMS_TTL_MS ((int64_t)3600 * 1000)
/* How long a response is tried to be written while Redis is gone: 4. */
#define WRITE_WINDOW_MS 600000

/* ---- The end ---- */

void redis_receive_leave_queue(struct redis_receive *r)
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

void redis_receive_destroy(struct redis_receive *r)
{
	struct hbt_redis_node *n = r->node;

	assert(r->p.state == HBT_PENDING_IDLE);
	redis_receive_leave_queue(r);
	redis_receive_stop_watching(r);
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
	redis_receive_destroy(r);
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
		redis_receive_destroy(r);
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
		redis_receive_destroy(r);
		return;
	}
	hbt_error_copy(&why, err);
	hbt_error_prefix(&why,
	                 "The response could not be put into the queue: ");
	redis_receive_respond_error(r, &why);
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

void redis_receive_respond(struct redis_receive *r, struct hbt_message *msg,
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
	redis_receive_set_due(r);
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

void redis_receive_respond_error(struct redis_receive *r,
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
		redis_receive_destroy(r);
		return;
	}
	redis_receive_respond(r, msg, NULL, &none);
}

void redis_receive_respond_failure(struct redis_receive *r,
                                   enum hbt_redis_failure what,
                                   const char *cause)
{
	struct halibut_error err = {.status = HALIBUT_OK};

	hbt_redis_error(&err, what, r->id, cause);
	redis_receive_respond_error(r, &err);
	halibut_error_clear(&err);
}
