/* halibutctl top: a gateway, live. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "ctl/ctl.h"
#include "ctl/top.h"

static const char help[] =
	"Usage: halibutctl top [OPTION...]\n"
	"\n"
	"Shows the gateway live in the terminal: calls and bytes a second, CPU\n"
	"and memory, and one of its lists, sorted: subscriptions, connections,\n"
	"calls, workers, refused. Keys are at the bottom of the screen.\n"
	"  --view NAME      the list to begin with (subscriptions)\n"
	"  --sort FIELD     the field to begin with\n"
	"  --where FIELD=PATTERN\n"
	"                   only these rows; * stands for anything\n"
	"  --interval TIME  how often (2s)\n"
	"  --count N        so many times, then end; only with --json\n"
	"  --json           no screen: an object a line, each time\n"
	"  --timeout TIME   how long to wait for an answer (10s)\n"
	HBT_CTL_GATEWAY_HELP
	"\n"
	"Examples:\n"
	"  halibutctl top\n"
	"  halibutctl top --view connections --sort bytes_out --interval 5s\n"
	"  halibutctl top --json --count 2 | jq -r .calls_per_s\n";

#define JSON_ROWS 100

enum {
	OPT_VIEW = 256,
	OPT_SORT,
	OPT_WHERE,
	OPT_INTERVAL,
	OPT_COUNT,
};

static const struct option options[] = {
	HBT_CTL_GATEWAY_OPTIONS,
	{"view", required_argument, NULL, OPT_VIEW},
	{"sort", required_argument, NULL, OPT_SORT},
	{"where", required_argument, NULL, OPT_WHERE},
	{"interval", required_argument, NULL, OPT_INTERVAL},
	{"count", required_argument, NULL, OPT_COUNT},
	{NULL, 0, NULL, 0},
};

struct request {
	struct hbt_ctl_top top;
	int64_t interval_ms;
	long count; /* 0: for ever */
};

static int read_view(struct hbt_ctl_top *t, const char *name)
{
	for (size_t i = 0; i < hbt_ctl_top_n_views; i++)
		if (strcmp(hbt_ctl_top_views[i].name, name) == 0) {
			t->view = &hbt_ctl_top_views[i];
			return 0;
		}
	return hbt_ctl_misuse("top",
	                      "there is no view \"%s\"; there are "
	                      "subscriptions, connections, calls, workers and "
	                      "refused",
	                      name);
}

static int read_option(struct request *q, int opt, char **argv)
{
	char *end;

	switch (opt) {
	case OPT_VIEW:
		return read_view(&q->top, optarg);
	case OPT_SORT:
		q->top.reversed = optarg[0] == '-';
		q->top.sort = optarg + q->top.reversed;
		return 0;
	case OPT_WHERE:
		free(q->top.where);
		q->top.where = strdup(optarg);
		return strchr(optarg, '=') != NULL
		               ? 0
		               : hbt_ctl_misuse("top",
		                                "--where is written "
		                                "FIELD=PATTERN, not \"%s\"",
		                                optarg);
	case OPT_INTERVAL:
		if (hbt_ctl_parse_duration(optarg, &q->interval_ms) &&
		    q->interval_ms <= 86400000)
			return 0;
		return hbt_ctl_misuse("top",
		                      "--interval is written as in 2s or 500ms, "
		                      "not \"%s\"",
		                      optarg);
	case OPT_COUNT:
		q->count = strtol(optarg, &end, 10);
		if (optarg[0] != '\0' && *end == '\0' && q->count > 0)
			return 0;
		return hbt_ctl_misuse("top", "--count is a number, not \"%s\"",
		                      optarg);
	default:
		return hbt_ctl_gateway_option(&q->top.g, "top", opt, argv);
	}
}

/* A line each time; an error ends it. */
static int print_lines(struct request *q)
{
	const struct timespec pause = {
		.tv_sec = q->interval_ms / 1000,
		.tv_nsec = q->interval_ms % 1000 * 1000000,
	};

	for (long i = 0; q->count == 0 || i < q->count; i++) {
		json_t *doc;

		if (i > 0)
			nanosleep(&pause, NULL);
		hbt_ctl_top_sample(&q->top, JSON_ROWS);
		if (q->top.error != NULL) {
			fprintf(stderr, "halibutctl: %s\n", q->top.error);
			return q->top.exit_code;
		}
		doc = hbt_ctl_top_json(&q->top);
		json_dumpf(doc, stdout, JSON_COMPACT);
		json_decref(doc);
		putchar('\n');
		if (fflush(stdout) != 0)
			return HBT_EXIT_MACHINE;
	}
	return HBT_EXIT_OK;
}

static int show(struct request *q)
{
	if (q->top.g.json)
		return print_lines(q);
	if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO)) {
		fputs("halibutctl top: this is no terminal; --json prints "
		      "lines, `halibutctl status` the present state\n",
		      stderr);
		return HBT_EXIT_USAGE;
	}
	if (q->count > 0)
		return hbt_ctl_misuse("top", "--count goes with --json");
	/* Before the screen is taken: that there is no gateway is said on it
	 * to nobody. */
	hbt_ctl_top_sample(&q->top, 1);
	if (q->top.error != NULL) {
		fprintf(stderr, "halibutctl: %s\n", q->top.error);
		return q->top.exit_code;
	}
	return hbt_ctl_top_screen(&q->top, q->interval_ms);
}

static int run(int argc, char **argv)
{
	struct request q = {.interval_ms = 2000};
	int opt, rc = 0;

	q.top.g.timeout_ms = 10000;
	q.top.view = &hbt_ctl_top_views[0];
	while (rc == 0 &&
	       (opt = getopt_long(argc, argv, ":", options, NULL)) != -1)
		rc = read_option(&q, opt, argv);
	if (q.top.sort == NULL)
		q.top.sort = q.top.view->sort;
	if (rc == 0 && !hbt_ctl_gateway_ready(&q.top.g, "top", argc, argv, 0))
		rc = HBT_EXIT_USAGE;
	if (rc == 0)
		rc = show(&q);
	hbt_ctl_top_fini(&q.top);
	return rc;
}

const struct hbt_ctl_command hbt_ctl_top = {
	.name = "top",
	.run = run,
	.summary = "watch the gateway live",
	.help = help,
};
