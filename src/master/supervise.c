#include "master/supervise_private.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include "base/log.h"
#include "store/child.h"

int hbt_workers_add(struct hbt_workers *ws, enum hbt_peer_kind kind)
{
	struct hbt_worker *w;

	if (ws->n == MAX_WORKERS)
		return HALIBUT_ELIMIT;
	if ((w = hbt_worker_new(ws, kind)) == NULL)
		return HALIBUT_ENOMEM;
	hbt_worker_enlist(w);
	return HALIBUT_OK;
}

void hbt_workers_reap(struct hbt_workers *ws)
{
	int status;
	pid_t pid;

	/* -1: as process 1 of a container we reap the children of others. */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		size_t i = 0;

		if (hbt_child_reaped(pid, status))
			continue; /* a program of the Redis queue's */
		while (i < ws->n && ws->v[i]->pid != pid)
			i++;
		if (i < ws->n)
			hbt_worker_reaped(ws->v[i], status);
	}
}

/* Generations */

int hbt_workers_renew(struct hbt_workers *ws, enum hbt_peer_kind kind,
                      unsigned n)
{
	struct hbt_worker *fresh[MAX_WORKERS];
	unsigned made = 0;

	if (n > MAX_WORKERS - ws->n)
		return HALIBUT_ELIMIT;
	while (made < n && (fresh[made] = hbt_worker_new(ws, kind)) != NULL)
		made++;
	if (made < n) {
		while (made > 0)
			hbt_worker_free(fresh[--made]);
		return HALIBUT_ENOMEM;
	}
	ws->generation[kind]++;
	for (unsigned i = 0; i < n; i++)
		hbt_worker_enlist(fresh[i]);
	return HALIBUT_OK;
}

unsigned hbt_workers_room(const struct hbt_workers *ws)
{
	return (unsigned)(MAX_WORKERS - ws->n);
}

bool hbt_worker_is_newest(const struct hbt_worker *w)
{
	return w->generation == w->all->generation[w->link.kind];
}

bool hbt_workers_renewed(const struct hbt_workers *ws, enum hbt_peer_kind kind)
{
	for (size_t i = 0; i < ws->n; i++)
		if (ws->v[i]->link.kind == kind &&
		    hbt_worker_is_newest(ws->v[i]) &&
		    ws->v[i]->state != WORKER_READY)
			return false;
	return true;
}

unsigned hbt_workers_newest(const struct hbt_workers *ws,
                            enum hbt_peer_kind kind)
{
	unsigned n = 0;

	for (size_t i = 0; i < ws->n; i++)
		n += ws->v[i]->link.kind == kind &&
		     hbt_worker_is_newest(ws->v[i]);
	return n;
}

unsigned hbt_worker_place(const struct hbt_worker *w)
{
	const struct hbt_workers *ws = w->all;
	unsigned place = 0;

	for (size_t i = 0; ws->v[i] != w; i++)
		place += ws->v[i]->link.kind == w->link.kind &&
		         hbt_worker_is_newest(ws->v[i]);
	return place;
}

static void sweep(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_workers *ws = arg;
	size_t kept = 0;

	(void)fd;
	(void)what;
	for (size_t i = 0; i < ws->n; i++) {
		if (ws->v[i]->retiring && ws->v[i]->state == WORKER_GONE)
			hbt_worker_free(ws->v[i]);
		else
			ws->v[kept++] = ws->v[i];
	}
	ws->n = kept;
}

/* Stopping */

void hbt_worker_stop_on(struct hbt_worker *w, enum hbt_stop how,
                        int64_t spread_ms)
{
	uint32_t spread =
		spread_ms < UINT32_MAX ? (uint32_t)spread_ms : UINT32_MAX;
	struct hbt_wr wr;

	if (w->state != WORKER_STOPPING)
		return;
	w->told = how;
	hbt_wr_init(&wr, 8);
	hbt_wr_u8(&wr, (uint8_t)how);
	hbt_wr_u32(&wr, spread);
	if (hbt_link_send(&w->link, HBT_IPC_STOP, 0, &wr, -1) != HALIBUT_OK)
		hbt_worker_lose(w, "it cannot be told to stop: out of memory");
}

static void stop(struct hbt_worker *w, enum hbt_stop how, int64_t spread_ms)
{
	switch (w->state) {
	case WORKER_RESTING:
		hbt_worker_set_gone(w);
		break;
	case WORKER_STARTING:
	case WORKER_READY:
		hbt_worker_set_state(w, WORKER_STOPPING);
		hbt_worker_stop_on(w, how, spread_ms);
		break;
	default:
		break;
	}
}

void hbt_workers_retire(struct hbt_workers *ws, const struct hbt_worker *by,
                        enum hbt_stop how, int64_t spread_ms)
{
	for (size_t i = 0; i < ws->n; i++) {
		struct hbt_worker *w = ws->v[i];

		if (w->link.kind != by->link.kind ||
		    w->generation >= by->generation || w->retiring)
			continue;
		w->retiring = true;
		log_event(HBT_LOG_INFO, LOG_ABOUT(.event = "worker_retires"),
		          "%s: finishes what it carries; newer ones serve",
		          w->link.name);
		stop(w, how, spread_ms);
	}
}

void hbt_workers_stop(struct hbt_workers *ws, enum hbt_peer_kind kind,
                      enum hbt_stop how, int64_t spread_ms)
{
	ws->stopping[kind] = true;
	for (size_t i = 0; i < ws->n; i++)
		if (ws->v[i]->link.kind == kind)
			stop(ws->v[i], how, spread_ms);
}

static void kill_for_good(struct hbt_worker *w, const char *why)
{
	w->all->stopping[w->link.kind] = true;
	if (w->state == WORKER_RESTING)
		hbt_worker_set_gone(w);
	else if (w->state != WORKER_GONE)
		hbt_worker_lose(w, why);
}

void hbt_workers_kill_but(struct hbt_workers *ws, enum hbt_peer_kind kind,
                          const char *why)
{
	for (size_t i = 0; i < ws->n; i++)
		if (ws->v[i]->link.kind != kind)
			kill_for_good(ws->v[i], why);
}

void hbt_workers_kill_all(struct hbt_workers *ws, const char *why)
{
	for (size_t i = 0; i < ws->n; i++)
		kill_for_good(ws->v[i], why);
}

/* All of them */

int hbt_workers_new(struct hbt_workers **out, struct event_base *base,
                    const struct hbt_config *cfg,
                    const struct hbt_identity *identity,
                    const struct hbt_workers_ops *ops)
{
	struct hbt_workers *ws = calloc(1, sizeof(*ws));

	*out = ws;
	if (ws == NULL)
		return HALIBUT_ENOMEM;
	ws->base = base;
	ws->cfg = cfg;
	ws->identity = *identity;
	ws->ops = *ops;
	ws->sweeper = evtimer_new(base, sweep, ws);
	return ws->sweeper != NULL ? HALIBUT_OK : HALIBUT_ENOMEM;
}

void hbt_workers_free(struct hbt_workers **at)
{
	struct hbt_workers *ws = *at;

	*at = NULL;
	if (ws == NULL)
		return;
	for (size_t i = 0; i < ws->n; i++) {
		struct hbt_worker *w = ws->v[i];

		hbt_worker_close_channel(w);
		if (w->pid > 0) {
			hbt_spawn_kill(w->pid, &ws->identity);
			waitpid(w->pid, NULL, 0);
		}
		hbt_worker_free(w);
	}
	if (ws->sweeper != NULL)
		event_free(ws->sweeper);
	free(ws);
}

void hbt_workers_identify(struct hbt_workers *ws,
                          const struct hbt_identity *identity)
{
	ws->identity = *identity;
}

struct hbt_worker *hbt_workers_at(const struct hbt_workers *ws, size_t i)
{
	return i < ws->n ? ws->v[i] : NULL;
}

size_t hbt_workers_left(const struct hbt_workers *ws, enum hbt_peer_kind kind)
{
	size_t left = 0;

	for (size_t i = 0; i < ws->n; i++)
		left += ws->v[i]->link.kind == kind &&
		        ws->v[i]->state != WORKER_GONE;
	return left;
}
