/* /metrics: for Prometheus. */
#include "documents.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "view.h"

#define TABLES                                                                 \
	(REQUEST_TABLE(HBT_TABLE_NODE) | REQUEST_TABLE(HBT_TABLE_WORKERS))

static const char text_type[] = "text/plain; version=0.0.4; charset=utf-8";
static const char open_type[] =
	"application/openmetrics-text; version=1.0.0; charset=utf-8";

/* What is being written, and in which of the two forms. */
struct page {
	struct evbuffer *out;
	bool open_metrics;
	json_t *node;
	struct view *workers;
	size_t n_workers;
};

static bool wants_open_metrics(const char *accept)
{
	return strcasestr(accept, "application/openmetrics-text") != NULL;
}

static bool open_metrics(struct request *rq)
{
	if (wants_open_metrics(rq->accept))
		request_begin(rq, 200, open_type);
	else
		request_begin(rq, 200, text_type);
	return true;
}

/* ---- The two forms ---- */

/* HELP, TYPE and UNIT of a family. OpenMetrics names a counter's family
 * without its _total. */
static void put_head(struct page *p, const char *name, bool counter,
                     const char *type, const char *unit, const char *help)
{
	const char *total = counter && !p->open_metrics ? "_total" : "";

	evbuffer_add_printf(p->out, "# HELP halibut_%s%s %s\n", name, total,
	                    help);
	evbuffer_add_printf(p->out, "# TYPE halibut_%s%s %s\n", name, total,
	                    type);
	if (p->open_metrics && *unit != '\0')
		evbuffer_add_printf(p->out, "# UNIT halibut_%s %s\n", name,
		                    unit);
}

/* A label's value, as both forms escape it. */
static void put_value(struct evbuffer *out, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\n')
			evbuffer_add(out, "\\n", 2);
		else if (text[i] == '"' || text[i] == '\\')
			evbuffer_add_printf(out, "\\%c", text[i]);
		else
			evbuffer_add(out, text + i, 1);
}

/*
 * The name of a counter as a metric, which ends with its unit: "bytes_in"
 * becomes "in_bytes", and "cpu_user_us" "cpu_user_seconds". Returns what a
 * value is multiplied with.
 */
static double metric_of(char name[160], const char *prefix,
                        const struct hbt_counter *c, const char **unit)
{
	const char *bytes = strstr(c->name, "bytes_");
	size_t n = strlen(c->name);

	*unit = c->unit;
	if (strcmp(c->unit, "microseconds") == 0) {
		*unit = "seconds";
		snprintf(name, 160, "%s%.*s_seconds", prefix, (int)n - 3,
		         c->name);
		return 1e-6;
	}
	if (strcmp(c->unit, "bytes") == 0 && bytes != NULL)
		snprintf(name, 160, "%s%.*s%s_bytes", prefix,
		         (int)(bytes - c->name), c->name, bytes + 6);
	else
		snprintf(name, 160, "%s%s", prefix, c->name);
	return 1;
}

static void put_simple(struct page *p, const char *name, bool counter,
                       const char *unit, const char *help, double value)
{
	put_head(p, name, counter, counter ? "counter" : "gauge", unit, help);
	evbuffer_add_printf(p->out, "halibut_%s%s %.15g\n", name,
	                    counter ? "_total" : "", value);
}

/* ---- The node ---- */

static json_int_t int_of(json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

static const char *text_of(json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));

	return text != NULL ? text : "";
}

static void put_identity(struct page *p)
{
	const char *node = text_of(p->node, "node");
	const char *version = text_of(p->node, "version");

	put_head(p, "build_info", false, "gauge", "",
	         "The node and its version; always 1.");
	evbuffer_add_printf(p->out, "halibut_build_info{node=\"");
	put_value(p->out, node, strlen(node));
	evbuffer_add_printf(p->out, "\",version=\"");
	put_value(p->out, version, strlen(version));
	evbuffer_add_printf(p->out, "\"} 1\n");
	put_simple(p, "uptime_seconds", false, "seconds",
	           "Since the node was started.",
	           (double)int_of(p->node, "uptime_s"));
	put_simple(p, "draining", false, "",
	           "1 while the node finishes its calls before it stops.",
	           json_is_true(json_object_get(p->node, "draining")));
}

static void put_counters(struct page *p)
{
	json_t *counters = json_object_get(p->node, "counters");

	for (const struct hbt_counter *c = hbt_node_counters; c->name != NULL;
	     c++) {
		const char *unit;
		char name[160];
		double scale = metric_of(name, "", c, &unit);

		put_simple(p, name, c->type == HBT_COUNTER, unit, c->help,
		           scale * (double)int_of(counters, c->name));
	}
}

/* By class: as many as there are status codes. */
static void put_errors(struct page *p)
{
	json_t *failed =
		json_object_get(json_object_get(p->node, "calls"), "failed");
	const char *name;
	json_t *n;

	put_head(p, "call_errors", true, "counter", "",
	         "Calls that ended with an error, by its class.");
	json_object_foreach(failed, name, n)
		evbuffer_add_printf(
			p->out,
			"halibut_call_errors_total{class=\"%s\"} %" PRId64 "\n",
			name, (int64_t)json_integer_value(n));
}

static void put_phase(struct page *p, const char *phase, json_t *bounds,
                      json_t *histogram)
{
	json_t *buckets = json_object_get(histogram, "buckets"), *bound;
	json_int_t sum = 0;
	size_t i;

	json_array_foreach(bounds, i, bound) {
		sum += json_integer_value(json_array_get(buckets, i));
		evbuffer_add_printf(
			p->out,
			"halibut_call_duration_seconds_bucket"
			"{phase=\"%s\",le=\"%.6g\"} %" PRId64 "\n",
			phase, (double)json_integer_value(bound) / 1e6,
			(int64_t)sum);
	}
	evbuffer_add_printf(p->out,
	                    "halibut_call_duration_seconds_bucket"
	                    "{phase=\"%s\",le=\"+Inf\"} %" PRId64 "\n",
	                    phase, (int64_t)int_of(histogram, "count"));
	evbuffer_add_printf(p->out,
	                    "halibut_call_duration_seconds_sum{phase=\"%s\"} "
	                    "%.6f\n",
	                    phase, (double)int_of(histogram, "sum_us") / 1e6);
	evbuffer_add_printf(p->out,
	                    "halibut_call_duration_seconds_count"
	                    "{phase=\"%s\"} %" PRId64 "\n",
	                    phase, (int64_t)int_of(histogram, "count"));
}

static void put_call_time(struct page *p)
{
	json_t *time = json_object_get(p->node, "call_time");
	json_t *bounds = json_object_get(time, "bounds_us"), *histogram;
	const char *phase;

	put_head(p, "call_duration_seconds", false, "histogram", "seconds",
	         "How long calls take: waiting for a taker, executing, and in "
	         "total.");
	json_object_foreach(time, phase, histogram)
		if (json_is_object(histogram))
			put_phase(p, phase, bounds, histogram);
}

/* ---- Certificates ---- */

/* The same certificate for the same use, under another name. */
static bool is_repeated(const json_t *list, size_t i)
{
	const json_t *o = json_array_get(list, i);

	for (size_t k = 0; k < i; k++) {
		const json_t *other = json_array_get(list, k);

		if (json_equal(json_object_get(o, "thumbprint"),
		               json_object_get(other, "thumbprint")) &&
		    json_equal(json_object_get(o, "use"),
		               json_object_get(other, "use")))
			return true;
	}
	return false;
}

static void put_certificates(struct page *p)
{
	json_t *list = json_object_get(p->node, "certificates"), *o;
	size_t i;

	put_head(p, "certificate_not_after_timestamp_seconds", false, "gauge",
	         "seconds",
	         "When a certificate of the node ends, in Unix time.");
	json_array_foreach(list, i, o) {
		struct tm tm = {0};

		if (is_repeated(list, i) ||
		    !json_is_string(json_object_get(o, "not_after")) ||
		    strptime(text_of(o, "not_after"), "%Y-%m-%dT%H:%M:%S",
		             &tm) == NULL)
			continue;
		evbuffer_add_printf(p->out,
		                    "halibut_certificate_not_after_timestamp_"
		                    "seconds{thumbprint=\"%s\",use=\"%s\"} "
		                    "%lld\n",
		                    text_of(o, "thumbprint"),
		                    text_of(o, "use"), (long long)timegm(&tm));
	}
}

/* ---- Redis ---- */

struct redis_metric {
	const char *name, *member, *unit, *help;
	bool counter;
	double scale;
};

static const struct redis_metric redis_metrics[] = {
	{"redis_memory_bytes", "memory_bytes", "bytes",
         "Memory that Redis uses.", false, 1},
	{"redis_memory_max_bytes", "memory_max_bytes", "bytes",
         "Memory that Redis may use: its maxmemory.", false, 1},
	{"redis_latency_seconds", "latency_us", "seconds",
         "How long Redis took for the last commands.", false, 1e-6},
	{"redis_outages", "outages", "", "Times that Redis was gone.", true, 1},
	{"redis_reconnects", "reconnects", "",
         "Connections to Redis that were made again.", true, 1},
	{"redis_commands", "commands", "", "Commands sent to Redis.", true, 1},
	{"redis_failures", "failures", "", "Commands that failed.", true, 1},
	{"redis_retries", "retries", "", "Commands that were sent again.", true,
         1},
	{"redis_received_bytes", "bytes_in", "bytes",
         "Bytes received from Redis.", true, 1},
	{"redis_sent_bytes", "bytes_out", "bytes", "Bytes sent to Redis.", true,
         1},
	{"redis_sending", "sending", "",
         "Requests of this node that are in Redis.", false, 1},
	{"redis_receiving", "receiving", "",
         "Requests out of Redis that this node carries.", false, 1},
};

static void put_redis(struct page *p)
{
	json_t *redis = json_object_get(p->node, "redis");

	if (!json_is_object(redis))
		return;
	put_simple(p, "redis_up", false, "",
	           "1 while both connections to Redis are up.",
	           json_is_true(json_object_get(redis, "reachable")));
	if (json_is_boolean(json_object_get(redis, "writable")))
		put_simple(p, "redis_writable", false, "",
		           "0 while Redis stores nothing new: it is full, for "
		           "instance.",
		           json_is_true(json_object_get(redis, "writable")));
	for (size_t i = 0;
	     i < sizeof(redis_metrics) / sizeof(*redis_metrics); i++) {
		const struct redis_metric *m = &redis_metrics[i];

		if (json_is_integer(json_object_get(redis, m->member)))
			put_simple(p, m->name, m->counter, m->unit, m->help,
			           (double)int_of(redis, m->member) * m->scale);
	}
}

/* ---- Processes ---- */

/* A value of each process: there are as many as are configured. */
static void put_worker(struct page *p, const char *name, const char *suffix,
                       const struct view *v, double value)
{
	int kind = view_field(HBT_TABLE_WORKERS, "kind");

	evbuffer_add_printf(p->out, "halibut_%s%s{worker=\"", name, suffix);
	put_value(p->out, v->v[kind].text.s, v->v[kind].text.len);
	evbuffer_add_printf(p->out, "-%u\"} %.15g\n",
	                    (unsigned)view_number(v, "index"), value);
}

struct process_metric {
	const char *name, *field, *unit, *help;
	bool counter;
	double scale;
};

/* Beside what processes count: what the master knows of them. */
static const struct process_metric process_metrics[] = {
	{"process_restarts", "restarts", "",
         "Times that another process took its place.", true, 1},
	{"process_unsent_bytes", "unsent_bytes", "bytes",
         "Messages of the master that it has not read.", false, 1},
	{"process_heard_seconds", "heard_ms", "seconds",
         "Since its loop last turned, as far as the master knows.", false,
         1e-3},
	{"process_uptime_seconds", "uptime_ms", "seconds",
         "Since the process was started.", false, 1e-3},
};

static void put_process(struct page *p, const struct process_metric *m)
{
	put_head(p, m->name, m->counter, m->counter ? "counter" : "gauge",
	         m->unit, m->help);
	for (size_t i = 0; i < p->n_workers; i++)
		put_worker(p, m->name, m->counter ? "_total" : "",
		           &p->workers[i],
		           (double)view_number(&p->workers[i], m->field) * m->scale);
}

static void put_process_counter(struct page *p, const struct hbt_counter *c)
{
	bool counter = c->type == HBT_COUNTER;
	const char *unit;
	char name[160];
	double scale = metric_of(name, "process_", c, &unit);

	put_head(p, name, counter, counter ? "counter" : "gauge", unit,
	         c->help);
	for (size_t i = 0; i < p->n_workers; i++)
		put_worker(p, name, counter ? "_total" : "", &p->workers[i],
		           scale * (double)hbt_counter_of(
					   c, &p->workers[i].stats));
}

/* ---- All of it ---- */

static bool read_workers(struct page *p, const struct snapshot *s)
{
	p->workers = calloc(s->n_rows + 1, sizeof(*p->workers));
	if (p->workers == NULL)
		return false;
	for (size_t i = 0; i < s->n_pages; i++) {
		struct hbt_rd r =
			hbt_rd_from(s->pages[i].data, s->pages[i].len);

		for (uint32_t n = s->pages[i].n;
		     n > 0 && view_next(&r, HBT_TABLE_WORKERS,
		                        &p->workers[p->n_workers]);
		     n--)
			p->n_workers++;
	}
	return true;
}

static void put_all(struct page *p)
{
	put_identity(p);
	put_counters(p);
	put_errors(p);
	put_call_time(p);
	put_certificates(p);
	put_redis(p);
	for (size_t i = 0;
	     i < sizeof(process_metrics) / sizeof(*process_metrics); i++)
		put_process(p, &process_metrics[i]);
	for (const struct hbt_counter *c = hbt_worker_counters;
	     c->name != NULL; c++)
		put_process_counter(p, c);
	if (p->open_metrics)
		evbuffer_add_printf(p->out, "# EOF\n");
}

static enum request_piece more(struct request *rq, struct evbuffer *out)
{
	struct page p = {
		.out = out,
		.open_metrics = wants_open_metrics(rq->accept),
		.node = request_node(rq),
	};
	bool good = p.node != NULL &&
	            read_workers(&p, rq->tables[HBT_TABLE_WORKERS]);

	if (good)
		put_all(&p);
	free(p.workers);
	json_decref(p.node);
	return good ? REQUEST_LAST : REQUEST_FAILED;
}

const struct document document_metrics = {
	.path = "/metrics",
	.summary = "Numbers for Prometheus, as text or OpenMetrics.",
	.tables = TABLES,
	.open = open_metrics,
	.more = more,
};
