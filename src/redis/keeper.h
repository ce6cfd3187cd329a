/*
 * Keeps one connection to the primary: tries the servers one after the other,
 * asks sentinels, waits between rounds, and begins again when it is lost.
 */
#ifndef HBT_REDIS_KEEPER_H
#define HBT_REDIS_KEEPER_H

#include "redis/link.h"

struct hbt_keeper;

/* From the loop, except lost() from hbt_keeper_leave(). */
struct hbt_keeper_ops {
	void (*up)(void *arg);
	void (*reply)(void *arg, redisReply *reply); /* takes it over */
	void (*drained)(void *arg);
	/* It was up. The link is gone when this is called. */
	void (*lost)(void *arg, const struct halibut_error *why);
	/* No server could be used; it waits, then tries all again. */
	void (*failed)(void *arg, const struct halibut_error *why);
};

/* The first attempt begins at once. */
int hbt_keeper_new(struct hbt_keeper **out,
                   const struct hbt_link_config *config,
                   const struct hbt_keeper_ops *ops, void *arg);
void hbt_keeper_free(struct hbt_keeper **k);

struct hbt_link *hbt_keeper_link(const struct hbt_keeper *k); /* or NULL */
/* Where it is connected, or tries to. */
const char *hbt_keeper_where(const struct hbt_keeper *k);
/* This server is no good: the next one, after a pause. */
void hbt_keeper_leave(struct hbt_keeper *k, const struct halibut_error *why);
/* The server is there, as another connection shows: no more pause. */
void hbt_keeper_hurry(struct hbt_keeper *k);
/* Begin the next round where other is. */
void hbt_keeper_follow(struct hbt_keeper *k, const struct hbt_keeper *other);
void hbt_keeper_take_counts(struct hbt_keeper *k, uint64_t *in,
                            uint64_t *out);

#endif
