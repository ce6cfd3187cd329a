/* The status document: what halibutctl status shows. */
#include <string.h>
#include <unistd.h>
#include "base/timespan.h"
#include "master/master.h"

static void set_int(json_t *o, const char *name, uint64_t value)
{
	json_object_set_new(o, name, json_integer((json_int_t)value));
}

static void set_text(json_t *o, const char *name, const char *value)
{
	json_object_set_new(o, name,
	                    value != NULL ? json_string(value) : json_null());
}

static json_t *listen_list(const struct hbt_master *m)
{
	json_t *list = json_array();
	size_t n = m->listeners != NULL ? hbt_listeners_count(m->listeners) : 0;

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(hbt_listeners_address(
						    m->listeners, i)));
	return list;
}

static void add_stats(json_t *o, const struct hbt_worker_stats *s)
{
	for (const struct hbt_counter *c = hbt_worker_counters; c->name != NULL;
	     c++)
		set_int(o, c->name, hbt_counter_of(c, s));
}

static json_t *worker(const struct hbt_worker *w)
{
	static const char *const kinds[] = {
		[HBT_PEER_CONNECTION_WORKER] = "connection",
		[HBT_PEER_SERVICE_WORKER] = "service",
		[HBT_PEER_QUEUE_WORKER] = "queue",
		[HBT_PEER_STATUS_WORKER] = "status",
	};
	json_t *o = json_object();
	int64_t alive_ms = w->pid > 0 ? hbt_now_ms() - w->started_ms : 0;

	set_int(o, "index", w->index);
	set_int(o, "pid", (uint64_t)w->pid);
	set_text(o, "kind", kinds[w->link.kind]);
	set_text(o, "state", hbt_worker_state_name(w->state));
	set_int(o, "restarts", w->restarts);
	set_int(o, "uptime_s", (uint64_t)alive_ms / 1000);
	set_int(o, "unsent_bytes",
	        w->link.ipc != NULL ? hbt_ipc_unsent(w->link.ipc) : 0);
	add_stats(o, &w->stats);
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

/* What waits of an endpoint in Redis, if anything does. */
static json_t *in_redis(const struct hbt_master *m, const char *key)
{
	return json_object_get(json_object_get(m->queue_state, "queues"), key);
}

static uint64_t int_of(json_t *o, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(o, name));
}

/* What waits here and, pushed by this node or (queued) by any, in Redis. */
static void add_waiting(json_t *o, const struct hbt_master *m, const char *key,
                        const struct hbt_queue_counts *n)
{
	json_t *redis = in_redis(m, key);
	uint64_t oldest = int_of(redis, "oldest_waiting_ms");

	if ((uint64_t)n->oldest_waiting_ms > oldest)
		oldest = (uint64_t)n->oldest_waiting_ms;
	set_int(o, "waiting", n->waiting + int_of(redis, "waiting"));
	set_int(o, "waiting_bytes",
	        n->waiting_bytes + int_of(redis, "waiting_bytes"));
	set_int(o, "oldest_waiting_ms", oldest);
	if (m->queue_state != NULL && hbt_share_has(m->share, key))
		set_int(o, "queued", int_of(redis, "queued"));
	else
		json_object_set_new(o, "queued", json_null());
}

static void add_subscription(json_t *list, const struct hbt_master *m,
                             struct hbt_queue *q, const char *key)
{
	size_t connections = 0, busy = 0, takers = 0, at_work = 0;
	struct hbt_queue_counts n = {0};
	json_t *o = json_object();

	if (q != NULL) {
		q->ops->counts(q, &n);
		hbt_subscriptions_count(m->subscriptions, q, &connections,
		                        &busy);
		hbt_hosted_count(m->hosted, q, &takers, &at_work);
	}
	set_text(o, "uri", key);
	set_int(o, "connections", connections);
	set_int(o, "hosted", takers);
	set_int(o, "busy", busy + at_work);
	set_int(o, "idle", n.takers);
	add_waiting(o, m, key, &n);
	set_int(o, "collected", n.collected);
	set_int(o, "answered", n.answered);
	set_int(o, "failed", n.failed);
	set_int(o, "not_collected", n.not_collected);
	set_int(o, "cancelled", n.cancelled);
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

static json_t *route_list(const struct hbt_config *cfg)
{
	json_t *list = json_array();

	for (size_t i = 0; i < cfg->n_routes; i++) {
		const struct hbt_route *r = &cfg->routes[i];
		json_t *o = json_object();

		set_text(o, "pattern", r->pattern);
		set_text(o, "to", r->target);
		if (r->kind == HBT_ROUTE_DIAL)
			set_text(o, "thumbprint", r->endpoint.thumbprint);
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *service_list(const struct hbt_config *cfg)
{
	json_t *list = json_array();

	for (size_t i = 0; i < cfg->n_programs; i++) {
		json_t *o = json_object();

		set_text(o, "name", cfg->programs[i].service);
		set_text(o, "command", cfg->programs[i].command);
		set_int(o, "processes", cfg->programs[i].processes);
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *poll_list(const struct hbt_config *cfg)
{
	json_t *list = json_array();

	for (size_t i = 0; i < cfg->n_polls; i++) {
		json_t *o = json_object();

		set_text(o, "server", cfg->polls[i].server.url);
		set_text(o, "subscription", cfg->polls[i].subscription);
		set_int(o, "connections", cfg->polls[i].connections);
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *call_counts(const struct hbt_master *m)
{
	const struct hbt_calls_counts *n = hbt_calls_counts(m->calls);
	json_t *o = json_object(), *failed = json_object();

	set_int(o, "in_flight", n->in_flight);
	set_int(o, "waiting", n->waiting);
	set_int(o, "waiting_bytes", n->waiting_bytes);
	set_int(o, "total", n->total);
	set_int(o, "answered", n->answered);
	for (int i = 1; i < HALIBUT_STATUS_COUNT; i++)
		if (n->failed[i] > 0)
			set_int(failed, halibut_status_name(i), n->failed[i]);
	json_object_set_new(o, "failed", failed);
	return o;
}

static void set_time(json_t *o, const char *name, time_t at)
{
	char text[32];
	struct tm tm;

	gmtime_r(&at, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	set_text(o, name, text);
}

/* As the queue worker has it. */
static json_t *redis(const struct hbt_master *m)
{
	json_t *o;

	if (m->share == NULL)
		return json_null();
	if (m->queue_state != NULL) {
		o = json_copy(m->queue_state);
		json_object_del(o, "queues");
		return o;
	}
	o = json_object();
	set_text(o, "key_prefix", m->cfg->redis.key_prefix);
	json_object_set_new(o, "reachable", json_false());
	set_text(o, "last_error", "the queue worker does not run");
	return o;
}

json_t *hbt_status(struct hbt_master *m)
{
	static const char *const states[] = {"running", "draining", "closing",
	                                     "stopped"};
	json_t *doc = json_object();

	set_text(doc, "node", m->cfg->node);
	set_text(doc, "version", HBT_VERSION);
	set_int(doc, "pid", (uint64_t)getpid());
	set_text(doc, "state", states[m->state]);
	set_time(doc, "started", m->started);
	set_int(doc, "uptime_s",
	        (uint64_t)(hbt_now_ms() - m->started_ms) / 1000);
	set_text(doc, "thumbprint", m->credentials.thumbprint);
	set_int(doc, "trusted", m->cfg->trusted.n);
	set_text(doc, "config_file", m->cfg->path);
	set_int(doc, "reloads", m->reloads);
	set_text(doc, "reload_error", m->reload_error);
	set_int(doc, "accepted", m->accepted);
	json_object_set_new(doc, "listen", listen_list(m));
	json_object_set_new(doc, "workers", worker_list(m));
	json_object_set_new(doc, "subscriptions", subscription_list(m));
	json_object_set_new(doc, "routes", route_list(m->cfg));
	json_object_set_new(doc, "services", service_list(m->cfg));
	json_object_set_new(doc, "polls", poll_list(m->cfg));
	json_object_set_new(doc, "redis", redis(m));
	json_object_set_new(doc, "calls", call_counts(m));
	return doc;
}
