/* The inside of a request that a handler has, for service.c and reply.c. */
#ifndef HBT_RUNTIME_SERVICE_H
#define HBT_RUNTIME_SERVICE_H

#include <bson/bson.h>
#include "runtime/runtime.h"
#include "runtime/streams.h"

/* Where the answer to a request goes. */
struct hbt_way_back {
	/* m is borrowed, streams taken over. */
	void (*answer)(void *arg, struct hbt_message *m,
	               struct hbt_source *streams);
	void (*fail)(void *arg, const struct halibut_error *err);
};

struct halibut_request {
	struct halibut_runtime *rt; /* NULL: it went first */
	const struct hbt_way_back *back; /* NULL: the caller is gone */
	void *back_arg;
	void **slot; /* cleared when this is freed */
	struct hbt_message *msg;
	struct hbt_streams_sink *receiving;
	struct hbt_streams streams;
	uint8_t *bson;
	size_t bson_len;
	char *peer, *peer_address;
	void (*gone)(void *arg);
	void *gone_arg;
	LIST_ENTRY(halibut_request) link;
};

/*
 * Brings a request to its handler, once its DataStreams are there. m is taken
 * over; with DataStreams *sink is set. *slot is the request until it ends,
 * which may be before this returns. peer may be NULL.
 */
void hbt_request_take(struct halibut_runtime *rt, struct hbt_message *m,
                      const char *peer, const char *peer_address,
                      const struct hbt_way_back *back, void *back_arg,
                      void **slot, struct hbt_sink **sink);

/* The caller went away: nobody hears the answer. req may be gone after. */
void hbt_request_orphan(struct halibut_request *req);

/* Ends it with an error response to its caller. */
void hbt_request_fail(struct halibut_request *req,
                      const struct halibut_error *err);
/* Ends it without an answer. */
void hbt_request_free(struct halibut_request *req);

#endif
