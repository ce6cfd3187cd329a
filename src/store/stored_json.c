/*
 * Metadata: {"store":KIND,"id":…,"ttl":s,"streams":[{"id":…,"length":n}]} of
 * our stores, and {GUID:base64,…} of the original's sample. redis-queue 3.4
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "store/private.h"

enum {
	MAX_STREAMS = 100000,
	MAX_TTL_S = 7 * 24 * 3600,
};

void hbt_stored_fini(struct hbt_stored *what)
{
	free(what->v);
	json_decref(what->json);
	memset(what, 0, sizeof(*what));
}

char *hbt_stored_write(const struct hbt_stored *what, const char *kind,
                       size_t *len)
{
	json_t *doc, *list = json_array();
	char guid[HBT_GUID_TEXT];
	char *text;

	for (size_t i = 0; i < what->n; i++) {
		hbt_guid_format(&what->v[i].id, guid);
		json_array_append_new(
			list, json_pack("{s:s,s:I}", "id", guid, "length",
		                        (json_int_t)what->v[i].length));
	}
	if (json_array_size(list) != what->n) {
		json_decref(list);
		return NULL;
	}
	doc = json_pack("{s:s,s:s,s:I,s:o}", "store", kind, "id", what->id,
	                "ttl", (json_int_t)((what->ttl_ms + 999) / 1000),
	                "streams", list);
	text = doc != NULL ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	*len = text != NULL ? strlen(text) : 0;
	return text;
}

static int wrong(struct halibut_error *err, const char *what)
{
	return hbt_error_set(err, HALIBUT_EPROTO,
	                     "The metadata of a queued message's DataStreams "
	                     "%s. All nodes of a queue need the same kind of "
	                     "DataStream store.",
	                     what);
}

static bool is_id(const char *text)
{
	size_t n = strspn(text, "0123456789abcdef");

	return n == HBT_STORE_ID_TEXT - 1 && text[n] == '\0';
}

static int parse_ours(struct hbt_stored *what, struct halibut_error *err)
{
	const char *id = json_string_value(json_object_get(what->json, "id"));
	json_int_t ttl =
		json_integer_value(json_object_get(what->json, "ttl"));
	json_t *list = json_object_get(what->json, "streams"), *e;
	size_t i;

	if (id == NULL || !is_id(id) || ttl <= 0 || ttl > MAX_TTL_S ||
	    !json_is_array(list) || json_array_size(list) > MAX_STREAMS)
		return wrong(err, "is damaged");
	memcpy(what->id, id, sizeof(what->id));
	what->ttl_ms = ttl * 1000;
	what->v = calloc(json_array_size(list) + 1, sizeof(*what->v));
	if (what->v == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
	json_array_foreach(list, i, e)
	{
		const char *guid = json_string_value(json_object_get(e, "id"));
		json_t *length = json_object_get(e, "length");

		if (guid == NULL || !json_is_integer(length) ||
		    hbt_guid_parse(guid, &what->v[i].id) != HALIBUT_OK ||
		    json_integer_value(length) < 0)
			return wrong(err, "is damaged");
		what->v[i].length = json_integer_value(length);
		what->n++;
	}
	return HALIBUT_OK;
}

/* Length of the data; -1 when it is no base64. */
static int64_t base64_length(const char *text)
{
	size_t n = 0, pad = 0;

	for (; text[n] != '\0'; n++) {
		if (text[n] == '=')
			pad++;
		else if (pad > 0 || (!isalnum((unsigned char)text[n]) &&
		                     text[n] != '+' && text[n] != '/'))
			return -1;
	}
	if (n % 4 != 0 || pad > 2)
		return -1;
	return (int64_t)(n / 4 * 3 - pad);
}

static int parse_sample(struct hbt_stored *what, struct halibut_error *err)
{
	const char *key;
	json_t *value;

	what->v = calloc(json_object_size(what->json) + 1, sizeof(*what->v));
	if (what->v == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
	json_object_foreach(what->json, key, value)
	{
		struct hbt_stored_stream *v = &what->v[what->n];

		if (hbt_guid_parse(key, &v->id) != HALIBUT_OK ||
		    (v->base64 = json_string_value(value)) == NULL)
			return wrong(err, "is of a kind unknown here");
		if ((v->length = base64_length(v->base64)) < 0)
			return wrong(err, "holds data that is no base64");
		what->n++;
	}
	return HALIBUT_OK;
}

int hbt_stored_parse(struct hbt_stored *what, const struct hbt_store *s,
                     const uint8_t *metadata, size_t len,
                     const struct hbt_store_ops **ops,
                     struct halibut_error *err)
{
	const char *kind;
	int rc;

	memset(what, 0, sizeof(*what));
	*ops = &hbt_store_metadata;
	if (len == 0)
		return HALIBUT_OK;
	if ((int64_t)len > s->max_metadata_bytes)
		return hbt_error_set(
			err, HALIBUT_ELIMIT,
			"The metadata of a queued message's DataStreams has "
			"%zu bytes; the limit here is %lld bytes.",
			len, (long long)s->max_metadata_bytes);
	what->json = json_loadb((const char *)metadata, len, 0, NULL);
	if (!json_is_object(what->json)) {
		hbt_stored_fini(what);
		return wrong(err, "is of a kind unknown here");
	}
	kind = json_string_value(json_object_get(what->json, "store"));
	if (kind != NULL && strcmp(kind, s->ops->kind) != 0) {
		rc = hbt_error_set(
			err, HALIBUT_EPROTO,
			"The DataStreams of a queued message are in a store "
			"of kind \"%.32s\", and this node is configured for "
			"\"%s\": all nodes of a queue need the same kind of "
			"DataStream store.",
			kind, s->ops->kind);
	} else if (kind != NULL && s->ops == &hbt_store_metadata) {
		rc = wrong(err, "is damaged"); /* it never says its kind */
	} else if (kind != NULL) {
		*ops = s->ops;
		rc = parse_ours(what, err);
	} else {
		rc = parse_sample(what, err);
	}
	if (rc != HALIBUT_OK)
		hbt_stored_fini(what);
	return rc;
}
