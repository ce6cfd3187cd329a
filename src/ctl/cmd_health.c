/* halibutctl health: is the gateway well? For health checks of containers. */
#include <stdio.h>
#include "ctl/ctl.h"
#include "ctl/document.h"

static const char help[] =
	"Usage: halibutctl health [--live] [OPTION...]\n"
	"\n"
	"Asks the gateway whether it serves: it listens, does not drain, a\n"
	"worker is ready, and Redis, if it needs one, is there or was lately.\n"
	"Prints \"ok\" and ends with 0, or what is wrong, and with 1; with 8\n"
	"when there is no gateway, with 4 when it does not answer in time.\n"
	"  --live          whether the loops of all its processes turned lately\n"
	"                  instead: if not, restart it\n"
	"  --timeout TIME  how long to wait for the answer (5s)\n"
	"  --json          print the document, /readyz or /livez\n"
	HBT_CTL_GATEWAY_HELP
	"\n"
	"Examples:\n"
	"  halibutctl health\n"
	"  HEALTHCHECK CMD [\"halibutctl\", \"health\"]\n"
	"  until halibutctl health; do sleep 1; done\n";

enum {
	OPT_LIVE = 256,
};

static const struct option options[] = {
	HBT_CTL_GATEWAY_OPTIONS,
	{"live", no_argument, NULL, OPT_LIVE},
	{NULL, 0, NULL, 0},
};

static const char *text_of(const json_t *o, const char *name)
{
	return json_string_value(json_object_get(o, name));
}

/* "unavailable", and under it each check that failed. */
static void print(const json_t *doc)
{
	const char *status = text_of(doc, "status");
	const json_t *check;
	size_t i;

	if (status == NULL) /* there is nobody in the gateway to say more */
		status = text_of(doc, "error");
	puts(status != NULL ? status : "unavailable");
	json_array_foreach(json_object_get(doc, "checks"), i, check)
		if (text_of(check, "error") != NULL)
			printf("%s: %s\n", text_of(check, "name"),
			       text_of(check, "error"));
}

static int run(int argc, char **argv)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	struct hbt_ctl_gateway g = {.timeout_ms = 5000};
	const char *path = "/readyz";
	unsigned status = 0;
	json_t *doc;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (opt == OPT_LIVE)
			path = "/livez";
		else if ((rc = hbt_ctl_gateway_option(&g, argv[0], opt,
		                                      argv)) != 0)
			return rc;
	}
	if (!hbt_ctl_gateway_ready(&g, argv[0], argc, argv, 0))
		return HBT_EXIT_USAGE;
	if ((doc = hbt_ctl_document_of(&g, path, &status, &err)) == NULL)
		return hbt_ctl_gateway_failed(&err);
	rc = status == 200 ? HBT_EXIT_OK : HBT_EXIT_REMOTE;
	if (g.json)
		return hbt_ctl_print_json(doc) == HBT_EXIT_OK ? rc
		                                              : HBT_EXIT_MACHINE;
	print(doc);
	json_decref(doc);
	return rc;
}

const struct hbt_ctl_command hbt_ctl_health = {
	.name = "health",
	.run = run,
	.summary = "say whether the gateway serves",
	.help = help,
};
