/*
 * What each of many has of something that is limited: sources, certificates.
 * One is looked up, made and forgotten in constant time, and nobody is
 * remembered who has nothing, but for as long as its rate is not as new.
 */
#ifndef HBT_MASTER_QUOTA_H
#define HBT_MASTER_QUOTA_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include "base/rate.h"
#include "base/hash.h"

struct hbt_quotas;

struct hbt_quota {
	size_t connections;
	size_t handshakes; /* connections that are not identified yet */
	size_t waiting, waiting_bytes; /* requests */
	struct hbt_rate rate;          /* of connections that come */

	struct hbt_quotas *all;
	size_t users; /* 0: it is on the list of those at rest */
	TAILQ_ENTRY(hbt_quota) link;
	UT_hash_handle hh;
	char key[];
};

/* max_resting: so many are remembered for their rate alone. NULL: no memory. */
struct hbt_quotas *hbt_quotas_new(size_t max_resting);
/* After all were dropped. */
void hbt_quotas_free(struct hbt_quotas **qs);

/* For one user more, until it is dropped. NULL: no memory. */
struct hbt_quota *hbt_quota_take(struct hbt_quotas *qs, const char *key);
struct hbt_quota *hbt_quota_ref(struct hbt_quota *q);
/* *q becomes NULL; NULL is allowed. */
void hbt_quota_drop(struct hbt_quota **q, int64_t now_ms);

size_t hbt_quotas_count(const struct hbt_quotas *qs);

#endif
