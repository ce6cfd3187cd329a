/* /varz and /redisz: the node as a whole. */
#include "documents.h"

#include "view.h"

static bool open_node(struct request *rq)
{
	rq->state = request_node(rq);
	if (rq->state == NULL) {
		request_fail(rq, 503, "The gateway does not tell of itself.");
		return false;
	}
	request_begin(rq, 200, REQUEST_JSON);
	return true;
}

static void close_node(struct request *rq)
{
	json_decref(rq->state);
	rq->state = NULL;
}

static enum request_piece put(struct evbuffer *out, json_t *value)
{
	if (!request_put_json(out, value))
		return REQUEST_FAILED;
	evbuffer_add(out, "\n", 1);
	return REQUEST_LAST;
}

static void add_worker(json_t *list, const struct view *v)
{
	static const char *const members[] = {"kind",     "index",
	                                      "pid",      "state",
	                                      "restarts", "last_exit"};
	json_t *all = view_json(v), *o = json_object();

	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++)
		json_object_set(o, members[i],
		                json_object_get(all, members[i]));
	json_array_append_new(list, o);
	json_decref(all);
}

/* What the processes count, of those that run now. */
static void add_up(json_t *totals, const struct hbt_worker_stats *stats)
{
	for (const struct hbt_counter *c = hbt_worker_counters;
	     c->name != NULL; c++)
		json_object_set_new(
			totals, c->name,
			json_integer(json_integer_value(json_object_get(
					     totals, c->name)) +
		                     (json_int_t)hbt_counter_of(c, stats)));
}

static void add_processes(json_t *doc, const struct snapshot *s)
{
	json_t *workers = json_array(), *totals = json_object();

	for (size_t i = 0; i < s->n_pages; i++) {
		struct hbt_rd r =
			hbt_rd_from(s->pages[i].data, s->pages[i].len);
		struct view v;

		for (uint32_t n = s->pages[i].n;
		     n > 0 && view_next(&r, HBT_TABLE_WORKERS, &v); n--) {
			add_worker(workers, &v);
			add_up(totals, &v.stats);
		}
	}
	json_object_set_new(doc, "workers", workers);
	json_object_set_new(doc, "totals", totals);
}

static enum request_piece more_varz(struct request *rq, struct evbuffer *out)
{
	json_t *doc = json_copy(rq->state);

	json_object_set_new(doc, "now", view_now());
	add_processes(doc, rq->tables[HBT_TABLE_WORKERS]);
	return put(out, doc);
}

const struct document document_varz = {
	.path = "/varz",
	.summary = "The node: version, uptime, configuration, certificates, "
		   "workers, totals of calls, messages, bytes and errors.",
	.tables = REQUEST_TABLE(HBT_TABLE_NODE) |
	          REQUEST_TABLE(HBT_TABLE_WORKERS),
	.open = open_node,
	.more = more_varz,
	.close = close_node,
};

static enum request_piece more_redisz(struct request *rq, struct evbuffer *out)
{
	json_t *node = rq->state, *o = json_object();

	json_object_set(o, "node", json_object_get(node, "node"));
	json_object_set(o, "node_id", json_object_get(node, "node_id"));
	json_object_set_new(o, "now", view_now());
	json_object_set(o, "redis", json_object_get(node, "redis"));
	return put(out, o);
}

const struct document document_redisz = {
	.path = "/redisz",
	.summary = "Redis and the other nodes that share it.",
	.tables = REQUEST_TABLE(HBT_TABLE_NODE),
	.open = open_node,
	.more = more_redisz,
	.close = close_node,
};
