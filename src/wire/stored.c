#include "wire/stored.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "wire/walk.h"

/*
 * Both directions differ by one element in front of M, so they are edits of
 * the bytes: what is copied cannot change.
 */

static const char *type_of(enum hbt_message_kind kind)
{
	return kind == HBT_MESSAGE_REQUEST
	               ? "Halibut.Transport.Protocol.RequestMessage, Halibut"
	               : "Halibut.Transport.Protocol.ResponseMessage, Halibut";
}

/* The $type element's type byte and name, with its terminator. */
static const uint8_t type_head[] = "\x02$type";

/* Bytes of the $type element for a type. */
static size_t type_size(const char *type)
{
	return sizeof(type_head) + 4 + strlen(type) + 1;
}

static void put_le32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static int broken(struct halibut_error *err, const char *what)
{
	return hbt_error_set(err, HALIBUT_EPROTO,
	                     "A message from the queue cannot be read: %s.",
	                     what);
}

static int no_memory(struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
}

/* Where M is inside a document, and the $type that leads it, if one does. */
struct place {
	size_t message;  /* of M's length */
	size_t type;     /* of the $type element; 0: there is none */
	size_t type_len; /* of the whole element */
	struct hbt_elem type_elem;
};

/* As the envelope's reader: only names with a dollar may be in front of it. */
static bool may_precede_type(const char *key)
{
	return strcmp(key, "$id") == 0 || strcmp(key, "$ref") == 0 ||
	       strcmp(key, "$values") == 0;
}

static int find_type(const uint8_t *bson, const struct hbt_elem *message,
                     struct place *at, struct halibut_error *err)
{
	struct hbt_walk w;
	struct hbt_elem e;
	const uint8_t *start;
	int rc;

	if (message->type != HBT_BSON_DOCUMENT ||
	    !hbt_walk_begin(&w, message->value, message->len))
		return broken(err, "its Message is no document");
	at->message = (size_t)(message->value - bson);
	for (start = w.p; (rc = hbt_walk_next(&w, &e)) > 0; start = w.p) {
		if (strcmp(e.key, "$type") == 0) {
			at->type = (size_t)(start - bson);
			at->type_len = (size_t)(w.p - start);
			at->type_elem = e;
			return HALIBUT_OK;
		}
		if (!may_precede_type(e.key))
			return HALIBUT_OK;
	}
	return rc < 0 ? broken(err, "an element is broken") : HALIBUT_OK;
}

static int find_place(const uint8_t *bson, size_t len, struct place *at,
                      struct halibut_error *err)
{
	struct hbt_walk w;
	struct hbt_elem e;
	int rc;

	memset(at, 0, sizeof(*at));
	if (!hbt_walk_begin(&w, bson, len))
		return broken(err, "the document has a wrong length");
	while ((rc = hbt_walk_next(&w, &e)) > 0)
		if (strcasecmp(e.key, "Message") == 0)
			return find_type(bson, &e, at, err);
	return rc < 0 ? broken(err, "an element is broken")
	              : broken(err, "it has no Message");
}

/* Adds to the two lengths that an edit inside M changes. */
static void grow(uint8_t *doc, size_t message, int32_t by)
{
	put_le32(doc, hbt_le32(doc) + (uint32_t)by);
	put_le32(doc + message, hbt_le32(doc + message) + (uint32_t)by);
}

/* Takes the leading $type out of doc, in place. */
static void remove_type(uint8_t *doc, size_t *len, const struct place *at)
{
	size_t end = at->type + at->type_len;

	memmove(doc + at->type, doc + end, *len - end);
	*len -= at->type_len;
	grow(doc, at->message, -(int32_t)at->type_len);
}

int hbt_stored_from_message(const struct hbt_message *m, size_t max,
                            uint8_t **bson, size_t *len,
                            struct halibut_error *err)
{
	/* What is taken out does not count. */
	size_t slack = type_size(type_of(HBT_MESSAGE_RESPONSE));
	size_t most = max < SIZE_MAX - slack ? max + slack : max;
	struct place at;
	uint8_t *doc;
	size_t n;
	int rc;

	*bson = NULL;
	*len = 0;
	if (m->env.kind == HBT_MESSAGE_NULL)
		return hbt_error_set(err, HALIBUT_EPROTO,
		                     "The null message has no place in a "
		                     "queue.");
	rc = hbt_message_to_bson(m, most, &doc, &n);
	if (rc == HALIBUT_ENOMEM)
		return no_memory(err);
	if (rc == HALIBUT_ELIMIT)
		goto too_large;
	if (rc != HALIBUT_OK)
		return broken(err, "it cannot be decompressed");
	/* A second one may hide behind the first. */
	while ((rc = find_place(doc, n, &at, err)) == HALIBUT_OK &&
	       at.type != 0)
		remove_type(doc, &n, &at);
	if (rc == HALIBUT_OK && n > max) {
		free(doc);
		goto too_large;
	}
	if (rc != HALIBUT_OK) {
		free(doc);
		return rc;
	}
	*bson = doc;
	*len = n;
	return HALIBUT_OK;
too_large:
	return hbt_error_set(err, HALIBUT_ELIMIT,
	                     "The message is too large for the queue: the "
	                     "limit is %zu bytes, its setting is the largest "
	                     "message size.",
	                     max);
}

/* Is the $type that is there already one of kind? */
static int check_type(const struct hbt_elem *e, enum hbt_message_kind kind,
                      struct halibut_error *err)
{
	const char *text;
	size_t len;

	if (!hbt_elem_text(e, &text, &len) ||
	    !hbt_type_is(text, len, type_of(kind)))
		return broken(err, kind == HBT_MESSAGE_REQUEST
		                           ? "its $type does not name a request"
		                           : "its $type does not name a "
		                             "response");
	return HALIBUT_OK;
}

/* A malloced copy of the document with $type in front of M. */
static int insert_type(const uint8_t *bson, size_t len, const char *type,
                       size_t message, uint8_t **out, size_t *out_len,
                       struct halibut_error *err)
{
	size_t extra = type_size(type);
	size_t front = message + 4;
	uint8_t *doc, *p;

	if (len > INT32_MAX - extra)
		return broken(err, "it is too large");
	if ((doc = malloc(len + extra)) == NULL)
		return no_memory(err);
	memcpy(doc, bson, front);
	p = doc + front;
	memcpy(p, type_head, sizeof(type_head));
	p += sizeof(type_head);
	put_le32(p, (uint32_t)strlen(type) + 1);
	memcpy(p + 4, type, strlen(type) + 1);
	memcpy(doc + front + extra, bson + front, len - front);
	grow(doc, message, (int32_t)extra);
	*out = doc;
	*out_len = len + extra;
	return HALIBUT_OK;
}

/* The message of a document that is as on the wire. */
static int make_message(struct hbt_deflater *d, const uint8_t *doc, size_t len,
                        size_t max_streams, struct hbt_message **out,
                        struct halibut_error *err)
{
	struct hbt_envelope env;
	uint8_t *deflated;
	size_t deflated_len;
	int rc;

	rc = hbt_envelope_read(doc, len, max_streams, &env, err);
	if (rc != HALIBUT_OK)
		return rc;
	if (hbt_deflate(d, doc, len, &deflated, &deflated_len) != 0) {
		hbt_envelope_fini(&env);
		return no_memory(err);
	}
	if ((*out = hbt_message_new(&env, deflated, deflated_len)) == NULL)
		return no_memory(err);
	return HALIBUT_OK;
}

int hbt_stored_to_message(struct hbt_deflater *d, const uint8_t *bson,
                          size_t len, enum hbt_message_kind kind,
                          size_t max_streams, struct hbt_message **out,
                          struct halibut_error *err)
{
	struct place at;
	uint8_t *doc = NULL;
	size_t doc_len = 0;
	int rc;

	*out = NULL;
	/* Readers ignore what is behind the document: 19, V7. */
	if (len >= 4 && hbt_le32(bson) < len)
		len = hbt_le32(bson);
	if ((rc = find_place(bson, len, &at, err)) != HALIBUT_OK)
		return rc;
	if (at.type != 0) {
		if ((rc = check_type(&at.type_elem, kind, err)) != 0)
			return rc;
		return make_message(d, bson, len, max_streams, out, err);
	}
	rc = insert_type(bson, len, type_of(kind), at.message, &doc, &doc_len,
	                 err);
	if (rc == HALIBUT_OK)
		rc = make_message(d, doc, doc_len, max_streams, out, err);
	free(doc);
	return rc;
}

/* The text of M's id, and where M is. */
static int find_id(const uint8_t *bson, size_t len, size_t *message,
                   const char **text, size_t *text_len,
                   struct halibut_error *err)
{
	struct hbt_walk w;
	struct hbt_elem e;
	int rc;

	if (!hbt_walk_begin(&w, bson, len))
		return broken(err, "the document has a wrong length");
	while ((rc = hbt_walk_next(&w, &e)) > 0)
		if (strcasecmp(e.key, "Message") == 0)
			break;
	if (rc <= 0 || e.type != HBT_BSON_DOCUMENT ||
	    !hbt_walk_begin(&w, e.value, e.len))
		return broken(err, "it has no Message");
	*message = (size_t)(e.value - bson);
	while ((rc = hbt_walk_next(&w, &e)) > 0)
		if (strcasecmp(e.key, "id") == 0)
			return hbt_elem_text(&e, text, text_len)
			               ? HALIBUT_OK
			               : broken(err, "its id is no text");
	return broken(err, "it has no id");
}

int hbt_stored_set_id(const uint8_t *bson, size_t len, const char *id,
                      uint8_t **out, size_t *out_len,
                      struct halibut_error *err)
{
	size_t message = 0, old = 0, front, n = strlen(id);
	const char *text = NULL;
	int rc = find_id(bson, len, &message, &text, &old, err);

	if (rc != HALIBUT_OK)
		return rc;
	if (len > INT32_MAX - n)
		return broken(err, "it is too large");
	if ((*out = malloc(len - old + n)) == NULL)
		return no_memory(err);
	*out_len = len - old + n;
	front = (size_t)((const uint8_t *)text - bson);
	memcpy(*out, bson, front);
	put_le32(*out + front - 4, (uint32_t)n + 1);
	memcpy(*out + front, id, n);
	memcpy(*out + front + n, text + old, len - front - old);
	grow(*out, message, (int32_t)n - (int32_t)old);
	return HALIBUT_OK;
}
