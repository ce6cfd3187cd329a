/* The inside of a request that a handler has, for service.c and reply.c. */
#ifndef HBT_RUNTIME_SERVICE_H
#define HBT_RUNTIME_SERVICE_H

#include <bson/bson.h>
#include "runtime/runtime.h"
#include "runtime/streams.h"

struct halibut_request {
	struct halibut_runtime *rt; /* NULL: it went first */
	struct hbt_inlet *in; /* NULL: the caller is gone */
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

/* Ends it with an error response to its caller. */
void hbt_request_fail(struct halibut_request *req,
                      const struct halibut_error *err);
/* Ends it without an answer. */
void hbt_request_free(struct halibut_request *req);

#endif
