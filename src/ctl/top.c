#include "ctl/top.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/ctl.h"

static const struct hbt_ctl_column worker_columns[] = {
	{"PROCESS", HBT_CELL_TEXT, "kind", NULL},
	{">NUMBER", HBT_CELL_NUMBER, "index", NULL},
	{">PID", HBT_CELL_NUMBER, "pid", NULL},
	{"STATE", HBT_CELL_TEXT, "state", NULL},
	{">UP", HBT_CELL_SPAN, "uptime_ms", NULL},
	{">CPU", HBT_CELL_SPAN_US, "cpu_user_us", NULL},
	{">SYSTEM", HBT_CELL_SPAN_US, "cpu_system_us", NULL},
	{">MEMORY", HBT_CELL_BYTES, "resident_bytes", NULL},
	{">FILES", HBT_CELL_NUMBER, "descriptors", NULL},
	{">CONNECTIONS", HBT_CELL_NUMBER, "connections", NULL},
	{">RESTARTS", HBT_CELL_NUMBER, "restarts", NULL},
	{NULL, HBT_CELL_TEXT, NULL, NULL},
};

/* What is counted is no field of the document. */
static const char *const worker_sorts[] = {"kind",  "index",     "pid",
                                           "state", "uptime_ms", "restarts",
                                           NULL};

const struct hbt_ctl_top_view hbt_ctl_top_views[] = {
	{"subscriptions", "/subsz", NULL, "subscriptions",
         hbt_ctl_subscription_columns, NULL, "waiting"},
	{"connections", "/connz", NULL, "connections",
         hbt_ctl_connection_columns, NULL, "bytes_in"},
	{"calls", "/callz", "open", "calls", hbt_ctl_call_columns, NULL,
         "age_ms"},
	{"workers", "/workersz", NULL, "workers", worker_columns, worker_sorts,
         "kind"},
	{"refused", "/unauthz", NULL, "refused", hbt_ctl_refused_columns, NULL,
         "last_at"},
};
const size_t hbt_ctl_top_n_views =
	sizeof(hbt_ctl_top_views) / sizeof(hbt_ctl_top_views[0]);

static int64_t int_of(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

static void count_calls(struct hbt_ctl_top_counts *n, const json_t *node)
{
	const json_t *calls = json_object_get(node, "calls"), *value;
	const char *name;

	n->calls = int_of(calls, "total");
	n->in_flight = int_of(calls, "in_flight");
	n->waiting = int_of(calls, "waiting");
	json_object_foreach(json_object_get(calls, "failed"), name, value)
		n->failed += json_integer_value(value);
}

static void count_workers(struct hbt_ctl_top_counts *n, const json_t *doc)
{
	const json_t *w;
	size_t i;

	n->now = hbt_ctl_moment(json_object_get(doc, "now"));
	json_array_foreach(json_object_get(doc, "workers"), i, w) {
		n->refused += int_of(w, "refused");
		n->bytes_in += int_of(w, "bytes_in");
		n->bytes_out += int_of(w, "bytes_out");
		n->connections += int_of(w, "connections");
		n->resident_bytes += int_of(w, "resident_bytes");
		n->cpu_us += int_of(w, "cpu_user_us") +
		             int_of(w, "cpu_system_us");
	}
}

static json_t *ask_view(const struct hbt_ctl_top *t, size_t limit,
                        struct halibut_error *err)
{
	struct hbt_ctl_target target;
	char number[32], sort[80];
	const char *text;
	json_t *doc = NULL;

	hbt_ctl_target_init(&target, t->view->path);
	if (t->view->state != NULL)
		hbt_ctl_target_add(&target, "state", t->view->state);
	snprintf(sort, sizeof(sort), "%s%s", t->reversed ? "-" : "", t->sort);
	hbt_ctl_target_add(&target, "sort", sort);
	snprintf(number, sizeof(number), "%zu", limit);
	hbt_ctl_target_add(&target, "limit", number);
	snprintf(number, sizeof(number), "%zu", t->offset);
	hbt_ctl_target_add(&target, "offset", number);
	if (t->where != NULL)
		hbt_ctl_target_filter(&target, t->where);
	text = hbt_ctl_target_text(&target);
	if (text != NULL)
		doc = hbt_ctl_document(&t->g, text, err);
	else
		hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	hbt_ctl_target_fini(&target);
	return doc;
}

void hbt_ctl_top_sample(struct hbt_ctl_top *t, size_t limit)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	struct hbt_ctl_top_counts n = {.now = 0};
	json_t *node = hbt_ctl_document(&t->g, "/varz", &err);
	json_t *workers = NULL, *doc = NULL;

	if (node != NULL)
		workers = hbt_ctl_document(&t->g, "/workersz", &err);
	if (workers != NULL) {
		count_calls(&n, node);
		count_workers(&n, workers);
		doc = ask_view(t, limit, &err);
	}
	free(t->error);
	t->error = err.message != NULL ? strdup(err.message) : NULL;
	t->exit_code = err.status == HALIBUT_ECONNECT
	                       ? HBT_EXIT_GATEWAY
	                       : hbt_ctl_exit_code(err.status);
	halibut_error_clear(&err);
	if (workers != NULL) {
		json_decref(t->node);
		t->node = json_incref(node);
		t->before = t->counts;
		t->counts = n;
	}
	json_decref(t->doc);
	t->doc = doc;
	json_decref(workers);
	json_decref(node);
}

double hbt_ctl_top_rate(const struct hbt_ctl_top *t, int64_t now,
                        int64_t before)
{
	int64_t ms = t->counts.now - t->before.now;

	/* What was counted by a worker that is gone is missing now. */
	if (t->before.now == 0 || ms <= 0 || now < before)
		return 0;
	return (double)(now - before) * 1000 / (double)ms;
}

json_t *hbt_ctl_top_json(const struct hbt_ctl_top *t)
{
	const struct hbt_ctl_top_counts *n = &t->counts, *b = &t->before;
	json_t *rows = json_object_get(t->doc, t->view->part);

	return json_pack(
		"{s:O?, s:O?, s:O?, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, "
		"s:I, s:I, s:s, s:O?}",
		"now", json_object_get(t->doc, "now"), "node",
		json_object_get(t->node, "node"), "state",
		json_object_get(t->node, "state"), "calls_per_s",
		hbt_ctl_top_rate(t, n->calls, b->calls), "failed_per_s",
		hbt_ctl_top_rate(t, n->failed, b->failed), "refused_per_s",
		hbt_ctl_top_rate(t, n->refused, b->refused), "bytes_in_per_s",
		hbt_ctl_top_rate(t, n->bytes_in, b->bytes_in),
		"bytes_out_per_s",
		hbt_ctl_top_rate(t, n->bytes_out, b->bytes_out), "cpu_percent",
		hbt_ctl_top_rate(t, n->cpu_us, b->cpu_us) / 10000,
		"calls_in_flight", (json_int_t)n->in_flight, "calls_waiting",
		(json_int_t)n->waiting, "connections",
		(json_int_t)n->connections, "resident_bytes",
		(json_int_t)n->resident_bytes, "view", t->view->name, "rows",
		rows);
}

void hbt_ctl_top_fini(struct hbt_ctl_top *t)
{
	json_decref(t->node);
	json_decref(t->doc);
	free(t->error);
	free(t->where);
	t->node = t->doc = NULL;
	t->error = t->where = NULL;
}
