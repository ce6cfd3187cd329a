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
 * each command and channel that the queue uses is allowed (it writes and
 * removes one key of its own, key_prefix ":HalibutRedis:string:Doctor::…"),
 * latency. found is called for each finding, then done once. Ends within
 * timeout_ms whatever the server does; what a restricted ACL hides (INFO,
 * CONFIG) is a hint, not an error.
 */
void hbt_redis_examine(struct hbt_redis *r, const char *key_prefix,
                       int64_t timeout_ms,
                       void (*found)(void *arg, const struct hbt_finding *f),
                       void (*done)(void *arg, bool usable), void *arg);

#endif
