#include "master/holders.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "base/timespan.h"
#include "base/hash.h"
#include "master/trust.h"
#include "net/tls.h"

/* That are remembered without a connection; then the oldest is forgotten. */
#define MAX_ABSENT 100000

struct entry {
	struct hbt_holder holder;
	UT_hash_handle hh;
	TAILQ_ENTRY(entry) link; /* while it has no connection */
};

struct hbt_holders {
	struct entry *by_sha1;
	TAILQ_HEAD(, entry) absent; /* the longest first */
	size_t n_absent;
};

struct hbt_holders *hbt_holders_new(void)
{
	struct hbt_holders *hs = calloc(1, sizeof(*hs));

	if (hs != NULL)
		TAILQ_INIT(&hs->absent);
	return hs;
}

void hbt_holders_free(struct hbt_holders **at)
{
	struct hbt_holders *hs = *at;
	struct entry *e, *next;

	*at = NULL;
	if (hs == NULL)
		return;
	HASH_ITER (hh, hs->by_sha1, e, next) {
		HASH_DEL(hs->by_sha1, e);
		free(e);
	}
	free(hs);
}

static void leave_absent(struct hbt_holders *hs, struct entry *e)
{
	TAILQ_REMOVE(&hs->absent, e, link);
	hs->n_absent--;
}

static void become_absent(struct hbt_holders *hs, struct entry *e)
{
	struct entry *oldest;

	e->holder.seen_ms = hbt_now_ms();
	TAILQ_INSERT_TAIL(&hs->absent, e, link);
	if (++hs->n_absent <= MAX_ABSENT)
		return;
	oldest = TAILQ_FIRST(&hs->absent);
	leave_absent(hs, oldest);
	HASH_DEL(hs->by_sha1, oldest);
	free(oldest);
}

/* Without connections; it is on no list yet when it is new. */
static struct entry *find_or_make(struct hbt_holders *hs,
                                  const char *thumbprint, bool *is_new)
{
	uint8_t sha1[HBT_SHA1_LEN];
	struct entry *e;

	*is_new = false;
	if (thumbprint == NULL || !hbt_sha1_parse(thumbprint, sha1))
		return NULL;
	HASH_FIND(hh, hs->by_sha1, sha1, sizeof(sha1), e);
	if (e != NULL || (e = calloc(1, sizeof(*e))) == NULL)
		return e;
	memcpy(e->holder.sha1, sha1, sizeof(sha1));
	HASH_ADD(hh, hs->by_sha1, holder.sha1, sizeof(sha1), e);
	if (e->hh.tbl == NULL) {
		free(e);
		return NULL;
	}
	*is_new = true;
	return e;
}

struct hbt_holder *hbt_holders_enter(struct hbt_holders *hs,
                                     const char *thumbprint)
{
	bool is_new;
	struct entry *e = find_or_make(hs, thumbprint, &is_new);

	if (e == NULL)
		return NULL;
	if (e->holder.connections++ == 0 && !is_new)
		leave_absent(hs, e);
	return &e->holder;
}

void hbt_holders_leave(struct hbt_holders *hs, struct hbt_holder *holder)
{
	if (holder != NULL && --holder->connections == 0)
		become_absent(hs, (struct entry *)holder);
}

void hbt_holders_seen(struct hbt_holders *hs, const char *thumbprint)
{
	bool is_new;
	struct entry *e = find_or_make(hs, thumbprint, &is_new);

	if (e == NULL || e->holder.connections > 0)
		return;
	if (!is_new)
		leave_absent(hs, e);
	become_absent(hs, e);
}

const struct hbt_holder *hbt_holders_find(const struct hbt_holders *hs,
                                          const uint8_t sha1[20])
{
	struct entry *e;

	HASH_FIND(hh, hs->by_sha1, sha1, HBT_SHA1_LEN, e);
	return e != NULL ? &e->holder : NULL;
}
