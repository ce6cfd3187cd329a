/* The status document: what halibutctl status shows. */
#include <string.h>
#include "master/master.h"
#include "master/tables.h"

static void set_int(json_t *o, const char *name, uint64_t value)
{
	json_object_set_new(o, name, json_integer((json_int_t)value));
}

static void set_text(json_t *o, const char *name, const char *value)
{
	json_object_set_new(o, name,
	                    value != NULL ? json_string(value) : json_null());
}

static json_t *worker(const struct hbt_worker *w)
{
	json_t *o = json_object();
	struct hbt_worker_row row;

	hbt_worker_row(w, &row);
	set_int(o, "index", row.index);
	set_int(o, "pid", row.pid);
	set_text(o, "kind", row.kind);
	set_text(o, "state", row.state);
	set_int(o, "restarts", row.restarts);
	set_int(o, "uptime_s", row.uptime_ms / 1000);
	set_int(o, "unsent_bytes", row.unsent_bytes);
	for (const struct hbt_counter *c = hbt_worker_counters; c->name != NULL;
	     c++)
		set_int(o, c->name, hbt_counter_of(c, &row.stats));
	return o;
}

static json_t *worker_list(const struct hbt_master *m)
{
	json_t *list = json_array();
	struct hbt_worker *w;

	for (size_t i = 0; (w = hbt_workers_at(m->workers, i)) != NULL; i++)
		json_array_append_new(list, worker(w));
	return list;
}

static void add_subscription(json_t *list, const struct hbt_master *m,
                             struct hbt_queue *q, const char *key)
{
	struct hbt_subscription_facts facts;
	struct hbt_subscription_row row;
	json_t *o = json_object();

	hbt_subscription_row(m, q, key, &facts, &row);
	set_text(o, "uri", row.uri);
	set_int(o, "connections", row.connections);
	set_int(o, "hosted", row.hosted);
	set_int(o, "busy", row.busy);
	set_int(o, "idle", row.idle);
	set_int(o, "waiting", row.waiting);
	set_int(o, "waiting_bytes", row.waiting_bytes);
	set_int(o, "oldest_waiting_ms", row.oldest_waiting_ms);
	json_object_set_new(o, "queued", row.queued < 0
	                                         ? json_null()
	                                         : json_integer(row.queued));
	set_int(o, "collected", row.collected);
	set_int(o, "answered", row.answered);
	set_int(o, "failed", row.failed);
	set_int(o, "not_collected", row.not_collected);
	set_int(o, "cancelled", row.cancelled);
	json_array_append_new(list, o);
}

struct walk {
	const struct hbt_master *m;
	json_t *list;
	json_t *rest; /* queues of Redis that are not in list */
};

static void add_queue(void *arg, struct hbt_queue *q)
{
	const struct walk *walk = arg;

	add_subscription(walk->list, walk->m, q, q->key);
	json_object_del(walk->rest, q->key);
}

static json_t *subscription_list(const struct hbt_master *m)
{
	struct walk walk = {.m = m, .list = json_array()};
	const char *key;
	json_t *queue;

	walk.rest = json_copy(json_object_get(m->queue_state, "queues"));
	hbt_switchboard_each(m->switchboard, add_queue, &walk);
	json_object_foreach(walk.rest, key, queue)
		add_subscription(walk.list, m, NULL, key);
	json_decref(walk.rest);
	return walk.list;
}

json_t *hbt_status(struct hbt_master *m)
{
	json_t *doc = hbt_node_document(m);

	json_object_set_new(doc, "workers", worker_list(m));
	json_object_set_new(doc, "subscriptions", subscription_list(m));
	return doc;
}
