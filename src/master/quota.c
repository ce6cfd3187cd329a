#include "master/quota.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* So many of those at rest are looked at when another one comes to rest: more
 * than one, so that they become fewer. */
#define FORGET_AT_ONCE 4

struct hbt_quotas {
	struct hbt_quota *by_key;
	TAILQ_HEAD(, hbt_quota) resting; /* the longest first */
	size_t n_resting, max_resting;
};

struct hbt_quotas *hbt_quotas_new(size_t max_resting)
{
	struct hbt_quotas *qs = calloc(1, sizeof(*qs));

	if (qs == NULL)
		return NULL;
	TAILQ_INIT(&qs->resting);
	qs->max_resting = max_resting;
	return qs;
}

static void forget(struct hbt_quotas *qs, struct hbt_quota *q)
{
	TAILQ_REMOVE(&qs->resting, q, link);
	qs->n_resting--;
	HASH_DEL(qs->by_key, q);
	free(q);
}

void hbt_quotas_free(struct hbt_quotas **at)
{
	struct hbt_quotas *qs = *at;

	*at = NULL;
	if (qs == NULL)
		return;
	while (!TAILQ_EMPTY(&qs->resting))
		forget(qs, TAILQ_FIRST(&qs->resting));
	assert(qs->by_key == NULL);
	free(qs);
}

static struct hbt_quota *quota_new(struct hbt_quotas *qs, const char *key)
{
	struct hbt_quota *q = calloc(1, sizeof(*q) + strlen(key) + 1);

	if (q == NULL)
		return NULL;
	q->all = qs;
	strcpy(q->key, key);
	HASH_ADD_STR(qs->by_key, key, q);
	if (q->hh.tbl == NULL) {
		free(q);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&qs->resting, q, link);
	qs->n_resting++;
	return q;
}

struct hbt_quota *hbt_quota_ref(struct hbt_quota *q)
{
	if (q->users++ == 0) {
		TAILQ_REMOVE(&q->all->resting, q, link);
		q->all->n_resting--;
	}
	return q;
}

struct hbt_quota *hbt_quota_take(struct hbt_quotas *qs, const char *key)
{
	struct hbt_quota *q;

	HASH_FIND_STR(qs->by_key, key, q);
	if (q == NULL)
		q = quota_new(qs, key);
	return q != NULL ? hbt_quota_ref(q) : NULL;
}

void hbt_quota_drop(struct hbt_quota **at, int64_t now_ms)
{
	struct hbt_quota *q = *at, *oldest;
	struct hbt_quotas *qs;

	*at = NULL;
	if (q == NULL || --q->users > 0)
		return;
	qs = q->all;
	assert(q->connections == 0 && q->waiting == 0);
	TAILQ_INSERT_TAIL(&qs->resting, q, link);
	qs->n_resting++;
	for (int i = 0; i < FORGET_AT_ONCE; i++) {
		oldest = TAILQ_FIRST(&qs->resting);
		if (oldest == NULL ||
		    (!hbt_rate_is_fresh(&oldest->rate, now_ms) &&
		     qs->n_resting <= qs->max_resting))
			break;
		forget(qs, oldest);
	}
}

size_t hbt_quotas_count(const struct hbt_quotas *qs)
{
	return HASH_COUNT(qs->by_key);
}
