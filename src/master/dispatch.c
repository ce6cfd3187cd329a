/* Which worker gets a connection, a call to dial, a call to serve. */
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/log.h"
#include "base/timespan.h"
#include "master/master.h"

/* Descriptors of a worker that are not connections of ours: its channel, its
 * files, and what it dials. */
#define WORKER_RESERVE 128

static bool takes_calls(const struct hbt_worker *w, enum hbt_peer_kind kind)
{
	return w->link.kind == kind && w->state == WORKER_READY;
}

static size_t load(const struct hbt_worker *w)
{
	return hbt_admission_of(&w->link);
}

/* As many as a worker may have; once all were full some less, so that one
 * that leaves does not make us accept one. */
static size_t room(const struct hbt_master *m)
{
	size_t limit = (size_t)m->max_connections_a_worker;

	return m->full ? limit - limit / 16 : limit;
}

/* One that answers no ping would let it wait. */
static bool is_better(const struct hbt_worker *w, const struct hbt_worker *best)
{
	if (best == NULL || w->silent != best->silent)
		return best == NULL || best->silent;
	return load(w) < load(best);
}

/* The least loaded one; among equals they take turns. */
static struct hbt_worker *pick(struct hbt_master *m)
{
	struct hbt_worker *best = NULL, *w;
	size_t n = 0;

	if (!hbt_admission_has_room(m->admission, m->full))
		return NULL;
	while (hbt_workers_at(m->workers, n) != NULL)
		n++;
	for (size_t i = 0; i < n; i++) {
		w = hbt_workers_at(m->workers, (m->next_worker + i) % n);
		if (!takes_calls(w, HBT_PEER_CONNECTION_WORKER) ||
		    hbt_link_congested(&w->link) ||
		    load(w) >= room(m))
			continue;
		if (is_better(w, best))
			best = w;
	}
	return best;
}

/* Why nobody can take a connection; NULL when that is no news. */
static const char *why_nobody(struct hbt_master *m)
{
	struct hbt_worker *w;

	for (size_t i = 0; (w = hbt_workers_at(m->workers, i)) != NULL; i++)
		if (takes_calls(w, HBT_PEER_CONNECTION_WORKER))
			return "the workers have as many connections as "
			       "max_connections and LimitNOFILE allow";
	return NULL; /* none runs: the supervisor has said so */
}

bool hbt_dispatch_accepted(void *master, int fd, const char *peer,
                           const char *listen, const char *address)
{
	struct hbt_master *m = master;
	const struct hbt_own_identity *identity =
		hbt_config_identity_at(m->cfg, listen, address);
	struct hbt_worker *w = pick(m);
	struct hbt_wr wr;
	uint32_t ticket;

	if (w == NULL) {
		m->full = true;
		hbt_listeners_pause(m->listeners, why_nobody(m));
		close(fd);
		return false;
	}
	ticket = hbt_admission_enter(m->admission, &w->link, peer,
	                             hbt_now_ms());
	if (ticket == 0) {
		close(fd);
		return true;
	}
	m->accepted++;
	m->next_worker++;
	hbt_wr_init(&wr, 8192);
	hbt_wr_str(&wr, peer, strlen(peer));
	hbt_wr_cstr(&wr, identity != NULL ? identity->name : NULL);
	if (hbt_link_send(&w->link, HBT_IPC_CONN, ticket, &wr, fd) !=
	    HALIBUT_OK) {
		log_error("%s: connection of %s dropped: out of memory",
		          w->link.name, peer);
		hbt_admission_leave(m->admission, &w->link, ticket);
	}
	hbt_dispatch_review(m);
	return m->listeners != NULL;
}

void hbt_dispatch_review(struct hbt_master *m)
{
	if (m->listeners == NULL)
		return;
	m->full = pick(m) == NULL;
	if (m->full)
		hbt_listeners_pause(m->listeners, why_nobody(m));
	else
		hbt_listeners_resume(m->listeners);
}

static uint32_t hash(const char *text)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (; *text != '\0'; text++)
		h = (h ^ (uint8_t)*text) * 16777619u;
	return h;
}

/* One that is told to leave still carries what was asked before that. */
static bool dials(const struct hbt_master *m, const struct hbt_worker *w)
{
	if (takes_calls(w, HBT_PEER_CONNECTION_WORKER))
		return true;
	return m->state == MASTER_DRAINING &&
	       w->link.kind == HBT_PEER_CONNECTION_WORKER &&
	       w->state == WORKER_STOPPING && w->told != HBT_STOP_NOW;
}

/* By the URL, so that the idle connections of a worker's pool are found
 * again; if that one is away, by the next that is there. */
struct hbt_link *hbt_dispatch_dialler(void *master, const char *url)
{
	struct hbt_master *m = master;
	struct hbt_worker *w, *silent = NULL;
	size_t n = 0;

	while ((w = hbt_workers_at(m->workers, n)) != NULL)
		n++;
	for (size_t i = 0; i < n; i++) {
		w = hbt_workers_at(m->workers, (hash(url) + i) % n);
		if (dials(m, w) && !w->silent)
			return &w->link;
		if (dials(m, w) && silent == NULL)
			silent = w;
	}
	return silent != NULL ? &silent->link : NULL;
}

static struct hbt_link *find_ready(struct hbt_master *m,
                                   enum hbt_peer_kind kind)
{
	struct hbt_worker *w;

	for (size_t i = 0; (w = hbt_workers_at(m->workers, i)) != NULL; i++)
		if (takes_calls(w, kind))
			return &w->link;
	return NULL;
}

struct hbt_link *hbt_dispatch_host(void *master)
{
	return find_ready(master, HBT_PEER_SERVICE_WORKER);
}

struct hbt_link *hbt_dispatch_status(struct hbt_master *m)
{
	return find_ready(m, HBT_PEER_STATUS_WORKER);
}

int hbt_dispatch_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= INT_MAX)
		return INT_MAX;
	return limit.rlim_cur > 2 * WORKER_RESERVE
	               ? (int)limit.rlim_cur - WORKER_RESERVE
	               : (int)limit.rlim_cur / 2;
}
