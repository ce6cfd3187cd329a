/* BSON -> JSON. The rules stand in json.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"
#include "wire/walk.h"

struct writing {
	size_t *next_stream;
	hbt_json_stream_fn stream_json;
	void *arg;
	struct halibut_error *err;
};

static int no_memory(struct writing *w)
{
	return hbt_error_set(w->err, HALIBUT_ENOMEM, "Out of memory.");
}

static int unreadable(struct writing *w, const char *key, const char *what)
{
	return hbt_error_set(w->err, HALIBUT_EPROTO,
	                     "The value '%.100s' has no JSON form: %s.", key,
	                     what);
}

/* Length of the well-formed UTF-8 character at p; 0 when it is none. */
static size_t utf8_char(const uint8_t *p, size_t left)
{
	uint32_t c;
	size_t n;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (n > left)
		return 0;
	c = p[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fu);
	}
	if ((n == 3 && c < 0x800) || (n == 4 && c < 0x10000) || c > 0x10ffff ||
	    (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return n;
}

/* What is no UTF-8 becomes U+FFFD, as it does for a .NET reader. */
static char *mend_utf8(const char *text, size_t len, size_t *out_len)
{
	const uint8_t *p = (const uint8_t *)text;
	char *out = malloc(len * 3 + 1);
	size_t n = 0;

	if (out == NULL)
		return NULL;
	for (size_t i = 0; i < len;) {
		size_t k = utf8_char(p + i, len - i);

		if (k > 0) {
			memcpy(out + n, p + i, k);
			n += k;
			i += k;
		} else {
			memcpy(out + n, "\xef\xbf\xbd", 3);
			n += 3;
			i++;
		}
	}
	out[n] = '\0';
	*out_len = n;
	return out;
}

static json_t *json_text(const char *text, size_t len)
{
	json_t *v = json_stringn(text, len);
	char *mended;

	if (v != NULL)
		return v;
	if ((mended = mend_utf8(text, len, &len)) == NULL)
		return NULL;
	v = json_stringn(mended, len);
	free(mended);
	return v;
}

/* {name: v}; v's reference goes over, also when it fails. */
static json_t *one_key(const char *name, json_t *v)
{
	json_t *o = json_object();

	if (o != NULL && v != NULL && json_object_set_new(o, name, v) == 0)
		return o;
	if (o == NULL)
		json_decref(v);
	json_decref(o);
	return NULL;
}

static json_t *json_double(double d)
{
	if (isnan(d))
		return one_key("$double", json_string("NaN"));
	if (isinf(d))
		return one_key("$double",
		               json_string(d > 0 ? "Infinity" : "-Infinity"));
	return json_real(d);
}

static json_t *json_date(int64_t ms)
{
	/* Years 1 to 9999, which is what .NET has. */
	static const int64_t first = -62135596800000, last = 253402300799999;
	int64_t days, era, in_era, year_in_era, in_year, month, year, rest;
	char text[64];

	if (ms < first || ms > last)
		return one_key("$date", json_integer(ms));
	days = ms / 86400000 - (ms % 86400000 < 0 ? 1 : 0);
	rest = ms - days * 86400000;
	days += 719468;
	era = days / 146097; /* days is positive: year 1 or later */
	in_era = days - era * 146097;
	year_in_era =
		(in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) /
		365;
	in_year = in_era -
	          (365 * year_in_era + year_in_era / 4 - year_in_era / 100);
	month = (5 * in_year + 2) / 153;
	year = year_in_era + era * 400 + (month >= 10 ? 1 : 0);
	snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
	         (int)year, (int)(month < 10 ? month + 3 : month - 9),
	         (int)(in_year - (153 * month + 2) / 5 + 1),
	         (int)(rest / 3600000), (int)(rest / 60000 % 60),
	         (int)(rest / 1000 % 60), (int)(rest % 1000));
	return one_key("$date", json_string(text));
}

static json_t *json_bytes(const uint8_t *data, size_t len)
{
	static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz0123456789+/";
	char *text = malloc((len + 2) / 3 * 4 + 1);
	size_t n = 0;
	json_t *v;

	if (text == NULL)
		return NULL;
	for (size_t i = 0; i < len; i += 3) {
		uint32_t g = (uint32_t)data[i] << 16;

		if (i + 1 < len)
			g |= (uint32_t)data[i + 1] << 8;
		if (i + 2 < len)
			g |= data[i + 2];
		text[n++] = digit[g >> 18];
		text[n++] = digit[g >> 12 & 63];
		text[n++] = i + 1 < len ? digit[g >> 6 & 63] : '=';
		text[n++] = i + 2 < len ? digit[g & 63] : '=';
	}
	v = json_stringn(text, n);
	free(text);
	return one_key("$bytes", v);
}

static json_t *json_guid(const uint8_t *wire)
{
	char text[HBT_GUID_TEXT];
	struct hbt_guid g;

	memcpy(g.wire, wire, sizeof(g.wire));
	hbt_guid_format(&g, text);
	return one_key("$guid", json_string(text));
}

static json_t *json_binary(const bson_iter_t *it)
{
	bson_subtype_t subtype;
	const uint8_t *data;
	uint32_t len;

	bson_iter_binary(it, &subtype, &len, &data);
	if (subtype == BSON_SUBTYPE_UUID && len == 16)
		return json_guid(data);
	return json_bytes(data, len);
}

static bool stream_of(const bson_iter_t *it, struct hbt_stream_ref *ref)
{
	struct hbt_elem e = {.type = HBT_BSON_DOCUMENT, .key = ""};
	const uint8_t *data;
	uint32_t len;

	if (!BSON_ITER_HOLDS_DOCUMENT(it))
		return false;
	bson_iter_document(it, &len, &data);
	e.value = data;
	e.len = len;
	return hbt_elem_stream(&e, ref);
}

static json_t *json_stream(struct writing *w, const struct hbt_stream_ref *ref)
{
	size_t index = (*w->next_stream)++;

	if (w->stream_json != NULL)
		return w->stream_json(w->arg, index, ref);
	return json_pack("{s:I, s:I}", "$dataStream", (json_int_t)index,
	                 "length", (json_int_t)ref->length);
}

/* { $type: System.Byte[], …, $value: binary }, and nothing else? */
static bool bytes_of(const bson_iter_t *it, bson_iter_t *value)
{
	bson_iter_t m;
	uint32_t len;
	const char *type;

	if (!BSON_ITER_HOLDS_DOCUMENT(it) || !bson_iter_recurse(it, &m) ||
	    !bson_iter_next(&m) || strcmp(bson_iter_key(&m), "$type") != 0 ||
	    !BSON_ITER_HOLDS_UTF8(&m))
		return false;
	type = bson_iter_utf8(&m, &len);
	if (!hbt_type_is(type, len, "System.Byte[]") || !bson_iter_next(&m) ||
	    strcmp(bson_iter_key(&m), "$value") != 0 ||
	    !BSON_ITER_HOLDS_BINARY(&m))
		return false;
	*value = m;
	return !bson_iter_next(&m);
}

static int write_value(struct writing *w, const bson_iter_t *it, int depth,
                       json_t **out);

/* Takes v over. False when memory is short. */
static bool set_member(json_t *object, const char *name, json_t *v)
{
	char *mended;
	size_t n;
	int rc;

	json_incref(v);
	rc = json_object_set_new(object, name, v);
	if (rc == 0) {
		json_decref(v);
		return true;
	}
	/* A name that is no UTF-8 is refused. */
	if ((mended = mend_utf8(name, strlen(name), &n)) == NULL) {
		json_decref(v);
		return false;
	}
	rc = json_object_set_new(object, mended, v);
	free(mended);
	return rc == 0;
}

/* Members of a document or elements of an array, one after the other. */
static int write_members(struct writing *w, const bson_iter_t *it, int depth,
                         json_t *into)
{
	const char *key = bson_iter_key(it);
	bson_iter_t m;
	json_t *v;
	int rc;

	if (depth >= HBT_BSON_MAX_DEPTH)
		return unreadable(w, key, "it is nested deeper than 64");
	if (!bson_iter_recurse(it, &m))
		return unreadable(w, key, "it is broken");
	while (bson_iter_next(&m)) {
		if ((rc = write_value(w, &m, depth + 1, &v)) != HALIBUT_OK)
			return rc;
		if (!(json_is_array(into)
		              ? json_array_append_new(into, v) == 0
		              : set_member(into, bson_iter_key(&m), v)))
			return no_memory(w);
	}
	/* An iterator stops at what it cannot read as it does at the end. */
	if (m.err_off != 0)
		return unreadable(w, key, "it is broken");
	return HALIBUT_OK;
}

static int write_container(struct writing *w, const bson_iter_t *it, int depth,
                           json_t **out)
{
	struct hbt_stream_ref ref;
	bson_iter_t value;
	int rc;

	if (stream_of(it, &ref)) {
		*out = json_stream(w, &ref);
		return *out != NULL ? HALIBUT_OK : no_memory(w);
	}
	if (bytes_of(it, &value)) {
		bson_subtype_t subtype;
		const uint8_t *data;
		uint32_t len;

		bson_iter_binary(&value, &subtype, &len, &data);
		*out = json_bytes(data, len);
		return *out != NULL ? HALIBUT_OK : no_memory(w);
	}
	*out = BSON_ITER_HOLDS_ARRAY(it) ? json_array() : json_object();
	if (*out == NULL)
		return no_memory(w);
	if ((rc = write_members(w, it, depth, *out)) != HALIBUT_OK) {
		json_decref(*out);
		*out = NULL;
	}
	return rc;
}

static int write_value(struct writing *w, const bson_iter_t *it, int depth,
                       json_t **out)
{
	const char *text;
	uint32_t len, increment, seconds;

	*out = NULL;
	switch (bson_iter_type(it)) {
	case BSON_TYPE_DOCUMENT:
	case BSON_TYPE_ARRAY:
		return write_container(w, it, depth, out);
	case BSON_TYPE_DOUBLE:
		*out = json_double(bson_iter_double(it));
		break;
	case BSON_TYPE_UTF8:
		text = bson_iter_utf8(it, &len);
		*out = json_text(text, len);
		break;
	case BSON_TYPE_SYMBOL:
		text = bson_iter_symbol(it, &len);
		*out = json_text(text, len);
		break;
	case BSON_TYPE_CODE:
		text = bson_iter_code(it, &len);
		*out = json_text(text, len);
		break;
	case BSON_TYPE_BINARY:
		*out = json_binary(it);
		break;
	case BSON_TYPE_OID:
		*out = json_bytes(bson_iter_oid(it)->bytes, 12);
		break;
	case BSON_TYPE_BOOL:
		*out = json_boolean(bson_iter_bool(it));
		break;
	case BSON_TYPE_DATE_TIME:
		*out = json_date(bson_iter_date_time(it));
		break;
	case BSON_TYPE_UNDEFINED:
	case BSON_TYPE_NULL:
		*out = json_null();
		break;
	case BSON_TYPE_INT32:
		*out = json_integer(bson_iter_int32(it));
		break;
	case BSON_TYPE_INT64:
		*out = json_integer(bson_iter_int64(it));
		break;
	case BSON_TYPE_TIMESTAMP:
		bson_iter_timestamp(it, &seconds, &increment);
		*out = json_integer(
			(json_int_t)((uint64_t)seconds << 32 | increment));
		break;
	default:
		return unreadable(w, bson_iter_key(it),
		                  "messages do not have its type");
	}
	return *out != NULL ? HALIBUT_OK : no_memory(w);
}

int hbt_json_from_bson(const bson_iter_t *value, json_t **out,
                       size_t *next_stream, hbt_json_stream_fn stream_json,
                       void *arg, struct halibut_error *err)
{
	struct writing w = {.next_stream = next_stream,
	                    .stream_json = stream_json,
	                    .arg = arg,
	                    .err = err};

	return write_value(&w, value, 0, out);
}
