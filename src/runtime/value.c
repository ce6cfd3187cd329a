#include <stdlib.h>

#include "runtime/value.h"
#include "wire/json.h"

static struct hbt_stream_ref *refs_of(const struct hbt_streams *streams)
{
	struct hbt_stream_ref *refs = calloc(streams->n + 1, sizeof(*refs));

	for (size_t i = 0; refs != NULL && i < streams->n; i++)
		refs[i] = hbt_stream_ref_of(streams->all[i]);
	return refs;
}

int hbt_value_append_json(bson_t *doc, const char *key, const char *text,
                          const struct hbt_streams *streams,
                          struct halibut_error *err)
{
	struct hbt_stream_ref *refs;
	json_error_t why;
	json_t *value;
	int rc;

	value = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
	if (value == NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "'%.60s' is no JSON value: %s", text,
		                     why.text);
	refs = refs_of(streams);
	rc = refs == NULL ? hbt_error_set(err, HALIBUT_ENOMEM, "out of memory")
	                  : hbt_json_append_bson(doc, key, value, true, refs,
	                                         streams->n, err);
	free(refs);
	json_decref(value);
	return rc;
}

int hbt_value_append_bson(bson_t *doc, const char *key, const uint8_t *from,
                          size_t len, struct halibut_error *err)
{
	bson_iter_t it;
	bson_t view;

	if (!bson_init_static(&view, from, len) ||
	    !bson_iter_init(&it, &view) || !bson_iter_next(&it))
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "the argument is no BSON document with an "
		                     "element");
	return bson_append_iter(doc, key, -1, &it)
	               ? 0
	               : hbt_error_set(err, HALIBUT_ELIMIT,
	                               "the document becomes too large");
}

char *hbt_value_to_json(const bson_iter_t *it, size_t *next_stream)
{
	json_t *value;
	char *text;

	if (hbt_json_from_bson(it, &value, next_stream, NULL, NULL, NULL) != 0)
		return NULL;
	text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	json_decref(value);
	return text;
}
