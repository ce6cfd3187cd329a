/* halibutctl reload and halibutctl shutdown: orders to a gateway. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include "ctl/control.h"
#include "ctl/ctl.h"

static const char reload_help[] =
	"Usage: halibutctl reload [--socket PATH] [--timeout TIME]\n"
	"\n"
	"Makes the gateway read its configuration, certificate and trust list\n"
	"again. A configuration with a mistake is refused, with file and line,\n"
	"and the old one stays in force.\n"
	"\n"
	"Examples:\n"
	"  halibutctl reload\n"
	"  halibutctl reload --socket /run/halibut/control\n";

static const char shutdown_help[] =
	"Usage: halibutctl shutdown [--no-wait] [--socket PATH] [--timeout TIME]\n"
	"\n"
	"Makes the gateway finish the calls under way and end, and waits until\n"
	"it has; --no-wait does not. --timeout bounds the waiting (1min).\n"
	"\n"
	"Examples:\n"
	"  halibutctl shutdown\n"
	"  halibutctl shutdown --no-wait --socket /run/halibut/control\n";

enum {
	OPT_SOCKET = 256,
	OPT_TIMEOUT,
	OPT_NO_WAIT,
};

static const struct option options[] = {
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{NULL, 0, NULL, 0},
};

static const struct option shutdown_options[] = {
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"no-wait", no_argument, NULL, OPT_NO_WAIT},
	{NULL, 0, NULL, 0},
};

struct order {
	const char *socket;
	int64_t timeout_ms;
	bool wait;
};

static int read_options(struct order *o, const struct option *known, int argc,
                        char **argv)
{
	int opt;

	while ((opt = getopt_long(argc, argv, ":", known, NULL)) != -1) {
		switch (opt) {
		case OPT_SOCKET:
			o->socket = optarg;
			break;
		case OPT_TIMEOUT:
			if (!hbt_ctl_parse_duration(optarg, &o->timeout_ms))
				return hbt_ctl_misuse(argv[0],
				                      "--timeout is written as "
				                      "in 30s or 2min, not "
				                      "\"%s\"",
				                      optarg);
			break;
		case OPT_NO_WAIT:
			o->wait = false;
			break;
		default:
			return hbt_ctl_bad_option(argv[0], opt, argv);
		}
	}
	if (optind < argc)
		return hbt_ctl_misuse(argv[0], "there is no argument \"%s\"",
		                      argv[optind]);
	o->socket = hbt_ctl_socket_path(o->socket);
	return 0;
}

static int give(const struct order *o, uint16_t type, const char *success)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	char *message;
	int rc = hbt_ctl_order(o->socket, type, o->timeout_ms, o->wait,
	                       &message, &err);

	if (rc == 0)
		puts(message != NULL && message[0] != '\0' ? message
		                                           : success);
	free(message);
	return rc == 0 ? HBT_EXIT_OK : hbt_ctl_gateway_failed(&err);
}

static int run_reload(int argc, char **argv)
{
	struct order o = {.timeout_ms = 60000};
	int rc = read_options(&o, options, argc, argv);

	return rc != 0 ? rc
	               : give(&o, HBT_IPC_RELOAD, "configuration reloaded");
}

static int run_shutdown(int argc, char **argv)
{
	struct order o = {.timeout_ms = 60000, .wait = true};
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

const struct hbt_ctl_command hbt_ctl_shutdown = {
	.name = "shutdown",
	.run = run_shutdown,
	.summary = "end the gateway after the calls under way",
	.help = shutdown_help,
};
