/* halibutctl connections, subscriptions, calls and refused. */
#include <stdio.h>
#include <string.h>
#include "ctl/ctl.h"
#include "ctl/list.h"

enum {
	OPT_CLOSED = 256,
	OPT_ALL,
	OPT_OPEN,
	OPT_PAST,
};

static const char *text_of(const json_t *row, const char *name)
{
	return json_string_value(json_object_get(row, name));
}

/* A command of this kind, and where its own options lead. */
struct command {
	const char *name, *path;
	const struct option *options;
	const struct hbt_ctl_list *lists;
	size_t n_lists;
	const char *nothing;
};

static int run_list(const struct command *c, int argc, char **argv)
{
	struct hbt_ctl_gateway g = {.timeout_ms = 10000};
	const char *state = NULL;
	struct hbt_ctl_target target;
	int opt, rc = 0;

	hbt_ctl_target_init(&target, c->path);
	while (rc == 0 &&
	       (opt = getopt_long(argc, argv, ":", c->options, NULL)) != -1) {
		if (opt == OPT_CLOSED)
			state = "closed";
		else if (opt == OPT_ALL)
			state = "any";
		else if (opt == OPT_OPEN)
			state = "open";
		else if (opt == OPT_PAST)
			state = "past";
		else
			rc = hbt_ctl_list_option(&g, &target, c->name, opt,
			                         argv);
	}
	if (state != NULL)
		hbt_ctl_target_add(&target, "state", state);
	if (rc == 0 && !hbt_ctl_gateway_ready(&g, c->name, argc, argv, 0))
		rc = HBT_EXIT_USAGE;
	if (rc == 0)
		rc = hbt_ctl_list_print(&g, &target, c->lists, c->n_lists,
		                        c->nothing);
	hbt_ctl_target_fini(&target);
	return rc;
}

/* ---- Connections ---- */

static const char connections_help[] =
	"Usage: halibutctl connections [OPTION...]\n"
	"\n"
	"Lists the connections of the gateway: who has come, whom it has\n"
	"dialled, since when, and what they do.\n"
	"  --closed        the last ones that were closed, each with its reason\n"
	"  --all           both\n"
	HBT_CTL_LIST_HELP
	"\n"
	"Examples:\n"
	"  halibutctl connections --sort idle\n"
	"  halibutctl connections --where 'subscription=poll://web*'\n"
	"  halibutctl connections --closed --where 'address=192.0.2.*'\n";

static const struct option connections_options[] = {
	HBT_CTL_LIST_OPTIONS,
	{"closed", no_argument, NULL, OPT_CLOSED},
	{"all", no_argument, NULL, OPT_ALL},
	{NULL, 0, NULL, 0},
};

const struct hbt_ctl_column hbt_ctl_connection_columns[] = {
	{"ID", HBT_CELL_ID, "id", NULL},
	{"ROLE", HBT_CELL_TEXT, "role", NULL},
	{"PEER", HBT_CELL_TEXT, "peer", NULL},
	{"SUBSCRIPTION OR URL", HBT_CELL_TEXT, "subscription", "endpoint"},
	{"THUMBPRINT", HBT_CELL_TEXT, "thumbprint", NULL},
	{"STATE", HBT_CELL_TEXT, "state", NULL},
	{">OPEN", HBT_CELL_AGO, "opened_at", NULL},
	{">IDLE", HBT_CELL_SPAN, "idle_ms", NULL},
	{">CALLS", HBT_CELL_NUMBER, "calls", NULL},
	{">IN", HBT_CELL_BYTES, "bytes_in", NULL},
	{">OUT", HBT_CELL_BYTES, "bytes_out", NULL},
	{"CLOSED BECAUSE", HBT_CELL_TEXT, "reason", NULL},
	{NULL, HBT_CELL_TEXT, NULL, NULL},
};

static int run_connections(int argc, char **argv)
{
	static const struct hbt_ctl_list lists[] = {
		{"connections", NULL, hbt_ctl_connection_columns, NULL},
	};
	static const struct command c = {
		"connections", "/connz", connections_options, lists, 1,
		"no connections"};

	return run_list(&c, argc, argv);
}

const struct hbt_ctl_command hbt_ctl_connections = {
	.name = "connections",
	.run = run_connections,
	.summary = "list connections, open or closed",
	.help = connections_help,
};

/* ---- Subscriptions ---- */

static const char subscriptions_help[] =
	"Usage: halibutctl subscriptions [OPTION...]\n"
	"\n"
	"Lists the queues of the gateway, one for each polling service and each\n"
	"queue:// endpoint: connections, what waits, what became of requests,\n"
	"and when the service was last connected.\n"
	HBT_CTL_LIST_HELP
	"\n"
	"Examples:\n"
	"  halibutctl subscriptions --sort waiting\n"
	"  halibutctl subscriptions --where connections=0\n"
	"  halibutctl subscriptions --where 'uri=poll://web*' --json\n";

static const struct option list_options[] = {
	HBT_CTL_LIST_OPTIONS,
	{NULL, 0, NULL, 0},
};

const struct hbt_ctl_column hbt_ctl_subscription_columns[] = {
	{"SUBSCRIPTION", HBT_CELL_TEXT, "uri", NULL},
	{">CONNS", HBT_CELL_NUMBER, "connections", NULL},
	{">BUSY", HBT_CELL_NUMBER, "busy", NULL},
	{">WAIT", HBT_CELL_NUMBER, "waiting", NULL},
	{">OLDEST", HBT_CELL_SPAN, "oldest_waiting_ms", NULL},
	{">REDIS", HBT_CELL_NUMBER, "queued", NULL},
	{">COLLECTED", HBT_CELL_NUMBER, "collected", NULL},
	{">FAILED", HBT_CELL_NUMBER, "failed", NULL},
	{">LATE", HBT_CELL_NUMBER, "not_collected", NULL},
	{">SEEN", HBT_CELL_AGO, "last_seen_at", NULL},
	{NULL, HBT_CELL_TEXT, NULL, NULL},
};

static void remark_subscription(const json_t *row, FILE *f)
{
	static const char *const names[] = {"warning", "hint"};

	for (size_t i = 0; i < 2; i++)
		if (text_of(row, names[i]) != NULL)
			fprintf(f, "%s: %s: %s\n", names[i],
			        text_of(row, "uri"), text_of(row, names[i]));
}

static int run_subscriptions(int argc, char **argv)
{
	static const struct hbt_ctl_list lists[] = {
		{"subscriptions", NULL, hbt_ctl_subscription_columns,
	         remark_subscription},
	};
	static const struct command c = {
		"subscriptions", "/subsz", list_options, lists, 1,
		"no subscriptions"};

	return run_list(&c, argc, argv);
}

const struct hbt_ctl_command hbt_ctl_subscriptions = {
	.name = "subscriptions",
	.run = run_subscriptions,
	.summary = "list polling services and queues, and what waits there",
	.help = subscriptions_help,
};

/* ---- Calls ---- */

static const char calls_help[] =
	"Usage: halibutctl calls [OPTION...]\n"
	"\n"
	"Lists the calls in flight, with phase and ages, and the last ones that\n"
	"were slow or failed. Never their parameters.\n"
	"  --open          only those in flight\n"
	"  --past          only those that are over\n"
	HBT_CTL_LIST_HELP
	"\n"
	"Examples:\n"
	"  halibutctl calls --open --sort age\n"
	"  halibutctl calls --past --where error=ENOT_COLLECTED\n";

static const struct option calls_options[] = {
	HBT_CTL_LIST_OPTIONS,
	{"open", no_argument, NULL, OPT_OPEN},
	{"past", no_argument, NULL, OPT_PAST},
	{NULL, 0, NULL, 0},
};

const struct hbt_ctl_column hbt_ctl_call_columns[] = {
	{">CALL", HBT_CELL_NUMBER, "number", NULL},
	{"PHASE", HBT_CELL_TEXT, "phase", NULL},
	{"ENDPOINT", HBT_CELL_TEXT, "endpoint", NULL},
	{"SERVICE", HBT_CELL_TEXT, "service", NULL},
	{"METHOD", HBT_CELL_TEXT, "method", NULL},
	{">AGE", HBT_CELL_SPAN, "age_ms", NULL},
	{">WAITED", HBT_CELL_SPAN, "waiting_ms", NULL},
	{">EXECUTING", HBT_CELL_SPAN, "executing_ms", NULL},
	{"ASKER", HBT_CELL_TEXT, "asker", NULL},
	{"CARRIER", HBT_CELL_TEXT, "carrier", NULL},
	{"ACTIVITY", HBT_CELL_TEXT, "activity", NULL},
	{NULL, HBT_CELL_TEXT, NULL, NULL},
};

static const struct hbt_ctl_column past_call_columns[] = {
	{">CALL", HBT_CELL_NUMBER, "number", NULL},
	{">ENDED", HBT_CELL_AGO, "ended_at", NULL},
	{"ENDPOINT", HBT_CELL_TEXT, "endpoint", NULL},
	{"SERVICE", HBT_CELL_TEXT, "service", NULL},
	{"METHOD", HBT_CELL_TEXT, "method", NULL},
	{">TOOK", HBT_CELL_SPAN, "total_ms", NULL},
	{">WAITED", HBT_CELL_SPAN, "waiting_ms", NULL},
	{"SLOW", HBT_CELL_TEXT, "slow", NULL},
	{"ERROR", HBT_CELL_TEXT, "error", NULL},
	{"MESSAGE", HBT_CELL_TEXT, "message", NULL},
	{"ACTIVITY", HBT_CELL_TEXT, "activity", NULL},
	{NULL, HBT_CELL_TEXT, NULL, NULL},
};

static int run_calls(int argc, char **argv)
{
	static const struct hbt_ctl_list lists[] = {
		{"calls", "In flight", hbt_ctl_call_columns, NULL},
		{"past_calls", "Slow or failed, the last one first",
	         past_call_columns, NULL},
	};
	static const struct command c = {
		"calls", "/callz", calls_options, lists, 2,
		"no calls in flight, and none that was slow or failed"};

	return run_list(&c, argc, argv);
}

const struct hbt_ctl_command hbt_ctl_calls = {
	.name = "calls",
	.run = run_calls,
	.summary = "list calls in flight, and slow and failed ones",
	.help = calls_help,
};

/* ---- Refused ---- */

static const char refused_help[] =
	"Usage: halibutctl refused [OPTION...]\n"
	"\n"
	"Lists who was refused lately: from which address, with which\n"
	"certificate, why, how often, and the command that trusts it.\n"
	HBT_CTL_LIST_HELP
	"\n"
	"Examples:\n"
	"  halibutctl refused --sort last\n"
	"  halibutctl refused --where 'address=192.0.2.*'\n";

const struct hbt_ctl_column hbt_ctl_refused_columns[] = {
	{"ADDRESS", HBT_CELL_TEXT, "address", NULL},
	{">TIMES", HBT_CELL_NUMBER, "count", NULL},
	{">FIRST", HBT_CELL_AGO, "first_at", NULL},
	{">LAST", HBT_CELL_AGO, "last_at", NULL},
	{"REASON", HBT_CELL_TEXT, "reason", NULL},
	{NULL, HBT_CELL_TEXT, NULL, NULL},
};

static void remark_refused(const json_t *row, FILE *f)
{
	if (text_of(row, "trust_command") != NULL)
		fprintf(f, "if %s should connect: %s\n",
		        text_of(row, "address"), text_of(row, "trust_command"));
}

static int run_refused(int argc, char **argv)
{
	static const struct hbt_ctl_list lists[] = {
		{"refused", NULL, hbt_ctl_refused_columns, remark_refused},
	};
	static const struct command c = {"refused",    "/unauthz",
	                                 list_options, lists,
	                                 1,            "nobody was refused"};

	return run_list(&c, argc, argv);
}

const struct hbt_ctl_command hbt_ctl_refused = {
	.name = "refused",
	.run = run_refused,
	.summary = "list who was refused, and why",
	.help = refused_help,
};
