/* The names of keys and channels, byte for byte as .NET nodes spell them.
 * redis-queue 2 */
#ifndef HBT_QUEUE_REDIS_NAMES_H
#define HBT_QUEUE_REDIS_NAMES_H

#include <stddef.h>
#include "base/guid.h"

enum hbt_redis_kind {
	/* of an endpoint */
	HBT_REDIS_LIST,  /* ids of requests that wait */
	HBT_REDIS_PULSE, /* channel: there is another one */
	/* of a request: hbt_redis_ref() */
	HBT_REDIS_REQUEST,
	HBT_REDIS_RESPONSE,
	HBT_REDIS_RESPONSE_PULSE,  /* channel */
	HBT_REDIS_CANCELLED,       /* marker */
	HBT_REDIS_CANCELLED_PULSE, /* channel */
	HBT_REDIS_SENDER_BEAT,     /* channel */
	HBT_REDIS_RECEIVER_BEAT,   /* channel */
	/* of a GUID */
	HBT_REDIS_LOSS, /* goes away with all data */
};

/* The two fields of a stored message. */
#define HBT_REDIS_MESSAGE_FIELD "RequestMessageField"
#define HBT_REDIS_STREAMS_FIELD "DataStreamMetaDataField"

enum {
	HBT_REDIS_PREFIX_MAX = 512,
	HBT_REDIS_ENDPOINT_MAX = 3000,
	HBT_REDIS_NAME_MAX = 4096,
};

struct hbt_redis_name {
	char text[HBT_REDIS_NAME_MAX];
};

/* Writes the name into *n and returns its text. prefix and endpoint are
 * within the limits above. */
const char *hbt_redis_name(struct hbt_redis_name *n, const char *prefix,
                           enum hbt_redis_kind kind, const char *of);

/* What names a request: endpoint "::" id, malloced. */
char *hbt_redis_ref(const char *endpoint, const char *guid);

/* The glob that matches the response pulses of all requests, and nothing
 * else, whatever the prefix holds. */
const char *hbt_redis_response_pattern(struct hbt_redis_name *n,
                                       const char *prefix);
/* The request that a response pulse is for, within channel; NULL if it is
 * none. A channelPrefix may be in front. */
const char *hbt_redis_response_ref(const char *channel, const char *prefix);

/* A GUID in any of the formats that .NET reads: N, D, B, P, X, with spaces
 * around it. HALIBUT_OK or HALIBUT_EINVAL. */
int hbt_redis_guid_read(const char *text, size_t len, struct hbt_guid *g);

#endif
