/* Halibut messages and JSON-RPC lines: see convert.h. */
#include "convert.h"

#include <bson/bson.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base64.h"
#include "wire/compose.h"
#include "wire/json.h"
#include "bounds.h"

/* By these words clients know that it was the service's code. 10.2, 10.3 */
#define INVOCATION                                                             \
	"System.Reflection.TargetInvocationException: Exception has been "    \
	"thrown by the target of an invocation."

#define JSON_RPC_METHOD_NOT_FOUND (-32601)

int hbt_svc_invocation_error(struct halibut_error *err, const char *details,
                             const char *fmt, ...)
{
	char *message = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&message, fmt, ap);
	va_end(ap);
	hbt_error_set(err, HALIBUT_EINVOCATION, "%s",
	              n < 0 ? "out of memory" : message);
	if (n >= 0)
		free(message);
	if (asprintf(&err->details, "%s\n ---> %s", INVOCATION,
	             details != NULL ? details : err->message) < 0)
		err->details = NULL;
	return HALIBUT_EINVOCATION;
}

/* Requests */

/* By id and not by index: one stream may stand in several places. */
static json_t *file_json(void *arg, size_t index,
                         const struct hbt_stream_ref *ref)
{
	const struct hbt_svc_request *request = arg;
	const struct hbt_svc_file *f = request->files;
	size_t n = request->files == NULL ? 0 : request->message->env.n_streams;

	(void)index;
	for (size_t i = 0; i < n; i++, f++) {
		if (f->path != NULL &&
		    memcmp(&f->id, &ref->id, sizeof(ref->id)) == 0)
			return json_pack("{s:{s:s,s:I}}", "$dataStream",
			                 "path", f->path, "length",
			                 (json_int_t)f->length);
	}
	return NULL;
}

static int params_json(const struct hbt_svc_request *request,
                       const uint8_t *bson, size_t len, json_t **params,
                       struct halibut_error *err)
{
	size_t next_stream = 0;
	bson_iter_t it;
	bson_t doc;
	int rc;

	rc = hbt_request_params(bson, len, &doc);
	if (rc != HALIBUT_OK)
		return hbt_error_set(err, rc, "The request has no readable "
		                              "arguments.");
	if ((*params = json_array()) == NULL || !bson_iter_init(&it, &doc))
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	while (bson_iter_next(&it)) {
		json_t *value = NULL;

		rc = hbt_json_from_bson(&it, &value, &next_stream, file_json,
		                        (void *)request, err);
		if (rc != HALIBUT_OK)
			return rc;
		if (json_array_append_new(*params, value) != 0)
			return hbt_error_set(err, HALIBUT_ENOMEM,
			                     "out of memory");
	}
	return HALIBUT_OK;
}

static json_t *request_json(const struct hbt_svc_request *request,
                            json_t *params)
{
	const struct hbt_envelope *env = &request->message->env;
	char activity[HBT_GUID_TEXT] = "";

	if (env->has_activity_id)
		hbt_guid_format(&env->activity_id, activity);
	return json_pack("{s:s,s:I,s:s?,s:O,s:s?,s:s?,s:s?,s:s}", "jsonrpc",
	                 "2.0", "id", (json_int_t)request->id, "method",
	                 env->method, "params", params, "service",
	                 env->service, "activityId",
	                 env->has_activity_id ? activity : NULL, "requestId",
	                 env->id, "directory", request->directory);
}

int hbt_svc_request_line(const struct hbt_svc_request *request, char **line,
                         size_t *len, struct halibut_error *err)
{
	json_t *params = NULL, *root = NULL;
	uint8_t *bson = NULL;
	size_t bson_len;
	char *text = NULL;
	int rc;

	*line = NULL;
	rc = hbt_message_to_bson(request->message, request->max_message_bytes,
	                         &bson, &bson_len);
	if (rc != HALIBUT_OK) {
		hbt_error_set(err, rc, "The request cannot be inflated: %s",
		              halibut_strerror(rc));
		goto out;
	}
	rc = params_json(request, bson, bson_len, &params, err);
	if (rc != HALIBUT_OK)
		goto out;
	rc = HALIBUT_ENOMEM;
	if ((root = request_json(request, params)) == NULL ||
	    (text = json_dumps(root, JSON_COMPACT)) == NULL) {
		/* Text that is not UTF-8 has no form in JSON either. */
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "The request cannot be told in JSON: a "
		                   "text in it is not UTF-8, or memory is "
		                   "short.");
		goto out;
	}
	*len = strlen(text);
	text[(*len)++] = '\n'; /* in place of the terminator */
	*line = text;
	rc = HALIBUT_OK;
out:
	json_decref(root);
	json_decref(params);
	free(bson);
	return rc;
}

/* Answers */

struct gatherer {
	const char *directory;
	struct hbt_svc_answer *answer;
	size_t cap;
	struct halibut_error *err;
};

static int bad_stream(struct gatherer *g, const char *what)
{
	return hbt_svc_invocation_error(
		g->err, NULL,
		"The service program answered with a DataStream that %s. "
		"Give {\"$dataStream\": {\"path\": FILE}}, {\"text\": ...} or "
		"{\"base64\": ...} instead.",
		what);
}

static int open_stream(struct gatherer *g, const char *path,
                       struct hbt_svc_stream *s)
{
	char *full = NULL;
	struct stat st;

	if (path[0] != '/' &&
	    asprintf(&full, "%s/%s", g->directory, path) < 0)
		return hbt_error_set(g->err, HALIBUT_ENOMEM, "out of memory");
	/* Non-blocking, lest a FIFO holds us up. */
	s->fd = open(full != NULL ? full : path,
	             O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	free(full);
	if (s->fd < 0 || fstat(s->fd, &st) != 0)
		return hbt_svc_invocation_error(
			g->err, NULL,
			"The service program answered with a DataStream in "
			"the file %s, which cannot be opened: %s",
			path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return bad_stream(g, "is not a regular file");
	s->length = (int64_t)st.st_size;
	return HALIBUT_OK;
}

static int fill_stream(struct gatherer *g, const json_t *spec,
                       struct hbt_svc_stream *s)
{
	const json_t *path = json_object_get(spec, "path");
	const json_t *text = json_object_get(spec, "text");
	const json_t *base64 = json_object_get(spec, "base64");
	size_t len;

	if (!json_is_object(spec))
		return bad_stream(g, "is no object");
	if ((path != NULL) + (text != NULL) + (base64 != NULL) != 1)
		return bad_stream(g, "has not exactly one of path, text and "
		                     "base64");
	if (path != NULL) {
		if (!json_is_string(path) || json_string_length(path) == 0 ||
		    strlen(json_string_value(path)) !=
		            json_string_length(path))
			return bad_stream(g, "has no file name as its path");
		return open_stream(g, json_string_value(path), s);
	}
	if (!json_is_string(text != NULL ? text : base64))
		return bad_stream(g, "is no string");
	len = json_string_length(text != NULL ? text : base64);
	if ((s->data = malloc(len + 1)) == NULL)
		return hbt_error_set(g->err, HALIBUT_ENOMEM, "out of memory");
	if (text != NULL) {
		memcpy(s->data, json_string_value(text), len);
	} else if (!hbt_base64_decode(json_string_value(base64), len,
	                                  s->data, &len)) {
		return bad_stream(g, "is not in base64");
	}
	s->length = (int64_t)len;
	return HALIBUT_OK;
}

static struct hbt_svc_stream *add_stream(struct gatherer *g)
{
	struct hbt_svc_answer *a = g->answer;
	struct hbt_svc_stream *s;

	if (a->n_streams == SVC_MAX_RESULT_STREAMS) {
		hbt_svc_invocation_error(
			g->err, NULL,
			"The service program answered with more than %d "
			"DataStreams.",
			SVC_MAX_RESULT_STREAMS);
		return NULL;
	}
	if (a->n_streams == g->cap) {
		size_t cap = g->cap == 0 ? 4 : 2 * g->cap;

		s = reallocarray(a->streams, cap, sizeof(*s));
		if (s == NULL) {
			hbt_error_set(g->err, HALIBUT_ENOMEM, "out of memory");
			return NULL;
		}
		a->streams = s;
		g->cap = cap;
	}
	s = &a->streams[a->n_streams++];
	*s = (struct hbt_svc_stream){.fd = -1, .id = hbt_guid_new()};
	return s;
}

/*
 * Finds {"$dataStream": {...}} in *value, in document order, and puts
 * {"$dataStream": n} in its place, which is what the wire layer knows.
 */
static int gather_streams(struct gatherer *g, json_t *value)
{
	const json_t *spec = NULL;
	json_t *child;
	const char *key;
	size_t i;
	int rc = HALIBUT_OK;

	if (json_is_array(value)) {
		json_array_foreach(value, i, child)
		{
			rc = gather_streams(g, child);
			if (rc != HALIBUT_OK)
				return rc;
		}
		return HALIBUT_OK;
	}
	if (!json_is_object(value))
		return HALIBUT_OK;
	if (json_object_size(value) == 1)
		spec = json_object_get(value, "$dataStream");
	if (spec != NULL) {
		struct hbt_svc_stream *s = add_stream(g);

		if (s == NULL)
			return g->err->status;
		if ((rc = fill_stream(g, spec, s)) != HALIBUT_OK)
			return rc;
		if (json_object_set_new(value, "$dataStream",
		                        json_integer((json_int_t)(
						g->answer->n_streams - 1))) != 0)
			return hbt_error_set(g->err, HALIBUT_ENOMEM,
			                     "out of memory");
		return HALIBUT_OK;
	}
	json_object_foreach(value, key, child)
	{
		rc = gather_streams(g, child);
		if (rc != HALIBUT_OK)
			return rc;
	}
	return HALIBUT_OK;
}

/* The response around a result; its bytes become the answer's. */
static int compose(const bson_t *result, const char *request_id,
                   struct hbt_svc_answer *answer, struct halibut_error *err)
{
	bson_t doc;
	int rc = hbt_compose_response(request_id, result, &doc);
	uint32_t len = 0;

	answer->document = bson_destroy_with_steal(&doc, true, &len);
	answer->len = len;
	if (rc != HALIBUT_OK)
		hbt_error_set(err, rc, "The response cannot be made: %s",
		              halibut_strerror(rc));
	return rc;
}

static int result_document(json_t *result, const char *request_id,
                           const char *directory,
                           struct hbt_svc_answer *answer,
                           struct halibut_error *err)
{
	struct gatherer g = {
		.directory = directory, .answer = answer, .err = err};
	struct hbt_stream_ref *refs = NULL;
	struct halibut_error bad = {0};
	bson_t doc = BSON_INITIALIZER;
	int rc;

	if ((rc = gather_streams(&g, result)) != HALIBUT_OK)
		goto out;
	if ((refs = calloc(answer->n_streams + 1, sizeof(*refs))) == NULL) {
		rc = hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
		goto out;
	}
	for (size_t i = 0; i < answer->n_streams; i++) {
		refs[i].id = answer->streams[i].id;
		refs[i].length = answer->streams[i].length;
	}
	rc = hbt_json_append_bson(&doc, "result", result, true, refs,
	                          answer->n_streams, &bad);
	if (rc == HALIBUT_OK)
		rc = compose(json_is_null(result) ? NULL : &doc, request_id,
		             answer, err);
	else
		rc = hbt_svc_invocation_error(
			err, NULL,
			"The service program answered with a result that "
			"cannot be sent: %s",
			bad.message != NULL ? bad.message : "");
out:
	free(refs);
	halibut_error_clear(&bad);
	bson_destroy(&doc);
	return rc;
}

/* data is the remote stack for a person: text as it is, else its JSON. */
static char *details_text(const json_t *data)
{
	if (data == NULL || json_is_null(data))
		return NULL;
	if (json_is_string(data))
		return strdup(json_string_value(data));
	return json_dumps(data, JSON_ENCODE_ANY | JSON_INDENT(2));
}

static int service_error(const json_t *error, struct halibut_error *err)
{
	const json_t *message = json_object_get(error, "message");
	const json_t *code = json_object_get(error, "code");
	const char *text = json_is_string(message)
	                           ? json_string_value(message)
	                           : "The service program gave no message.";
	char *details;

	if (json_is_integer(code) &&
	    json_integer_value(code) == JSON_RPC_METHOD_NOT_FOUND)
		return hbt_error_set(err, HALIBUT_EMETHOD_NOT_FOUND, "%s",
		                     text);
	details = details_text(json_object_get(error, "data"));
	hbt_svc_invocation_error(err, details, "%s", text);
	free(details);
	return HALIBUT_EINVOCATION;
}

/* Is it an answer to call id? err says what it is instead. */
static int check_answer(const json_t *root, uint64_t id,
                        struct halibut_error *err)
{
	const json_t *error = json_object_get(root, "error");
	const json_t *answered = json_object_get(root, "id");

	if (!json_is_object(root))
		return hbt_error_set(err, HALIBUT_EPROTO,
		                     "a line that is no JSON object");
	if (json_object_get(root, "result") == NULL &&
	    !json_is_object(error))
		return hbt_error_set(err, HALIBUT_EPROTO,
		                     "a JSON object with neither a result nor "
		                     "an error");
	/* So JSON-RPC answers what it could not read an id from. */
	if (json_is_object(error) && json_is_null(answered))
		return HALIBUT_OK;
	if (!json_is_integer(answered) ||
	    json_integer_value(answered) != (json_int_t)id)
		return hbt_error_set(err, HALIBUT_EPROTO,
		                     "an answer whose id is not that of the "
		                     "call, %llu",
		                     (unsigned long long)id);
	return HALIBUT_OK;
}

int hbt_svc_answer_read(const char *line, size_t len, uint64_t id,
                        const char *request_id, const char *directory,
                        struct hbt_svc_answer *answer,
                        struct halibut_error *err)
{
	json_error_t trouble;
	json_t *root;
	int rc;

	memset(answer, 0, sizeof(*answer));
	root = json_loadb(line, len, JSON_ALLOW_NUL, &trouble);
	if (root == NULL)
		return hbt_error_set(err, HALIBUT_EPROTO,
		                     "a line that is not JSON (%s)",
		                     trouble.text);
	rc = check_answer(root, id, err);
	if (rc == HALIBUT_OK && json_is_object(json_object_get(root, "error")))
		rc = service_error(json_object_get(root, "error"), err);
	else if (rc == HALIBUT_OK)
		rc = result_document(json_object_get(root, "result"),
		                     request_id, directory, answer, err);
	json_decref(root);
	if (rc != HALIBUT_OK)
		hbt_svc_answer_fini(answer);
	return rc;
}

void hbt_svc_streams_free(struct hbt_svc_stream *streams, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (streams[i].fd >= 0)
			close(streams[i].fd);
		free(streams[i].data);
	}
	free(streams);
}

void hbt_svc_answer_fini(struct hbt_svc_answer *answer)
{
	bson_free(answer->document);
	hbt_svc_streams_free(answer->streams, answer->n_streams);
	memset(answer, 0, sizeof(*answer));
}
