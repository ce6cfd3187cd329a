/* halibutctl trust: whom the gateway trusts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/ctl.h"
#include "ctl/list.h"
#include "net/tls.h"

static const char help[] =
	"Usage: halibutctl trust list [OPTION...]\n"
	"       halibutctl trust add THUMBPRINT [--comment TEXT] [OPTION...]\n"
	"       halibutctl trust remove THUMBPRINT [OPTION...]\n"
	"\n"
	"list shows whom the gateway trusts, who said so (config: the setting\n"
	"trust; file: trust_file; added: by hand), and who is connected.\n"
	"\n"
	"add and remove are for trust that is given by hand: it holds at once\n"
	"and survives a restart, in the file that trust_added_file names, where\n"
	"a person can read and change it. Removing it closes the peer's\n"
	"connections at once. What the configuration trusts is removed there,\n"
	"and this command says where.\n"
	"  --comment TEXT  what stands behind it in the file; without it: when\n"
	"                  and by which user it was added\n"
	"Of list:\n"
	HBT_CTL_LIST_HELP
	"\n"
	"Examples:\n"
	"  halibutctl trust list --where source=added\n"
	"  halibutctl trust add 8A7D5BC0F0F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1 \\\n"
	"      --comment \"web1, ticket 4711\"\n"
	"  halibutctl trust remove 8A7D5BC0F0F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1\n";

enum {
	OPT_COMMENT = 256,
};

static const struct option options[] = {
	HBT_CTL_LIST_OPTIONS,
	{"comment", required_argument, NULL, OPT_COMMENT},
	{NULL, 0, NULL, 0},
};

static int change(const struct hbt_ctl_gateway *g, bool adds, const char *text,
                  const char *comment)
{
	struct hbt_ctl_question q = {
		.type = adds ? HBT_IPC_TRUST_ADD : HBT_IPC_TRUST_REMOVE,
		.timeout_ms = g->timeout_ms,
	};
	char hex[HBT_THUMBPRINT_TEXT];
	struct hbt_wr w;
	int rc;

	if (!hbt_thumbprint_parse(text, hex))
		return hbt_ctl_misuse("trust",
		                      "\"%s\" is no thumbprint: it has 40 "
		                      "hexadecimal digits, as `halibutctl cert "
		                      "show` prints them",
		                      text);
	hbt_wr_init(&w, 65536);
	hbt_wr_str(&w, hex, strlen(hex));
	if (adds)
		hbt_wr_cstr(&w, comment);
	q.body = &w;
	rc = hbt_ctl_give(g, &q, "done");
	hbt_wr_fini(&w);
	return rc;
}

static const struct hbt_ctl_column columns[] = {
	{"THUMBPRINT", HBT_CELL_TEXT, "thumbprint", NULL},
	{"SOURCE", HBT_CELL_TEXT, "source", NULL},
	{">CONNS", HBT_CELL_NUMBER, "connections", NULL},
	{">LAST SEEN", HBT_CELL_AGO, "last_seen_at", NULL},
	{"COMMENT", HBT_CELL_TEXT, "comment", NULL},
	{NULL, HBT_CELL_TEXT, NULL, NULL},
};

static const struct hbt_ctl_list lists[] = {{"trusted", NULL, columns, NULL}};

struct request {
	struct hbt_ctl_gateway g;
	struct hbt_ctl_target target; /* of list */
	const char *comment;
};

static int read_options(struct request *q, int argc, char **argv)
{
	int opt, rc = 0;

	while (rc == 0 &&
	       (opt = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (opt == OPT_COMMENT)
			q->comment = optarg;
		else
			rc = hbt_ctl_list_option(&q->g, &q->target, "trust",
			                         opt, argv);
	}
	return rc;
}

static int obey(struct request *q, int argc, char **argv)
{
	const char *what = optind < argc ? argv[optind++] : "";
	bool lists_all = strcmp(what, "list") == 0;
	bool adds = strcmp(what, "add") == 0;

	if (!lists_all && !adds && strcmp(what, "remove") != 0)
		return hbt_ctl_misuse("trust", "say what to do: list, add or "
		                               "remove");
	if (!lists_all && optind >= argc)
		return hbt_ctl_misuse("trust", "%s needs a thumbprint", what);
	if (!hbt_ctl_gateway_ready(&q->g, "trust", argc, argv, !lists_all))
		return HBT_EXIT_USAGE;
	if (q->comment != NULL && !adds)
		return hbt_ctl_misuse("trust", "--comment goes with add");
	if (!lists_all && q->target.has_parameters)
		return hbt_ctl_misuse("trust", "--sort, --where, --limit and "
		                               "--offset go with list");
	if (lists_all)
		return hbt_ctl_list_print(&q->g, &q->target, lists, 1,
		                          "nobody is trusted");
	return change(&q->g, adds, argv[optind], q->comment);
}

static int run(int argc, char **argv)
{
	struct request q = {.g.timeout_ms = 10000};
	int rc;

	hbt_ctl_target_init(&q.target, "/trustz");
	rc = read_options(&q, argc, argv);
	if (rc == 0)
		rc = obey(&q, argc, argv);
	hbt_ctl_target_fini(&q.target);
	return rc;
}

const struct hbt_ctl_command hbt_ctl_trust = {
	.name = "trust",
	.run = run,
	.summary = "list whom the gateway trusts, add and remove",
	.help = help,
};
