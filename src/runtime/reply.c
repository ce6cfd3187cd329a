/* Answers of a handler to its request. runtime-behaviour 6.4, 6.5 */
#include "runtime/service.h"
#include "runtime/value.h"
#include "wire/compose.h"

/* Takes the streams over, whatever becomes of the reply. */
static int take_streams(struct hbt_streams *set,
                        struct halibut_stream *const *streams, size_t n)
{
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		struct halibut_stream *s = streams[i];

		if (rc == 0)
			rc = hbt_streams_add(set, s);
		else
			halibut_stream_free(&s);
	}
	return rc;
}

static int compose(struct halibut_request *req, const bson_t *result,
                   const struct hbt_streams *set, struct hbt_message **m,
                   struct halibut_error *err)
{
	bson_t doc = BSON_INITIALIZER;
	int rc = hbt_compose_response(req->msg->env.id, result, &doc);

	if (rc == 0)
		rc = hbt_message_from_bson(hbt_deflater_shared(),
		                           bson_get_data(&doc), doc.len, m,
		                           err);
	else
		hbt_error_set(err, rc, "the response cannot be composed");
	bson_destroy(&doc);
	if (rc != 0 || hbt_streams_match(set, &(*m)->env))
		return rc;
	hbt_message_unref(m);
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "%zu DataStreams were given with the result, but "
	                     "it contains others, or in another order",
	                     set->n);
}

/* Both forms of a reply meet here; result is NULL for void. */
static int reply(struct halibut_request *req, const bson_t *result,
                 struct hbt_streams *set, int rc, struct halibut_error *err)
{
	struct halibut_error local = {0};
	struct hbt_source *source = NULL;
	struct hbt_message *m = NULL;
	const struct hbt_way_back *back = req->back;
	void *back_arg = req->back_arg;

	if (err == NULL)
		err = &local;
	if (rc == 0)
		rc = compose(req, result, set, &m, err);
	if (rc == 0 && set->n > 0)
		rc = hbt_streams_source(&source, set);
	if (rc == 0) {
		hbt_request_free(req);
		if (back != NULL)
			back->answer(back_arg, m, source);
		else
			hbt_source_free(&source);
	} else {
		hbt_streams_fini(set);
		if (err->status == HALIBUT_OK)
			hbt_error_set(err, rc, "out of memory");
		halibut_reply_error(req, err->message, NULL);
	}
	hbt_message_unref(&m);
	halibut_error_clear(&local);
	return rc;
}

int halibut_reply_json(struct halibut_request *req, const char *json,
                       struct halibut_stream *const *streams, size_t n,
                       struct halibut_error *err)
{
	struct hbt_streams set = {0};
	bson_t result = BSON_INITIALIZER;
	int rc = take_streams(&set, streams, n);

	if (rc == 0 && json != NULL)
		rc = hbt_value_append_json(&result, "result", json, &set, err);
	rc = reply(req, json == NULL ? NULL : &result, &set, rc, err);
	bson_destroy(&result);
	return rc;
}

int halibut_reply_bson(struct halibut_request *req, const uint8_t *doc,
                       size_t len, struct halibut_stream *const *streams,
                       size_t n, struct halibut_error *err)
{
	struct hbt_streams set = {0};
	bson_t result;
	int rc = take_streams(&set, streams, n);

	if (rc == 0 && doc != NULL && !bson_init_static(&result, doc, len))
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "the result is no BSON document");
	return reply(req, doc == NULL ? NULL : &result, &set, rc, err);
}

void halibut_reply_error(struct halibut_request *req, const char *message,
                         const char *details)
{
	struct halibut_error err = {0};

	hbt_error_set(&err, HALIBUT_EINVOCATION, "%s", message);
	if (details != NULL)
		err.details = strdup(details);
	hbt_request_fail(req, &err);
	halibut_error_clear(&err);
}
