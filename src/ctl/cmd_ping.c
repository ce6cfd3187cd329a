/* halibutctl ping: why is that machine not connected? */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include "ctl/ctl.h"
#include "ctl/options.h"
#include "ctl/ping.h"
#include "net/tls.h"

static const char help[] =
	"Usage: halibutctl ping [OPTION...] URL\n"
	"\n"
	"Tries to reach a peer step by step (name, TCP, proxy, TLS,\n"
	"certificate, identification), and says for each whether it went well\n"
	"and, if not, what to do. Nothing is called.\n"
	"\n"
	"URL is https://HOST:PORT (a service that listens, or a server that can\n"
	"be polled), or poll://NAME (a service that polls the gateway at the\n"
	"control socket: what that knows of it, and who was refused lately).\n"
	"For https:// the gateway, if one runs, says how it would dial it: what\n"
	"its route, proxy and thumbprint are, and in which line.\n"
	"  --thumbprint T        what its certificate must have\n"
	"  --cert FILE           our certificate and key, PEM or PKCS#12, to see\n"
	"                        whether it trusts us: e.g. the gateway's own\n"
	"  --password-file FILE  its first line is the certificate's password\n"
	"  --connect HOST:PORT   connect here instead of the URL's host\n"
	"  --proxy HOST:PORT     through an HTTP proxy\n"
	"  --proxy-user USER     for the proxy\n"
	"  --proxy-password-file FILE\n"
	"  --timeout TIME        how long each step may take (10s)\n"
	"  --json                print an object\n"
	HBT_CTL_GATEWAY_HELP
	"\n"
	"Examples:\n"
	"  halibutctl ping https://web1:10933\n"
	"  halibutctl ping poll://web1\n"
	"  halibutctl ping --cert /etc/halibut/node.pem --thumbprint 0123... \\\n"
	"      https://web1:10933\n";

enum {
	OPT_CERT = 256,
	OPT_PASSWORD_FILE,
	OPT_CONNECT,
	OPT_PROXY,
	OPT_PROXY_USER,
	OPT_PROXY_PASSWORD_FILE,
	OPT_THUMBPRINT,
};

static const struct option options[] = {
	HBT_CTL_GATEWAY_OPTIONS,
	{"cert", required_argument, NULL, OPT_CERT},
	{"password-file", required_argument, NULL, OPT_PASSWORD_FILE},
	{"connect", required_argument, NULL, OPT_CONNECT},
	{"proxy", required_argument, NULL, OPT_PROXY},
	{"proxy-user", required_argument, NULL, OPT_PROXY_USER},
	{"proxy-password-file", required_argument, NULL,
         OPT_PROXY_PASSWORD_FILE},
	{"thumbprint", required_argument, NULL, OPT_THUMBPRINT},
	{NULL, 0, NULL, 0},
};

struct request {
	struct hbt_ctl_gateway g;
	struct hbt_ctl_ping p;
	char thumbprint[HBT_THUMBPRINT_TEXT];
};

static int read_option(struct request *q, int opt, char **argv)
{
	switch (opt) {
	case OPT_CERT:
		q->p.certificate = optarg;
		return 0;
	case OPT_PASSWORD_FILE:
		q->p.password_file = optarg;
		return 0;
	case OPT_CONNECT:
		q->p.connect = optarg;
		return 0;
	case OPT_PROXY:
		q->p.proxy = optarg;
		return 0;
	case OPT_PROXY_USER:
		q->p.proxy_user = optarg;
		return 0;
	case OPT_PROXY_PASSWORD_FILE:
		q->p.proxy_password_file = optarg;
		return 0;
	case OPT_THUMBPRINT:
		q->p.thumbprint = q->thumbprint;
		if (hbt_thumbprint_parse(optarg, q->thumbprint))
			return 0;
		return hbt_ctl_misuse("ping",
		                      "\"%s\" is no thumbprint; it has 40 "
		                      "hexadecimal digits",
		                      optarg);
	default:
		return hbt_ctl_gateway_option(&q->g, "ping", opt, argv);
	}
}

static int read_options(struct request *q, int argc, char **argv)
{
	int opt, rc;

	while ((opt = getopt_long(argc, argv, ":", options, NULL)) != -1)
		if ((rc = read_option(q, opt, argv)) != 0)
			return rc;
	if (optind >= argc)
		return hbt_ctl_misuse("ping", "say whom: https://HOST:PORT or "
		                              "poll://NAME");
	if (!hbt_ctl_gateway_ready(&q->g, "ping", argc, argv, 1))
		return HBT_EXIT_USAGE;
	q->p.url = argv[optind];
	q->p.socket = q->g.socket;
	q->p.timeout_ms = q->g.timeout_ms;
	return 0;
}

static int ping(struct hbt_ctl_ping *p, struct halibut_error *err)
{
	if (strncmp(p->url, "https://", 8) == 0) {
		hbt_ctl_ping_where(p);
		return hbt_ctl_ping_dial(p, err);
	}
	if (strncmp(p->url, "poll://", 7) == 0 ||
	    strncmp(p->url, "queue://", 8) == 0)
		return hbt_ctl_ping_poll(p, err);
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "\"%s\" cannot be pinged; write it as in "
	                     "https://HOST:PORT or poll://NAME",
	                     p->url);
}

static int run(int argc, char **argv)
{
	struct request q = {.g.timeout_ms = 10000};
	struct halibut_error err = {.status = HALIBUT_OK};
	int code, rc = read_options(&q, argc, argv);

	if (rc != 0)
		return rc;
	q.p.facts = json_object();
	rc = ping(&q.p, &err);
	code = q.p.exit_code;
	if (rc != 0)
		code = q.p.no_gateway ? hbt_ctl_gateway_failed(&err)
		                      : hbt_ctl_failed(&err);
	else if (!q.g.json)
		hbt_ctl_ping_print(&q.p);
	else if (hbt_ctl_print_json(hbt_ctl_ping_json(&q.p)) != HBT_EXIT_OK)
		code = HBT_EXIT_MACHINE;
	hbt_ctl_ping_fini(&q.p);
	return code;
}

const struct hbt_ctl_command hbt_ctl_ping = {
	.name = "ping",
	.run = run,
	.summary = "find out why a peer cannot be reached",
	.help = help,
};
