#include <string.h>

#include "wire/walk.h"

uint32_t hbt_le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	       (uint32_t)p[3] << 24;
}

uint64_t hbt_le64(const uint8_t *p)
{
	return (uint64_t)hbt_le32(p) | (uint64_t)hbt_le32(p + 4) << 32;
}

/* An empty document: its length and its terminator. */
enum { SMALLEST_DOCUMENT = 5 };

bool hbt_walk_begin(struct hbt_walk *w, const uint8_t *doc, size_t len)
{
	w->p = w->end = NULL;
	if (len < SMALLEST_DOCUMENT || hbt_le32(doc) != len ||
	    doc[len - 1] != 0)
		return false;
	w->p = doc + 4;
	w->end = doc + len - 1;
	return true;
}

/* Size of a value that starts with an int32 which counts what follows
 * besides extra bytes; 0 when it does not fit. */
static size_t counted(const uint8_t *p, size_t left, size_t extra)
{
	uint32_t n;

	if (left < 4)
		return 0;
	n = hbt_le32(p);
	if (n > INT32_MAX || extra > left - 4 || n > left - 4 - extra)
		return 0;
	return 4 + extra + n;
}

/* Size of a string: at least its terminator is counted. 0 when broken. */
static size_t string_size(const uint8_t *p, size_t left)
{
	size_t n = counted(p, left, 0);

	return n >= 5 && p[n - 1] == 0 ? n : 0;
}

/* Size of a value that starts with its own total size. */
static size_t self_counted(const uint8_t *p, size_t left, size_t least)
{
	uint32_t n;

	if (left < 4)
		return 0;
	n = hbt_le32(p);
	return n >= least && n <= left ? n : 0;
}

static size_t regex_size(const uint8_t *p, size_t left)
{
	const uint8_t *pattern_end, *options_end;

	if ((pattern_end = memchr(p, 0, left)) == NULL)
		return 0;
	pattern_end++;
	options_end = memchr(pattern_end, 0, left - (size_t)(pattern_end - p));
	return options_end == NULL ? 0 : (size_t)(options_end - p) + 1;
}

/* Types 0x13, 0x7f and 0xff abort the message, as those unheard of: 7. */
static bool value_size(uint8_t type, const uint8_t *p, size_t left,
                       size_t *size)
{
	size_t n;

	switch (type) {
	case HBT_BSON_UNDEFINED:
	case HBT_BSON_NULL:
		*size = 0;
		return true;
	case HBT_BSON_BOOL:
		n = 1;
		break;
	case HBT_BSON_INT32:
		n = 4;
		break;
	case HBT_BSON_DOUBLE:
	case HBT_BSON_DATE:
	case HBT_BSON_TIMESTAMP:
	case HBT_BSON_INT64:
		n = 8;
		break;
	case HBT_BSON_OID:
		n = 12;
		break;
	case HBT_BSON_STRING:
	case HBT_BSON_CODE:
	case HBT_BSON_SYMBOL:
		n = string_size(p, left);
		break;
	case HBT_BSON_DOCUMENT:
	case HBT_BSON_ARRAY:
		n = self_counted(p, left, SMALLEST_DOCUMENT);
		break;
	case HBT_BSON_CODE_SCOPE:
		n = self_counted(p, left, 4 + 5 + SMALLEST_DOCUMENT);
		break;
	case HBT_BSON_BINARY:
		n = counted(p, left, 1);
		/* The old subtype has a length inside its data as well. */
		if (n != 0 && p[4] == 2 && (n < 9 || hbt_le32(p + 5) != n - 9))
			n = 0;
		break;
	case HBT_BSON_REGEX:
		n = regex_size(p, left);
		break;
	case HBT_BSON_DBPOINTER:
		n = string_size(p, left);
		if (n != 0)
			n += 12;
		break;
	default:
		n = 0;
	}
	*size = n;
	return n != 0 && n <= left;
}

int hbt_walk_next(struct hbt_walk *w, struct hbt_elem *e)
{
	const uint8_t *key_end;

	if (w->p == w->end)
		return 0;
	e->type = *w->p++;
	e->key = (const char *)w->p;
	if ((key_end = memchr(w->p, 0, (size_t)(w->end - w->p))) == NULL)
		return -1;
	e->value = key_end + 1;
	if (!value_size(e->type, e->value, (size_t)(w->end - e->value),
	                &e->len))
		return -1;
	w->p = e->value + e->len;
	return 1;
}

bool hbt_elem_is_container(const struct hbt_elem *e)
{
	return e->type == HBT_BSON_DOCUMENT || e->type == HBT_BSON_ARRAY;
}

bool hbt_elem_text(const struct hbt_elem *e, const char **text, size_t *len)
{
	if (e->type != HBT_BSON_STRING)
		return false;
	*text = (const char *)e->value + 4;
	*len = e->len - 5;
	return true;
}

bool hbt_type_is(const char *text, size_t len, const char *type)
{
	size_t n = strlen(type);

	return len >= n && memcmp(text, type, n) == 0 &&
	       (len == n || text[n] == ',');
}

bool hbt_elem_stream(const struct hbt_elem *e, struct hbt_stream_ref *ref)
{
	struct hbt_walk w;
	struct hbt_elem m;
	const char *text;
	size_t len;

	if (e->type != HBT_BSON_DOCUMENT ||
	    !hbt_walk_begin(&w, e->value, e->len) || hbt_walk_next(&w, &m) != 1)
		return false;
	if (strcmp(m.key, "$type") == 0 &&
	    (!hbt_elem_text(&m, &text, &len) ||
	     !hbt_type_is(text, len, "Halibut.DataStream, Halibut") ||
	     hbt_walk_next(&w, &m) != 1))
		return false;
	if (strcmp(m.key, "id") != 0 || m.type != HBT_BSON_BINARY ||
	    m.len != 4 + 1 + sizeof(ref->id.wire) || m.value[4] != 4)
		return false;
	memcpy(ref->id.wire, m.value + 5, sizeof(ref->id.wire));
	if (hbt_walk_next(&w, &m) != 1 || strcmp(m.key, "length") != 0 ||
	    m.type != HBT_BSON_INT64)
		return false;
	ref->length = (int64_t)hbt_le64(m.value);
	return hbt_walk_next(&w, &m) == 0;
}
