/* Asks one sentinel where the primary is. redis-queue 15.3 */
#ifndef HBT_REDIS_SENTINEL_H
#define HBT_REDIS_SENTINEL_H

#include "redis/link.h"

struct hbt_sentinel;

/* Exactly one of these, from the loop, unless it is freed before. */
struct hbt_sentinel_ops {
	void (*found)(void *arg, const struct hbt_redis_server *primary);
	void (*failed)(void *arg, const struct halibut_error *why);
};

int hbt_sentinel_ask(struct hbt_sentinel **out,
                     const struct hbt_link_config *config,
                     const struct hbt_redis_server *sentinel,
                     const struct hbt_sentinel_ops *ops, void *arg);
void hbt_sentinel_free(struct hbt_sentinel **s);

#endif
