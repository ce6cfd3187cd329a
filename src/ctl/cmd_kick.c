/* halibutctl kick: closes connections. */
#include <stdlib.h>
#include <string.h>
#include "ctl/ctl.h"
#include "ctl/options.h"
#include "net/tls.h"

static const char help[] =
	"Usage: halibutctl kick ID [OPTION...]\n"
	"       halibutctl kick --thumbprint THUMBPRINT [OPTION...]\n"
	"       halibutctl kick --subscription URI [OPTION...]\n"
	"\n"
	"Closes connections at once; what they carry fails at its caller. The\n"
	"peer may come back, and a polling service does so after some seconds:\n"
	"`halibutctl trust remove` keeps it out.\n"
	"ID is that of `halibutctl connections`, such as 0-17.\n"
	"  --thumbprint T      all connections of that certificate\n"
	"  --subscription URI  all connections that poll for it\n"
	"  --timeout TIME      how long to wait for the answer (10s)\n"
	"  --json              print an object\n"
	HBT_CTL_GATEWAY_HELP
	"\n"
	"Examples:\n"
	"  halibutctl kick 0-17\n"
	"  halibutctl kick --subscription poll://tentacle-1\n";

enum {
	OPT_THUMBPRINT = 256,
	OPT_SUBSCRIPTION,
};

static const struct option options[] = {
	HBT_CTL_GATEWAY_OPTIONS,
	{"thumbprint", required_argument, NULL, OPT_THUMBPRINT},
	{"subscription", required_argument, NULL, OPT_SUBSCRIPTION},
	{NULL, 0, NULL, 0},
};

struct target {
	uint8_t by; /* 0: none yet */
	uint32_t worker, connection;
	const char *text;
};

static int aim(struct target *t, enum hbt_kick_by by, const char *text)
{
	if (t->by != 0)
		return hbt_ctl_misuse("kick", "one at a time: an ID, "
		                              "--thumbprint or --subscription");
	t->by = (uint8_t)by;
	t->text = text;
	return 0;
}

/* "WORKER-CONNECTION" */
static int aim_at_id(struct target *t, const char *text)
{
	unsigned long worker, connection;
	char *end;
	int rc = aim(t, HBT_KICK_ID, NULL);

	if (rc != 0)
		return rc;
	worker = strtoul(text, &end, 10);
	connection = *end == '-' ? strtoul(end + 1, &end, 10) : 0;
	if (text[0] < '0' || text[0] > '9' || *end != '\0' ||
	    connection == 0 || worker > UINT32_MAX || connection > UINT32_MAX)
		return hbt_ctl_misuse("kick",
		                      "\"%s\" is no id of a connection; it is "
		                      "written as `halibutctl connections` "
		                      "does, such as 0-17",
		                      text);
	t->worker = (uint32_t)worker;
	t->connection = (uint32_t)connection;
	return 0;
}

static int read_options(struct hbt_ctl_gateway *g, struct target *t, int argc,
                        char **argv)
{
	char hex[HBT_THUMBPRINT_TEXT];
	int opt, rc = 0;

	while (rc == 0 &&
	       (opt = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (opt == OPT_THUMBPRINT && !hbt_thumbprint_parse(optarg, hex))
			rc = hbt_ctl_misuse("kick",
			                    "\"%s\" is no thumbprint; it has "
			                    "40 hexadecimal digits",
			                    optarg);
		else if (opt == OPT_THUMBPRINT)
			rc = aim(t, HBT_KICK_THUMBPRINT, optarg);
		else if (opt == OPT_SUBSCRIPTION)
			rc = aim(t, HBT_KICK_SUBSCRIPTION, optarg);
		else
			rc = hbt_ctl_gateway_option(g, "kick", opt, argv);
	}
	if (rc == 0 && optind < argc)
		rc = aim_at_id(t, argv[optind]);
	if (rc == 0 && t->by == 0)
		rc = hbt_ctl_misuse("kick", "say whom: an ID, --thumbprint or "
		                            "--subscription");
	if (rc == 0 && !hbt_ctl_gateway_ready(g, "kick", argc, argv, 1))
		rc = HBT_EXIT_USAGE;
	return rc;
}

static int run(int argc, char **argv)
{
	struct hbt_ctl_gateway g = {.timeout_ms = 10000};
	struct hbt_ctl_question q = {.type = HBT_IPC_KICK};
	struct target t = {.by = 0};
	struct hbt_wr w;
	int rc = read_options(&g, &t, argc, argv);

	if (rc != 0)
		return rc;
	hbt_wr_init(&w, 65536);
	hbt_wr_u8(&w, t.by);
	hbt_wr_u32(&w, t.worker);
	hbt_wr_u32(&w, t.connection);
	hbt_wr_cstr(&w, t.text);
	q.timeout_ms = g.timeout_ms;
	q.body = &w;
	rc = hbt_ctl_give(&g, &q, "done");
	hbt_wr_fini(&w);
	return rc;
}

const struct hbt_ctl_command hbt_ctl_kick = {
	.name = "kick",
	.run = run,
	.summary = "close connections",
	.help = help,
};
