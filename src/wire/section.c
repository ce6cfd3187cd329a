/* The framing of DataStreams after a message. wire-protocol 11.2, 11.3 */
#include <stdlib.h>
#include <string.h>

#include "wire/reader.h"
#include "wire/walk.h"

int hbt_section_init(struct hbt_section *s, const struct hbt_stream_ref *refs,
                     size_t n_refs)
{
	memset(s, 0, sizeof(*s));
	s->refs = refs;
	s->n_refs = n_refs;
	s->state = HBT_SECTION_HEAD;
	if (n_refs > 0 && (s->seen = calloc(n_refs, 1)) == NULL) {
		s->n_refs = 0;
		return HALIBUT_ENOMEM;
	}
	return HALIBUT_OK;
}

void hbt_section_fini(struct hbt_section *s)
{
	free(s->seen);
	memset(s, 0, sizeof(*s));
}

bool hbt_section_finished(const struct hbt_section *s)
{
	return s->done == s->n_refs;
}

/* Collects a field of want bytes; true once it is complete. */
static bool gather(struct hbt_section *s, const uint8_t *data, size_t len,
                   size_t want, size_t *used)
{
	size_t n = want - s->have;

	if (n > len)
		n = len;
	memcpy(s->head + s->have, data, n);
	s->have += n;
	*used = n;
	if (s->have < want)
		return false;
	s->have = 0;
	return true;
}

/*
 * Streams may come in any order, and one that the document names twice comes
 * twice. They nearly always come in document order: the search starts there.
 */
static bool mark_seen(struct hbt_section *s)
{
	for (size_t i = 0; i < s->n_refs; i++) {
		size_t k = s->done + i;

		if (k >= s->n_refs)
			k -= s->n_refs;
		if (!s->seen[k] && memcmp(s->refs[k].id.wire, s->id.wire,
		                          sizeof(s->id.wire)) == 0) {
			s->seen[k] = 1;
			return true;
		}
	}
	return false;
}

static int head_complete(struct hbt_section *s, struct halibut_error *err)
{
	char text[HBT_GUID_TEXT];

	memcpy(s->id.wire, s->head, sizeof(s->id.wire));
	s->length = (int64_t)hbt_le64(s->head + sizeof(s->id.wire));
	s->left = s->length;
	if (!mark_seen(s)) {
		hbt_guid_format(&s->id, text);
		return hbt_error_set(err, HALIBUT_EPROTO,
		                     "Unexpected stream! The peer sent a "
		                     "DataStream %s that its message does not "
		                     "announce.",
		                     text);
	}
	s->state = s->left > 0 ? HBT_SECTION_DATA : HBT_SECTION_TAIL;
	return HALIBUT_OK;
}

static int tail_complete(struct hbt_section *s, struct halibut_error *err)
{
	int64_t again = (int64_t)hbt_le64(s->head);
	char text[HBT_GUID_TEXT];

	if (again != s->length) {
		hbt_guid_format(&s->id, text);
		return hbt_error_set(
			err, HALIBUT_EPROTO,
			"Data stream size mismatch detected: the "
			"peer sent %lld as the length of DataStream "
			"%s before its data, but %lld after it.",
			(long long)s->length, text, (long long)again);
	}
	s->done++;
	s->state = HBT_SECTION_HEAD;
	return HALIBUT_OK;
}

int hbt_section_next(struct hbt_section *s, const uint8_t *data, size_t len,
                     size_t *used, const uint8_t **piece, size_t *piece_len,
                     bool *stream_begin, bool *stream_end,
                     struct halibut_error *err)
{
	int rc;

	*used = 0;
	*piece = NULL;
	*piece_len = 0;
	*stream_begin = *stream_end = false;
	if (hbt_section_finished(s) || len == 0)
		return HALIBUT_OK;
	switch (s->state) {
	case HBT_SECTION_HEAD:
		if (!gather(s, data, len, sizeof(s->head), used))
			return HALIBUT_OK;
		rc = head_complete(s, err);
		*stream_begin = rc == HALIBUT_OK;
		return rc;
	case HBT_SECTION_DATA:
		if ((uint64_t)s->left < len)
			len = (size_t)s->left;
		s->left -= (int64_t)len;
		if (s->left == 0)
			s->state = HBT_SECTION_TAIL;
		*used = *piece_len = len;
		*piece = data;
		return HALIBUT_OK;
	case HBT_SECTION_TAIL:
	default:
		if (!gather(s, data, len, 8, used))
			return HALIBUT_OK;
		rc = tail_complete(s, err);
		*stream_end = rc == HALIBUT_OK;
		return rc;
	}
}

int hbt_section_scan(struct hbt_section *s, const uint8_t *data, size_t len,
                     size_t *used, struct halibut_error *err)
{
	const uint8_t *piece;
	size_t piece_len, n;
	bool begin, end;
	int rc = HALIBUT_OK;

	*used = 0;
	while (rc == HALIBUT_OK && *used < len && !hbt_section_finished(s)) {
		rc = hbt_section_next(s, data + *used, len - *used, &n, &piece,
		                      &piece_len, &begin, &end, err);
		*used += n;
	}
	return rc;
}
