/*
 * Between a Halibut message and a line of JSON-RPC: what a program reads and
 * what it may answer, as halibut-service(7) describes it. No I/O but the
 * opening of result files.
 */
#ifndef HBT_SERVICE_CONVERT_H
#define HBT_SERVICE_CONVERT_H

#include <stdbool.h>

#include "intake.h"

struct hbt_svc_request {
	const struct hbt_message *message;
	const struct hbt_svc_file *files; /* n_streams of the message */
	const char *directory;
	uint64_t id;
	size_t max_message_bytes;
};

/*
 * The request as one line, newline included, malloced. HALIBUT_EINVAL and
 * others with a message when the document cannot be told in JSON.
 */
int hbt_svc_request_line(const struct hbt_svc_request *request, char **line,
                         size_t *len, struct halibut_error *err);

/* A DataStream of a result: an open file, or bytes. */
struct hbt_svc_stream {
	struct hbt_guid id;
	int64_t length;
	int fd;        /* -1: bytes */
	uint8_t *data; /* NULL: the file */
};

struct hbt_svc_answer {
	uint8_t *document; /* the response message, BSON */
	size_t len;
	struct hbt_svc_stream *streams; /* in document order */
	size_t n_streams;
};

/*
 * Reads a program's line as the answer to call id, whose response is to
 * carry request_id. HALIBUT_OK: *answer is the response with a result.
 * HALIBUT_EPROTO: not an answer to the call at all, err says why.
 * Any other status: *answer is zero and err what the call ended with: the
 * service's own error, or a result that cannot be sent.
 */
int hbt_svc_answer_read(const char *line, size_t len, uint64_t id,
                        const char *request_id, const char *directory,
                        struct hbt_svc_answer *answer,
                        struct halibut_error *err);
/* NULL and half-filled ones allowed. */
void hbt_svc_answer_fini(struct hbt_svc_answer *answer);
void hbt_svc_streams_free(struct hbt_svc_stream *streams, size_t n);

/*
 * An error of the service's own code, in the form that every .NET client
 * recognises. details may be NULL.
 */
int hbt_svc_invocation_error(struct halibut_error *err, const char *details,
                             const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
