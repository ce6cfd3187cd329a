/* halibutctl trust: whom the gateway trusts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/ctl.h"
#include "ctl/options.h"
#include "net/tls.h"

static const char help[] =
	"Usage: halibutctl trust add THUMBPRINT [--comment TEXT] [OPTION...]\n"
	"       halibutctl trust remove THUMBPRINT [OPTION...]\n"
	"\n"
	"Trust that is given by hand: it holds at once and survives a restart,\n"
	"in the file that trust_added_file names, where a person can read and\n"
	"change it. Removing it closes the peer's connections at once. What the\n"
	"configuration trusts is removed there, and this command says where.\n"
	"  --comment TEXT  what stands behind it in the file; without it: when\n"
	"                  and by which user it was added\n"
	"  --timeout TIME  how long to wait for the answer (10s)\n"
	"  --json          print an object\n"
	HBT_CTL_GATEWAY_HELP
	"\n"
	"Examples:\n"
	"  halibutctl trust add 8A7D5BC0F0F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1 \\\n"
	"      --comment \"web1, ticket 4711\"\n"
	"  halibutctl trust remove 8A7D5BC0F0F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1\n";

enum {
	OPT_COMMENT = 256,
};

static const struct option options[] = {
	HBT_CTL_GATEWAY_OPTIONS,
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

static int run(int argc, char **argv)
{
	struct hbt_ctl_gateway g = {.timeout_ms = 10000};
	const char *comment = NULL, *what;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (opt == OPT_COMMENT)
			comment = optarg;
		else if ((rc = hbt_ctl_gateway_option(&g, argv[0], opt,
		                                      argv)) != 0)
			return rc;
	}
	what = optind < argc ? argv[optind++] : "";
	if (strcmp(what, "add") != 0 && strcmp(what, "remove") != 0)
		return hbt_ctl_misuse("trust",
		                      "say what to do: add or remove");
	if (optind >= argc)
		return hbt_ctl_misuse("trust", "%s needs a thumbprint", what);
	if (!hbt_ctl_gateway_ready(&g, "trust", argc, argv, 1))
		return HBT_EXIT_USAGE;
	if (comment != NULL && strcmp(what, "add") != 0)
		return hbt_ctl_misuse("trust", "--comment goes with add");
	return change(&g, strcmp(what, "add") == 0, argv[optind], comment);
}

const struct hbt_ctl_command hbt_ctl_trust = {
	.name = "trust",
	.run = run,
	.summary = "trust a certificate, or no longer",
	.help = help,
};
