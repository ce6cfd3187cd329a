/* How long to wait before the next attempt to connect. */
#ifndef HBT_REDIS_BACKOFF_H
#define HBT_REDIS_BACKOFF_H

#include <stdint.h>

struct hbt_backoff {
	int64_t min_ms, max_ms;
	int64_t ceiling_ms; /* 0: the next is the first */
};

/* From 0 to min_ms the first time, then around a growing value up to max_ms.
 * Random, so that many nodes do not come back at the same moment. */
int64_t hbt_backoff_next(struct hbt_backoff *b);
void hbt_backoff_reset(struct hbt_backoff *b);

#endif
