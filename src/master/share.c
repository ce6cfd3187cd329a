#include "master/share.h"

#include <fnmatch.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/timespan.h"
#include "base/uri.h"
#include "master/calls_private.h"
#include "base/hash.h"

/* Redis does not answer, or DataStreams are slow to come. */
#define SETTLE_MS 10000

struct hbt_share {
	struct event_base *base;
	const struct hbt_config *cfg;
	struct hbt_link *link; /* NULL: no queue worker */
	bool stopped;
	bool paused;          /* nothing is collected */
	bool settled;         /* and nothing is on its way any more */
	uint32_t pause_id;    /* of the last COLLECT */
	int64_t paused_ms;    /* since when */
	uint32_t last_id;
	struct shared *list;
	struct hbt_taker forwarder; /* what waited for the queue worker */
	struct hbt_pending **stay;  /* what it is not to have, meanwhile */
	size_t n_stay;
};

/* A memory queue, and what the queue worker knows of it. */
struct shared {
	struct hbt_queue q;
	struct hbt_queue *memory; /* keeps requests and takers */
	struct hbt_share *share;
	uint32_t id;
	bool announced;
	int credits; /* OFFERs less WITHDRAWs less CALLs */
	UT_hash_handle hh;
};

static struct shared *self(struct hbt_queue *q)
{
	return (struct shared *)q;
}

static void tell(struct shared *s, enum hbt_ipc_type type, const char *uri)
{
	struct hbt_link *link = s->share->link;
	struct hbt_wr w;
	int rc;

	hbt_wr_init(&w, 8192);
	if (uri != NULL)
		hbt_wr_cstr(&w, uri);
	rc = hbt_link_send(link, type, s->id, &w, -1);
	if (rc != HALIBUT_OK)
		log_error("%s: cannot be told about %s: %s", link->name,
		          s->q.key, halibut_strerror(rc));
}

/* As many credits as takers wait. The one place where credits change, but for
 * those that are used up. */
static void balance(struct shared *s)
{
	const struct hbt_share *share = s->share;
	struct hbt_queue_counts n;
	int wanted;

	if (share == NULL || share->link == NULL)
		return;
	s->memory->ops->counts(s->memory, &n);
	wanted = share->stopped ? 0 : (int)n.takers;
	if (wanted > s->credits && !s->announced) {
		tell(s, HBT_IPC_ENDPOINT, s->q.key);
		s->announced = true;
	}
	for (; s->credits < wanted; s->credits++)
		tell(s, HBT_IPC_OFFER, NULL);
	for (; s->credits > wanted; s->credits--)
		tell(s, HBT_IPC_WITHDRAW, NULL);
}

/* The queue: that in memory, watched. */

static void shared_push(struct hbt_queue *q, struct hbt_pending *p)
{
	struct shared *s = self(q);

	s->memory->ops->push(s->memory, p);
	balance(s);
}

static void shared_offer(struct hbt_queue *q, struct hbt_taker *t)
{
	struct shared *s = self(q);

	s->memory->ops->offer(s->memory, t);
	balance(s);
}

static void shared_withdraw(struct hbt_queue *q, struct hbt_taker *t)
{
	struct shared *s = self(q);

	s->memory->ops->withdraw(s->memory, t);
	balance(s);
}

static void shared_put_back(struct hbt_queue *q, struct hbt_pending *p)
{
	struct shared *s = self(q);

	s->memory->ops->put_back(s->memory, p);
	balance(s);
}

static void shared_forget(struct hbt_queue *q, struct hbt_pending *p)
{
	struct shared *s = self(q);

	s->memory->ops->forget(s->memory, p);
}

static void shared_counts(struct hbt_queue *q, struct hbt_queue_counts *out)
{
	struct shared *s = self(q);

	s->memory->totals = q->totals;
	s->memory->ops->counts(s->memory, out);
}

static void shared_free(struct hbt_queue *q)
{
	struct shared *s = self(q);
	struct hbt_share *share = s->share;

	if (s->announced && share->link != NULL)
		tell(s, HBT_IPC_ENDPOINT_GONE, NULL);
	if (s->hh.tbl != NULL)
		HASH_DEL(share->list, s);
	s->share = NULL; /* no more credits while its requests end */
	hbt_queue_free(&s->memory);
	free(q->key);
	free(s);
}

struct hbt_queue *hbt_share_queue(void *arg, const char *key)
{
	static const struct hbt_queue_ops ops = {
		.push = shared_push,
		.offer = shared_offer,
		.withdraw = shared_withdraw,
		.put_back = shared_put_back,
		.forget = shared_forget,
		.counts = shared_counts,
		.free = shared_free,
	};
	struct hbt_share *share = arg;
	struct shared *s;

	if (!hbt_share_has(share, key))
		return hbt_memory_queue_new(share->base, key);
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return NULL;
	s->q.ops = &ops;
	s->share = share;
	s->id = ++share->last_id;
	s->q.key = strdup(key);
	s->memory = hbt_memory_queue_new(share->base, key);
	HASH_ADD(hh, share->list, id, sizeof(s->id), s);
	if (s->q.key == NULL || s->memory == NULL || s->hh.tbl == NULL) {
		shared_free(&s->q);
		return NULL;
	}
	return &s->q;
}

/* ---- */

static bool stays_here(const struct hbt_config *cfg, const char *key)
{
	for (size_t i = 0; i < cfg->memory_endpoints.n; i++)
		if (fnmatch(cfg->memory_endpoints.v[i], key, 0) == 0)
			return true;
	return false;
}

bool hbt_share_has(const struct hbt_share *share, const char *uri)
{
	char *key;
	bool has;

	if (share == NULL || (key = hbt_uri_key(uri, true)) == NULL)
		return false;
	has = !stays_here(share->cfg, key);
	free(key);
	return has;
}

struct hbt_link *hbt_share_link(const struct hbt_share *share)
{
	return share->stopped ? NULL : share->link;
}

static struct hbt_call *call_of(struct hbt_pending *p)
{
	return (struct hbt_call *)((char *)p -
	                           offsetof(struct hbt_call, pending));
}

/*
 * While there was no queue worker, requests waited in memory for a taker of
 * this node; now those of all nodes may have them. Those that came out of Redis
 * stay: their sender waits for them there, and there must not be another.
 */
static void forward(struct shared *s)
{
	struct hbt_share *share = s->share;
	struct hbt_queue_counts n;

	s->memory->ops->counts(s->memory, &n);
	if (n.waiting == 0)
		return;
	share->stay = calloc(n.waiting, sizeof(*share->stay));
	while (share->stay != NULL && n.waiting > 0 && share->link != NULL) {
		hbt_queue_offer(s->memory, &share->forwarder);
		s->memory->ops->counts(s->memory, &n);
	}
	while (share->n_stay > 0)
		hbt_pending_put_back(share->stay[--share->n_stay]);
	free(share->stay);
	share->stay = NULL;
}

static void forward_one(struct hbt_taker *t, struct hbt_pending *p)
{
	struct hbt_share *share =
		(struct hbt_share *)((char *)t -
	                             offsetof(struct hbt_share, forwarder));

	if (hbt_call_is_collected(call_of(p)))
		share->stay[share->n_stay++] = p;
	else
		hbt_call_enqueue_taken(p, share->link);
}

static bool cancelled(struct hbt_taker *t, struct hbt_pending *p)
{
	struct hbt_call *call = call_of(p);

	(void)t;
	hbt_ipc_send(call->carrier->ipc, HBT_IPC_CANCEL, call->carrier_id, NULL,
	             0, -1);
	hbt_call_drop_carrier(call);
	return true;
}

static void tell_collect(struct hbt_share *share)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 8);
	hbt_wr_u8(&w, !share->paused);
	if (hbt_link_send(share->link, HBT_IPC_COLLECT, ++share->pause_id, &w,
	                  -1) != HALIBUT_OK)
		log_error("%s: cannot be told whether to collect requests",
		          share->link->name);
}

bool hbt_share_settle(struct hbt_share *share, bool others)
{
	if (!share->paused) {
		share->paused = true;
		share->settled = share->link == NULL;
		share->paused_ms = hbt_now_ms();
		if (share->link != NULL)
			tell_collect(share);
	}
	return (share->settled && !others) ||
	       hbt_now_ms() - share->paused_ms >= SETTLE_MS;
}

void hbt_share_settled(struct hbt_share *share, uint32_t id)
{
	if (share->paused && id == share->pause_id)
		share->settled = true;
}

void hbt_share_resume(struct hbt_share *share)
{
	if (!share->paused)
		return;
	share->paused = false;
	if (share->link != NULL)
		tell_collect(share);
}

static void forget_credits(struct hbt_share *share)
{
	for (struct shared *s = share->list; s != NULL; s = s->hh.next) {
		s->announced = false;
		s->credits = 0;
	}
}

bool hbt_share_has_worker(const struct hbt_share *share,
                          const struct hbt_link *link)
{
	return link != NULL ? share->link == link : share->link != NULL;
}

void hbt_share_attach(struct hbt_share *share, struct hbt_link *link)
{
	forget_credits(share);
	share->link = link;
	if (share->paused)
		tell_collect(share);
	for (struct shared *s = share->list; s != NULL; s = s->hh.next) {
		forward(s);
		balance(s);
	}
}

void hbt_share_detach(struct hbt_share *share, const struct hbt_link *link)
{
	if (share->link != link)
		return;
	share->link = NULL;
	share->settled = true; /* what was on its way died with it */
	forget_credits(share);
}

void hbt_share_stop(struct hbt_share *share)
{
	share->stopped = true;
	for (struct shared *s = share->list; s != NULL; s = s->hh.next)
		balance(s);
}

/* Under another number, since CALLs with the old one may be on their way. */
static void renumber(struct shared *s)
{
	HASH_DEL(s->share->list, s);
	s->id = ++s->share->last_id;
	HASH_ADD(hh, s->share->list, id, sizeof(s->id), s);
}

void hbt_share_renew(struct hbt_share *share, const struct hbt_link *worker)
{
	uint32_t last = share->last_id;
	struct shared *s, *next;

	if (worker != share->link)
		return;
	for (s = share->list; s != NULL; s = next) {
		next = s->hh.next;
		if (s->id > last || !s->announced || share->link == NULL)
			continue;
		tell(s, HBT_IPC_ENDPOINT_GONE, NULL);
		s->announced = false;
		s->credits = 0;
		renumber(s);
		if (s->hh.tbl == NULL) {
			log_error("%s: nothing is collected for it any more: "
			          "out of memory",
			          s->q.key);
			continue;
		}
		balance(s);
	}
}

struct hbt_queue *hbt_share_used(struct hbt_share *share, uint32_t id,
                                 const struct hbt_link *worker)
{
	struct shared *s;

	HASH_FIND(hh, share->list, &id, sizeof(id), s);
	if (s == NULL)
		return NULL;
	if (worker == share->link)
		s->credits--;
	return &s->q;
}

struct hbt_share *hbt_share_new(struct event_base *base,
                                const struct hbt_config *cfg)
{
	struct hbt_share *share = calloc(1, sizeof(*share));

	if (share == NULL)
		return NULL;
	share->base = base;
	share->cfg = cfg;
	share->forwarder.deliver = forward_one;
	share->forwarder.cancelled = cancelled;
	return share;
}

void hbt_share_free(struct hbt_share **share)
{
	free(*share);
	*share = NULL;
}
