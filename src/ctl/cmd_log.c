/* halibutctl log: what a gateway logs as it does so, and how much that is. */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/ctl.h"
#include "ctl/options.h"

static const char help[] =
	"Usage: halibutctl log [--json] [--socket PATH]\n"
	"       halibutctl log --level [AREA=]LEVEL... [--socket PATH]\n"
	"       halibutctl log --levels [--socket PATH]\n"
	"\n"
	"Prints what the gateway and its workers log from now on, until it is\n"
	"interrupted. --level changes how much that is, of all areas or of one,\n"
	"until the gateway reads its configuration again; --levels prints the\n"
	"levels in force.\n"
	"\n"
	"Levels: error, warning, info, debug.\n"
	"Areas: gateway, connections, queues, redis, services, status.\n"
	"\n"
	"Examples:\n"
	"  halibutctl log\n"
	"  halibutctl log --level connections=debug\n"
	"  halibutctl log --level info\n"
	"  halibutctl log --json | jq -r 'select(.peer) | .peer'\n";

enum {
	OPT_SOCKET = 256,
	OPT_JSON,
	OPT_LEVEL,
	OPT_LEVELS,
};

static const struct option options[] = {
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"json", no_argument, NULL, OPT_JSON},
	{"level", required_argument, NULL, OPT_LEVEL},
	{"levels", no_argument, NULL, OPT_LEVELS},
	{NULL, 0, NULL, 0},
};

struct talk {
	const char *socket;
	bool json;
	bool asks;     /* about levels, instead of following */
	size_t awaits; /* answers */
	bool over;
	int exit_code;
	struct event_base *base;
	struct hbt_ipc *ipc;
};

static const char *text_of(const json_t *doc, const char *name)
{
	const char *text = json_string_value(json_object_get(doc, name));

	return text != NULL ? text : "";
}

static void print_text(const json_t *doc)
{
	printf("%s %-7s %s%s%s\n", text_of(doc, "time"), text_of(doc, "level"),
	       text_of(doc, "process"), *text_of(doc, "process") ? ": " : "",
	       text_of(doc, "message"));
}

static void on_line(struct talk *t, struct hbt_rd *r)
{
	struct hbt_str line = hbt_rd_str(r);
	json_t *doc;

	if (t->json) {
		printf("%.*s\n", (int)line.len, line.s);
	} else if ((doc = json_loadb(line.s, line.len, 0, NULL)) != NULL) {
		print_text(doc);
		json_decref(doc);
	}
	/* Whoever reads it, reads it now; or has gone away. */
	if (fflush(stdout) != 0)
		t->over = true;
}

/* "info redis=debug": a line each, or a list. The text is cut up. */
static int print_levels(const struct talk *t, char *text)
{
	json_t *list = json_array();
	char *save = NULL;

	for (char *level = strtok_r(text, " ", &save); level != NULL;
	     level = strtok_r(NULL, " ", &save)) {
		if (!t->json)
			puts(level);
		json_array_append_new(list, json_string(level));
	}
	if (t->json)
		return hbt_ctl_print_json(
			json_pack("{s:b, s:o}", "ok", 1, "levels", list));
	json_decref(list);
	return HBT_EXIT_OK;
}

static void refuse(struct talk *t, const char *message)
{
	if (t->json)
		hbt_ctl_print_json(json_pack("{s:b, s:s}", "ok", 0, "message",
		                             message));
	else
		fprintf(stderr, "halibutctl: the gateway refused: %s\n",
		        message);
	t->exit_code = HBT_EXIT_REMOTE;
}

static void on_done(struct talk *t, struct hbt_rd *r)
{
	bool ok = hbt_rd_u8(r) != 0;
	char *message = hbt_rd_strdup(r);

	if (!ok) {
		refuse(t, message != NULL ? message : "no reason");
		t->over = true;
	} else if (--t->awaits == 0) {
		if (message != NULL)
			t->exit_code = print_levels(t, message);
		t->over = true;
	}
	free(message);
}

static void on_message(void *arg, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct talk *t = arg;

	if (msg->type == HBT_IPC_LOG_LINE && !t->asks)
		on_line(t, &r);
	else if (msg->type == HBT_IPC_DONE && !t->over)
		on_done(t, &r);
}

static void on_closed(void *arg, const char *why)
{
	struct talk *t = arg;

	if (t->over)
		return;
	fprintf(stderr, "halibutctl: the gateway at %s hung up: %s\n",
	        t->socket, why);
	t->exit_code = HBT_EXIT_GATEWAY;
	t->over = true;
}

static const struct hbt_ipc_ops ops = {on_message, on_closed};

/* level: NULL asks for the levels alone. */
static int ask_level(struct talk *t, const char *level)
{
	struct hbt_wr w;
	int rc;

	hbt_wr_init(&w, 65536);
	if (level != NULL)
		hbt_wr_cstr(&w, level);
	rc = w.status;
	if (rc == 0)
		rc = hbt_ipc_send(t->ipc, HBT_IPC_LOG_LEVEL, 1, w.buf.data,
		                  w.buf.len, -1);
	hbt_wr_fini(&w);
	t->awaits++;
	return rc;
}

/* The options once more, now that there is somebody to tell. */
static int send_orders(struct talk *t, int argc, char **argv)
{
	int rc = 0, opt;

	if (!t->asks)
		return hbt_ipc_send(t->ipc, HBT_IPC_LOG_FOLLOW, 1, NULL, 0,
		                    -1);
	optind = 0;
	while ((opt = getopt_long(argc, argv, ":", options, NULL)) != -1)
		if (rc == 0 && opt == OPT_LEVEL)
			rc = ask_level(t, optarg);
	return rc != 0 || t->awaits > 0 ? rc : ask_level(t, NULL);
}

static int read_options(struct talk *t, int argc, char **argv)
{
	int opt;

	while ((opt = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (opt) {
		case OPT_SOCKET:
			t->socket = optarg;
			break;
		case OPT_JSON:
			t->json = true;
			break;
		case OPT_LEVEL:
		case OPT_LEVELS:
			t->asks = true;
			break;
		default:
			return hbt_ctl_bad_option(argv[0], opt, argv);
		}
	}
	if (optind < argc)
		return hbt_ctl_misuse(argv[0], "there is no argument \"%s\"",
		                      argv[optind]);
	t->socket = hbt_ctl_socket_path(t->socket);
	return 0;
}

static int run(int argc, char **argv)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	struct talk t = {.exit_code = HBT_EXIT_OK};
	int rc = read_options(&t, argc, argv);

	if (rc != 0)
		return rc;
	if ((t.base = event_base_new()) == NULL)
		rc = hbt_error_set(&err, HALIBUT_ENOMEM, "out of memory");
	else
		rc = hbt_ctl_control_open(&t.ipc, t.base, t.socket, &ops, &t,
		                          &err);
	if (rc == 0 && (rc = send_orders(&t, argc, argv)) != 0)
		hbt_error_set(&err, rc, "out of memory");
	if (rc != 0)
		t.exit_code = hbt_ctl_gateway_failed(&err);
	while (rc == 0 && !t.over)
		event_base_loop(t.base, EVLOOP_ONCE);
	hbt_ipc_free(&t.ipc);
	if (t.base != NULL)
		event_base_free(t.base);
	return t.exit_code;
}

const struct hbt_ctl_command hbt_ctl_log = {
	.name = "log",
	.run = run,
	.summary = "print what the gateway logs, and change how much",
	.help = help,
};
