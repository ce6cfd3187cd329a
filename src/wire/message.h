/*
 * One Halibut message as it travels: the compressed bytes, which are passed
 * on untouched, and a view of its envelope. wire-protocol 6, 7.1, 9, 10, 11.1
 *
 * A message is immutable and reference counted.
 */
#ifndef HBT_WIRE_MESSAGE_H
#define HBT_WIRE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/guid.h"

enum hbt_message_kind {
	HBT_MESSAGE_NULL, /* nothing to do: the polling keep-alive */
	HBT_MESSAGE_REQUEST,
	HBT_MESSAGE_RESPONSE,
};

struct hbt_stream_ref {
	struct hbt_guid id;
	int64_t length; /* as the document says; the section may differ */
};

struct hbt_envelope {
	enum hbt_message_kind kind;
	char *id;             /* never NULL unless kind is NULL */
	bool has_activity_id;
	struct hbt_guid activity_id;
	/* Requests; NULL where absent. */
	char *destination;    /* endpoint.BaseUri as written */
	char *destination_thumbprint; /* endpoint.RemoteThumbprint */
	int64_t queue_timeout_ms; /* endpoint.PollingRequestQueueTimeout, or -1 */
	char *service;
	char *method;
	/* Responses. */
	bool is_error;
	/* DataStreams in document order, found by shape: 11.3. */
	struct hbt_stream_ref *streams;
	size_t n_streams;
};

struct hbt_message {
	int refs;
	struct hbt_envelope env;
	uint8_t *deflated; /* raw DEFLATE, as on the wire; owned */
	size_t deflated_len;
};

/*
 * Takes deflated (malloced) and what env points to over, also when it fails.
 * NULL when memory is short.
 */
struct hbt_message *hbt_message_new(struct hbt_envelope *env,
                                    uint8_t *deflated, size_t len);
struct hbt_message *hbt_message_ref(struct hbt_message *m);
void hbt_message_unref(struct hbt_message **m);
/* Frees the compressed bytes of one that nobody else has a reference to, or
 * does nothing: its envelope is all that is still of use. NULL allowed. */
void hbt_message_shed(struct hbt_message *m);
void hbt_envelope_fini(struct hbt_envelope *env);

/*
 * Reads the envelope of a BSON document of exactly len bytes. Names match as
 * 7 and 7.1 say (exact first, then without case). HALIBUT_OK; HALIBUT_EPROTO
 * with a message for a broken document, a wrong $type in front, nesting
 * deeper than 64, a request without id, a destination that is no absolute
 * URI; HALIBUT_ELIMIT for more than max_streams DataStreams. *env is zeroed
 * first.
 */
int hbt_envelope_read(const uint8_t *bson, size_t len, size_t max_streams,
                      struct hbt_envelope *env, struct halibut_error *err);

/* The null message. Shared; unref as any other. */
struct hbt_message *hbt_message_null(void);

/* One compressor or decompressor state a process, kept: design rule 7. */
struct hbt_deflater;
struct hbt_deflater *hbt_deflater_new(void);
void hbt_deflater_free(struct hbt_deflater **d);
/* The process's own, made at its first use; do not free it. NULL when memory
 * is short. */
struct hbt_deflater *hbt_deflater_shared(void);
/* A document of at most so many bytes is stored, not compressed: with what
 * encloses it, it is one packet. */
#define HBT_STORED_MAX 1024
/* Raw DEFLATE; *out is malloced. HALIBUT_OK or HALIBUT_ENOMEM. */
int hbt_deflate(struct hbt_deflater *d, const uint8_t *in, size_t len,
                uint8_t **out, size_t *out_len);
/* Inflates a whole message; *out is malloced, *out_len <= max.
 * HALIBUT_EPROTO, HALIBUT_ELIMIT, HALIBUT_ENOMEM. */
int hbt_inflate(const uint8_t *in, size_t len, size_t max,
                uint8_t **out, size_t *out_len);

/*
 * Makes a message from a BSON document: reads its envelope and compresses it.
 * bson stays the caller's.
 */
int hbt_message_from_bson(struct hbt_deflater *d, const uint8_t *bson,
                          size_t len, struct hbt_message **out,
                          struct halibut_error *err);

/* The document of a message, malloced, at most max bytes. */
int hbt_message_to_bson(const struct hbt_message *m, size_t max,
                        uint8_t **bson, size_t *len);

#endif
