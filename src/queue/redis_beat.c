#include "queue/redis_beat.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/error.h"
#include "queue/redis_names.h"

/* No beat of a sane peer comes near it. */
#define BEAT_MAX (1 << 20)

char *hbt_beat_write(const struct hbt_stream_ref *streams, const int64_t *sent,
                     size_t n)
{
	static const char head[] = "{\"DataStreamProgress\":{";
	char id[HBT_GUID_TEXT], item[80];
	const char *comma = "";
	struct hbt_buf b;
	size_t n_text;
	int rc, len;

	hbt_buf_init(&b, SIZE_MAX);
	rc = hbt_buf_append(&b, head, sizeof(head) - 1);
	for (size_t i = 0; i < n && rc == 0; i++) {
		if (sent[i] <= 0)
			continue;
		hbt_guid_format(&streams[i].id, id);
		len = snprintf(item, sizeof(item), "%s\"%s\":%" PRId64, comma,
		               id, sent[i]);
		rc = hbt_buf_append(&b, item, (size_t)len);
		comma = ",";
	}
	if (rc == 0)
		rc = hbt_buf_append(&b, "}}", 3);
	if (rc != 0) {
		hbt_buf_fini(&b);
		return NULL;
	}
	return (char *)hbt_buf_detach(&b, &n_text);
}

/* Exact first, then without regard to case. */
static json_t *member(json_t *o, const char *name)
{
	json_t *value = json_object_get(o, name);
	const char *key;
	json_t *each;

	if (value != NULL)
		return value;
	json_object_foreach(o, key, each) {
		if (strcasecmp(key, name) == 0)
			return each;
	}
	return NULL;
}

int hbt_beat_read(const char *json, size_t len,
                  void (*progress)(void *arg, const struct hbt_guid *stream,
                                   int64_t sent),
                  void *arg)
{
	json_t *o, *streams, *sent;
	int rc = HALIBUT_EPROTO;
	struct hbt_guid g;
	const char *key;

	if (len == 0)
		return HALIBUT_OK;
	if (len > BEAT_MAX)
		return HALIBUT_EPROTO;
	if ((o = json_loadb(json, len, JSON_DECODE_ANY, NULL)) == NULL)
		return HALIBUT_EPROTO;
	streams = member(o, "DataStreamProgress");
	if (json_is_null(o) ||
	    (json_is_object(o) && (streams == NULL || json_is_null(streams)))) {
		rc = HALIBUT_OK;
	} else if (json_is_object(streams)) {
		rc = HALIBUT_OK;
		json_object_foreach(streams, key, sent) {
			if (json_integer_value(sent) < 0 ||
			    !json_is_integer(sent) ||
			    hbt_redis_guid_read(key, strlen(key), &g) != 0)
				rc = HALIBUT_EPROTO;
			else if (progress != NULL)
				progress(arg, &g, json_integer_value(sent));
		}
	}
	json_decref(o);
	return rc;
}
