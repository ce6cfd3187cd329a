/*
 * Is this Redis server fit to carry the queue? What is wrong, and the command
 * that mends it. redis-queue 2.7, 15
 */
#ifndef HBT_REDIS_DOCTOR_H
#define HBT_REDIS_DOCTOR_H

#include "redis/redis.h"

enum hbt_finding_level {
	HBT_FINDING_OK,
	HBT_FINDING_HINT,  /* works, but read this */
	HBT_FINDING_ERROR, /* does not work */
};

struct hbt_finding {
	enum hbt_finding_level level;
	const char *what;   /* "maxmemory-policy is allkeys-lru: Redis …" */
	const char *remedy; /* the command or setting that mends it, or NULL */
};

/*
 * Looks at role, version, cluster, persistence, eviction, memory, whether
 * each command and channel that the queue uses is allowed, latency. It writes
 * and removes keys of its own, {key_prefix}:HalibutRedis:{type}:Doctor::… and
 * {key_prefix}:HalibutStreams:{type}:Doctor::…; the latter are for DataStream
 * stores of the kind redis, and only a hint when they are forbidden.
 *
 * found is called for each finding, errors first, then done once: always from
 * the loop, except that hbt_redis_free() ends it with done(false). Ends within
 * timeout_ms whatever the server does; what a restricted ACL hides (INFO,
 * CONFIG) is a hint, not an error. Without memory for it, done(false) alone.
 */
void hbt_redis_examine(struct hbt_redis *r, const char *key_prefix,
                       int64_t timeout_ms,
                       void (*found)(void *arg, const struct hbt_finding *f),
                       void (*done)(void *arg, bool usable), void *arg);

#endif
