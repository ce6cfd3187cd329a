/*
 * Everything that the Redis queue of a process needs, made from settings by
 * name as a program or a configuration file gives them.
 */
#ifndef HBT_QUEUE_REDIS_SETUP_H
#define HBT_QUEUE_REDIS_SETUP_H

#include <event2/dns.h>
#include "queue/redis_queue.h"

/* Strings are malloced; NULL: not set. */
struct hbt_redis_settings {
	struct hbt_redis_options options;
	char *key_prefix;
	char *streams; /* kind of store */
	char *streams_directory, *streams_command;
	int64_t streams_max_bytes; /* 0: the kind's default */
	char **wrappers;
	size_t n_wrappers;
	bool pattern_responses;
	char *node_id; /* GUID text; NULL: random */
	struct hbt_redis_times times;
};

/* The defaults: no server, no prefix; streams in Redis; the times of the
 * specification. */
void hbt_redis_settings_init(struct hbt_redis_settings *s);
void hbt_redis_settings_fini(struct hbt_redis_settings *s); /* wipes */

/*
 * One setting by the name it has in halibut_use_redis(), or "url" and
 * "key_prefix". HALIBUT_EINVAL with a sentence that names it.
 */
int hbt_redis_settings_set(struct hbt_redis_settings *s, const char *name,
                           const char *value, struct halibut_error *err);
/* All that is needed is there, and fits together. */
int hbt_redis_settings_check(const struct hbt_redis_settings *s,
                             struct halibut_error *err);

struct hbt_redis_setup {
	struct hbt_redis *redis;
	struct hbt_store *store;
	struct hbt_wrappers *wrappers;
	struct hbt_redis_node *node;
};

/* limits outlives it; so do base and dns. */
int hbt_redis_setup_new(struct hbt_redis_setup **out, struct event_base *base,
                        struct evdns_base *dns,
                        const struct hbt_redis_settings *s,
                        const struct hbt_limits *limits,
                        struct halibut_error *err);
/* After the queues that its node made. */
void hbt_redis_setup_free(struct hbt_redis_setup **setup);

#endif
