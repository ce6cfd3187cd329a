/*
 * The response to a request that went through Redis, as its key holds it: read,
 * and given to who waits for it. redis-queue 6
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "queue/ahead.h"
#include "queue/redis_send.h"
#include "wire/stored.h"

static void unreadable(struct redis_send *s, const struct halibut_error *err)
{
	log_limited("unreadable response", HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "message_unreadable", .activity = s->id,
	                      .reason = err->message,
	                      .remedy = "the same wrappers and streams on all "
	                                "nodes"),
	            "queue request %s: its response cannot be read: %s", s->id,
	            err->message);
	redis_send_fail(s, HBT_REDIS_UNREADABLE, err->message, false);
}

static void answer(struct redis_send *s, struct hbt_source *streams)
{
	struct hbt_message *msg = s->response;

	s->response = NULL;
	hbt_pending_answer(s->p, msg, streams, NULL);
	redis_send_farewell(s, false);
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

bool redis_send_read(struct redis_send *s, const redisReply *fields)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	uint8_t *data;
	size_t len;

	if (fields->type != REDIS_REPLY_ARRAY || fields->elements != 2 ||
	    (!has_bytes(fields->element[0]) && !has_bytes(fields->element[1])))
		return false;
	redis_tidy(s->node, s->ref);
	redis_send_note_collected(s);
	redis_list_popped(s->queue, &s->list_round, s->since_ms);
	redis_send_stop(s);
	s->stage = SEND_READS;
	free(s->metadata);
	if (redis_read_message(fields, &data, &len, &s->metadata,
	                       &s->metadata_len, &err) == HALIBUT_OK)
		hbt_unwrap(&s->wrapping, s->node->wrappers, data, len,
		           on_unwrapped, s);
	else
		unreadable(s, &err);
	halibut_error_clear(&err);
	return true;
}
