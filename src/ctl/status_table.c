/* The status document of a gateway (/statusz) for a person. */
#include "ctl/status_table.h"

#include <string.h>
#include "ctl/ctl.h"
#include "ctl/table.h"

static long long number(const json_t *o, const char *name)
{
	return (long long)json_integer_value(json_object_get(o, name));
}

static const char *text(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s != NULL ? s : "?";
}

static bool has_text(const json_t *o, const char *name)
{
	return json_is_string(json_object_get(o, name));
}

static void print_certificates(const json_t *list, FILE *f)
{
	const json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		const char *use = text(o, "use");
		bool named = has_text(o, "identity");

		fprintf(f, "  %-14s %s",
		        i == 0 ? "certificate" : named ? "identity" : use,
		        text(o, "thumbprint"));
		if (named)
			fprintf(f, " (%s)", text(o, "identity"));
		if (has_text(o, "warning"))
			fprintf(f, ": %s\n", text(o, "warning"));
		else
			fprintf(f, ", until %.10s\n", text(o, "not_after"));
	}
}

static void print_head(const json_t *doc, FILE *f)
{
	const json_t *listen = json_object_get(doc, "listen");
	const json_t *address;
	char up[32];
	size_t i;

	hbt_ctl_format_ms(number(doc, "uptime_s") * 1000, up);
	fprintf(f, "halibutd %s on %s: %s, up %s, pid %lld\n",
	        text(doc, "version"), text(doc, "node"), text(doc, "state"),
	        up, number(doc, "pid"));
	print_certificates(json_object_get(doc, "certificates"), f);
	json_array_foreach(listen, i, address)
		fprintf(f, "  listens on     %s\n", json_string_value(address));
	fprintf(f, "  trusts         %lld thumbprints%s\n",
	        number(doc, "trusted"),
	        number(doc, "trusted") == 0
	                ? ": nobody can connect; halibutctl trust add "
			  "THUMBPRINT"
	                : "");
	fprintf(f, "  configuration  %s, read again %lld times\n",
	        text(doc, "config_file"), number(doc, "reloads"));
	if (has_text(doc, "reload_error"))
		fprintf(f, "  last reload    failed: %s\n",
		        text(doc, "reload_error"));
	if (json_is_true(json_object_get(doc, "incomplete")))
		fputs("  incomplete     the master did not tell all in time: "
		      "rows are missing\n",
		      f);
}

static void print_workers(const json_t *list, FILE *f)
{
	static const char *const heads[] = {
		"WORKER", "STATE", ">PID", ">UP", ">RESTARTS", ">CONNECTIONS",
		">CALLS", ">SPOOLED", NULL,
	};
	struct hbt_ctl_table t;
	const json_t *w;
	size_t i;

	hbt_ctl_table_init(&t, heads);
	json_array_foreach(list, i, w) {
		char up[32], spooled[32];

		hbt_ctl_format_ms(number(w, "uptime_s") * 1000, up);
		hbt_ctl_format_bytes(number(w, "spool_bytes"), spooled);
		hbt_ctl_table_row(&t);
		hbt_ctl_table_cell(&t, 0, "%s %lld", text(w, "kind"),
		                   number(w, "index"));
		hbt_ctl_table_cell(&t, 1, "%s", text(w, "state"));
		hbt_ctl_table_cell(&t, 2, "%lld", number(w, "pid"));
		hbt_ctl_table_cell(&t, 3, "%s", up);
		hbt_ctl_table_cell(&t, 4, "%lld", number(w, "restarts"));
		hbt_ctl_table_cell(&t, 5, "%lld", number(w, "connections"));
		hbt_ctl_table_cell(&t, 6, "%lld",
		                   number(w, "calls_in_flight"));
		hbt_ctl_table_cell(&t, 7, "%s", spooled);
	}
	hbt_ctl_table_print(&t, f);
	hbt_ctl_table_fini(&t);
}

static void print_subscriptions(const json_t *list, FILE *f)
{
	static const char *const heads[] = {
		"SUBSCRIPTION", ">CONNECTIONS", ">BUSY", ">WAITING", ">IN REDIS",
		">OLDEST", ">ANSWERED", ">FAILED", ">NOT COLLECTED", NULL,
	};
	struct hbt_ctl_table t;
	const json_t *s;
	size_t i;

	hbt_ctl_table_init(&t, heads);
	json_array_foreach(list, i, s) {
		json_t *queued = json_object_get(s, "queued");
		char oldest[32] = "-";

		if (number(s, "waiting") > 0)
			hbt_ctl_format_ms(number(s, "oldest_waiting_ms"),
			                  oldest);
		hbt_ctl_table_row(&t);
		hbt_ctl_table_cell(&t, 0, "%s", text(s, "uri"));
		hbt_ctl_table_cell(&t, 1, "%lld", number(s, "connections"));
		hbt_ctl_table_cell(&t, 2, "%lld", number(s, "busy"));
		hbt_ctl_table_cell(&t, 3, "%lld", number(s, "waiting"));
		if (json_is_integer(queued))
			hbt_ctl_table_cell(&t, 4, "%lld",
			                   number(s, "queued"));
		else
			hbt_ctl_table_cell(&t, 4, "-");
		hbt_ctl_table_cell(&t, 5, "%s", oldest);
		hbt_ctl_table_cell(&t, 6, "%lld", number(s, "answered"));
		hbt_ctl_table_cell(&t, 7, "%lld", number(s, "failed"));
		hbt_ctl_table_cell(&t, 8, "%lld", number(s, "not_collected"));
	}
	hbt_ctl_table_print(&t, f);
	hbt_ctl_table_fini(&t);
}

static void print_services(const json_t *list, FILE *f)
{
	static const char *const heads[] = {
		"SERVICE", ">PROCESSES", "COMMAND", NULL,
	};
	struct hbt_ctl_table t;
	const json_t *s;
	size_t i;

	hbt_ctl_table_init(&t, heads);
	json_array_foreach(list, i, s) {
		hbt_ctl_table_row(&t);
		hbt_ctl_table_cell(&t, 0, "%s", text(s, "name"));
		hbt_ctl_table_cell(&t, 1, "%lld", number(s, "processes"));
		hbt_ctl_table_cell(&t, 2, "%s", text(s, "command"));
	}
	hbt_ctl_table_print(&t, f);
	hbt_ctl_table_fini(&t);
}

static void print_polls(const json_t *list, FILE *f)
{
	static const char *const heads[] = {
		"POLLED SERVER", "SUBSCRIPTION", ">CONNECTIONS", NULL,
	};
	struct hbt_ctl_table t;
	const json_t *p;
	size_t i;

	hbt_ctl_table_init(&t, heads);
	json_array_foreach(list, i, p) {
		hbt_ctl_table_row(&t);
		hbt_ctl_table_cell(&t, 0, "%s", text(p, "server"));
		hbt_ctl_table_cell(&t, 1, "%s", text(p, "subscription"));
		hbt_ctl_table_cell(&t, 2, "%lld", number(p, "connections"));
	}
	hbt_ctl_table_print(&t, f);
	hbt_ctl_table_fini(&t);
}

/* Since when it is as it is. */
static void print_reachable(const json_t *redis, FILE *f)
{
	bool up = json_is_true(json_object_get(redis, "reachable"));
	char since[32];

	hbt_ctl_format_ms(number(redis, up ? "up_s" : "down_s") * 1000, since);
	if (json_is_false(json_object_get(redis, "ever_reachable"))) {
		fprintf(f,
		        "  server         %s, NEVER REACHED, tried for "
		        "%s\n",
		        text(redis, "server"), since);
		return;
	}
	fprintf(f, "  server         %s, %s for %s\n", text(redis, "server"),
	        up ? "reachable" : "NOT REACHABLE", since);
	fprintf(f, "  latency        %.2f ms\n",
	        (double)number(redis, "latency_us") / 1000);
	fprintf(f,
	        "  so far         %lld outages, %lld times connected again, "
	        "%lld commands, %lld failed\n",
	        number(redis, "outages"), number(redis, "reconnects"),
	        number(redis, "commands"), number(redis, "failures"));
}

static void print_room(const json_t *redis, FILE *f)
{
	char used[32], max[32], since[32];

	if (json_is_integer(json_object_get(redis, "memory_bytes"))) {
		hbt_ctl_format_bytes(number(redis, "memory_bytes"), used);
		hbt_ctl_format_bytes(number(redis, "memory_max_bytes"), max);
		fprintf(f, "  memory         %s%s%s\n", used,
		        number(redis, "memory_max_bytes") > 0
		                ? " of "
		                : ", maxmemory is not set",
		        number(redis, "memory_max_bytes") > 0 ? max : "");
	}
	if (!has_text(redis, "refusal"))
		return;
	hbt_ctl_format_ms(number(redis, "refusing_s") * 1000, since);
	fprintf(f, "  STORES NOTHING for %s: %s\n", since,
	        text(redis, "refusal"));
}

static void print_findings(const json_t *list, FILE *f)
{
	const json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		fprintf(f, "  %-14s %s\n", text(o, "level"), text(o, "what"));
		if (has_text(o, "remedy"))
			fprintf(f, "  %-14s %s\n", "", text(o, "remedy"));
	}
}

static void print_nodes(const json_t *list, FILE *f)
{
	const json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
		fprintf(f, "  %-14s %s, version %s, on %s, since %s\n",
		        json_is_true(json_object_get(o, "self"))
		                ? "this node"
		                : "other node",
		        text(o, "name"), text(o, "version"), text(o, "host"),
		        text(o, "started"));
}

static void print_last_error(const json_t *redis, FILE *f)
{
	char since[32];

	hbt_ctl_format_ms(number(redis, "last_error_s") * 1000, since);
	if (json_is_integer(json_object_get(redis, "last_error_s")))
		fprintf(f, "  last error     %s ago: %s\n", since,
		        text(redis, "last_error"));
	else
		fprintf(f, "  last error     %s\n", text(redis, "last_error"));
}

static void print_redis(const json_t *redis, FILE *f)
{
	fprintf(f, "\nREDIS  key prefix %s\n", text(redis, "key_prefix"));
	if (has_text(redis, "server"))
		print_reachable(redis, f);
	print_room(redis, f);
	if (has_text(redis, "last_error"))
		print_last_error(redis, f);
	print_findings(json_object_get(redis, "findings"), f);
	print_nodes(json_object_get(redis, "nodes"), f);
}

static void print_calls(const json_t *calls, FILE *f)
{
	json_t *failed = json_object_get(calls, "failed");
	const char *name, *comma = "";
	json_t *n;

	fprintf(f,
	        "CALLS  %lld in flight, %lld waiting; %lld so far, %lld "
	        "answered",
	        number(calls, "in_flight"), number(calls, "waiting"),
	        number(calls, "total"), number(calls, "answered"));
	if (json_object_size(failed) > 0)
		fputs(", failed: ", f);
	json_object_foreach(failed, name, n) {
		fprintf(f, "%s%lld %s", comma,
		        (long long)json_integer_value(n), name);
		comma = ", ";
	}
	fputc('\n', f);
}

void hbt_ctl_print_status(const json_t *doc, FILE *f)
{
	static const struct {
		const char *name;
		void (*print)(const json_t *list, FILE *f);
	} lists[] = {
		{"workers", print_workers},
		{"subscriptions", print_subscriptions},
		{"services", print_services},
		{"polls", print_polls},
	};

	print_head(doc, f);
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		const json_t *list = json_object_get(doc, lists[i].name);

		if (json_array_size(list) == 0)
			continue;
		fputc('\n', f);
		lists[i].print(list, f);
	}
	if (json_is_object(json_object_get(doc, "redis")))
		print_redis(json_object_get(doc, "redis"), f);
	fputc('\n', f);
	print_calls(json_object_get(doc, "calls"), f);
}
