/* What most commands about a gateway have in common. */
#include "ctl/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/ctl.h"

int hbt_ctl_gateway_option(struct hbt_ctl_gateway *g, const char *command,
                           int opt, char **argv)
{
	switch (opt) {
	case HBT_OPT_SOCKET:
		g->socket = optarg;
		return 0;
	case HBT_OPT_JSON:
		g->json = true;
		return 0;
	case HBT_OPT_TIMEOUT:
		if (hbt_ctl_parse_duration(optarg, &g->timeout_ms))
			return 0;
		return hbt_ctl_misuse(command,
		                      "--timeout is written as in 30s or 2min, "
		                      "not \"%s\"",
		                      optarg);
	default:
		return hbt_ctl_bad_option(command, opt, argv);
	}
}

bool hbt_ctl_gateway_ready(struct hbt_ctl_gateway *g, const char *command,
                           int argc, char **argv, int n)
{
	g->socket = hbt_ctl_socket_path(g->socket);
	if (argc - optind <= n)
		return true;
	hbt_ctl_misuse(command, "there is no argument \"%s\"",
	               argv[optind + n]);
	return false;
}

int hbt_ctl_print_json(json_t *doc)
{
	int rc = json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);

	json_decref(doc);
	putchar('\n');
	if (rc == 0 && fflush(stdout) == 0)
		return HBT_EXIT_OK;
	fputs("halibutctl: standard output cannot be written\n", stderr);
	return HBT_EXIT_MACHINE;
}

int hbt_ctl_give(const struct hbt_ctl_gateway *g,
                 const struct hbt_ctl_question *q, const char *success)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	char *message;
	int rc = hbt_ctl_order(g->socket, q, &message, &err);
	const char *said = message != NULL && message[0] != '\0' ? message
	                                                         : success;

	if (g->json && (rc == 0 || rc == HALIBUT_EREMOTE)) {
		json_t *doc = json_pack("{s:b, s:s}", "ok", rc == 0, "message",
		                        said);

		free(message);
		halibut_error_clear(&err);
		if (hbt_ctl_print_json(doc) != HBT_EXIT_OK)
			return HBT_EXIT_MACHINE;
		return rc == 0 ? HBT_EXIT_OK : HBT_EXIT_REMOTE;
	}
	if (rc == 0)
		puts(said);
	free(message);
	return rc == 0 ? HBT_EXIT_OK : hbt_ctl_gateway_failed(&err);
}

int hbt_ctl_unreadable(const struct hbt_ctl_gateway *g,
                       struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_EPROTO,
	                     "the answer of the gateway at %s is unreadable; "
	                     "are it and this halibutctl of one version?",
	                     g->socket);
}

json_t *hbt_ctl_fetch(const struct hbt_ctl_gateway *g, uint16_t question,
                      uint16_t answer, struct halibut_error *err)
{
	const struct hbt_ctl_question q = {
		.type = question,
		.answer = answer,
		.timeout_ms = g->timeout_ms,
	};
	uint8_t *body;
	struct hbt_str text;
	struct hbt_rd r;
	json_t *doc = NULL;
	size_t len;

	if (hbt_ctl_ask(g->socket, &q, &body, &len, err) != 0)
		return NULL;
	r = hbt_rd_from(body, len);
	text = hbt_rd_str(&r);
	if (hbt_rd_finish(&r) == 0)
		doc = json_loadb(text.s, text.len, 0, NULL);
	free(body);
	if (doc == NULL)
		hbt_ctl_unreadable(g, err);
	return doc;
}
