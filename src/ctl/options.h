/* What most commands about a gateway have in common. */
#ifndef HBT_CTL_OPTIONS_H
#define HBT_CTL_OPTIONS_H

#include <getopt.h>
#include <jansson.h>
#include "ctl/control.h"

enum {
	HBT_OPT_SOCKET = 512,
	HBT_OPT_JSON,
	HBT_OPT_TIMEOUT,
};

/* For the table of getopt_long(). */
#define HBT_CTL_GATEWAY_OPTIONS                                                \
	{"socket", required_argument, NULL, HBT_OPT_SOCKET},                   \
		{"json", no_argument, NULL, HBT_OPT_JSON},                     \
		{"timeout", required_argument, NULL, HBT_OPT_TIMEOUT}

/* For --help. */
#define HBT_CTL_GATEWAY_HELP                                                   \
	"  --socket PATH   control socket ($HALIBUT_CONTROL, or\n"             \
	"                  " HBT_RUNSTATEDIR "/control)\n"

struct hbt_ctl_gateway {
	const char *socket; /* NULL at first; hbt_ctl_gateway_ready() */
	bool json;
	int64_t timeout_ms;
};

/* Takes one of the above. What is none is complained about. 0, or an exit
 * code. */
int hbt_ctl_gateway_option(struct hbt_ctl_gateway *g, const char *command,
                           int opt, char **argv);
/* After the last option: finds the socket. False, and a complaint, when more
 * than n arguments are left. */
bool hbt_ctl_gateway_ready(struct hbt_ctl_gateway *g, const char *command,
                           int argc, char **argv, int n);

/*
 * Gives the order, and prints what the gateway says of it, else success; with
 * --json {"ok", "message"}. Returns the exit code.
 */
int hbt_ctl_give(const struct hbt_ctl_gateway *g,
                 const struct hbt_ctl_question *q, const char *success);

/* The JSON document with which the gateway answers a question without a body.
 * NULL, and err says why. */
json_t *hbt_ctl_fetch(const struct hbt_ctl_gateway *g, uint16_t question,
                      uint16_t answer, struct halibut_error *err);

/* HALIBUT_EPROTO: what the gateway said cannot be read. */
int hbt_ctl_unreadable(const struct hbt_ctl_gateway *g,
                       struct halibut_error *err);

/* Prints the document and releases it. HBT_EXIT_OK, or HBT_EXIT_MACHINE when
 * standard output takes it not. */
int hbt_ctl_print_json(json_t *doc);

#endif
