#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/uri.h"
#include "wire/inflate.h"
#include "wire/reader.h"

enum {
	/* The reference has no limit for a line; a URI may take 2 KiB. */
	LINE_MAX_BYTES = 8 * 1024,
	LINE_FIRST_CAP = 64,
	PREAMBLE_MAX_CHARS = 20000, /* 3.1 */
};

/* What a reader needs only in the middle of a message. */
struct inbound {
	struct hbt_inflater *inf; /* NULL once the document is complete */
	struct hbt_buf deflated;  /* unless it comes in one piece */
	struct hbt_message *msg;  /* owns the list that section refers to */
	struct hbt_section section;
};

struct hbt_reader {
	const struct hbt_limits *limits;
	struct inbound *in; /* NULL outside messages */
	char *line;         /* a control line so far; NULL while empty */
	uint16_t line_len, line_cap;
	uint16_t chars;   /* of the preamble */
	char first[2];    /* of the preamble */
	bool newline;     /* preamble: the last character was one */
	bool cr;          /* control line: the last byte was 0D */
	bool second_line; /* identity: its empty line is next */
	bool failed;
	enum hbt_expect expect;
	struct halibut_error err;
};

struct hbt_reader *hbt_reader_new(const struct hbt_limits *limits)
{
	struct hbt_reader *r = calloc(1, sizeof(*r));

	if (r != NULL)
		r->limits = limits;
	return r;
}

static void drop_line(struct hbt_reader *r)
{
	free(r->line);
	r->line = NULL;
	r->line_len = r->line_cap = 0;
}

static void drop_inbound(struct hbt_reader *r)
{
	struct inbound *in = r->in;

	r->in = NULL;
	if (in == NULL)
		return;
	hbt_inflater_give(&in->inf);
	hbt_buf_fini(&in->deflated);
	hbt_section_fini(&in->section);
	hbt_message_unref(&in->msg);
	free(in);
}

void hbt_reader_free(struct hbt_reader **r_p)
{
	struct hbt_reader *r = *r_p;

	*r_p = NULL;
	if (r == NULL)
		return;
	drop_line(r);
	drop_inbound(r);
	halibut_error_clear(&r->err);
	free(r);
}

void hbt_reader_expect(struct hbt_reader *r, enum hbt_expect what)
{
	if (r->failed)
		return;
	assert(r->expect == HBT_EXPECT_NOTHING && r->in == NULL);
	drop_line(r);
	r->expect = what;
	r->cr = r->second_line = r->newline = false;
	r->chars = 0;
}

bool hbt_reader_mid_message(const struct hbt_reader *r)
{
	return r->in != NULL;
}

static void done(struct hbt_reader *r, struct hbt_event *ev,
                 enum hbt_event_type type)
{
	r->expect = HBT_EXPECT_NOTHING;
	ev->type = type;
}

/* Everything fails through here; r->err has been set. */
static void fail(struct hbt_reader *r, struct hbt_event *ev)
{
	r->failed = true;
	r->expect = HBT_EXPECT_NOTHING;
	drop_line(r);
	drop_inbound(r);
	ev->type = HBT_EVENT_ERROR;
	ev->error = &r->err;
}

static void fail_memory(struct hbt_reader *r, struct hbt_event *ev)
{
	hbt_error_set(&r->err, HALIBUT_ENOMEM, "Out of memory.");
	fail(r, ev);
}

/* Preamble: 3.1 */

static void preamble_done(struct hbt_reader *r, struct hbt_event *ev)
{
	done(r, ev, HBT_EVENT_PREAMBLE);
	/* The reference fails on one character; both are closed silently. */
	ev->is_empty = r->chars < 2;
	ev->is_mx = r->chars >= 2 && r->first[0] == 'M' && r->first[1] == 'X';
}

static void next_preamble(struct hbt_reader *r, const uint8_t **data,
                          size_t *len, struct hbt_event *ev)
{
	while (*len > 0) {
		uint8_t c = **data;
		bool was_newline = r->newline;

		(*data)++;
		(*len)--;
		if (c == '\r')
			continue;
		if (r->chars < 2)
			r->first[r->chars] = (char)c;
		r->chars++;
		r->newline = c == '\n';
		if ((r->newline && was_newline) ||
		    r->chars >= PREAMBLE_MAX_CHARS) {
			preamble_done(r, ev);
			return;
		}
	}
}

/* Control lines: 4 */

/* A line as people should see it: no control bytes, not endless. */
static const char *printable(const char *line, size_t len, char *buf,
                             size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)line[i];

		if (n + 8 > size) {
			strcpy(buf + n, "...");
			return buf;
		}
		if (c < 0x20 || c > 0x7e)
			n += (size_t)snprintf(buf + n, size - n, "\\x%02x", c);
		else
			buf[n++] = (char)c;
	}
	buf[n] = '\0';
	return buf;
}

static bool line_add(struct hbt_reader *r, struct hbt_event *ev, uint8_t c)
{
	if (r->line_len == LINE_MAX_BYTES) {
		hbt_error_set(&r->err, HALIBUT_EPROTO,
		              "The peer sent a control line longer than %d "
		              "bytes.",
		              LINE_MAX_BYTES);
		fail(r, ev);
		return false;
	}
	/* One byte more than the line: its terminator. */
	if (r->line_len + 1 >= r->line_cap) {
		uint16_t cap = r->line_cap > 0 ? (uint16_t)(r->line_cap * 2)
		                               : LINE_FIRST_CAP;
		char *p = realloc(r->line, cap);

		if (p == NULL) {
			fail_memory(r, ev);
			return false;
		}
		r->line = p;
		r->line_cap = cap;
	}
	r->line[r->line_len++] = (char)c;
	r->line[r->line_len] = '\0';
	return true;
}

/*
 * Consumes up to the end of a line. True when it is complete; false when
 * more is needed or *ev has an error.
 */
static bool read_line(struct hbt_reader *r, const uint8_t **data, size_t *len,
                      struct hbt_event *ev)
{
	while (*len > 0) {
		uint8_t c = **data;

		if (r->cr && c != '\n') {
			hbt_error_set(&r->err, HALIBUT_EPROTO,
			              "The peer sent a control line with a "
			              "carriage return that no line feed "
			              "follows.");
			fail(r, ev);
			return false;
		}
		(*data)++;
		(*len)--;
		if (r->cr) {
			r->cr = false;
			return true;
		}
		if (c == '\r')
			r->cr = true;
		else if (!line_add(r, ev, c))
			return false;
	}
	return false;
}

static bool line_is(const struct hbt_reader *r, const char *text)
{
	size_t n = strlen(text);

	return r->line_len == n && memcmp(r->line, text, n) == 0;
}

static void unexpected_line(struct hbt_reader *r, struct hbt_event *ev,
                            const char *expected)
{
	char text[160];

	hbt_error_set(&r->err, HALIBUT_EPROTO, "Expected %s, got: %s", expected,
	              printable(r->line, r->line_len, text, sizeof(text)));
	fail(r, ev);
}

static void next_control(struct hbt_reader *r, const uint8_t **data,
                         size_t *len, struct hbt_event *ev)
{
	while (read_line(r, data, len, ev)) {
		if (r->line_len == 0)
			continue; /* empty lines are skipped: 4.1 */
		if (r->expect == HBT_EXPECT_PROCEED) {
			if (line_is(r, "PROCEED"))
				done(r, ev, HBT_EVENT_PROCEED);
			else
				unexpected_line(r, ev, "PROCEED");
		} else if (line_is(r, "NEXT")) {
			done(r, ev, HBT_EVENT_NEXT);
		} else if (line_is(r, "END")) {
			done(r, ev, HBT_EVENT_END);
		} else {
			unexpected_line(r, ev, "NEXT or END");
		}
		drop_line(r);
		return;
	}
}

/* Identification: 4.2 */

static void fail_identity(struct hbt_reader *r, struct hbt_event *ev,
                          const char *why)
{
	char text[160];

	hbt_error_set(&r->err, HALIBUT_EPROTO,
	              "The peer did not identify itself properly: %s. Its line "
	              "was: %s",
	              why, printable(r->line, r->line_len, text, sizeof(text)));
	fail(r, ev);
}

/* The next piece between spaces, terminated in place; NULL after the last. */
static char *next_piece(char **rest)
{
	char *piece;

	while (**rest == ' ')
		(*rest)++;
	if (**rest == '\0')
		return NULL;
	piece = *rest;
	while (**rest != ' ' && **rest != '\0')
		(*rest)++;
	if (**rest == ' ')
		*(*rest)++ = '\0';
	return piece;
}

static void parse_identity(struct hbt_reader *r, struct hbt_event *ev)
{
	char *rest = r->line;
	struct hbt_uri uri;
	char *kind, *id;
	int rc;

	if (memchr(r->line, 0, r->line_len) != NULL) {
		fail_identity(r, ev, "a NUL byte in the line");
		return;
	}
	kind = next_piece(&rest);
	if (kind != NULL && strcmp(kind, "MX-CLIENT") == 0) {
		ev->identity = HBT_IDENTITY_CLIENT;
	} else if (kind != NULL && strcmp(kind, "MX-SERVER") == 0) {
		ev->identity = HBT_IDENTITY_SERVER;
	} else if (kind != NULL && strcmp(kind, "MX-SUBSCRIBER") == 0) {
		ev->identity = HBT_IDENTITY_SUBSCRIBER;
		next_piece(&rest); /* the version: never looked at */
		if ((id = next_piece(&rest)) == NULL) {
			fail_identity(r, ev, "a subscriber without a URI");
			return;
		}
		rc = hbt_uri_parse(id, &uri);
		hbt_uri_fini(&uri);
		if (rc == HALIBUT_ENOMEM) {
			fail_memory(r, ev);
			return;
		}
		if (rc != HALIBUT_OK) {
			fail_identity(r, ev,
			              "a subscriber whose URI is not absolute");
			return;
		}
		ev->subscription = id;
	} else {
		fail_identity(r, ev, "unknown identity type");
		return;
	}
	/* The line stays until the next call: subscription points into it. */
	done(r, ev, HBT_EVENT_IDENTITY);
}

static void next_identity(struct hbt_reader *r, const uint8_t **data,
                          size_t *len, struct hbt_event *ev)
{
	if (!r->second_line) {
		if (!read_line(r, data, len, ev))
			return;
		if (r->line_len == 0) {
			fail_identity(r, ev, "an empty line");
			return;
		}
		r->second_line = true;
	}
	/* Whatever is not its CR LF cannot become an empty line any more. */
	while (*len > 0) {
		uint8_t c = **data;

		if (c != (r->cr ? '\n' : '\r')) {
			fail_identity(r, ev,
			              "the following line was not "
			              "empty");
			return;
		}
		(*data)++;
		(*len)--;
		if (r->cr) {
			r->cr = false;
			parse_identity(r, ev);
			return;
		}
		r->cr = true;
	}
}

/* Messages: 6 */

/*
 * The largest size a message may have as it is compressed: an endless row of
 * empty blocks inflates to nothing and must end somewhere too.
 */
static size_t max_deflated(const struct hbt_reader *r)
{
	size_t max = r->limits->max_message_bytes;
	size_t more = max / 16 + 64 * 1024;

	return max < SIZE_MAX - more ? max + more : SIZE_MAX;
}

static bool inbound_begin(struct hbt_reader *r)
{
	if ((r->in = calloc(1, sizeof(*r->in))) == NULL)
		return false;
	hbt_buf_init(&r->in->deflated, max_deflated(r));
	return (r->in->inf = hbt_inflater_take()) != NULL;
}

/* Keeps the compressed bytes as they came, in memory of exactly their size
 * once they are complete. HALIBUT_OK, HALIBUT_ELIMIT or HALIBUT_ENOMEM. */
static int keep_deflated(struct inbound *in, const uint8_t *data, size_t len,
                         bool end, uint8_t **out, size_t *out_len)
{
	uint8_t *fit;
	int rc;

	if (!end || in->deflated.len > 0) {
		rc = hbt_buf_append(&in->deflated, data, len);
		if (rc != HALIBUT_OK || !end)
			return rc;
		*out = hbt_buf_detach(&in->deflated, out_len);
		if ((fit = realloc(*out, *out_len)) != NULL)
			*out = fit;
		return HALIBUT_OK;
	}
	if ((*out = malloc(len)) == NULL)
		return HALIBUT_ENOMEM;
	memcpy(*out, data, len);
	*out_len = len;
	return HALIBUT_OK;
}

/* The document is complete: makes the message and gives the state back. */
static int document_done(struct hbt_reader *r, uint8_t *deflated, size_t len)
{
	struct inbound *in = r->in;
	struct hbt_envelope env;
	int rc;

	rc = hbt_envelope_read(in->inf->out, in->inf->doc_len,
	                       r->limits->max_streams_per_message, &env,
	                       &r->err);
	hbt_inflater_give(&in->inf);
	if (rc != HALIBUT_OK) {
		free(deflated);
		return rc;
	}
	if ((in->msg = hbt_message_new(&env, deflated, len)) == NULL ||
	    hbt_section_init(&in->section, in->msg->env.streams,
	                     in->msg->env.n_streams) != HALIBUT_OK)
		return hbt_error_set(&r->err, HALIBUT_ENOMEM, "Out of memory.");
	return HALIBUT_OK;
}

/*
 * A poller that cannot read our request says END in place of a response,
 * which is no DEFLATE: 6.
 */
static bool said_end(const struct inbound *in, const uint8_t *data, size_t len)
{
	static const char end[] = {'E', 'N', 'D', '\r', '\n'};
	size_t had = in->deflated.len;

	return had <= sizeof(end) && len >= sizeof(end) - had &&
	       (had == 0 || memcmp(in->deflated.data, end, had) == 0) &&
	       memcmp(data, end + had, sizeof(end) - had) == 0;
}

static void next_document(struct hbt_reader *r, const uint8_t **data,
                          size_t *len, struct hbt_event *ev)
{
	struct inbound *in = r->in;
	uint8_t *deflated = NULL;
	size_t used, deflated_len = 0;
	bool end;
	int rc;

	rc = hbt_inflater_feed(in->inf, r->limits->max_message_bytes, *data,
	                       *len, &used, &end, &r->err);
	if (rc == HALIBUT_OK) {
		rc = keep_deflated(in, *data, used, end, &deflated,
		                   &deflated_len);
		if (rc != HALIBUT_OK)
			hbt_error_set(&r->err, rc,
			              rc == HALIBUT_ENOMEM
			                      ? "Out of memory."
			                      : "The peer sent a message whose "
			                        "compressed form passes the "
			                        "largest message size.");
	}
	if (rc == HALIBUT_EPROTO && said_end(in, *data, *len))
		rc = hbt_error_set(&r->err, HALIBUT_ECLOSED,
		                   "The peer ended the connection where we "
		                   "expected a message: it may not have been "
		                   "able to read ours.");
	*data += used;
	*len -= used;
	if (rc == HALIBUT_OK && end)
		rc = document_done(r, deflated, deflated_len);
	if (rc != HALIBUT_OK) {
		fail(r, ev);
	} else if (end) {
		ev->type = HBT_EVENT_MESSAGE;
		ev->message = hbt_message_ref(in->msg);
	}
}

static void next_section(struct hbt_reader *r, const uint8_t **data,
                         size_t *len, struct hbt_event *ev)
{
	struct hbt_section *s = &r->in->section;
	size_t used;

	if (hbt_section_finished(s)) {
		drop_inbound(r);
		done(r, ev, HBT_EVENT_SECTION_END);
		return;
	}
	if (*len == 0)
		return;
	if (hbt_section_scan(s, *data, *len, &used, &r->err) != HALIBUT_OK) {
		fail(r, ev);
		return;
	}
	ev->type = HBT_EVENT_SECTION;
	ev->section = *data;
	ev->section_len = used;
	*data += used;
	*len -= used;
}

static void next_message(struct hbt_reader *r, const uint8_t **data,
                         size_t *len, struct hbt_event *ev)
{
	if (r->in != NULL && r->in->inf == NULL) {
		next_section(r, data, len, ev);
		return;
	}
	if (*len == 0)
		return;
	if (r->in == NULL && !inbound_begin(r)) {
		fail_memory(r, ev);
		return;
	}
	next_document(r, data, len, ev);
}

void hbt_reader_next(struct hbt_reader *r, const uint8_t **data, size_t *len,
                     struct hbt_event *ev)
{
	memset(ev, 0, sizeof(*ev));
	ev->type = HBT_EVENT_MORE;
	if (r->failed) {
		ev->type = HBT_EVENT_ERROR;
		ev->error = &r->err;
		return;
	}
	switch (r->expect) {
	case HBT_EXPECT_NOTHING:
		drop_line(r);
		return;
	case HBT_EXPECT_PREAMBLE:
		next_preamble(r, data, len, ev);
		return;
	case HBT_EXPECT_IDENTITY:
		next_identity(r, data, len, ev);
		return;
	case HBT_EXPECT_NEXT_OR_END:
	case HBT_EXPECT_PROCEED:
		next_control(r, data, len, ev);
		return;
	case HBT_EXPECT_MESSAGE:
		next_message(r, data, len, ev);
		return;
	}
}

static const char *awaited(const struct hbt_reader *r)
{
	switch (r->expect) {
	case HBT_EXPECT_PREAMBLE:
		return "its preamble";
	case HBT_EXPECT_IDENTITY:
		return "its identification";
	case HBT_EXPECT_NEXT_OR_END:
		return "NEXT or END";
	case HBT_EXPECT_PROCEED:
		return "PROCEED";
	case HBT_EXPECT_MESSAGE:
		if (r->in == NULL)
			return "a message";
		return r->in->inf != NULL ? "the rest of a message"
		                          : "the rest of a DataStream";
	case HBT_EXPECT_NOTHING:
	default:
		return "nothing yet";
	}
}

bool hbt_reader_eof(struct hbt_reader *r, struct hbt_event *ev)
{
	memset(ev, 0, sizeof(*ev));
	if (r->expect == HBT_EXPECT_PREAMBLE) {
		preamble_done(r, ev);
		return true;
	}
	if (r->failed) {
		ev->type = HBT_EVENT_ERROR;
		ev->error = &r->err;
		return false;
	}
	hbt_error_set(&r->err, HALIBUT_ECLOSED,
	              "The peer closed the connection while we expected %s.",
	              awaited(r));
	fail(r, ev);
	return false;
}
