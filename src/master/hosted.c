#include "master/hosted.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "master/calls_private.h"

/* All takers of one endpoint. */
struct place {
	struct hbt_hosted *all;
	struct hbt_queue *queue; /* one of its users */
	uint32_t wanted;         /* 0: it is no longer configured */
	size_t takers, busy;
	LIST_HEAD(, hbt_hosted_taker) list;
	LIST_ENTRY(place) link;
};

struct hbt_hosted_taker {
	struct hbt_taker taker;
	struct place *place;
	bool busy; /* has a call */
	LIST_ENTRY(hbt_hosted_taker) link;
};

struct hbt_hosted {
	struct hbt_switchboard *switchboard;
	struct hbt_link *(*host)(void *arg);
	void *arg;
	LIST_HEAD(, place) places;
};

static struct hbt_hosted_taker *self(struct hbt_taker *t)
{
	return (struct hbt_hosted_taker *)((char *)t -
	                                   offsetof(struct hbt_hosted_taker,
	                                            taker));
}

static struct hbt_call *call_of(struct hbt_pending *p)
{
	return (struct hbt_call *)((char *)p -
	                           offsetof(struct hbt_call, pending));
}

static void taker_free(struct hbt_hosted_taker *t)
{
	hbt_queue_withdraw(&t->taker);
	LIST_REMOVE(t, link);
	t->place->takers--;
	free(t);
}

/* Offered, withdrawn or gone: as it should be now. May free the place. */
static void settle(struct hbt_hosted_taker *t)
{
	struct place *place = t->place;
	struct hbt_hosted *h = place->all;

	if (t->busy)
		return;
	if (place->takers > place->wanted)
		taker_free(t);
	else if (h->host(h->arg) == NULL)
		hbt_queue_withdraw(&t->taker);
	else if (t->taker.queue == NULL)
		hbt_queue_offer(place->queue, &t->taker);
}

static void place_free_if_unused(struct place *place)
{
	if (place->wanted > 0 || place->takers > 0)
		return;
	LIST_REMOVE(place, link);
	place->queue->users--;
	free(place);
}

static void settle_all(struct place *place)
{
	struct hbt_hosted_taker *t, *next;

	for (t = LIST_FIRST(&place->list); t != NULL; t = next) {
		next = LIST_NEXT(t, link);
		settle(t);
	}
	place_free_if_unused(place);
}

/* From the calls */

void hbt_hosted_done(struct hbt_hosted_taker *t)
{
	struct place *place = t->place;

	t->busy = false;
	place->busy--;
	settle(t);
	place_free_if_unused(place);
}

/* From the queue */

static void deliver(struct hbt_taker *taker, struct hbt_pending *p)
{
	struct hbt_hosted_taker *t = self(taker);
	struct hbt_hosted *h = t->place->all;
	struct hbt_call *call = call_of(p);
	struct hbt_link *link = h->host(h->arg);
	struct halibut_error err = {0};
	int rc = link == NULL ? HALIBUT_EWORKER
	                      : hbt_call_carry(call, link, HBT_CALL_SERVE, NULL,
	                                       NULL);

	if (rc == HALIBUT_OK) {
		t->busy = true;
		t->place->busy++;
		call->hosted = t;
		return;
	}
	hbt_error_set(&err, rc,
	              "The service worker of the gateway does not take the "
	              "request: %s; it was not executed",
	              halibut_strerror(rc));
	err.connection_state = HALIBUT_CONNECTION_CONNECTING;
	hbt_pending_fail(p, &err);
	halibut_error_clear(&err);
	settle(t);
}

static bool cancelled(struct hbt_taker *taker, struct hbt_pending *p)
{
	struct hbt_call *call = call_of(p);

	(void)taker;
	hbt_ipc_send(call->carrier->ipc, HBT_IPC_CANCEL, call->carrier_id, NULL,
	             0, -1);
	hbt_call_drop_carrier(call);
	return true;
}

/* ---- */

static struct place *find(const struct hbt_hosted *h,
                          const struct hbt_queue *q)
{
	struct place *place;

	LIST_FOREACH (place, &h->places, link)
		if (place->queue == q)
			return place;
	return NULL;
}

static struct place *find_or_make(struct hbt_hosted *h, const char *uri)
{
	struct hbt_queue *q = hbt_switchboard_queue(h->switchboard, uri);
	struct place *place = q != NULL ? find(h, q) : NULL;

	if (q == NULL || place != NULL)
		return place;
	if ((place = calloc(1, sizeof(*place))) == NULL)
		return NULL;
	place->all = h;
	place->queue = q;
	q->users++;
	LIST_INIT(&place->list);
	LIST_INSERT_HEAD(&h->places, place, link);
	return place;
}

static bool add_taker(struct place *place)
{
	struct hbt_hosted_taker *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return false;
	t->place = place;
	t->taker.deliver = deliver;
	t->taker.cancelled = cancelled;
	LIST_INSERT_HEAD(&place->list, t, link);
	place->takers++;
	return true;
}

static void configure(struct hbt_hosted *h, const struct hbt_queue_endpoint *e)
{
	struct place *place = find_or_make(h, e->uri);
	bool made = place != NULL;

	if (made)
		place->wanted = e->concurrency;
	while (made && place->takers < place->wanted)
		made = add_taker(place);
	if (!made)
		log_error("%s: fewer requests than configured are taken at a "
		          "time: out of memory",
		          e->uri);
}

void hbt_hosted_configure(struct hbt_hosted *h, const struct hbt_config *cfg)
{
	struct place *place;

	LIST_FOREACH (place, &h->places, link)
		place->wanted = 0;
	for (size_t i = 0; i < cfg->n_queues; i++)
		configure(h, &cfg->queues[i]);
	hbt_hosted_review(h);
}

void hbt_hosted_review(struct hbt_hosted *h)
{
	struct place *place, *next;

	for (place = LIST_FIRST(&h->places); place != NULL; place = next) {
		next = LIST_NEXT(place, link);
		settle_all(place);
	}
}

static bool has_taker(const struct place *place)
{
	const struct hbt_hosted_taker *t;

	LIST_FOREACH (t, &place->list, link)
		if (t->busy || t->taker.queue != NULL)
			return true;
	return false;
}

bool hbt_hosted_has(const struct hbt_hosted *h, const struct hbt_queue *q)
{
	const struct place *place = find(h, q);

	return place != NULL && has_taker(place);
}

bool hbt_hosted_is_at_work(const struct hbt_hosted *h)
{
	const struct place *place;

	LIST_FOREACH (place, &h->places, link)
		if (place->busy > 0)
			return true;
	return false;
}

void hbt_hosted_count(const struct hbt_hosted *h, const struct hbt_queue *q,
                      size_t *takers, size_t *busy)
{
	const struct place *place = find(h, q);

	*takers = place != NULL ? place->takers : 0;
	*busy = place != NULL ? place->busy : 0;
}

struct hbt_hosted *hbt_hosted_new(struct hbt_switchboard *sb,
                                  struct hbt_link *(*host)(void *arg),
                                  void *arg)
{
	struct hbt_hosted *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return NULL;
	h->switchboard = sb;
	h->host = host;
	h->arg = arg;
	LIST_INIT(&h->places);
	return h;
}

void hbt_hosted_free(struct hbt_hosted **at)
{
	struct hbt_hosted *h = *at;
	struct place *place;

	*at = NULL;
	if (h == NULL)
		return;
	LIST_FOREACH (place, &h->places, link)
		place->wanted = 0;
	hbt_hosted_review(h);
	free(h);
}
