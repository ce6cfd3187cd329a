/*
 * Leaving without a loss. First nothing new is begun: clients end where they
 * would ask for more (hbt_exchange_retire()), and so do the servers that we
 * poll. Polling services may stay meanwhile, since they carry what the others
 * still ask; then they end one after the other, because a fleet that was cut
 * off at one stroke comes back at one stroke: when they are idle, or, where
 * other workers go on bringing requests, instead of being offered again, since
 * they might always be busy. Of a machine with several connections, some should
 * be there while others are on their way to those workers: the master, who
 * knows of all of them, says when the last one may go. When nothing is left it
 * has the last word, too: a call may be on its way to us.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/timespan.h"
#include "worker.h"

enum {
	TICK_MS = 50,
	BATCH = 256, /* ended in one turn; then others get theirs */
	/* Who was accepted, or invited to ask, has this long to do so. */
	PATIENCE_MS = 5000,
	/* A polling connection that was offered may be given a request that
	 * waits, at once: one that got none for so long gets none. */
	REST_MS = 50,
	/* So many a second come back unnoticed: no need to take longer. */
	LEAST_A_SECOND = 100,
};

static bool is_poller(const struct hbt_accepted *a)
{
	return hbt_exchange_role(a->ex) == HBT_ROLE_FEED_SUBSCRIBER;
}

/* It is no polling service, or not yet, and no request of it is known. */
static bool may_bring(const struct hbt_accepted *a)
{
	switch (hbt_exchange_role(a->ex)) {
	case HBT_ROLE_ACCEPTED:
		return true;
	case HBT_ROLE_SERVE_CLIENT:
		return a->inlet.state == INLET_IDLE;
	default:
		return false;
	}
}

/* Nothing is under way on it, and nothing is about to be. */
static bool is_idle_poller(const struct hbt_accepted *a, int64_t now)
{
	return is_poller(a) && a->is_ready && a->carrying == NULL &&
	       now - a->ready_ms >= REST_MS && !hbt_exchange_is_busy(a->ex);
}

struct seen {
	const char *key;
	UT_hash_handle hh;
};

/* Of each subscription the first is no further one; nor is any when memory is
 * short. */
static bool is_seen(struct seen **all, struct seen *room, const char *key)
{
	struct seen *s;

	HASH_FIND_STR(*all, key, s);
	if (s != NULL)
		return true;
	room->key = key;
	HASH_ADD_KEYPTR(hh, *all, key, strlen(key), room);
	return false;
}

static void count_pollers(struct worker *w)
{
	struct drain *d = &w->drain;
	struct seen *all = NULL, *room;
	struct hbt_accepted *a;
	size_t n = 0;

	LIST_FOREACH (a, &w->accepted, link) {
		n += is_poller(a) && !a->retired;
		a->leaves_ms = 0;
		a->may_leave = false;
	}
	d->n_pollers = n;
	d->n_further = d->pollers_ended = d->further_ended = 0;
	room = calloc(n + 1, sizeof(*room));
	n = 0;
	LIST_FOREACH (a, &w->accepted, link) {
		if (room == NULL || !is_poller(a) || a->retired)
			continue;
		a->is_further = is_seen(&all, &room[n++], a->key);
		d->n_further += a->is_further;
	}
	HASH_CLEAR(hh, all);
	free(room);
}

static uint64_t share_due(const struct drain *d, uint64_t of, int64_t now)
{
	uint64_t elapsed = (uint64_t)(now - d->pollers_since_ms);

	return d->spread_ms == 0 ? UINT64_MAX
	                         : of * elapsed / (uint64_t)d->spread_ms;
}

/* May one more poller end by now, and this one? */
static bool is_due(const struct drain *d, const struct hbt_accepted *a,
                   int64_t now)
{
	uint64_t elapsed = (uint64_t)(now - d->pollers_since_ms);

	if (d->hands_over && a->is_further)
		return d->further_ended < share_due(d, d->n_further, now);
	return d->pollers_ended < share_due(d, d->n_pollers, now) ||
	       d->pollers_ended < 1 + elapsed * LEAST_A_SECOND / 1000;
}

/* Its turn has come, and nothing keeps it. */
static bool is_let_go(struct worker *w, struct hbt_accepted *a, int64_t now)
{
	struct drain *d = &w->drain;

	if (a->leaves_ms == 0) {
		if (!is_due(d, a, now))
			return false;
		d->pollers_ended++;
		d->further_ended += a->is_further;
		a->leaves_ms = now;
		if (d->hands_over)
			worker_tell(w, HBT_IPC_LEAVE, a->id, NULL, -1);
	}
	return !d->hands_over || a->may_leave ||
	       now - a->leaves_ms >= HBT_RETURN_MS;
}

/* Returns whether it did something that takes time. */
static bool look_after(struct worker *w, struct hbt_accepted *a, int64_t now)
{
	struct drain *d = &w->drain;

	if (!is_poller(a) && !a->retired) {
		hbt_accepted_retire(a);
		return true;
	}
	if (may_bring(a) && now - d->since_ms >= PATIENCE_MS) {
		hbt_exchange_explain(a->ex, "this process stops");
		hbt_accepted_finish(a);
		return true;
	}
	if (!d->everything || !is_poller(a))
		return false;
	if (!a->retired && is_let_go(w, a, now))
		hbt_accepted_retire(a);
	if (!a->retired || !is_idle_poller(a, now))
		return false; /* drain_poller() meets it after its request */
	hbt_exchange_explain(a->ex, "this process stops");
	hbt_accepted_finish(a);
	return true;
}

void drain_may_leave(struct worker *w, uint32_t id)
{
	struct hbt_accepted *a = incoming_find(w, id);

	if (a == NULL)
		return;
	a->may_leave = true;
	(void)look_after(w, a, hbt_now_ms());
}

bool drain_poller(struct worker *w, struct hbt_accepted *a)
{
	if (!w->drain.hands_over || !a->retired)
		return false;
	hbt_exchange_explain(a->ex, "this process stops");
	hbt_accepted_finish(a);
	return true;
}

/* True: there may be more to do right now. */
static bool end_connections(struct worker *w, int64_t now)
{
	struct hbt_accepted *a, *next;
	int done = 0;

	for (a = LIST_FIRST(&w->accepted); a != NULL; a = next) {
		next = LIST_NEXT(a, link);
		if (look_after(w, a, now) && ++done == BATCH)
			return true;
	}
	return false;
}

static bool may_anything_come(const struct worker *w)
{
	const struct hbt_accepted *a;

	LIST_FOREACH (a, &w->accepted, link)
		if (may_bring(a))
			return true;
	return incoming_polls_may_bring(w);
}

/*
 * A response may still be on its way when its call is over: in a connection's
 * buffer, or its DataStreams from a connection through a spool into a pipe.
 */
static bool is_under_way(const struct worker *w)
{
	struct hbt_dialler_counts dialled = {0};

	if (w->dialler != NULL)
		hbt_dialler_counts(w->dialler, &dialled);
	return incoming_busy(w) > 0 || outgoing_busy(w) > 0 ||
	       incoming_connections(w) > 0 || dialled.calls > 0 ||
	       hbt_pipe_sinks() > 0;
}

static void tell(struct worker *w, enum hbt_drained what)
{
	struct hbt_wr wr;

	if (w->drain.told == what)
		return;
	w->drain.told = what;
	hbt_wr_init(&wr, 8);
	hbt_wr_u8(&wr, (uint8_t)what);
	worker_tell(w, HBT_IPC_DRAINED, 0, &wr, -1);
}

static void tick(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval at_once, later = {0, TICK_MS * 1000};
	struct worker *w = arg;
	bool more = end_connections(w, hbt_now_ms());

	(void)fd;
	(void)what;
	incoming_polls_end(w);
	if (!more && w->drain.everything && !is_under_way(w))
		tell(w, HBT_DRAINED_ALL);
	else if (!more && !may_anything_come(w))
		tell(w, HBT_DRAINED_REQUESTS);
	evtimer_add(w->drain.timer, more ? &at_once : &later);
}

void drain_begin(struct worker *w, enum hbt_stop how, int64_t spread_ms)
{
	static const struct timeval at_once;
	struct drain *d = &w->drain;
	int64_t now = hbt_now_ms();

	if (d->timer == NULL &&
	    (d->timer = evtimer_new(w->base, tick, w)) == NULL) {
		log_error("out of memory: leaving at once instead of in order");
		event_base_loopbreak(w->base);
		return;
	}
	if (!w->draining) {
		w->draining = true;
		d->since_ms = now;
		incoming_polls_retire(w);
	}
	d->hands_over = how == HBT_STOP_HANDOVER;
	if (how == HBT_STOP_REQUESTS) {
		d->everything = false;
	} else if (!d->everything) {
		d->everything = true;
		d->spread_ms = spread_ms;
		d->pollers_since_ms = now;
		count_pollers(w);
	}
	evtimer_add(d->timer, &at_once);
}

void drain_interrupted(struct worker *w)
{
	if (w->drain.told == HBT_DRAINED_ALL)
		w->drain.told = HBT_DRAINED_REQUESTS;
}

void drain_fini(struct worker *w)
{
	if (w->drain.timer != NULL)
		event_free(w->drain.timer);
	w->drain.timer = NULL;
}
