/* Documents that are rows of tables: /connz and the like. */
#include "documents.h"

#include <stdlib.h>
#include <string.h>

#include "select.h"

#define PIECE_ROWS 64
#define MAX_PARTS 2

/* An array of a document. */
struct part {
	const char *name;
	enum hbt_table table;
	const struct select_alias *aliases;
	const char *const *ignored;
	/* More members. False: this row is left out. May be NULL. */
	bool (*decorate)(json_t *o, const struct view *v);
};

/* What such a document is made of. */
struct list {
	struct part parts[MAX_PARTS]; /* up to one without a name */
	bool whole; /* all rows, and all that NODE has; no parameters */
};

struct state {
	const struct list *list;
	struct selection *selections[MAX_PARTS];
	size_t part;
	bool head_given, part_begun, row_given, incomplete;
	bool closed_too, closed_only; /* of connections */
};

static size_t count_parts(const struct list *list)
{
	size_t n = 0;

	while (n < MAX_PARTS && list->parts[n].name != NULL)
		n++;
	return n;
}

static void close_list(struct request *rq)
{
	struct state *s = rq->state;

	if (s == NULL)
		return;
	for (size_t i = 0; i < MAX_PARTS; i++)
		select_free(&s->selections[i]);
	free(s);
	rq->state = NULL;
}

/* ---- Parameters ---- */

static bool check_parts(struct request *rq, const struct list *list)
{
	struct state *s = calloc(1, sizeof(*s));

	rq->state = s;
	if (s == NULL)
		return false;
	s->list = list;
	for (size_t i = 0; i < count_parts(list); i++) {
		const struct part *p = &list->parts[i];
		char *wrong = select_new(&s->selections[i], p->table,
		                         list->whole ? NULL : &rq->query,
		                         p->aliases, p->ignored);

		if (wrong != NULL)
			request_fail(rq, 400, "%s", wrong);
		free(wrong);
		if (s->selections[i] == NULL)
			return false;
	}
	return true;
}

/* ---- Pieces ---- */

static bool add_snapshot(struct request *rq, struct selection *to,
                         enum hbt_table table)
{
	struct state *s = rq->state;

	s->incomplete |= rq->tables[table]->incomplete;
	return select_add(to, rq->tables[table]);
}

/* The rows are chosen from here on; what is not wanted is not held. */
static bool open_list(struct request *rq)
{
	struct state *s = rq->state;
	bool good = true;

	for (size_t i = 0; good && i < count_parts(s->list); i++) {
		enum hbt_table table = s->list->parts[i].table;

		if (!s->closed_only)
			good = add_snapshot(rq, s->selections[i], table);
		if (good && (s->closed_only || s->closed_too))
			good = add_snapshot(rq, s->selections[i],
			                    HBT_TABLE_CLOSED);
	}
	for (size_t i = 0; i < HBT_TABLES; i++)
		if (i != HBT_TABLE_NODE)
			snapshot_unref(&rq->tables[i]);
	if (good)
		request_begin(rq, 200, REQUEST_JSON);
	return good;
}

/* An object without its end, to which members are added. */
static bool put_open(struct evbuffer *out, json_t *o)
{
	char *text = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
	bool good = text != NULL &&
	            evbuffer_add(out, text, strlen(text) - 1) == 0;

	free(text);
	json_decref(o);
	return good;
}

static bool put_head(struct request *rq, struct evbuffer *out)
{
	struct state *s = rq->state;
	json_t *node = request_node(rq), *head;

	if (s->list->whole)
		return put_open(out, node);
	head = json_object();
	json_object_set(head, "node", json_object_get(node, "node"));
	json_object_set(head, "node_id", json_object_get(node, "node_id"));
	json_object_set_new(head, "now", view_now());
	json_object_set_new(head, "incomplete", json_boolean(s->incomplete));
	json_decref(node);
	return put_open(out, head);
}

static void put_part(struct state *s, struct evbuffer *out)
{
	const struct part *p = &s->list->parts[s->part];
	const struct selection *sel = s->selections[s->part];

	if (!s->list->whole)
		evbuffer_add_printf(out,
		                    ",\"num_%s\":%llu,\"total_%s\":%llu,"
		                    "\"offset\":%llu,\"limit\":%llu",
		                    p->name,
		                    (unsigned long long)select_count(sel),
		                    p->name,
		                    (unsigned long long)select_total(sel),
		                    (unsigned long long)select_offset(sel),
		                    (unsigned long long)select_limit(sel));
	evbuffer_add_printf(out, ",\"%s\":[", p->name);
	s->part_begun = true;
	s->row_given = false;
}

static bool put_row(struct state *s, struct evbuffer *out,
                    const struct view *v)
{
	const struct part *p = &s->list->parts[s->part];
	json_t *o = view_json(v);

	if (o == NULL)
		return false;
	if (p->decorate != NULL && !p->decorate(o, v)) {
		json_decref(o);
		return true;
	}
	evbuffer_add_printf(out, s->row_given ? ",\n" : "\n");
	s->row_given = true;
	return request_put_json(out, o);
}

static enum request_piece put_rows(struct state *s, struct evbuffer *out)
{
	struct view v;

	if (!s->part_begun)
		put_part(s, out);
	for (int i = 0; i < PIECE_ROWS; i++) {
		if (!select_next(s->selections[s->part], &v)) {
			evbuffer_add_printf(out, "]");
			s->part++;
			s->part_begun = false;
			return REQUEST_MORE;
		}
		if (!put_row(s, out, &v))
			return REQUEST_FAILED;
	}
	return REQUEST_MORE;
}

static enum request_piece more(struct request *rq, struct evbuffer *out)
{
	struct state *s = rq->state;

	/* All are chosen first: afterwards no snapshot is held. */
	for (size_t i = 0; i < count_parts(s->list); i++)
		switch (select_slice(s->selections[i])) {
		case SELECT_MORE:
			return REQUEST_MORE;
		case SELECT_DONE:
			break;
		default:
			return REQUEST_FAILED;
		}
	if (!s->head_given) {
		s->head_given = true;
		return put_head(rq, out) ? REQUEST_MORE : REQUEST_FAILED;
	}
	if (s->part < count_parts(s->list))
		return put_rows(s, out);
	evbuffer_add_printf(out, "}\n");
	return REQUEST_LAST;
}

/* ---- Connections ---- */

static const struct select_alias connection_aliases[] = {
	{"address", "peer", true},
	{"cid", "id", false},
	{"start", "opened_at", false},
	{NULL, NULL, false},
};

/* state: open, closed or any; else it is a state of an open one. */
static bool check_connz(struct request *rq)
{
	static const char *const state_is_ours[] = {"state", NULL};
	static const struct list which = {
		.parts = {{"connections", HBT_TABLE_CONNECTIONS,
	                   connection_aliases, state_is_ours, NULL}},
	};
	static const struct list by_state = {
		.parts = {{"connections", HBT_TABLE_CONNECTIONS,
	                   connection_aliases, NULL, NULL}},
	};
	const char *state = query_get(&rq->query, "state");
	bool closed = state != NULL && strcmp(state, "closed") == 0;
	bool any = state != NULL &&
	           (strcmp(state, "any") == 0 || strcmp(state, "all") == 0);
	bool open = state != NULL && strcmp(state, "open") == 0;
	struct state *s;

	if (!check_parts(rq, closed || any || open ? &which : &by_state))
		return false;
	s = rq->state;
	s->closed_only = closed;
	s->closed_too = any;
	return true;
}

const struct document document_connz = {
	.path = "/connz",
	.summary = "Open connections; ?state=closed: the last ones that were "
		   "closed, and why; ?state=any: both.",
	.tables = REQUEST_TABLE(HBT_TABLE_NODE) |
	          REQUEST_TABLE(HBT_TABLE_CONNECTIONS) |
	          REQUEST_TABLE(HBT_TABLE_CLOSED),
	.check = check_connz,
	.open = open_list,
	.more = more,
	.close = close_list,
};

/* ---- Subscriptions ---- */

static const char *text_of(const struct view *v, const char *name,
                           size_t *len)
{
	int i = view_field(v->table, name);

	*len = v->v[i].text.len;
	return v->v[i].absent ? NULL : v->v[i].text.s;
}

static bool decorate_subscription(json_t *o, const struct view *v)
{
	uint64_t machines = view_number(v, "machines");

	json_object_set_new(
		o, "warning",
		machines > 1
			? json_sprintf("%u machines with different "
	                               "certificates claim this subscription; "
	                               "requests go to whichever asks first. "
	                               "Was one of them copied from the other?",
	                               (unsigned)machines)
			: json_null());
	json_object_set_new(
		o, "hint",
		view_number(v, "wants_connections")
			? json_string("Requests often wait because all of its "
	                              "connections are busy; the service "
	                              "should poll with more of them.")
			: json_null());
	return true;
}

#define LIST_OF(list)                                                          \
	static bool check_##list(struct request *rq)                           \
	{                                                                      \
		return check_parts(rq, &list);                                 \
	}

static const struct list subscriptions = {
	.parts = {{"subscriptions", HBT_TABLE_SUBSCRIPTIONS,
                   (const struct select_alias[]){{"subscription", "uri", false},
                                                 {NULL, NULL, false}},
                   NULL, decorate_subscription}},
};
LIST_OF(subscriptions)

const struct document document_subsz = {
	.path = "/subsz",
	.summary = "Subscriptions and other queues: connections, what waits, "
		   "what became of it.",
	.tables = REQUEST_TABLE(HBT_TABLE_NODE) |
	          REQUEST_TABLE(HBT_TABLE_SUBSCRIPTIONS),
	.check = check_subscriptions,
	.open = open_list,
	.more = more,
	.close = close_list,
};

/* ---- Calls ---- */

static const char *const ignores_state[] = {"state", NULL};

#define IN_FLIGHT {"calls", HBT_TABLE_CALLS, NULL, ignores_state, NULL}
#define PAST {"past_calls", HBT_TABLE_PAST_CALLS, NULL, ignores_state, NULL}

/* state: open, past or any, which it is if nobody says anything. */
static bool check_callz(struct request *rq)
{
	static const struct list open = {.parts = {IN_FLIGHT}};
	static const struct list past = {.parts = {PAST}};
	static const struct list any = {.parts = {IN_FLIGHT, PAST}};
	const char *state = query_get(&rq->query, "state");

	if (state == NULL || strcmp(state, "any") == 0)
		return check_parts(rq, &any);
	if (strcmp(state, "open") == 0)
		return check_parts(rq, &open);
	if (strcmp(state, "past") == 0)
		return check_parts(rq, &past);
	request_fail(rq, 400, "state is open, past or any, not \"%.64s\".",
	             state);
	return false;
}

const struct document document_callz = {
	.path = "/callz",
	.summary = "Calls in flight, with phase and ages (?state=open), and "
		   "the last ones that were slow or failed (?state=past).",
	.tables = REQUEST_TABLE(HBT_TABLE_NODE) |
	          REQUEST_TABLE(HBT_TABLE_CALLS) |
	          REQUEST_TABLE(HBT_TABLE_PAST_CALLS),
	.check = check_callz,
	.open = open_list,
	.more = more,
	.close = close_list,
};

/* ---- Trust, and who has none ---- */

static const struct list trusted = {
	.parts = {{"trusted", HBT_TABLE_TRUST, NULL, NULL, NULL}},
};
LIST_OF(trusted)

const struct document document_trustz = {
	.path = "/trustz",
	.summary = "Thumbprints that are trusted, where they come from, and "
		   "who of them is connected.",
	.tables = REQUEST_TABLE(HBT_TABLE_NODE) |
	          REQUEST_TABLE(HBT_TABLE_TRUST),
	.check = check_trusted,
	.open = open_list,
	.more = more,
	.close = close_list,
};

static bool decorate_refused(json_t *o, const struct view *v)
{
	size_t len;
	const char *thumbprint = text_of(v, "thumbprint", &len);

	json_object_set_new(o, "trust_command",
	                    thumbprint != NULL
	                            ? json_sprintf("halibutctl trust add %.*s",
	                                           (int)len, thumbprint)
	                            : json_null());
	return true;
}

static const struct list refused = {
	.parts = {{"refused", HBT_TABLE_REFUSED, NULL, NULL,
                   decorate_refused}},
};
LIST_OF(refused)

const struct document document_unauthz = {
	.path = "/unauthz",
	.summary = "Who was refused, how often and why, and the command that "
		   "trusts them.",
	.tables = REQUEST_TABLE(HBT_TABLE_NODE) |
	          REQUEST_TABLE(HBT_TABLE_REFUSED),
	.check = check_refused,
	.open = open_list,
	.more = more,
	.close = close_list,
};

/* ---- Processes ---- */

static const struct list workers = {
	.parts = {{"workers", HBT_TABLE_WORKERS, NULL, NULL, NULL}},
};
LIST_OF(workers)

const struct document document_workersz = {
	.path = "/workersz",
	.summary = "Processes of the node: CPU, memory, descriptors, restarts, "
		   "and all that they count.",
	.tables = REQUEST_TABLE(HBT_TABLE_NODE) |
	          REQUEST_TABLE(HBT_TABLE_WORKERS),
	.check = check_workers,
	.open = open_list,
	.more = more,
	.close = close_list,
};

/* ---- What halibutctl status shows ---- */

/* The process that is the node itself is shown in front. */
static bool decorate_worker(json_t *o, const struct view *v)
{
	json_object_set_new(o, "uptime_s",
	                    json_integer((json_int_t)(
				    view_number(v, "uptime_ms") / 1000)));
	return !view_is(v, "kind", "master");
}

static const struct list whole = {
	.parts = {{"workers", HBT_TABLE_WORKERS, NULL, NULL, decorate_worker},
                  {"subscriptions", HBT_TABLE_SUBSCRIPTIONS, NULL, NULL,
                   decorate_subscription}},
	.whole = true,
};

static bool check_statusz(struct request *rq)
{
	if (TAILQ_EMPTY(&rq->query.parameters))
		return check_parts(rq, &whole);
	request_fail(rq, 400, "/statusz has no parameters.");
	return false;
}

const struct document document_statusz = {
	.path = "/statusz",
	.summary = "The node, its workers and its subscriptions in one: what "
		   "halibutctl status shows.",
	.tables = REQUEST_TABLE(HBT_TABLE_NODE) |
	          REQUEST_TABLE(HBT_TABLE_WORKERS) |
	          REQUEST_TABLE(HBT_TABLE_SUBSCRIPTIONS),
	.check = check_statusz,
	.open = open_list,
	.more = more,
	.close = close_list,
};
