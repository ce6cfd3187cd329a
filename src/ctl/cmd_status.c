/* halibutctl status: what a gateway is doing. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "ctl/control.h"
#include "ctl/ctl.h"
#include "ctl/status_table.h"

static const char help[] =
	"Usage: halibutctl status [OPTION...]\n"
	"\n"
	"Shows the gateway's workers, the polling services that are connected,\n"
	"what waits for them, and the calls so far.\n"
	"  --json         the whole document, as the gateway gives it\n"
	"  --watch TIME   again and again, each 2s, 500ms, ...; Ctrl-C ends it\n"
	"  --socket PATH  control socket ($HALIBUT_CONTROL, or\n"
	"                 " HBT_RUNSTATEDIR "/control)\n"
	"\n"
	"Examples:\n"
	"  halibutctl status\n"
	"  halibutctl status --watch 2\n"
	"  halibutctl status --json | jq .node\n";

#define ANSWER_MS 10000

enum {
	OPT_SOCKET = 256,
	OPT_JSON,
	OPT_WATCH,
};

static const struct option options[] = {
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"json", no_argument, NULL, OPT_JSON},
	{"watch", required_argument, NULL, OPT_WATCH},
	{NULL, 0, NULL, 0},
};

struct settings {
	const char *socket;
	bool json;
	int64_t watch_ms; /* 0: once */
};

static int read_options(struct settings *s, int argc, char **argv)
{
	int opt;

	while ((opt = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (opt) {
		case OPT_SOCKET:
			s->socket = optarg;
			break;
		case OPT_JSON:
			s->json = true;
			break;
		case OPT_WATCH:
			if (!hbt_ctl_parse_duration(optarg, &s->watch_ms))
				return hbt_ctl_misuse("status",
				                      "--watch is written as "
				                      "in 2s or 500ms, not "
				                      "\"%s\"",
				                      optarg);
			break;
		default:
			return hbt_ctl_bad_option("status", opt, argv);
		}
	}
	if (optind < argc)
		return hbt_ctl_misuse("status", "there is no argument \"%s\"",
		                      argv[optind]);
	s->socket = hbt_ctl_socket_path(s->socket);
	return 0;
}

/* Asks for the document. NULL, and err says why. */
static json_t *fetch(const char *path, struct halibut_error *err)
{
	static const struct hbt_ctl_question question = {
		.type = HBT_IPC_STATUS,
		.answer = HBT_IPC_STATUS_DOC,
		.timeout_ms = ANSWER_MS,
	};
	uint8_t *body;
	struct hbt_str text;
	struct hbt_rd r;
	json_t *doc = NULL;
	size_t len;

	if (hbt_ctl_ask(path, &question, &body, &len, err) != 0)
		return NULL;
	r = hbt_rd_from(body, len);
	text = hbt_rd_str(&r);
	if (hbt_rd_finish(&r) == 0)
		doc = json_loadb(text.s, text.len, 0, NULL);
	free(body);
	if (doc == NULL)
		hbt_error_set(err, HALIBUT_EPROTO,
		              "the status of the gateway at %s is unreadable; "
		              "are it and this halibutctl of one version?",
		              path);
	return doc;
}

static int show(const struct settings *s, bool clear)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	json_t *doc = fetch(s->socket, &err);

	if (doc == NULL)
		return hbt_ctl_gateway_failed(&err);
	if (clear)
		fputs("\033[H\033[2J", stdout);
	if (s->json) {
		json_dumpf(doc, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		hbt_ctl_print_status(doc, stdout);
	}
	json_decref(doc);
	if (fflush(stdout) != 0) {
		fputs("halibutctl: cannot write the status\n", stderr);
		return HBT_EXIT_MACHINE;
	}
	return HBT_EXIT_OK;
}

static int run(int argc, char **argv)
{
	struct settings s = {.socket = NULL};
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
