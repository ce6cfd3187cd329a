/* halibutctl status: what a gateway is doing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "ctl/ctl.h"
#include "ctl/document.h"
#include "ctl/options.h"
#include "ctl/status_table.h"

static const char help[] =
	"Usage: halibutctl status [OPTION...]\n"
	"\n"
	"Shows the gateway's workers, the polling services that are connected,\n"
	"what waits for them, and the calls so far.\n"
	"  --json          the whole document, /statusz\n"
	"  --watch TIME    again and again, each 2s, 500ms, ...; Ctrl-C ends it\n"
	"  --timeout TIME  how long to wait for an answer (10s)\n"
	HBT_CTL_GATEWAY_HELP
	"\n"
	"Examples:\n"
	"  halibutctl status\n"
	"  halibutctl status --watch 2\n"
	"  halibutctl status --json | jq .node\n";

enum {
	OPT_WATCH = 256,
};

static const struct option options[] = {
	HBT_CTL_GATEWAY_OPTIONS,
	{"watch", required_argument, NULL, OPT_WATCH},
	{NULL, 0, NULL, 0},
};

struct settings {
	struct hbt_ctl_gateway g;
	int64_t watch_ms; /* 0: once */
};

static int read_options(struct settings *s, int argc, char **argv)
{
	int opt, rc;

	while ((opt = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (opt != OPT_WATCH) {
			rc = hbt_ctl_gateway_option(&s->g, "status", opt, argv);
			if (rc != 0)
				return rc;
		} else if (!hbt_ctl_parse_duration(optarg, &s->watch_ms)) {
			return hbt_ctl_misuse("status",
			                      "--watch is written as in 2s or "
			                      "500ms, not \"%s\"",
			                      optarg);
		}
	}
	return hbt_ctl_gateway_ready(&s->g, "status", argc, argv, 0)
	               ? 0
	               : HBT_EXIT_USAGE;
}

static int show(const struct settings *s, bool clear)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	json_t *doc = hbt_ctl_document(&s->g, "/statusz", &err);

	if (doc == NULL)
		return hbt_ctl_gateway_failed(&err);
	if (clear)
		fputs("\033[H\033[2J", stdout);
	if (s->g.json)
		return hbt_ctl_print_json(doc);
	hbt_ctl_print_status(doc, stdout);
	json_decref(doc);
	if (fflush(stdout) != 0) {
		fputs("halibutctl: cannot write the status\n", stderr);
		return HBT_EXIT_MACHINE;
	}
	return HBT_EXIT_OK;
}

static int run(int argc, char **argv)
{
	struct settings s = {.g.timeout_ms = 10000};
	bool clear = isatty(STDOUT_FILENO);
	int rc = read_options(&s, argc, argv);

	if (rc != 0)
		return rc;
	rc = show(&s, clear && s.watch_ms > 0);
	while (rc == HBT_EXIT_OK && s.watch_ms > 0) {
		struct timespec pause = {.tv_sec = s.watch_ms / 1000,
		                         .tv_nsec = s.watch_ms % 1000 *
		                                    1000000};

		nanosleep(&pause, NULL);
		rc = show(&s, clear);
	}
	return rc;
}

const struct hbt_ctl_command hbt_ctl_status = {
	.name = "status",
	.run = run,
	.summary = "show what the gateway is doing",
	.help = help,
};
