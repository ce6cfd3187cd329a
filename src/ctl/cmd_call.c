/* halibutctl call: one call, through a gateway or direct. */
#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/timespan.h"
#include "ctl/call.h"
#include "ctl/control.h"
#include "ctl/ctl.h"
#include "net/tls.h"

static const char help[] =
	"Usage: halibutctl call [OPTION...] ENDPOINT SERVICE METHOD [ARG...]\n"
	"\n"
	"Calls a method of a service and prints its result as JSON. Without\n"
	"--cert the call goes through the gateway at the control socket; with\n"
	"--cert halibutctl is the client itself.\n"
	"\n"
	"ENDPOINT is https://HOST:PORT (a listening service; https://localhost:\n"
	"services of the gateway itself), poll://NAME (a polling service) or\n"
	"queue://NAME.\n"
	"ARG is JSON: 5, true, '\"a text\"', '[1,2]', '{\"Name\":\"x\"}'. @FILE is a\n"
	"DataStream made of the file, @- of standard input; inside JSON write\n"
	"{\"$file\": \"FILE\"}.\n"
	"\n"
	"Through a gateway:\n"
	"  --socket PATH         control socket ($HALIBUT_CONTROL, or\n"
	"                        " HBT_RUNSTATEDIR "/control)\n"
	"Direct:\n"
	"  --cert FILE           our certificate and key, PEM or PKCS#12\n"
	"  --password-file FILE  its first line is the certificate's password\n"
	"  --listen ADDR:PORT    wait here for the polling service\n"
	"  --trust THUMBPRINT    of the polling service; may be repeated\n"
	"  --connect HOST:PORT   connect here instead of the endpoint's host\n"
	"  --proxy HOST:PORT     through an HTTP proxy\n"
	"  --proxy-user USER     for the proxy\n"
	"  --proxy-password-file FILE\n"
	"Both:\n"
	"  --thumbprint T        what a listening service's certificate must have\n"
	"  --timeout TIME        give up after 30s, 2min, 500ms, ...\n"
	"  --out FILE            keep the result's first DataStream there; without\n"
	"                        it that goes to standard output, if it is no\n"
	"                        terminal\n"
	"  --out-dir DIR         keep all of them there: stream-0, stream-1, ...\n"
	"  --raw                 print a text without quotes\n"
	"  --json                one object: status, result, error, streams,\n"
	"                        elapsedMs\n"
	"  --quiet               no progress bar\n"
	"\n"
	"Examples:\n"
	"  halibutctl call poll://tentacle-1 IEchoService SayHello '\"World\"'\n"
	"  halibutctl call poll://tentacle-1 IEchoService CountBytes @big.zip\n"
	"  halibutctl call poll://tentacle-1 IEchoService Reverse @in --out out\n"
	"  halibutctl cert show https://web1:10933   # prints its thumbprint\n"
	"  halibutctl call --cert me.pem --thumbprint 0123... https://web1:10933 \\\n"
	"      IEchoService SayHello '\"World\"'\n"
	"  halibutctl call --cert me.pem --listen 0.0.0.0:10943 --trust 0123... \\\n"
	"      poll://tentacle-1 IEchoService SayHello '\"World\"'\n";

enum {
	OPT_SOCKET = 256,
	OPT_CERT,
	OPT_PASSWORD_FILE,
	OPT_LISTEN,
	OPT_TRUST,
	OPT_CONNECT,
	OPT_PROXY,
	OPT_PROXY_USER,
	OPT_PROXY_PASSWORD_FILE,
	OPT_THUMBPRINT,
	OPT_TIMEOUT,
	OPT_OUT,
	OPT_OUT_DIR,
	OPT_RAW,
	OPT_JSON,
	OPT_QUIET,
};

static const struct option options[] = {
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"cert", required_argument, NULL, OPT_CERT},
	{"password-file", required_argument, NULL, OPT_PASSWORD_FILE},
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"trust", required_argument, NULL, OPT_TRUST},
	{"connect", required_argument, NULL, OPT_CONNECT},
	{"proxy", required_argument, NULL, OPT_PROXY},
	{"proxy-user", required_argument, NULL, OPT_PROXY_USER},
	{"proxy-password-file", required_argument, NULL,
         OPT_PROXY_PASSWORD_FILE},
	{"thumbprint", required_argument, NULL, OPT_THUMBPRINT},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"out", required_argument, NULL, OPT_OUT},
	{"out-dir", required_argument, NULL, OPT_OUT_DIR},
	{"raw", no_argument, NULL, OPT_RAW},
	{"json", no_argument, NULL, OPT_JSON},
	{"quiet", no_argument, NULL, OPT_QUIET},
	{NULL, 0, NULL, 0},
};

struct settings {
	struct hbt_ctl_call call;
	const char *socket;
	bool json, raw, quiet;
	char thumbprint[HBT_THUMBPRINT_TEXT];
};

/* A negative number is an argument, not an option: a space in front changes
 * nothing in JSON. */
static int protect_numbers(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		char *text;

		if (argv[i][0] != '-' || !isdigit((unsigned char)argv[i][1]))
			continue;
		if (asprintf(&text, " %s", argv[i]) < 0)
			return HALIBUT_ENOMEM;
		argv[i] = text; /* for as long as the program lives */
	}
	return HALIBUT_OK;
}

static int take_option(struct settings *s, int opt, const char *value,
                       char **argv)
{
	struct hbt_ctl_call *c = &s->call;

	switch (opt) {
	case OPT_SOCKET:
		s->socket = value;
		break;
	case OPT_CERT:
		c->certificate = value;
		break;
	case OPT_PASSWORD_FILE:
		c->password_file = value;
		break;
	case OPT_LISTEN:
		c->listen = value;
		break;
	case OPT_TRUST:
		c->trust[c->n_trust++] = value;
		break;
	case OPT_CONNECT:
		c->connect = value;
		break;
	case OPT_PROXY:
		c->proxy = value;
		break;
	case OPT_PROXY_USER:
		c->proxy_user = value;
		break;
	case OPT_PROXY_PASSWORD_FILE:
		c->proxy_password_file = value;
		break;
	case OPT_THUMBPRINT:
		if (!hbt_thumbprint_parse(value, s->thumbprint))
			return hbt_ctl_misuse("call",
			                      "\"%s\" is no thumbprint; it has "
			                      "40 hexadecimal digits",
			                      value);
		c->thumbprint = s->thumbprint;
		break;
	case OPT_TIMEOUT:
		if (!hbt_ctl_parse_duration(value, &c->timeout_ms))
			return hbt_ctl_misuse("call",
			                      "--timeout is written as in 30s "
			                      "or 2min, not \"%s\"",
			                      value);
		break;
	case OPT_OUT:
		if (strcmp(value, "-") == 0)
			c->landing.to_stdout = true;
		else
			c->landing.file = value;
		break;
	case OPT_OUT_DIR:
		c->landing.directory = value;
		break;
	case OPT_RAW:
		s->raw = true;
		break;
	case OPT_JSON:
		s->json = true;
		break;
	case OPT_QUIET:
		s->quiet = true;
		break;
	default:
		return hbt_ctl_bad_option("call", opt, argv);
	}
	return 0;
}

/* What the options ask for must go together: better now than half-way. */
static int check(const struct settings *s, bool to_stdout)
{
	const struct hbt_ctl_call *c = &s->call;
	bool polls = strncasecmp(c->endpoint, "poll://", 7) == 0;
	bool https = strncasecmp(c->endpoint, "https://", 8) == 0;

	if (!polls && !https && strncasecmp(c->endpoint, "queue://", 8) != 0)
		return hbt_ctl_misuse("call",
		                      "\"%s\" is no endpoint; write "
		                      "https://HOST:PORT, poll://NAME or "
		                      "queue://NAME",
		                      c->endpoint);
	if (s->json && to_stdout)
		return hbt_ctl_misuse("call", "--json and --out - both want "
		                              "standard output");
	if (c->certificate == NULL) {
		if (c->listen != NULL || c->n_trust > 0 || c->proxy != NULL ||
		    c->connect != NULL || c->password_file != NULL)
			return hbt_ctl_misuse("call",
			                      "--listen, --trust, --proxy, "
			                      "--connect and --password-file "
			                      "are for direct calls, which "
			                      "need --cert");
		return 0;
	}
	if (s->socket != NULL)
		return hbt_ctl_misuse("call", "--cert makes a direct call, "
		                              "--socket one through a gateway: "
		                              "leave one of them out");
	if (https && c->thumbprint == NULL)
		return hbt_ctl_misuse("call",
		                      "--thumbprint is missing: `halibutctl "
		                      "cert show %s` prints what the service "
		                      "has now",
		                      c->endpoint);
	if (polls && (c->listen == NULL || c->n_trust == 0))
		return hbt_ctl_misuse("call",
		                      "a polling service comes to us: --listen "
		                      "says where, --trust which certificate "
		                      "it has");
	if (!polls && !https)
		return hbt_ctl_misuse("call", "queue:// endpoints are reached "
		                              "through a gateway only");
	if (https && c->listen != NULL)
		return hbt_ctl_misuse("call", "--listen is for poll:// "
		                              "endpoints; a listening service "
		                              "is dialled");
	return 0;
}

static int prepare(struct settings *s, int argc, char **argv)
{
	struct hbt_ctl_call *c = &s->call;
	int opt, rc;
	bool to_stdout;

	if (protect_numbers(argc, argv) != HALIBUT_OK ||
	    (c->trust = calloc((size_t)argc, sizeof(*c->trust))) == NULL)
		return HBT_EXIT_MACHINE;
	while ((opt = getopt_long(argc, argv, ":", options, NULL)) != -1)
		if ((rc = take_option(s, opt, optarg, argv)) != 0)
			return rc;
	if (argc - optind < 3)
		return hbt_ctl_misuse("call", "ENDPOINT, SERVICE and METHOD "
		                              "are needed");
	c->endpoint = argv[optind];
	c->service = argv[optind + 1];
	c->method = argv[optind + 2];
	to_stdout = c->landing.to_stdout;
	if ((rc = check(s, to_stdout)) != 0)
		return rc;
	c->socket = hbt_ctl_socket_path(s->socket);
	if (c->landing.file == NULL && c->landing.directory == NULL &&
	    !s->json && !isatty(STDOUT_FILENO))
		c->landing.to_stdout = true;
	hbt_ctl_progress_init(&c->progress);
	if (s->quiet)
		c->progress.enabled = false;
	rc = hbt_ctl_args_read(&c->args, argv + optind + 3,
	                       (size_t)(argc - optind - 3), &c->err);
	if (rc != 0)
		return hbt_ctl_failed(&c->err);
	if (c->landing.directory != NULL)
		mkdir(c->landing.directory, 0777); /* writing there tells */
	return 0;
}

static int run(int argc, char **argv)
{
	static struct settings s;
	struct hbt_ctl_call *c = &s.call;
	int64_t start;
	int rc;

	c->landing.fd = -1;
	rc = prepare(&s, argc, argv);
	if (rc == 0) {
		start = hbt_now_ms();
		if (c->certificate != NULL)
			hbt_ctl_call_direct(c);
		else
			hbt_ctl_call_gateway(c);
		c->elapsed_ms = hbt_now_ms() - start;
		rc = hbt_ctl_call_print(c, s.json, s.raw);
	}
	json_decref(c->result);
	hbt_ctl_landing_fini(&c->landing);
	hbt_ctl_args_fini(&c->args);
	halibut_error_clear(&c->err);
	free(c->trust);
	return rc;
}

const struct hbt_ctl_command hbt_ctl_call = {
	.name = "call",
	.run = run,
	.summary = "call a method of a service",
	.help = help,
};
