/*
 * The reading half of the wire: bytes in, events out, no I/O. The caller says
 * what comes next, hands over bytes as they come and takes events until the
 * reader wants more. wire-protocol 3.1, 4, 6, 11.3
 */
#ifndef HBT_WIRE_READER_H
#define HBT_WIRE_READER_H

#include "base/limits.h"
#include "wire/message.h"

enum hbt_expect {
	HBT_EXPECT_NOTHING,  /* bytes that come are left where they are */
	HBT_EXPECT_PREAMBLE, /* acceptor: MX, or something else: 3.1 */
	HBT_EXPECT_IDENTITY, /* the identification line and its empty line */
	HBT_EXPECT_NEXT_OR_END, /* leading empty lines are skipped */
	HBT_EXPECT_PROCEED,
	HBT_EXPECT_MESSAGE,  /* a message, then as many DataStreams as it has */
};

enum hbt_event_type {
	HBT_EVENT_MORE,      /* give me more bytes */
	HBT_EVENT_PREAMBLE,  /* is_mx */
	HBT_EVENT_IDENTITY,  /* identity, subscription */
	HBT_EVENT_NEXT,
	HBT_EVENT_END,
	HBT_EVENT_PROCEED,
	HBT_EVENT_MESSAGE,   /* the document is complete; its section follows */
	HBT_EVENT_SECTION,   /* section, section_len: raw bytes of 11.2 */
	HBT_EVENT_SECTION_END, /* always, also after a message without streams */
	HBT_EVENT_ERROR,     /* sticky; error */
};

enum hbt_identity {
	HBT_IDENTITY_CLIENT,
	HBT_IDENTITY_SUBSCRIBER,
	HBT_IDENTITY_SERVER,
};

struct hbt_event {
	enum hbt_event_type type;
	bool is_mx;
	bool is_empty; /* preamble: not a byte came: close silently */
	enum hbt_identity identity;
	const char *subscription; /* as sent; valid until the next call */
	struct hbt_message *message; /* the caller's: unref it */
	const uint8_t *section; /* points into the input */
	size_t section_len;
	const struct halibut_error *error; /* valid while the reader lives */
};

/* DataStream framing alone; also used for what we send. 11.2 */
struct hbt_section {
	const struct hbt_stream_ref *refs; /* the caller keeps them alive */
	size_t n_refs;
	size_t done;        /* streams complete */
	uint8_t *seen;      /* one byte a ref */
	enum { HBT_SECTION_HEAD, HBT_SECTION_DATA, HBT_SECTION_TAIL } state;
	uint8_t head[24];
	size_t have;        /* bytes of head or tail */
	int64_t length, left;
	struct hbt_guid id;
};
/* HALIBUT_OK or HALIBUT_ENOMEM. */
int hbt_section_init(struct hbt_section *s, const struct hbt_stream_ref *refs,
                     size_t n_refs);
void hbt_section_fini(struct hbt_section *s);
bool hbt_section_finished(const struct hbt_section *s);
/*
 * Looks at up to len bytes. *used tells how many belong to the section: all,
 * or fewer when it ends inside. HALIBUT_OK, or HALIBUT_EPROTO with a message
 * (unexpected stream, size mismatch).
 */
int hbt_section_scan(struct hbt_section *s, const uint8_t *data, size_t len,
                     size_t *used, struct halibut_error *err);
/*
 * The same, one piece a call: *piece_len data bytes of the current stream (0
 * at framing), for takers that want the streams apart. *stream_end is set on
 * the call that completes a stream. s->id and s->length name the stream.
 */
int hbt_section_next(struct hbt_section *s, const uint8_t *data, size_t len,
                     size_t *used, const uint8_t **piece, size_t *piece_len,
                     bool *stream_begin, bool *stream_end,
                     struct halibut_error *err);

struct hbt_reader;

/*
 * limits is kept by reference. The inflate state is shared by all readers of
 * the process where it can be and costs an idle reader nothing. NULL when
 * memory is short.
 */
struct hbt_reader *hbt_reader_new(const struct hbt_limits *limits);
void hbt_reader_free(struct hbt_reader **r);

/* Only after the event that ended the previous expectation, or at first. */
void hbt_reader_expect(struct hbt_reader *r, enum hbt_expect what);

/*
 * The message and its section are in progress: a byte has come and
 * SECTION_END has not. Tells which time-out guards the next byte: 5.
 */
bool hbt_reader_mid_message(const struct hbt_reader *r);

/*
 * Consumes from *data (advancing *data and *len) up to the next event. With
 * HBT_EVENT_MORE everything was consumed or nothing is expected.
 */
void hbt_reader_next(struct hbt_reader *r, const uint8_t **data, size_t *len,
                     struct hbt_event *ev);

/*
 * The peer closed. Returns true and an event when that ends an expectation
 * properly (a preamble without its empty line: 3.1), else false: *ev is then
 * an ERROR with status HALIBUT_ECLOSED saying what was expected.
 */
bool hbt_reader_eof(struct hbt_reader *r, struct hbt_event *ev);

#endif
