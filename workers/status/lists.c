/* The documents that are rows of tables: /connz and the like. */
#include "documents.h"

#include <string.h>

#include "list.h"
#include "view.h"

/* Those of lists that have no parameter but the usual ones. */
#define CHECK(list)                                                            \
	static bool check_##list(struct request *rq)                           \
	{                                                                      \
		return list_check(rq, &list);                                  \
	}

/* The parameter state is no column then. */
static const char *const ignores_state[] = {"state", NULL};

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
#define CONNECTIONS(table, and_table, ignored)                                 \
	{.parts = {{"connections", table, and_table, connection_aliases,       \
	            ignored, NULL}}}
	static const struct list by_state =
		CONNECTIONS(HBT_TABLE_CONNECTIONS, 0, NULL);
	static const struct list open =
		CONNECTIONS(HBT_TABLE_CONNECTIONS, 0, ignores_state);
	static const struct list closed =
		CONNECTIONS(HBT_TABLE_CLOSED, 0, ignores_state);
	static const struct list any = CONNECTIONS(
		HBT_TABLE_CONNECTIONS, HBT_TABLE_CLOSED, ignores_state);
	const char *state = query_get(&rq->query, "state");

	if (state == NULL)
		return list_check(rq, &by_state);
	if (strcmp(state, "open") == 0)
		return list_check(rq, &open);
	if (strcmp(state, "closed") == 0)
		return list_check(rq, &closed);
	if (strcmp(state, "any") == 0 || strcmp(state, "all") == 0)
		return list_check(rq, &any);
	return list_check(rq, &by_state);
}

const struct document document_connz = LIST_DOCUMENT(
	"/connz", check_connz,
	REQUEST_TABLE(HBT_TABLE_CONNECTIONS) | REQUEST_TABLE(HBT_TABLE_CLOSED),
	"Open connections; ?state=closed: the last ones that were closed, and "
	"why; ?state=any: both.");

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

static const struct select_alias subscription_aliases[] = {
	{"subscription", "uri", false},
	{NULL, NULL, false},
};
static const struct list subscriptions = {
	.parts = {{"subscriptions", HBT_TABLE_SUBSCRIPTIONS, 0,
                   subscription_aliases, NULL, decorate_subscription}},
};
CHECK(subscriptions)

const struct document document_subsz = LIST_DOCUMENT(
	"/subsz", check_subscriptions, REQUEST_TABLE(HBT_TABLE_SUBSCRIPTIONS),
	"Subscriptions and other queues: connections, what waits, what became "
	"of it.");

/* ---- Calls ---- */

/* state: open, past or any, which it is if nobody says anything. */
static bool check_callz(struct request *rq)
{
#define IN_FLIGHT {"calls", HBT_TABLE_CALLS, 0, NULL, ignores_state, NULL}
#define PAST {"past_calls", HBT_TABLE_PAST_CALLS, 0, NULL, ignores_state, NULL}
	static const struct list open = {.parts = {IN_FLIGHT}};
	static const struct list past = {.parts = {PAST}};
	static const struct list any = {.parts = {IN_FLIGHT, PAST}};
	const char *state = query_get(&rq->query, "state");

	if (state == NULL || strcmp(state, "any") == 0)
		return list_check(rq, &any);
	if (strcmp(state, "open") == 0)
		return list_check(rq, &open);
	if (strcmp(state, "past") == 0)
		return list_check(rq, &past);
	request_fail(rq, 400, "state is open, past or any, not \"%.64s\".",
	             state);
	return false;
}

const struct document document_callz = LIST_DOCUMENT(
	"/callz", check_callz,
	REQUEST_TABLE(HBT_TABLE_CALLS) | REQUEST_TABLE(HBT_TABLE_PAST_CALLS),
	"Calls in flight, with phase and ages (?state=open), and the last ones "
	"that were slow or failed (?state=past).");

/* ---- Trust, and who has none ---- */

static const struct list trusted = {
	.parts = {{"trusted", HBT_TABLE_TRUST, 0, NULL, NULL, NULL}},
};
CHECK(trusted)

const struct document document_trustz = LIST_DOCUMENT(
	"/trustz", check_trusted, REQUEST_TABLE(HBT_TABLE_TRUST),
	"Thumbprints that are trusted, where they come from, and who of them "
	"is connected.");

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
	.parts = {{"refused", HBT_TABLE_REFUSED, 0, NULL, NULL,
                   decorate_refused}},
};
CHECK(refused)

const struct document document_unauthz = LIST_DOCUMENT(
	"/unauthz", check_refused, REQUEST_TABLE(HBT_TABLE_REFUSED),
	"Who was refused, how often and why, and the command that trusts "
	"them.");

/* ---- Processes ---- */

static const struct list workers = {
	.parts = {{"workers", HBT_TABLE_WORKERS, 0, NULL, NULL, NULL}},
};
CHECK(workers)

const struct document document_workersz = LIST_DOCUMENT(
	"/workersz", check_workers, REQUEST_TABLE(HBT_TABLE_WORKERS),
	"Processes of the node: CPU, memory, descriptors, restarts, and all "
	"that they count.");

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
	.parts = {{"workers", HBT_TABLE_WORKERS, 0, NULL, NULL,
                   decorate_worker},
                  {"subscriptions", HBT_TABLE_SUBSCRIPTIONS, 0, NULL, NULL,
                   decorate_subscription}},
	.whole = true,
};

static bool check_statusz(struct request *rq)
{
	if (TAILQ_EMPTY(&rq->query.parameters))
		return list_check(rq, &whole);
	request_fail(rq, 400, "/statusz has no parameters.");
	return false;
}

const struct document document_statusz = LIST_DOCUMENT(
	"/statusz", check_statusz,
	REQUEST_TABLE(HBT_TABLE_WORKERS) |
		REQUEST_TABLE(HBT_TABLE_SUBSCRIPTIONS),
	"The node, its workers and its subscriptions in one: what halibutctl "
	"status shows.");
