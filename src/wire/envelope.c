/* Reading the envelope of a message. wire-protocol 7.1, 9, 10, 11.3 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/timespan.h"
#include "base/uri.h"
#include "wire/walk.h"

/*
 * A member that a reader looks for: the exact name wins over one that
 * differs in case, and among equals the last one counts, as in .NET.
 */
struct member {
	const char *name;
	bool found, exact;
	struct hbt_elem e;
};

static struct member *member_offer(struct member *members, size_t n,
                                   const struct hbt_elem *e)
{
	for (size_t i = 0; i < n; i++) {
		struct member *m = &members[i];
		bool exact;

		if (strcasecmp(m->name, e->key) != 0)
			continue;
		exact = strcmp(m->name, e->key) == 0;
		if (!m->found || exact || !m->exact) {
			m->found = true;
			m->exact = exact;
			m->e = *e;
		}
		return m;
	}
	return NULL;
}

static bool has_value(const struct member *m)
{
	return m->found && m->e.type != HBT_BSON_NULL;
}

static int broken(struct halibut_error *err, const char *what)
{
	return hbt_error_set(err, HALIBUT_EPROTO,
	                     "The peer sent a message that cannot be read: %s.",
	                     what);
}

static int no_memory(struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
}

/* What one reading of an envelope carries along. */
struct reading {
	struct hbt_envelope *env;
	struct halibut_error *err;
	size_t max_streams;
	size_t cap_streams;
};

static int add_stream(struct reading *r, const struct hbt_stream_ref *ref)
{
	struct hbt_envelope *env = r->env;

	if (env->n_streams >= r->max_streams)
		return hbt_error_set(r->err, HALIBUT_ELIMIT,
		                     "The peer sent a message with more than "
		                     "%zu DataStreams, the limit here.",
		                     r->max_streams);
	if (env->n_streams == r->cap_streams) {
		size_t cap = r->cap_streams > 0 ? r->cap_streams * 2 : 4;
		void *p = reallocarray(env->streams, cap, sizeof(*ref));

		if (p == NULL)
			return no_memory(r->err);
		env->streams = p;
		r->cap_streams = cap;
	}
	env->streams[env->n_streams++] = *ref;
	return HALIBUT_OK;
}

/*
 * Checks everything below a container that stands at depth (the root is 1),
 * and collects its DataStreams where such may be. A stack of its own instead
 * of recursion: the peer decides how deep it goes.
 */
static int check_tree(struct reading *r, const struct hbt_elem *top, int depth,
                      bool may_have_streams)
{
	struct hbt_walk stack[HBT_BSON_MAX_DEPTH + 1];
	struct hbt_stream_ref ref;
	struct hbt_elem e = *top;
	int bottom = depth;
	int rc;

	if (!hbt_elem_is_container(&e))
		return HALIBUT_OK;
	for (;;) {
		if (may_have_streams && hbt_elem_stream(&e, &ref) &&
		    (rc = add_stream(r, &ref)) != HALIBUT_OK)
			return rc;
		if (depth > HBT_BSON_MAX_DEPTH)
			return broken(r->err, "it is nested deeper than 64");
		if (!hbt_walk_begin(&stack[depth], e.value, e.len))
			return broken(r->err, "a document has a wrong length");
		for (;;) {
			rc = hbt_walk_next(&stack[depth], &e);
			if (rc < 0)
				return broken(r->err, "an element is broken");
			if (rc > 0 && hbt_elem_is_container(&e))
				break;
			if (rc == 0 && depth-- == bottom)
				return HALIBUT_OK;
		}
		depth++;
	}
}

/* A terminated copy of a text; anything but a text without NUL is an error. */
static int copy_text(struct reading *r, const struct hbt_elem *e,
                     const char *what, char **out)
{
	const char *text;
	size_t len;

	if (!hbt_elem_text(e, &text, &len) || memchr(text, 0, len) != NULL)
		return hbt_error_set(r->err, HALIBUT_EPROTO,
		                     "The peer sent a message whose %s is no "
		                     "text.",
		                     what);
	if ((*out = strndup(text, len)) == NULL)
		return no_memory(r->err);
	return HALIBUT_OK;
}

static int copy_member(struct reading *r, const struct member *m, char **out)
{
	return has_value(m) ? copy_text(r, &m->e, m->name, out) : HALIBUT_OK;
}

/* .NET reads an id from other scalars as well, so these have a text too. */
static int copy_id(struct reading *r, const struct member *m, char **out)
{
	struct hbt_guid guid;
	char text[HBT_GUID_TEXT];

	switch (m->e.type) {
	case HBT_BSON_INT32:
		snprintf(text, sizeof(text), "%d",
		         (int)(int32_t)hbt_le32(m->e.value));
		break;
	case HBT_BSON_INT64:
		snprintf(text, sizeof(text), "%lld",
		         (long long)hbt_le64(m->e.value));
		break;
	case HBT_BSON_BOOL:
		snprintf(text, sizeof(text), "%s",
		         m->e.value[0] != 0 ? "True" : "False");
		break;
	case HBT_BSON_BINARY:
		if (m->e.len != 5 + sizeof(guid.wire) || m->e.value[4] != 4)
			return copy_text(r, &m->e, m->name, out);
		memcpy(guid.wire, m->e.value + 5, sizeof(guid.wire));
		hbt_guid_format(&guid, text);
		break;
	default:
		return copy_text(r, &m->e, m->name, out);
	}
	if ((*out = strdup(text)) == NULL)
		return no_memory(r->err);
	return HALIBUT_OK;
}

static int read_activity_id(struct reading *r, const struct member *m)
{
	struct hbt_envelope *env = r->env;
	char *text = NULL;
	int rc = HALIBUT_OK;

	if (!has_value(m))
		return HALIBUT_OK;
	if (m->e.type == HBT_BSON_BINARY &&
	    m->e.len == 5 + sizeof(env->activity_id.wire)) {
		memcpy(env->activity_id.wire, m->e.value + 5,
		       sizeof(env->activity_id.wire));
	} else {
		rc = copy_text(r, &m->e, m->name, &text);
		if (rc == HALIBUT_OK &&
		    hbt_guid_parse(text, &env->activity_id) != HALIBUT_OK)
			rc = broken(r->err, "its activityId is no GUID");
		free(text);
	}
	env->has_activity_id = rc == HALIBUT_OK;
	return rc;
}

static int read_destination(struct reading *r, const struct member *m)
{
	struct hbt_uri uri;
	int rc;

	if (!has_value(m))
		return broken(r->err, "its endpoint has no BaseUri");
	if ((rc = copy_text(r, &m->e, m->name, &r->env->destination)) != 0)
		return rc;
	rc = hbt_uri_parse(r->env->destination, &uri);
	hbt_uri_fini(&uri);
	if (rc == HALIBUT_ENOMEM)
		return no_memory(r->err);
	if (rc != HALIBUT_OK)
		return broken(r->err, "its BaseUri is no absolute URI");
	return HALIBUT_OK;
}

static int read_queue_timeout(struct reading *r, const struct member *m)
{
	char *text = NULL;
	int rc;

	if (!m->found)
		return HALIBUT_OK;
	if ((rc = copy_text(r, &m->e, m->name, &text)) != 0)
		return rc;
	if (hbt_timespan_parse_ms(text, &r->env->queue_timeout_ms) != 0)
		rc = broken(r->err,
		            "its PollingRequestQueueTimeout is no time span");
	free(text);
	return rc;
}

/* wire-protocol 9.2 */
static int read_endpoint(struct reading *r, const struct member *endpoint)
{
	enum { BASE_URI, THUMBPRINT, QUEUE_TIMEOUT, N_MEMBERS };
	struct member m[N_MEMBERS] = {
		[BASE_URI] = {.name = "BaseUri"},
		[THUMBPRINT] = {.name = "RemoteThumbprint"},
		[QUEUE_TIMEOUT] = {.name = "PollingRequestQueueTimeout"},
	};
	struct hbt_walk w;
	struct hbt_elem e;
	int rc;

	if (!has_value(endpoint))
		return HALIBUT_OK;
	if (endpoint->e.type != HBT_BSON_DOCUMENT ||
	    !hbt_walk_begin(&w, endpoint->e.value, endpoint->e.len))
		return broken(r->err, "its endpoint is no document");
	while (hbt_walk_next(&w, &e) > 0)
		member_offer(m, N_MEMBERS, &e);
	if ((rc = read_destination(r, &m[BASE_URI])) != 0 ||
	    (rc = copy_member(r, &m[THUMBPRINT],
	                      &r->env->destination_thumbprint)) != 0)
		return rc;
	return read_queue_timeout(r, &m[QUEUE_TIMEOUT]);
}

/* Members of both kinds of message; which are there tells the kind, too. */
enum {
	M_ID,
	M_ACTIVITY_ID,
	M_ENDPOINT,
	M_SERVICE,
	M_METHOD,
	M_PARAMS,
	M_ERROR,
	M_RESULT,
	N_MESSAGE_MEMBERS
};

static int read_request(struct reading *r, struct member *m)
{
	int rc;

	if (!has_value(&m[M_ID]))
		return broken(r->err, "a request without an id");
	if (has_value(&m[M_PARAMS]) && m[M_PARAMS].e.type != HBT_BSON_ARRAY)
		return broken(r->err, "its params are no array");
	if ((rc = copy_id(r, &m[M_ID], &r->env->id)) != 0 ||
	    (rc = read_activity_id(r, &m[M_ACTIVITY_ID])) != 0 ||
	    (rc = read_endpoint(r, &m[M_ENDPOINT])) != 0 ||
	    (rc = copy_member(r, &m[M_SERVICE], &r->env->service)) != 0)
		return rc;
	return copy_member(r, &m[M_METHOD], &r->env->method);
}

static int read_response(struct reading *r, struct member *m)
{
	if (has_value(&m[M_ERROR])) {
		if (m[M_ERROR].e.type != HBT_BSON_DOCUMENT)
			return broken(r->err, "its error is no document");
		r->env->is_error = true;
	}
	/* A listening client does not compare ids: 5.2. */
	if (!has_value(&m[M_ID])) {
		r->env->id = strdup("");
		return r->env->id != NULL ? HALIBUT_OK : no_memory(r->err);
	}
	return copy_id(r, &m[M_ID], &r->env->id);
}

/*
 * The $type in front, if there is one. Elsewhere than among the leading
 * names with a dollar it is a member like any unknown one: 8.3.
 */
static int read_leading_type(struct reading *r, const struct hbt_elem *e)
{
	const char *text;
	size_t len;

	if (hbt_elem_text(e, &text, &len)) {
		if (hbt_type_is(text, len,
		                "Halibut.Transport.Protocol.RequestMessage, "
		                "Halibut")) {
			r->env->kind = HBT_MESSAGE_REQUEST;
			return HALIBUT_OK;
		}
		if (hbt_type_is(text, len,
		                "Halibut.Transport.Protocol.ResponseMessage, "
		                "Halibut")) {
			r->env->kind = HBT_MESSAGE_RESPONSE;
			return HALIBUT_OK;
		}
	}
	return broken(r->err, "its $type names neither a request nor a "
	                      "response");
}

static bool is_metadata(const char *key)
{
	return key[0] == '$' &&
	       (strcmp(key, "$type") == 0 || strcmp(key, "$id") == 0 ||
	        strcmp(key, "$ref") == 0 || strcmp(key, "$values") == 0);
}

static int read_message(struct reading *r, const struct hbt_elem *message)
{
	struct member m[N_MESSAGE_MEMBERS] = {
		[M_ID] = {.name = "id"},
		[M_ACTIVITY_ID] = {.name = "activityId"},
		[M_ENDPOINT] = {.name = "endpoint"},
		[M_SERVICE] = {.name = "service"},
		[M_METHOD] = {.name = "method"},
		[M_PARAMS] = {.name = "params"},
		[M_ERROR] = {.name = "error"},
		[M_RESULT] = {.name = "result"},
	};
	struct hbt_envelope *env = r->env;
	struct hbt_walk w;
	struct hbt_elem e;
	bool leading = true;
	int rc;

	if (message->type != HBT_BSON_DOCUMENT)
		return broken(r->err, "its Message is no document");
	if (!hbt_walk_begin(&w, message->value, message->len))
		return broken(r->err, "a document has a wrong length");
	while ((rc = hbt_walk_next(&w, &e)) > 0) {
		struct member *found = member_offer(m, N_MESSAGE_MEMBERS, &e);

		leading = leading && is_metadata(e.key);
		if (leading && strcmp(e.key, "$type") == 0 &&
		    (rc = read_leading_type(r, &e)) != 0)
			return rc;
		/* A reader does not know the other kind's members: 11.3. */
		rc = check_tree(r, &e, 3,
		                (found == &m[M_PARAMS] &&
		                 env->kind != HBT_MESSAGE_RESPONSE) ||
		                        (found == &m[M_RESULT] &&
		                         env->kind != HBT_MESSAGE_REQUEST));
		if (rc != 0)
			return rc;
	}
	if (rc < 0)
		return broken(r->err, "an element is broken");
	if (env->kind == HBT_MESSAGE_NULL) {
		if (m[M_SERVICE].found || m[M_METHOD].found)
			env->kind = HBT_MESSAGE_REQUEST;
		else if (m[M_RESULT].found || m[M_ERROR].found)
			env->kind = HBT_MESSAGE_RESPONSE;
		else
			return broken(r->err,
			              "neither a request nor a response");
	}
	return env->kind == HBT_MESSAGE_REQUEST ? read_request(r, m)
	                                        : read_response(r, m);
}

static int read_root(struct reading *r, const uint8_t *bson, size_t len)
{
	struct member message = {.name = "Message"};
	struct hbt_walk w;
	struct hbt_elem e;
	int rc;

	if (!hbt_walk_begin(&w, bson, len))
		return broken(r->err, "the document has a wrong length");
	while ((rc = hbt_walk_next(&w, &e)) > 0) {
		bool again = message.found;

		if (member_offer(&message, 1, &e) != NULL) {
			/* Readers would differ on which of them counts. */
			if (again)
				return broken(r->err, "two Message elements");
		} else if ((rc = check_tree(r, &e, 2, false)) != 0) {
			return rc;
		}
	}
	if (rc < 0)
		return broken(r->err, "an element is broken");
	return has_value(&message) ? read_message(r, &message.e) : HALIBUT_OK;
}

int hbt_envelope_read(const uint8_t *bson, size_t len, size_t max_streams,
                      struct hbt_envelope *env, struct halibut_error *err)
{
	struct reading r = {.env = env, .err = err, .max_streams = max_streams};
	int rc;

	memset(env, 0, sizeof(*env));
	env->queue_timeout_ms = -1;
	if ((rc = read_root(&r, bson, len)) != HALIBUT_OK)
		hbt_envelope_fini(env);
	return rc;
}

void hbt_envelope_fini(struct hbt_envelope *env)
{
	free(env->id);
	free(env->destination);
	free(env->destination_thumbprint);
	free(env->service);
	free(env->method);
	free(env->streams);
	memset(env, 0, sizeof(*env));
}
