/* Sets of DataStreams: framed on the way out, taken apart on the way in. */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/stream_private.h"
#include "wire/reader.h"
#include "wire/writer.h"

int hbt_streams_add(struct hbt_streams *set, struct halibut_stream *s)
{
	struct halibut_stream **all;

	if (s == NULL)
		return HALIBUT_ENOMEM; /* its maker had none for it */
	if (s->in_use)
		return HALIBUT_EINVAL; /* another owner has it already */
	all = reallocarray(set->all, set->n + 1, sizeof(*all));
	if (all == NULL) {
		halibut_stream_free(&s);
		return HALIBUT_ENOMEM;
	}
	set->all = all;
	set->all[set->n++] = s;
	s->in_use = true;
	return 0;
}

void hbt_streams_fini(struct hbt_streams *set)
{
	for (size_t i = 0; i < set->n; i++)
		halibut_stream_free(&set->all[i]);
	free(set->all);
	set->all = NULL;
	set->n = 0;
}

bool hbt_streams_match(const struct hbt_streams *set,
                       const struct hbt_envelope *env)
{
	if (env->n_streams != set->n)
		return false;
	for (size_t i = 0; i < set->n; i++)
		if (memcmp(&set->all[i]->id, &env->streams[i].id,
		           sizeof(struct hbt_guid)) != 0)
			return false;
	return true;
}

struct hbt_stream_ref hbt_stream_ref_of(const struct halibut_stream *s)
{
	return (struct hbt_stream_ref){.id = s->id, .length = s->length};
}

/* ---- Out ---- */

struct framer {
	struct hbt_source base;
	struct hbt_streams set;
	size_t i;         /* the stream under way */
	int64_t sent;     /* of its data */
	enum { FRAME_HEAD, FRAME_DATA, FRAME_TAIL } at;
	bool reading;     /* the program's functions are on the stack */
	bool freed;       /* ... and ended the call in there */
};

static int mismatch(const struct halibut_stream *s, int64_t actual,
                    const char *relation, struct halibut_error *err)
{
	char id[HBT_GUID_TEXT];

	hbt_guid_format(&s->id, id);
	return hbt_error_set(err, HALIBUT_ESTREAM,
	                     "Data stream size mismatch: DataStream %s was "
	                     "declared with %lld bytes, but its source gave "
	                     "%s %lld",
	                     id, (long long)s->length, relation,
	                     (long long)actual);
}

static ssize_t frame_data(struct framer *f, uint8_t *buf, size_t cap,
                          struct halibut_error *err)
{
	struct halibut_stream *s = f->set.all[f->i];
	int64_t left = s->length - f->sent;
	ssize_t n;

	if (left == 0) {
		bool has_more = hbt_stream_has_more(s);

		if (f->freed)
			return -HALIBUT_ECLOSED;
		if (has_more)
			return -mismatch(s, s->length, "more than", err);
		f->at = FRAME_TAIL;
		return 0;
	}
	if ((int64_t)cap > left)
		cap = (size_t)left;
	n = halibut_stream_read(s, buf, cap);
	if (f->freed)
		return -HALIBUT_ECLOSED;
	if (n > (ssize_t)cap)
		return -hbt_error_set(err, HALIBUT_EINVAL,
		                      "the source of a DataStream gave more "
		                      "than it was asked for");
	if (n == 0)
		return -mismatch(s, f->sent, "only", err);
	if (n < 0)
		return -hbt_error_set(err, HALIBUT_ESTREAM,
		                      "the source of a DataStream failed");
	f->sent += n;
	hbt_stream_progress(s, f->sent);
	return f->freed ? -HALIBUT_ECLOSED : n;
}

/* As much framing and data as fits. */
static ssize_t fill(struct framer *f, uint8_t *buf, size_t cap,
                    struct halibut_error *err)
{
	size_t have = 0;
	ssize_t n;

	while (f->i < f->set.n) {
		struct halibut_stream *s = f->set.all[f->i];

		if (f->at == FRAME_HEAD) {
			if (cap - have < 24)
				break;
			hbt_section_head(&s->id, s->length, buf + have);
			have += 24;
			f->sent = 0;
			f->at = FRAME_DATA;
		} else if (f->at == FRAME_DATA) {
			if (have == cap)
				break;
			n = frame_data(f, buf + have, cap - have, err);
			if (n < 0)
				return n;
			have += (size_t)n;
		} else {
			if (cap - have < 8)
				break;
			hbt_section_tail(s->length, buf + have);
			have += 8;
			f->at = FRAME_HEAD;
			f->i++;
		}
	}
	return (ssize_t)have;
}

static void framer_free(struct hbt_source *src)
{
	struct framer *f = (struct framer *)src;

	if (f->reading) { /* its reader frees it */
		f->freed = true;
		return;
	}
	hbt_streams_fini(&f->set);
	free(f);
}

/* A stream's source, or whoever hears of its progress, may end the call. */
static ssize_t framer_read(struct hbt_source *src, void *out, size_t cap,
                           struct halibut_error *err)
{
	struct framer *f = (struct framer *)src;
	ssize_t n;

	f->reading = true;
	n = fill(f, out, cap, err);
	f->reading = false;
	if (!f->freed)
		return n;
	framer_free(src);
	return -hbt_error_set(err, HALIBUT_ECLOSED,
	                      "the call ended while its DataStreams were read");
}

static const struct hbt_source_ops framer_ops = {
	.read = framer_read,
	.free = framer_free,
};

int hbt_streams_source(struct hbt_source **out, struct hbt_streams *set)
{
	struct framer *f = calloc(1, sizeof(*f));

	*out = NULL;
	if (f == NULL) {
		hbt_streams_fini(set);
		return HALIBUT_ENOMEM;
	}
	f->base.ops = &framer_ops;
	f->set = *set;
	memset(set, 0, sizeof(*set));
	*out = &f->base;
	return 0;
}

/* ---- In ---- */

struct hbt_streams_sink {
	struct hbt_sink base;
	struct hbt_stream_ref *refs;
	struct hbt_section section;
	struct hbt_streams set; /* in document order; NULL until it began */
	struct halibut_stream *current;
	hbt_streams_done done; /* NULL once forgotten */
	void *arg;
};

/* The first stream of the document with this id that has no body yet. */
static int begin_stream(struct hbt_streams_sink *s, struct halibut_error *err)
{
	for (size_t i = 0; i < s->set.n; i++) {
		if (s->set.all[i] != NULL ||
		    memcmp(&s->refs[i].id, &s->section.id,
		           sizeof(s->section.id)) != 0)
			continue;
		s->current = hbt_stream_incoming(&s->section.id,
		                                 s->section.length);
		s->set.all[i] = s->current;
		break;
	}
	return s->current == NULL
	               ? hbt_error_set(err, HALIBUT_ENOMEM, "out of memory")
	               : 0;
}

static ssize_t sink_write(struct hbt_sink *base, const void *data, size_t len,
                          struct halibut_error *err)
{
	struct hbt_streams_sink *s = (struct hbt_streams_sink *)base;
	const uint8_t *p = data, *piece;
	size_t left = len, used, piece_len;
	bool begin, end;
	int rc = 0;

	if (s->done == NULL)
		return -hbt_error_set(err, HALIBUT_ECLOSED,
		                      "nobody waits for the DataStreams any "
		                      "more");
	while (left > 0 && rc == 0) {
		rc = hbt_section_next(&s->section, p, left, &used, &piece,
		                      &piece_len, &begin, &end, err);
		if (rc == 0 && begin)
			rc = begin_stream(s, err);
		if (rc == 0 && piece_len > 0)
			rc = hbt_stream_receive(s->current, piece, piece_len,
			                        err);
		if (rc == 0 && end)
			s->current = NULL;
		p += used;
		left -= used;
	}
	return rc == 0 ? (ssize_t)len : -rc;
}

static void sink_end(struct hbt_sink *base, const struct halibut_error *why)
{
	struct hbt_streams_sink *s = (struct hbt_streams_sink *)base;
	struct halibut_error early = {0};

	if (why == NULL && !hbt_section_finished(&s->section)) {
		hbt_error_set(&early, HALIBUT_ESTREAM,
		              "the DataStreams ended before they were complete");
		why = &early;
	}
	if (s->done != NULL)
		s->done(s->arg, &s->set, why);
	halibut_error_clear(&early);
	hbt_streams_fini(&s->set);
	hbt_section_fini(&s->section);
	free(s->refs);
	free(s);
}

static const struct hbt_sink_ops sink_ops = {
	.write = sink_write,
	.end = sink_end,
};

int hbt_streams_sink_new(struct hbt_streams_sink **out,
                         const struct hbt_message *m, hbt_streams_done done,
                         void *arg)
{
	struct hbt_streams_sink *s = calloc(1, sizeof(*s));
	size_t n = m->env.n_streams;

	*out = NULL;
	if (s == NULL)
		return HALIBUT_ENOMEM;
	s->base.ops = &sink_ops;
	s->done = done;
	s->arg = arg;
	s->refs = calloc(n, sizeof(*s->refs));
	s->set.all = calloc(n, sizeof(*s->set.all));
	s->set.n = n;
	if (s->refs == NULL || s->set.all == NULL)
		goto fail;
	memcpy(s->refs, m->env.streams, n * sizeof(*s->refs));
	if (hbt_section_init(&s->section, s->refs, n) != 0)
		goto fail;
	*out = s;
	return 0;
fail:
	free(s->refs);
	free(s->set.all);
	free(s);
	return HALIBUT_ENOMEM;
}

struct hbt_sink *hbt_streams_sink_base(struct hbt_streams_sink *s)
{
	return &s->base;
}

void hbt_streams_sink_forget(struct hbt_streams_sink *s)
{
	s->done = NULL;
}
