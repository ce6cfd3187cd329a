/* halibutctl reload, drain, undrain and shutdown: orders to a gateway. */
#include "ctl/ctl.h"
#include "ctl/options.h"

static const char reload_help[] =
	"Usage: halibutctl reload [OPTION...]\n"
	"\n"
	"Makes the gateway read its configuration, certificate and trust list\n"
	"again. All is checked first: with a mistake in it, or a key that does\n"
	"not fit, it is refused, with file and line, and the old one stays in\n"
	"force.\n"
	"  --timeout TIME  how long to wait for the answer (1min)\n"
	"  --json          print an object\n"
	HBT_CTL_GATEWAY_HELP
	"\n"
	"Examples:\n"
	"  halibutctl reload\n"
	"  halibutctl reload --socket /run/halibut/control\n";

static const char drain_help[] =
	"Usage: halibutctl drain [OPTION...]\n"
	"\n"
	"Makes the gateway take nothing new and finish what there is, without\n"
	"ending: it is not ready for balancers and, after stop_delay, refuses\n"
	"connections and closes idle polling connections one after the other.\n"
	"halibutctl status shows what is left. halibutctl undrain brings it\n"
	"back.\n"
	"  --timeout TIME  how long to wait for the answer (1min)\n"
	"  --json          print an object\n"
	HBT_CTL_GATEWAY_HELP
	"\n"
	"Examples:\n"
	"  halibutctl drain\n"
	"  halibutctl drain --socket /run/halibut/control\n";

static const char undrain_help[] =
	"Usage: halibutctl undrain [OPTION...]\n"
	"\n"
	"Makes a drained gateway serve again.\n"
	"  --timeout TIME  how long to wait for the answer (1min)\n"
	"  --json          print an object\n"
	HBT_CTL_GATEWAY_HELP
	"\n"
	"Examples:\n"
	"  halibutctl undrain\n";

static const char shutdown_help[] =
	"Usage: halibutctl shutdown [OPTION...]\n"
	"\n"
	"Makes the gateway finish the calls under way and end, and waits until\n"
	"it has.\n"
	"  --no-wait       do not wait\n"
	"  --timeout TIME  how long to wait (1min)\n"
	"  --json          print an object\n"
	HBT_CTL_GATEWAY_HELP
	"\n"
	"Examples:\n"
	"  halibutctl shutdown\n"
	"  halibutctl shutdown --no-wait --socket /run/halibut/control\n";

static const struct option options[] = {
	HBT_CTL_GATEWAY_OPTIONS,
	{NULL, 0, NULL, 0},
};

enum {
	OPT_NO_WAIT = 256,
};

static const struct option shutdown_options[] = {
	HBT_CTL_GATEWAY_OPTIONS,
	{"no-wait", no_argument, NULL, OPT_NO_WAIT},
	{NULL, 0, NULL, 0},
};

struct order {
	struct hbt_ctl_gateway g;
	bool wait;
};

static int read_options(struct order *o, const struct option *known, int argc,
                        char **argv)
{
	int opt, rc;

	while ((opt = getopt_long(argc, argv, ":", known, NULL)) != -1) {
		if (opt == OPT_NO_WAIT)
			o->wait = false;
		else if ((rc = hbt_ctl_gateway_option(&o->g, argv[0], opt,
		                                      argv)) != 0)
			return rc;
	}
	return hbt_ctl_gateway_ready(&o->g, argv[0], argc, argv, 0)
	               ? 0
	               : HBT_EXIT_USAGE;
}

static int give(const struct order *o, uint16_t type, const char *success)
{
	const struct hbt_ctl_question q = {
		.type = type,
		.timeout_ms = o->g.timeout_ms,
		.until_closed = o->wait,
	};

	return hbt_ctl_give(&o->g, &q, success);
}

static int run_reload(int argc, char **argv)
{
	struct order o = {.g.timeout_ms = 60000};
	int rc = read_options(&o, options, argc, argv);

	return rc != 0 ? rc
	               : give(&o, HBT_IPC_RELOAD, "configuration reloaded");
}

static int run_drain(int argc, char **argv)
{
	struct order o = {.g.timeout_ms = 60000};
	int rc = read_options(&o, options, argc, argv);

	return rc != 0 ? rc
	               : give(&o, HBT_IPC_DRAIN, "the gateway is drained");
}

static int run_undrain(int argc, char **argv)
{
	struct order o = {.g.timeout_ms = 60000};
	int rc = read_options(&o, options, argc, argv);

	return rc != 0 ? rc
	               : give(&o, HBT_IPC_UNDRAIN, "the gateway serves again");
}

static int run_shutdown(int argc, char **argv)
{
	struct order o = {.g.timeout_ms = 60000, .wait = true};
	int rc = read_options(&o, shutdown_options, argc, argv);

	return rc != 0 ? rc : give(&o, HBT_IPC_SHUTDOWN,
	                      o.wait ? "the gateway has ended"
	                             : "the gateway is ending");
}

const struct hbt_ctl_command hbt_ctl_reload = {
	.name = "reload",
	.run = run_reload,
	.summary = "make the gateway read its configuration again",
	.help = reload_help,
};

const struct hbt_ctl_command hbt_ctl_drain = {
	.name = "drain",
	.run = run_drain,
	.summary = "make the gateway take nothing new, without ending",
	.help = drain_help,
};

const struct hbt_ctl_command hbt_ctl_undrain = {
	.name = "undrain",
	.run = run_undrain,
	.summary = "make a drained gateway serve again",
	.help = undrain_help,
};

const struct hbt_ctl_command hbt_ctl_shutdown = {
	.name = "shutdown",
	.run = run_shutdown,
	.summary = "end the gateway after the calls under way",
	.help = shutdown_help,
};
