/* /healthz, /livez, /readyz: for balancers and supervisors. 200 or 503. */
#include "documents.h"

#include <string.h>

#include "view.h"

#define WORKERS_TOO                                                            \
	(REQUEST_TABLE(HBT_TABLE_NODE) | REQUEST_TABLE(HBT_TABLE_WORKERS))

/* What the processes of the node are like. */
struct processes {
	unsigned ready; /* connection workers */
	json_t *late;   /* an array: those whose loops did not turn lately */
};

static void look_at(const struct request *rq, const struct view *v,
                    struct processes *p)
{
	int kind = view_field(v->table, "kind");

	if (view_number(v, "pid") == 0)
		return; /* another one starts soon */
	p->ready += view_is(v, "kind", "connection") && view_is(v, "state", "ready");
	if (view_number(v, "heard_ms") > rq->w->status.late_ms)
		json_array_append_new(
			p->late,
			json_sprintf("%.*s %u", (int)v->v[kind].text.len,
		                     v->v[kind].text.s,
		                     (unsigned)view_number(v, "index")));
}

static struct processes look(const struct request *rq)
{
	const struct snapshot *s = rq->tables[HBT_TABLE_WORKERS];
	struct processes p = {.late = json_array()};

	for (size_t i = 0; i < s->n_pages; i++) {
		struct hbt_rd r =
			hbt_rd_from(s->pages[i].data, s->pages[i].len);
		struct view v;

		for (uint32_t n = s->pages[i].n;
		     n > 0 && view_next(&r, HBT_TABLE_WORKERS, &v); n--)
			look_at(rq, &v, &p);
	}
	return p;
}

/* One thing that has to be well; ok is the sum of them. */
static void add_check(json_t *doc, const char *name, const char *wrong,
                      bool *ok)
{
	json_t *o = json_object();

	json_object_set_new(o, "name", json_string(name));
	json_object_set_new(o, "ok", json_boolean(wrong == NULL));
	json_object_set_new(o, "error",
	                    wrong != NULL ? json_string(wrong) : json_null());
	json_array_append_new(json_object_get(doc, "checks"), o);
	*ok = *ok && wrong == NULL;
}

static void check_loops(json_t *doc, const struct processes *p, bool *ok)
{
	char text[512] = "no answer lately from:";
	const json_t *name;
	size_t i;

	json_array_foreach(p->late, i, name) {
		strncat(text, " ", sizeof(text) - strlen(text) - 1);
		strncat(text, json_string_value(name),
		        sizeof(text) - strlen(text) - 1);
	}
	add_check(doc, "loops", json_array_size(p->late) > 0 ? text : NULL,
	          ok);
}

static void check_redis(json_t *doc, const struct request *rq, json_t *node,
                        bool *ok)
{
	const json_t *redis = json_object_get(node, "redis");
	json_int_t down_s =
		json_integer_value(json_object_get(redis, "down_s"));
	json_int_t refusing_s =
		json_integer_value(json_object_get(redis, "refusing_s"));
	json_int_t grace_ms = (json_int_t)rq->w->status.redis_grace_ms;

	const char *wrong = NULL;

	if (!json_is_object(redis))
		return; /* this node needs none */
	if (json_is_false(json_object_get(redis, "reachable")) &&
	    down_s * 1000 > grace_ms)
		wrong = "Redis is not reachable; /redisz says why";
	else if (json_is_false(json_object_get(redis, "writable")) &&
	         refusing_s * 1000 > grace_ms)
		wrong = "Redis stores nothing new; /redisz says why";
	add_check(doc, "redis", wrong, ok);
}

static void check_readiness(json_t *doc, const struct request *rq,
                            json_t *node, const struct processes *p, bool *ok)
{
	add_check(doc, "listening",
	          json_array_size(json_object_get(node, "listen")) > 0
	                  ? NULL
	                  : "nothing listens for connections",
	          ok);
	add_check(doc, "workers",
	          p->ready > 0 ? NULL : "no connection worker is ready", ok);
	check_redis(doc, rq, node, ok);
}

static bool open_health(struct request *rq, bool loops, bool readiness)
{
	json_t *node = request_node(rq), *doc = json_object();
	const char *state =
		json_string_value(json_object_get(node, "state"));
	bool running = state != NULL && strcmp(state, "running") == 0;
	struct processes p = look(rq);
	bool ok = true;

	json_object_set_new(doc, "status", json_null());
	json_object_set_new(doc, "checks", json_array());
	if (loops)
		check_loops(doc, &p, &ok);
	if (readiness && running)
		check_readiness(doc, rq, node, &p, &ok);
	/* Distinct: it goes away on purpose. */
	json_object_set_new(doc, "status",
	                    json_string(!ok ? "unavailable"
	                                : readiness && !running ? "draining"
	                                                        : "ok"));
	ok = ok && (running || !readiness);
	json_decref(p.late);
	json_decref(node);
	rq->state = doc;
	request_begin(rq, ok ? 200 : 503, REQUEST_JSON);
	return true;
}

static enum request_piece more(struct request *rq, struct evbuffer *out)
{
	if (!request_put_json(out, json_incref(rq->state)))
		return REQUEST_FAILED;
	evbuffer_add(out, "\n", 1);
	return REQUEST_LAST;
}

static void close_health(struct request *rq)
{
	json_decref(rq->state);
	rq->state = NULL;
}

static bool open_healthz(struct request *rq)
{
	return open_health(rq, true, true);
}

static bool open_livez(struct request *rq)
{
	return open_health(rq, true, false);
}

static bool open_readyz(struct request *rq)
{
	return open_health(rq, false, true);
}

const struct document document_healthz = {
	.path = "/healthz",
	.summary = "Both of the following.",
	.tables = WORKERS_TOO,
	.open = open_healthz,
	.more = more,
	.close = close_health,
};

const struct document document_livez = {
	.path = "/livez",
	.summary = "200 if the loops of all processes turned lately, else 503: "
		   "restart it.",
	.tables = WORKERS_TOO,
	.open = open_livez,
	.more = more,
	.close = close_health,
};

const struct document document_readyz = {
	.path = "/readyz",
	.summary = "200 if it serves, 503 if not, or if it drains: send it "
		   "nothing.",
	.tables = WORKERS_TOO,
	.open = open_readyz,
	.more = more,
	.close = close_health,
};
