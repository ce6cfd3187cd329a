/* JSON -> BSON. The rules stand in json.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "wire/json.h"
#include "wire/walk.h"

/*
 * Containers a value may have inside one another: the root, Message and
 * params stand around it.
 */
#define MAX_DEPTH (HBT_BSON_MAX_DEPTH - 3)

/* Where we are, for messages: a chain through the callers' frames. */
struct place {
	const struct place *up;
	const char *key; /* NULL: an index */
	size_t index;
	int depth; /* containers around it */
};

struct reading {
	const struct hbt_stream_ref *streams;
	size_t n_streams;
	uint8_t *used; /* one byte a stream */
	struct halibut_error *err;
};

static size_t place_text(const struct place *at, char *buf, size_t size)
{
	size_t n = at->up != NULL ? place_text(at->up, buf, size) : 0;
	int more;

	if (at->key == NULL)
		more = snprintf(buf + n, size - n, "[%zu]", at->index);
	else
		more = snprintf(buf + n, size - n, "%s%.100s",
		                at->up != NULL ? "." : "", at->key);
	/* Cut off where it gets too long. */
	n += more > 0 ? (size_t)more : 0;
	return n < size ? n : size - 1;
}

static int invalid(struct reading *r, const struct place *at, const char *what)
{
	char text[512];

	place_text(at, text, sizeof(text));
	return hbt_error_set(r->err, HALIBUT_EINVAL, "%s: %s.", text, what);
}

/* libbson refuses to grow a document past 2 GiB, and nothing else. */
static int appended(struct reading *r, const struct place *at, bool ok)
{
	return ok ? HALIBUT_OK : invalid(r, at, "the document is too large");
}

static int append_value(struct reading *r, bson_t *doc, const char *key,
                        const json_t *value, bool object_slot,
                        const struct place *at);

/* The one-key objects, as a table: name, and who understands it. */

static int append_int32(struct reading *r, bson_t *doc, const char *key,
                        const json_t *v, bool object_slot,
                        const struct place *at)
{
	json_int_t n = json_integer_value(v);

	(void)object_slot;
	if (!json_is_integer(v) || n < INT32_MIN || n > INT32_MAX)
		return invalid(r, at, "$int32 wants a whole number of 32 bits");
	return appended(r, at, bson_append_int32(doc, key, -1, (int32_t)n));
}

static int append_double(struct reading *r, bson_t *doc, const char *key,
                         const json_t *v, bool object_slot,
                         const struct place *at)
{
	const char *text = json_string_value(v);
	double d;

	(void)object_slot;
	if (json_is_number(v))
		d = json_number_value(v);
	else if (text != NULL && strcmp(text, "NaN") == 0)
		d = NAN;
	else if (text != NULL && strcmp(text, "Infinity") == 0)
		d = INFINITY;
	else if (text != NULL && strcmp(text, "-Infinity") == 0)
		d = -INFINITY;
	else
		return invalid(r, at,
		               "$double wants a number, \"NaN\", "
		               "\"Infinity\" or \"-Infinity\"");
	return appended(r, at, bson_append_double(doc, key, -1, d));
}

static int append_guid(struct reading *r, bson_t *doc, const char *key,
                       const json_t *v, bool object_slot,
                       const struct place *at)
{
	struct hbt_guid g;

	(void)object_slot;
	if (!json_is_string(v) ||
	    hbt_guid_parse(json_string_value(v), &g) != HALIBUT_OK)
		return invalid(r, at, "$guid wants the text of a GUID");
	return appended(r, at,
	                bson_append_binary(doc, key, -1, BSON_SUBTYPE_UUID,
	                                   g.wire, sizeof(g.wire)));
}

/* Days from 1970-01-01 in the calendar that .NET uses for all times. */
static int64_t days_of(int year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t in_era = y - era * 400;
	int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day;

	return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 +
	       in_year - 1 - 719468;
}

static bool digits(const char **p, int n, int *out)
{
	*out = 0;
	for (; n > 0; n--, (*p)++) {
		if (**p < '0' || **p > '9')
			return false;
		*out = *out * 10 + (**p - '0');
	}
	return true;
}

static bool literal(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

static int days_in(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30,
	                           31, 31, 30, 31, 30, 31};
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return month == 2 && leap ? 29 : days[month - 1];
}

/* Z, +hh:mm or -hh:mm, in minutes; the text ends after it. */
static bool parse_offset(const char **p, int *minutes)
{
	int hh, mm, sign;

	*minutes = 0;
	if (literal(p, 'Z'))
		return **p == '\0';
	if (**p != '+' && **p != '-')
		return false;
	sign = *(*p)++ == '-' ? -1 : 1;
	if (!digits(p, 2, &hh) || !literal(p, ':') || !digits(p, 2, &mm) ||
	    hh > 14 || mm > 59)
		return false;
	*minutes = sign * (hh * 60 + mm);
	return **p == '\0';
}

/* 2024-01-02T03:04:05[.fraction](Z|+hh:mm); a local time would be a guess. */
static bool parse_date(const char *p, int64_t *ms)
{
	int year, month, day, hour, minute, second, offset;
	int fraction = 0, scale = 100;

	if (!digits(&p, 4, &year) || !literal(&p, '-') ||
	    !digits(&p, 2, &month) || !literal(&p, '-') ||
	    !digits(&p, 2, &day) || !literal(&p, 'T') ||
	    !digits(&p, 2, &hour) || !literal(&p, ':') ||
	    !digits(&p, 2, &minute) || !literal(&p, ':') ||
	    !digits(&p, 2, &second))
		return false;
	if (literal(&p, '.')) {
		if (*p < '0' || *p > '9')
			return false;
		for (; *p >= '0' && *p <= '9'; p++, scale /= 10)
			fraction += (*p - '0') * scale;
	}
	if (!parse_offset(&p, &offset) || year < 1 || month < 1 || month > 12 ||
	    day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 ||
	    second > 59)
		return false;
	*ms = ((days_of(year, month, day) * 24 + hour) * 60 + minute - offset) *
	              60000 +
	      second * 1000 + fraction;
	return true;
}

static int append_date(struct reading *r, bson_t *doc, const char *key,
                       const json_t *v, bool object_slot,
                       const struct place *at)
{
	int64_t ms;

	(void)object_slot;
	if (json_is_integer(v))
		ms = json_integer_value(v);
	else if (!json_is_string(v) || !parse_date(json_string_value(v), &ms))
		return invalid(r, at,
		               "$date wants milliseconds or a text like "
		               "2024-01-02T03:04:05.678Z");
	return appended(r, at, bson_append_date_time(doc, key, -1, ms));
}

static bool put_bytes(bson_t *doc, const char *key, const uint8_t *data,
                      size_t len, bool object_slot)
{
	bson_t d;

	if (!object_slot)
		return bson_append_binary(doc, key, -1, BSON_SUBTYPE_BINARY,
		                          data, (uint32_t)len);
	return bson_append_document_begin(doc, key, -1, &d) &&
	       bson_append_utf8(&d, "$type", -1, "System.Byte[], mscorlib",
	                        -1) &&
	       bson_append_binary(&d, "$value", -1, BSON_SUBTYPE_BINARY, data,
	                          (uint32_t)len) &&
	       bson_append_document_end(doc, &d);
}

static int append_bytes(struct reading *r, bson_t *doc, const char *key,
                        const json_t *v, bool object_slot,
                        const struct place *at)
{
	size_t text_len = json_string_length(v), len;
	uint8_t *data;
	int rc;

	if (!json_is_string(v))
		return invalid(r, at, "$bytes wants a text in base64");
	if (text_len / 4 * 3 > INT32_MAX)
		return invalid(r, at, "the document is too large");
	if ((data = malloc(text_len / 4 * 3 + 1)) == NULL)
		return hbt_error_set(r->err, HALIBUT_ENOMEM, "Out of memory.");
	if (hbt_base64_decode(json_string_value(v), text_len, data, &len))
		rc = appended(r, at,
		              put_bytes(doc, key, data, len, object_slot));
	else
		rc = invalid(r, at, "$bytes wants a text in base64");
	free(data);
	return rc;
}

static int append_stream(struct reading *r, bson_t *doc, const char *key,
                         const json_t *v, bool object_slot,
                         const struct place *at)
{
	json_int_t n = json_integer_value(v);
	const struct hbt_stream_ref *ref;
	bson_t d;

	if (!json_is_integer(v) || n < 0 || (uint64_t)n >= r->n_streams)
		return invalid(r, at,
		               "$dataStream wants the number, from 0, "
		               "of a DataStream of this call");
	if (r->used[n])
		return invalid(r, at, "this DataStream is used twice");
	r->used[n] = 1;
	ref = &r->streams[n];
	return appended(
		r, at,
		bson_append_document_begin(doc, key, -1, &d) &&
			(!object_slot ||
	                 bson_append_utf8(&d, "$type", -1,
	                                  "Halibut.DataStream, Halibut", -1)) &&
			bson_append_binary(&d, "id", -1, BSON_SUBTYPE_UUID,
	                                   ref->id.wire,
	                                   sizeof(ref->id.wire)) &&
			bson_append_int64(&d, "length", -1, ref->length) &&
			bson_append_document_end(doc, &d));
}

typedef int (*special_fn)(struct reading *r, bson_t *doc, const char *key,
                          const json_t *v, bool object_slot,
                          const struct place *at);

static special_fn special_of(const json_t *object, const json_t **value)
{
	static const struct {
		const char *name;
		special_fn fn;
	} specials[] = {
		{"$int32", append_int32}, {"$double", append_double},
		{"$guid", append_guid},   {"$date", append_date},
		{"$bytes", append_bytes}, {"$dataStream", append_stream},
	};

	*value = json_object_get(object, "$dataStream");
	/* What hbt_json_from_bson() makes of a stream can be given back. */
	if (*value != NULL && json_object_size(object) == 2 &&
	    json_object_get(object, "length") != NULL)
		return append_stream;
	if (json_object_size(object) != 1)
		return NULL;
	for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++)
		if ((*value = json_object_get(object, specials[i].name)) !=
		    NULL)
			return specials[i].fn;
	return NULL;
}

static int append_object(struct reading *r, bson_t *doc, const char *key,
                         const json_t *value, const struct place *at)
{
	struct place below = {.up = at, .depth = at->depth + 1};
	const char *name;
	json_t *member;
	int rc = HALIBUT_OK;
	bson_t d;

	if (!bson_append_document_begin(doc, key, -1, &d))
		return invalid(r, at, "the document is too large");
	json_object_foreach((json_t *)value, name, member)
	{
		below.key = name;
		rc = append_value(r, &d, name, member, false, &below);
		if (rc != HALIBUT_OK)
			break;
	}
	/* Ended also after a failure: doc must stay whole. */
	if (!bson_append_document_end(doc, &d) && rc == HALIBUT_OK)
		rc = invalid(r, at, "the document is too large");
	return rc;
}

static int append_array(struct reading *r, bson_t *doc, const char *key,
                        const json_t *value, const struct place *at)
{
	struct place below = {.up = at, .depth = at->depth + 1};
	char buf[16];
	const char *name;
	json_t *member;
	int rc = HALIBUT_OK;
	bson_t d;

	if (!bson_append_array_begin(doc, key, -1, &d))
		return invalid(r, at, "the document is too large");
	json_array_foreach((json_t *)value, below.index, member)
	{
		bson_uint32_to_string((uint32_t)below.index, &name, buf,
		                      sizeof(buf));
		rc = append_value(r, &d, name, member, false, &below);
		if (rc != HALIBUT_OK)
			break;
	}
	if (!bson_append_array_end(doc, &d) && rc == HALIBUT_OK)
		rc = invalid(r, at, "the document is too large");
	return rc;
}

static int append_container(struct reading *r, bson_t *doc, const char *key,
                            const json_t *value, bool object_slot,
                            const struct place *at)
{
	const json_t *inner;
	special_fn special;

	if (at->depth >= MAX_DEPTH)
		return invalid(r, at, "nested too deep for a message");
	if (json_is_array(value))
		return append_array(r, doc, key, value, at);
	if ((special = special_of(value, &inner)) != NULL)
		return special(r, doc, key, inner, object_slot, at);
	return append_object(r, doc, key, value, at);
}

static int append_value(struct reading *r, bson_t *doc, const char *key,
                        const json_t *value, bool object_slot,
                        const struct place *at)
{
	switch (json_typeof(value)) {
	case JSON_TRUE:
		return appended(r, at, bson_append_bool(doc, key, -1, true));
	case JSON_FALSE:
		return appended(r, at, bson_append_bool(doc, key, -1, false));
	case JSON_NULL:
		return appended(r, at, bson_append_null(doc, key, -1));
	case JSON_INTEGER:
		return appended(r, at,
		                bson_append_int64(doc, key, -1,
		                                  json_integer_value(value)));
	case JSON_REAL:
		return appended(r, at,
		                bson_append_double(doc, key, -1,
		                                   json_real_value(value)));
	case JSON_STRING:
		if (json_string_length(value) > INT32_MAX)
			return invalid(r, at, "the document is too large");
		return appended(
			r, at,
			bson_append_utf8(doc, key, -1, json_string_value(value),
		                         (int)json_string_length(value)));
	default:
		return append_container(r, doc, key, value, object_slot, at);
	}
}

/* Streams that an earlier argument in doc refers to are used already. */
static void mark_used(struct reading *r, const bson_iter_t *start, int depth)
{
	bson_iter_t it = *start, below, id;
	bson_subtype_t subtype;
	const uint8_t *data;
	uint32_t len;

	while (bson_iter_next(&it)) {
		if (depth < HBT_BSON_MAX_DEPTH &&
		    (BSON_ITER_HOLDS_DOCUMENT(&it) ||
		     BSON_ITER_HOLDS_ARRAY(&it)) &&
		    bson_iter_recurse(&it, &below))
			mark_used(r, &below, depth + 1);
		if (!BSON_ITER_HOLDS_DOCUMENT(&it) ||
		    !bson_iter_recurse(&it, &id) ||
		    !bson_iter_find(&id, "id") || !BSON_ITER_HOLDS_BINARY(&id))
			continue;
		bson_iter_binary(&id, &subtype, &len, &data);
		for (size_t i = 0; len == 16 && i < r->n_streams; i++)
			if (memcmp(r->streams[i].id.wire, data, 16) == 0)
				r->used[i] = 1;
	}
}

int hbt_json_append_bson(bson_t *doc, const char *key, const json_t *value,
                         bool object_slot, const struct hbt_stream_ref *streams,
                         size_t n_streams, struct halibut_error *err)
{
	struct reading r = {
		.streams = streams, .n_streams = n_streams, .err = err};
	struct place at = {.key = key};
	bson_iter_t it;
	int rc;

	if (n_streams > 0) {
		if ((r.used = calloc(n_streams, 1)) == NULL)
			return hbt_error_set(err, HALIBUT_ENOMEM,
			                     "Out of memory.");
		if (bson_iter_init(&it, doc))
			mark_used(&r, &it, 1);
	}
	rc = append_value(&r, doc, key, value, object_slot, &at);
	free(r.used);
	return rc;
}
