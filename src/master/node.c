/*
 * The row of the table NODE: a JSON object with all that is one of its kind.
 * What may be many without an end, such as connections, has tables of its own.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/timespan.h"
#include "ipc/vitals.h"
#include "master/histogram.h"
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

static uint64_t count_restarts(const struct hbt_master *m)
{
	struct hbt_worker *w;
	uint64_t n = 0;

	for (size_t i = 0; (w = hbt_workers_at(m->workers, i)) != NULL; i++)
		n += w->restarts;
	return n;
}

void hbt_node_stats(const struct hbt_master *m, struct hbt_node_stats *s)
{
	const struct hbt_calls_counts *n = hbt_calls_counts(m->calls);

	memset(s, 0, sizeof(*s));
	s->connections_accepted = m->accepted;
	s->calls = n->total;
	s->calls_answered = n->answered;
	for (int i = 1; i < HALIBUT_STATUS_COUNT; i++)
		s->calls_failed += n->failed[i];
	s->calls_slow = n->slow;
	s->calls_open = n->in_flight;
	s->calls_waiting = n->waiting;
	s->calls_waiting_bytes = n->waiting_bytes;
	s->refusals = hbt_refused_total(m->refused);
	hbt_admission_collect(m->admission, s);
	s->trusted = m->cfg->trusted.n;
	s->reloads = m->reloads;
	s->reloads_failed = m->reloads_failed;
	s->worker_restarts = count_restarts(m);
}

static json_t *counters(const struct hbt_master *m)
{
	struct hbt_node_stats stats;
	json_t *o = json_object();

	hbt_node_stats(m, &stats);
	for (const struct hbt_counter *c = hbt_node_counters; c->name != NULL;
	     c++)
		set_int(o, c->name, hbt_counter_of(c, &stats));
	return o;
}

static json_t *histogram(const struct hbt_histogram *h)
{
	json_t *o = json_object(), *buckets = json_array();

	for (int i = 0; i <= HBT_HISTOGRAM_N; i++)
		json_array_append_new(buckets,
		                      json_integer((json_int_t)h->buckets[i]));
	json_object_set_new(o, "buckets", buckets);
	set_int(o, "count", h->count);
	set_int(o, "sum_us", h->sum_us);
	return o;
}

/* By phase; buckets[i] are the calls of at most bounds_us[i], and more than
 * the bound before it. */
static json_t *call_time(const struct hbt_master *m)
{
	const struct hbt_calls_counts *n = hbt_calls_counts(m->calls);
	json_t *o = json_object(), *bounds = json_array();

	for (int i = 0; i < HBT_HISTOGRAM_N; i++)
		json_array_append_new(
			bounds,
			json_integer((json_int_t)hbt_histogram_bounds[i]));
	json_object_set_new(o, "bounds_us", bounds);
	json_object_set_new(o, "waiting", histogram(&n->time_waiting));
	json_object_set_new(o, "executing", histogram(&n->time_executing));
	json_object_set_new(o, "total", histogram(&n->time_total));
	return o;
}

static void add_identity(json_t *o, const struct hbt_master *m)
{
	static const char *const states[] = {
		[MASTER_RUNNING] = "running", [MASTER_RETREATING] = "leaving",
		[MASTER_DRAINED] = "drained",
		[MASTER_LEAVING] = "leaving",   [MASTER_DRAINING] = "draining",
		[MASTER_CLOSING] = "closing",   [MASTER_STOPPED] = "stopped",
	};

	set_text(o, "node", m->cfg->node);
	set_text(o, "node_id", m->node_id);
	set_text(o, "version", HBT_VERSION);
	set_int(o, "pid", (uint64_t)getpid());
	set_text(o, "state", states[m->state]);
	json_object_set_new(o, "draining",
	                    json_boolean(m->state != MASTER_RUNNING));
	set_time(o, "started", m->started);
	set_int(o, "uptime_s",
	        (uint64_t)(hbt_now_ms() - m->started_ms) / 1000);
	set_text(o, "thumbprint", m->credentials.thumbprint);
	json_object_set_new(o, "certificates",
	                    hbt_own_certs_list(&m->own_certs));
	set_int(o, "trusted", m->cfg->trusted.n);
}

static void add_configuration(json_t *o, const struct hbt_master *m)
{
	set_text(o, "config_file", m->cfg->path);
	set_text(o, "config_sha256", m->cfg->sha256);
	set_time(o, "config_loaded", m->cfg->read_at);
	set_int(o, "reloads", m->reloads);
	set_text(o, "reload_error", m->reload_error);
	if (m->reload_error_at != 0)
		set_time(o, "reload_error_at", m->reload_error_at);
	else
		json_object_set_new(o, "reload_error_at", json_null());
}

json_t *hbt_node_document(const struct hbt_master *m)
{
	json_t *o = json_object();

	add_identity(o, m);
	add_configuration(o, m);
	set_int(o, "accepted", m->accepted);
	json_object_set_new(o, "listen", listen_list(m));
	json_object_set_new(o, "routes", route_list(m->cfg));
	json_object_set_new(o, "services", service_list(m->cfg));
	json_object_set_new(o, "polls", poll_list(m->cfg));
	json_object_set_new(o, "redis", redis(m));
	json_object_set_new(o, "calls", call_counts(m));
	json_object_set_new(o, "counters", counters(m));
	json_object_set_new(o, "call_time", call_time(m));
	return o;
}
