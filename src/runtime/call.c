/* A call that this program makes. runtime-behaviour 1.3 */
#include <stdlib.h>
#include <string.h>

#include "base/uri.h"
#include "queue/pump.h"
#include "runtime/loop.h"
#include "runtime/runtime.h"
#include "runtime/streams.h"
#include "runtime/uploads.h"
#include "runtime/value.h"
#include "wire/compose.h"

struct halibut_call {
	struct halibut_runtime *rt; /* NULL once the runtime is gone */
	struct hbt_endpoint endpoint;
	char *service, *method;
	bson_t *params;
	uint32_t n_params;
	struct hbt_streams sending;
	struct hbt_uploads uploads; /* of those that go through Redis */
	struct hbt_pending pending;
	bool started, in_flight, is_done;
	struct event *done_event; /* callbacks come from the loop */
	halibut_call_fn done;
	void *done_arg;

	struct hbt_message *response;
	struct hbt_streams_sink *receiving;
	struct hbt_streams received;
	uint8_t *bson;
	size_t bson_len;
	struct halibut_error error;
	LIST_ENTRY(halibut_call) link; /* as long as rt is there */
};

static void finish(struct halibut_call *call)
{
	call->in_flight = false;
	event_active(call->done_event, EV_TIMEOUT, 0);
}

static void tell_done(struct halibut_call *call)
{
	if (call->is_done)
		return;
	call->is_done = true;
	hbt_uploads_end(&call->uploads);
	if (call->done != NULL)
		call->done(call->done_arg, call);
}

static void on_done(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	tell_done(arg);
}

/* The response is complete: what does it say? */
static void conclude(struct halibut_call *call)
{
	bson_iter_t result;
	bool found;
	int rc;

	rc = hbt_message_to_bson(call->response,
	                         call->rt->limits.max_message_bytes,
	                         &call->bson, &call->bson_len);
	if (rc != 0)
		hbt_error_set(&call->error, rc, "the response of %s is unreadable",
		              call->endpoint.url);
	else
		hbt_response_outcome(call->bson, call->bson_len, &result,
		                     &found, &call->error);
	hbt_message_unref(&call->response);
	finish(call);
}

static void streams_done(void *arg, struct hbt_streams *set,
                         const struct halibut_error *err)
{
	struct halibut_call *call = arg;

	call->receiving = NULL;
	if (err != NULL) {
		hbt_error_copy(&call->error, err);
		hbt_error_prefix(&call->error,
		                 "An error occurred when sending a request to "
		                 "'%s', after the request began: ",
		                 call->endpoint.url);
		hbt_message_unref(&call->response);
		finish(call);
		return;
	}
	call->received = *set;
	memset(set, 0, sizeof(*set));
	conclude(call);
}

static void receive_streams(struct halibut_call *call,
                            struct hbt_source *streams, struct hbt_sink **sink)
{
	struct hbt_sink *mine;

	if (hbt_streams_sink_new(&call->receiving, call->response,
	                         streams_done, call) != 0) {
		hbt_error_set(&call->error, HALIBUT_ENOMEM, "out of memory");
		hbt_source_free(&streams);
		if (sink != NULL)
			*sink = hbt_discard_sink();
		finish(call);
		return;
	}
	mine = hbt_streams_sink_base(call->receiving);
	if (streams == NULL)
		*sink = mine;
	else
		hbt_feed_new(NULL, call->rt->base, streams, mine);
}

static struct halibut_call *of_pending(struct hbt_pending *p)
{
	return (struct halibut_call *)((char *)p - offsetof(struct halibut_call,
	                                                    pending));
}

static void answered(struct hbt_pending *p, struct hbt_message *msg,
                     struct hbt_source *streams, struct hbt_sink **sink)
{
	struct halibut_call *call = of_pending(p);

	call->response = msg;
	if (msg->env.n_streams > 0)
		receive_streams(call, streams, sink);
	else
		conclude(call);
}

static void failed(struct hbt_pending *p, const struct halibut_error *err)
{
	struct halibut_call *call = of_pending(p);

	hbt_error_copy(&call->error, err);
	finish(call);
}

int halibut_call_new(struct halibut_call **out, struct halibut_runtime *rt,
                     const struct halibut_endpoint *e, const char *service,
                     const char *method, struct halibut_error *err)
{
	struct halibut_call *call = calloc(1, sizeof(*call));

	*out = NULL;
	if (call == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	LIST_INSERT_HEAD(&rt->calls, call, link);
	call->params = bson_new();
	call->rt = rt;
	call->service = strdup(service);
	call->method = strdup(method);
	call->done_event = event_new(rt->base, -1, 0, on_done, call);
	if (call->service == NULL || call->method == NULL ||
	    call->done_event == NULL ||
	    hbt_endpoint_copy(&call->endpoint, &e->e) != 0) {
		halibut_call_free(&call);
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	}
	*out = call;
	return 0;
}

static const char *next_key(const struct halibut_call *call, char key[16])
{
	const char *text;

	bson_uint32_to_string(call->n_params, &text, key, 16);
	return text;
}

int halibut_call_add_json(struct halibut_call *call, const char *json,
                          struct halibut_error *err)
{
	char key[16];
	int rc = hbt_value_append_json(call->params, next_key(call, key), json,
	                               &call->sending, err);

	if (rc == 0)
		call->n_params++;
	return rc;
}

int halibut_call_add_bson(struct halibut_call *call, const uint8_t *doc,
                          size_t len, struct halibut_error *err)
{
	char key[16];
	int rc = hbt_value_append_bson(call->params, next_key(call, key), doc,
	                               len, err);

	if (rc == 0)
		call->n_params++;
	return rc;
}

int halibut_call_add_stream(struct halibut_call *call,
                            struct halibut_stream *s, bool as_argument,
                            struct halibut_error *err)
{
	char json[48];
	int rc = hbt_streams_add(&call->sending, s);

	if (rc != 0)
		return hbt_error_set(err, rc,
		                     "the DataStream is part of another call "
		                     "already, or memory is short");
	if (!as_argument)
		return 0;
	snprintf(json, sizeof(json), "{\"$dataStream\":%zu}",
	         call->sending.n - 1);
	return halibut_call_add_json(call, json, err);
}

static int compose(struct halibut_call *call, struct halibut_error *err)
{
	struct hbt_limits limits = call->rt->limits;
	const char *expected = call->endpoint.thumbprint;
	/* The first, if any of several will do. */
	char *thumbprint = expected != NULL
	                           ? strndup(expected, HBT_THUMBPRINT_TEXT - 1)
	                           : NULL;
	struct hbt_request_parts parts = {
		.activity_id = hbt_guid_new(),
		.destination = call->endpoint.url,
		.thumbprint = thumbprint,
		.limits = &limits,
		.service = call->service,
		.method = call->method,
		.params = call->params,
	};
	bson_t doc = BSON_INITIALIZER;
	char *id;
	int rc;

	limits.polling_request_queue_timeout_ms =
		call->endpoint.queue_timeout_ms;
	id = hbt_request_id(call->service, call->method,
	                    ++call->rt->calls_made, &parts.activity_id);
	parts.id = id;
	rc = id == NULL ? HALIBUT_ENOMEM : hbt_compose_request(&parts, &doc);
	if (rc == 0)
		rc = hbt_message_from_bson(hbt_deflater_shared(),
		                           bson_get_data(&doc), doc.len,
		                           &call->pending.msg, err);
	else
		hbt_error_set(err, rc, "the request cannot be composed");
	bson_destroy(&doc);
	free(thumbprint);
	free(id);
	return rc;
}

static int check_streams(const struct halibut_call *call,
                         struct halibut_error *err)
{
	const struct hbt_envelope *env = &call->pending.msg->env;

	if (hbt_streams_match(&call->sending, env))
		return 0;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "%zu DataStreams were added to the call, but its "
	                     "arguments contain %zu, or in another order",
	                     call->sending.n, env->n_streams);
}

/* 1.3, step 5. */
static int dispatch(struct halibut_call *call, struct halibut_error *err)
{
	struct hbt_queue *q;

	if (strncmp(call->endpoint.key, "https:", 6) == 0)
		return hbt_dialler_call(call->rt->dialler, &call->endpoint,
		                        &call->pending);
	q = hbt_switchboard_queue(call->rt->switchboard, call->endpoint.key);
	if (q == NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "%s: the scheme of an endpoint is one of "
		                     "https, poll and queue",
		                     call->endpoint.url);
	hbt_queue_push(q, &call->pending);
	return 0;
}

static void progressed(void *p, const struct hbt_guid *stream, int64_t sent)
{
	hbt_uploads_progress(&of_pending(p)->uploads, stream, sent);
}

/* Through Redis, what leaves this process is not what the service has. */
static int watch_uploads(struct halibut_call *call)
{
	if (call->rt->redis == NULL ||
	    strncmp(call->endpoint.key, "https:", 6) == 0)
		return HALIBUT_OK;
	call->pending.progress = progressed;
	return hbt_uploads_take(&call->uploads, &call->sending);
}

int halibut_call_start(struct halibut_call *call, halibut_call_fn done,
                       void *arg)
{
	struct halibut_error *err = &call->error;
	int rc;

	if (call->rt == NULL || call->rt->ending)
		return HALIBUT_ESHUTDOWN;
	if (call->started)
		return HALIBUT_EINVAL;
	call->started = true;
	call->done = done;
	call->done_arg = arg;
	call->pending.answered = answered;
	call->pending.failed = failed;
	call->pending.queue_timeout_ms = call->endpoint.queue_timeout_ms;
	rc = compose(call, err);
	if (rc == 0)
		rc = check_streams(call, err);
	if (rc == 0 && call->sending.n > 0)
		rc = watch_uploads(call);
	if (rc == 0 && call->sending.n > 0)
		rc = hbt_streams_source(&call->pending.streams, &call->sending);
	if (rc == 0) {
		call->in_flight = true;
		rc = dispatch(call, err);
	}
	if (rc == 0)
		return 0;
	if (err->status == HALIBUT_OK)
		hbt_error_set(err, rc, "out of memory");
	finish(call); /* done() tells it, as it tells everything */
	return 0;
}

/* No answer is awaited any more; the wait ends with why. */
static void give_up(struct halibut_call *call)
{
	if (!call->in_flight)
		return;
	if (call->receiving != NULL) {
		hbt_streams_sink_forget(call->receiving);
		call->receiving = NULL;
		hbt_message_unref(&call->response);
		hbt_error_set(&call->error, HALIBUT_ETRANSFERRING_CANCELLED,
		              "The request was cancelled while its response was "
		              "being received");
		finish(call);
		return;
	}
	hbt_pending_cancel(&call->pending); /* failed() follows inside */
}

int halibut_call_wait(struct halibut_call *call)
{
	struct event_base *base;
	int rc;

	if (call->is_done)
		return (int)call->error.status;
	if (!call->started && (rc = halibut_call_start(call, NULL, NULL)) != 0)
		return rc;
	base = call->rt->base;
	while ((rc = hbt_loop_until(base, &call->is_done)) != HALIBUT_OK) {
		give_up(call);
		if (rc == HALIBUT_EINVAL)
			return rc;
	}
	return (int)call->error.status;
}

void halibut_call_cancel(struct halibut_call *call)
{
	if (!call->started || call->is_done)
		return;
	if (call->receiving != NULL || !call->in_flight)
		give_up(call);
	else
		hbt_pending_cancel_soon(&call->pending);
}

void hbt_calls_end(struct halibut_runtime *rt)
{
	struct halibut_call *call;

	rt->ending = true; /* done() may not start the next one */
	while ((call = LIST_FIRST(&rt->calls)) != NULL) {
		LIST_REMOVE(call, link);
		give_up(call);
		event_free(call->done_event); /* before the loop goes */
		call->done_event = NULL;
		call->rt = NULL;
		if (call->started)
			tell_done(call);
	}
}

const struct halibut_error *halibut_call_error(const struct halibut_call *call)
{
	return &call->error;
}

char *halibut_call_result_json(const struct halibut_call *call)
{
	struct halibut_error err = {0};
	size_t next_stream = 0;
	bson_iter_t result;
	bool found = false;
	int rc;

	if (call->bson == NULL)
		return NULL;
	rc = hbt_response_outcome(call->bson, call->bson_len, &result, &found,
	                          &err);
	halibut_error_clear(&err);
	if (rc != 0)
		return NULL;
	return found ? hbt_value_to_json(&result, &next_stream)
	             : strdup("null");
}

const uint8_t *halibut_call_response_bson(const struct halibut_call *call,
                                          size_t *len)
{
	*len = call->bson_len;
	return call->bson;
}

size_t halibut_call_streams(const struct halibut_call *call)
{
	return call->received.n;
}

struct halibut_stream *halibut_call_stream(const struct halibut_call *call,
                                           size_t index)
{
	return index < call->received.n ? call->received.all[index] : NULL;
}

void halibut_call_free(struct halibut_call **cp)
{
	struct halibut_call *call = *cp;

	if (call == NULL)
		return;
	*cp = NULL;
	if (call->started && !call->is_done) {
		call->done = NULL;
		give_up(call);
		tell_done(call);
	}
	if (call->rt != NULL)
		LIST_REMOVE(call, link);
	if (call->done_event != NULL)
		event_free(call->done_event);
	hbt_pending_fini(&call->pending);
	hbt_message_unref(&call->response);
	hbt_streams_fini(&call->sending);
	hbt_streams_fini(&call->received);
	bson_destroy(call->params);
	hbt_endpoint_fini(&call->endpoint);
	halibut_error_clear(&call->error);
	free(call->service);
	free(call->method);
	free(call->bson);
	free(call);
}
