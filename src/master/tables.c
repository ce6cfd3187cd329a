#include "master/tables.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/timespan.h"
#include "base/unix_time.h"
#include "ipc/vitals.h"

/* WORKERS */

static void add_master(const struct hbt_master *m, struct hbt_page *page)
{
	struct hbt_worker_row row = {
		.kind = "master",
		.pid = (uint32_t)getpid(),
		.state = m->state == MASTER_RUNNING ? "ready" : "stopping",
		.started_at = (int64_t)m->started * 1000,
		.uptime_ms = (uint64_t)(hbt_now_ms() - m->started_ms),
	};

	hbt_vitals_note(&row.stats);
	hbt_page_add(page, &row);
}

/* The texts are static or w's. */
static void worker_row(const struct hbt_worker *w, struct hbt_worker_row *row)
{
	static const char *const kinds[HBT_PEER_KINDS] = {
		[HBT_PEER_CONNECTION_WORKER] = "connection",
		[HBT_PEER_SERVICE_WORKER] = "service",
		[HBT_PEER_QUEUE_WORKER] = "queue",
		[HBT_PEER_STATUS_WORKER] = "status",
	};
	int64_t now = hbt_now_ms();

	*row = (struct hbt_worker_row){
		.kind = kinds[w->link.kind],
		.index = w->index,
		.pid = (uint32_t)w->pid,
		.state = w->silent ? "silent" : hbt_worker_state_name(w->state),
		.restarts = w->restarts,
		.last_exit = w->last_exit[0] != '\0' ? w->last_exit : NULL,
		.last_exit_at = w->last_exit_at,
		.stats = w->stats,
	};
	if (w->link.ipc != NULL)
		row->unsent_bytes = hbt_ipc_unsent(w->link.ipc);
	if (w->pid <= 0)
		return;
	row->started_at = hbt_unix_ms_of(w->started_ms);
	row->uptime_ms = (uint64_t)(now - w->started_ms);
	row->heard_ms = (uint64_t)(now - w->heard_ms);
}

static void fill_workers(const struct hbt_master *m, uint64_t after,
                         struct hbt_page *page, uint64_t *next)
{
	struct hbt_worker *w;

	if (after == 0)
		add_master(m, page);
	for (; hbt_page_has_room(page); after++) {
		struct hbt_worker_row row;

		if ((w = hbt_workers_at(m->workers, (size_t)after)) == NULL)
			return;
		worker_row(w, &row);
		hbt_page_add(page, &row);
	}
	*next = after;
}

/* SUBSCRIPTIONS */

static uint64_t int_of(json_t *o, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(o, name));
}

static json_t *queues_in_redis(const struct hbt_master *m)
{
	return json_object_get(m->queue_state, "queues");
}

/* What waits here and, pushed by this node or (queued) by any, in Redis. */
static void add_waiting(const struct hbt_master *m, const char *key,
                        const struct hbt_queue_counts *n,
                        struct hbt_subscription_row *row)
{
	json_t *redis = json_object_get(queues_in_redis(m), key);
	uint64_t oldest = int_of(redis, "oldest_waiting_ms");

	if ((uint64_t)n->oldest_waiting_ms > oldest)
		oldest = (uint64_t)n->oldest_waiting_ms;
	row->waiting = n->waiting + int_of(redis, "waiting");
	row->waiting_bytes = n->waiting_bytes + int_of(redis, "waiting_bytes");
	row->oldest_waiting_ms = oldest;
	row->queued = m->queue_state != NULL && hbt_share_has(m->share, key)
	                      ? (int64_t)int_of(redis, "queued")
	                      : -1;
}

/* A row of q, or when there is none, of what is known of key in Redis. */
static void add_subscription(const struct hbt_master *m, struct hbt_queue *q,
                             const char *key, struct hbt_page *page)
{
	struct hbt_subscription_facts facts = {0};
	struct hbt_subscription_row row;
	struct hbt_queue_counts n = {0};
	size_t takers = 0, at_work = 0;

	if (q != NULL) {
		q->ops->counts(q, &n);
		hbt_subscriptions_facts(m->subscriptions, q, &facts);
		hbt_hosted_count(m->hosted, q, &takers, &at_work);
	}
	row = (struct hbt_subscription_row){
		.uri = key,
		.connections = facts.connections,
		.hosted = takers,
		.busy = facts.busy + at_work,
		.idle = n.takers,
		.collected = n.collected,
		.answered = n.answered,
		.failed = n.failed,
		.not_collected = n.not_collected,
		.cancelled = n.cancelled,
		.last_seen_at = facts.last_seen_at,
		.machines = facts.machines,
		.thumbprints = facts.thumbprints[0] != '\0'
	                               ? facts.thumbprints
	                               : NULL,
		.waited_busy = facts.waited_busy,
		.waited_busy_at = facts.waited_busy_at,
		.wants_connections = facts.wants_connections,
	};
	add_waiting(m, key, &n, &row);
	hbt_page_add(page, &row);
}

/*
 * Behind the queues of this node those that only Redis has: after says so by
 * this. What is known of them is replaced between two pages, so each has a
 * place that its key alone decides. They are a thousand at most.
 */
#define IN_REDIS ((uint64_t)1 << 62)

struct placed {
	uint64_t at;
	const char *key;
};

static uint64_t place_of(const char *key)
{
	uint64_t h = 14695981039346656037u; /* FNV-1a */

	for (; *key != '\0'; key++)
		h = (h ^ (uint8_t)*key) * 1099511628211u;
	return IN_REDIS | h >> 2;
}

static int compare_places(const void *a, const void *b)
{
	const struct placed *x = a, *y = b;

	return (x->at > y->at) - (x->at < y->at);
}

/* Those at after and behind it, in order. NULL: no memory, or none. */
static struct placed *place_queues(json_t *queues, uint64_t after, size_t *n)
{
	size_t most = json_object_size(queues);
	struct placed *all = calloc(most, sizeof(*all));
	const char *key;
	json_t *queue;

	*n = 0;
	if (all == NULL)
		return NULL;
	json_object_foreach(queues, key, queue)
		if (place_of(key) >= after)
			all[(*n)++] = (struct placed){place_of(key), key};
	qsort(all, *n, sizeof(*all), compare_places);
	return all;
}

static void fill_rest(const struct hbt_master *m, uint64_t after,
                      struct hbt_page *page, uint64_t *next)
{
	json_t *queues = queues_in_redis(m);
	struct placed *all;
	size_t n;

	if (json_object_size(queues) == 0)
		return;
	if ((all = place_queues(queues, after, &n)) == NULL)
		page->rows.status = HALIBUT_ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (!hbt_page_has_room(page)) {
			*next = all[i].at;
			break;
		}
		if (hbt_switchboard_find(m->switchboard, all[i].key) == NULL)
			add_subscription(m, NULL, all[i].key, page);
	}
	free(all);
}

static void fill_subscriptions(const struct hbt_master *m, uint64_t after,
                               struct hbt_page *page, uint64_t *next)
{
	struct hbt_queue *q;

	while (after < IN_REDIS && hbt_page_has_room(page)) {
		q = hbt_switchboard_next(m->switchboard, &after);
		if (q != NULL) {
			add_subscription(m, q, q->key, page);
			continue;
		}
		if (after == 0)
			after = IN_REDIS;
		break;
	}
	if (after >= IN_REDIS)
		fill_rest(m, after, page, next);
	else
		*next = after;
}

/* TRUST */

static const char *source_text(uint8_t sources)
{
	static const char *const names[] = {
		[HBT_TRUST_SETTING] = "config",
		[HBT_TRUST_FILE] = "file",
		[HBT_TRUST_SETTING | HBT_TRUST_FILE] = "config file",
		[HBT_TRUST_ADDED] = "added",
		[HBT_TRUST_ADDED | HBT_TRUST_SETTING] = "config added",
		[HBT_TRUST_ADDED | HBT_TRUST_FILE] = "file added",
		[HBT_TRUST_ADDED | HBT_TRUST_FILE | HBT_TRUST_SETTING] =
			"config file added",
	};

	return names[sources & 7];
}

static void add_trusted(const struct hbt_master *m,
                        const struct hbt_trusted *t, struct hbt_page *page)
{
	const struct hbt_holder *holder =
		hbt_holders_find(m->holders, t->sha1);
	char hex[HBT_SHA1_TEXT];
	struct hbt_trust_row row = {
		.thumbprint = hex,
		.source = source_text(t->sources),
		.comment = t->comment,
	};

	hbt_sha1_format(t->sha1, hex);
	if (holder != NULL) {
		row.connections = holder->connections;
		row.last_seen_at = holder->connections > 0
		                           ? hbt_unix_ms()
		                           : hbt_unix_ms_of(holder->seen_ms);
	}
	hbt_page_add(page, &row);
}

static void fill_trust(const struct hbt_master *m, uint64_t after,
                       struct hbt_page *page, uint64_t *next)
{
	const struct hbt_trust *t = &m->cfg->trusted;

	for (; after < t->n; after++) {
		if (!hbt_page_has_room(page)) {
			*next = after;
			return;
		}
		add_trusted(m, &t->list[after], page);
	}
}

/* All of them */

static void fill_node(const struct hbt_master *m, struct hbt_page *page)
{
	json_t *doc = hbt_node_document(m);
	char *text = doc != NULL ? json_dumps(doc, JSON_COMPACT) : NULL;
	const struct hbt_node_row row = {.json = text};

	json_decref(doc);
	if (text == NULL)
		page->rows.status = HALIBUT_ENOMEM;
	else
		hbt_page_add(page, &row);
	free(text);
}

bool hbt_tables_fill(void *master, const struct hbt_rows_ask *ask,
                     struct hbt_page *page, uint64_t *next)
{
	const struct hbt_master *m = master;

	switch (ask->table) {
	case HBT_TABLE_NODE:
		fill_node(m, page);
		return true;
	case HBT_TABLE_WORKERS:
		fill_workers(m, ask->after, page, next);
		return true;
	case HBT_TABLE_SUBSCRIPTIONS:
		fill_subscriptions(m, ask->after, page, next);
		return true;
	case HBT_TABLE_CALLS:
		hbt_calls_fill(m->calls, ask->after, page, next);
		return true;
	case HBT_TABLE_PAST_CALLS:
		hbt_calls_fill_past(m->calls, ask->after, page, next);
		return true;
	case HBT_TABLE_REFUSED:
		hbt_refused_fill(m->refused, ask->after, page, next);
		return true;
	case HBT_TABLE_TRUST:
		fill_trust(m, ask->after, page, next);
		return true;
	default:
		return false;
	}
}

struct hbt_link *hbt_tables_worker(void *master, uint32_t index)
{
	struct hbt_master *m = master;
	struct hbt_worker *w;

	for (size_t i = 0; (w = hbt_workers_at(m->workers, i)) != NULL; i++)
		if (w->link.kind == HBT_PEER_CONNECTION_WORKER &&
		    w->index == index && w->link.ipc != NULL &&
		    (w->state == WORKER_READY || w->state == WORKER_STOPPING))
			return &w->link;
	return NULL;
}
