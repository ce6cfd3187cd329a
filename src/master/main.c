/* halibutd: options, configuration, start, run, stop. halibutd(8) */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/log.h"
#include "ipc/vitals.h"
#include "master/expiry.h"
#include "master/key_modes.h"
#include "master/logs.h"
#include "master/master.h"
#include "master/online.h"
#include "master/preflight.h"
#include "master/systemd.h"

#define DEFAULT_CONFIG HBT_SYSCONFDIR "/halibutd.conf"

static const char usage[] =
	"Usage: halibutd [-c FILE] [-t [--online]]\n"
	"The Halibut gateway: joins those who call services with those who\n"
	"host them, whoever of them dials. Runs in the foreground.\n"
	"\n"
	"  -c, --config FILE  configuration (" DEFAULT_CONFIG ")\n"
	"  -t, --test         check the configuration, then end\n"
	"      --online       with -t: examine the Redis server as well\n"
	"  -f, --foreground   what it always does, for those who ask for it\n"
	"  -V, --version      print the version, then end\n"
	"  -h, --help         print this, then end\n"
	"\n"
	"Signals: TERM and INT stop it in order, a second one at once; HUP\n"
	"reads trust, routes, services and polls again; USR1 opens log_file\n"
	"again.\n"
	"\n"
	"A setting that the file does not have is taken from the environment:\n"
	"HALIBUT_LISTEN for listen, HALIBUT_REDIS_URL for url of section redis.\n"
	"\n"
	"  halibutd -t -c /etc/halibut/halibutd.conf\n";

struct options {
	const char *config;
	bool test;
	bool online;
};

/* Ends the process for what needs no gateway. */
static struct options read_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'},
		{"test", no_argument, NULL, 't'},
		{"online", no_argument, NULL, 'o'},
		{"foreground", no_argument, NULL, 'f'},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct options o = {.config = DEFAULT_CONFIG};
	int c;

	while ((c = getopt_long(argc, argv, "c:ftVh", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o.config = optarg;
			break;
		case 't':
			o.test = true;
			break;
		case 'o':
			o.online = true;
			break;
		case 'f': /* as ever */
			break;
		case 'V':
			puts("halibutd " HBT_VERSION);
			exit(0);
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			fputs("halibutd --help lists the options\n", stderr);
			exit(2);
		}
	}
	if (o.online && !o.test) {
		fputs("halibutd: --online goes with -t\n", stderr);
		exit(2);
	}
	if (optind == argc)
		return o;
	fprintf(stderr,
	        "halibutd: \"%s\" is no option; the configuration is named "
	        "with -c FILE\n",
	        argv[optind]);
	exit(2);
}

/* Everything that a start would find wrong, short of opening sockets. */
static int test(const struct hbt_config *cfg, struct halibut_error *err)
{
	struct hbt_own_certs own_certs = {.v = NULL};
	struct hbt_credentials credentials;
	struct hbt_identity identity;
	int rc = hbt_credentials_load(&credentials, cfg, err);

	if (rc == HALIBUT_OK)
		rc = hbt_identity_find(&identity, cfg, err);
	if (rc == HALIBUT_OK)
		rc = hbt_preflight(cfg, err);
	if (rc == HALIBUT_OK)
		printf("%s is right: %zu trusted, %zu routes, %zu services, "
		       "%zu polled servers\n",
		       cfg->path, cfg->trusted.n, cfg->n_routes,
		       cfg->n_programs, cfg->n_polls);
	if (rc == HALIBUT_OK)
		rc = hbt_own_certs_read(&own_certs, &credentials, cfg);
	if (rc == HALIBUT_ENOMEM)
		hbt_error_set(err, rc, "out of memory");
	if (rc == HALIBUT_OK && cfg->trusted.n == 0)
		puts("warning: nobody is trusted, so that nobody can connect; "
		     "set trust or trust_file, or `halibutctl trust add "
		     "THUMBPRINT`");
	if (rc == HALIBUT_OK) {
		hbt_expiry_print(&own_certs, stdout);
		hbt_key_modes_tell(cfg, stdout);
	}
	hbt_own_certs_fini(&own_certs);
	hbt_credentials_fini(&credentials);
	return rc;
}

/* To who started us, and to the log if that is elsewhere. */
static void complain(const struct halibut_error *err)
{
	dprintf(hbt_logs_console(), "halibutd: %s\n", err->message);
	if (hbt_logs_console() != STDERR_FILENO)
		log_error("cannot start: %s", err->message);
}

int main(int argc, char **argv)
{
	struct options options = read_options(argc, argv);
	struct halibut_error err = {0};
	struct hbt_config *cfg = NULL;
	struct hbt_master *m = NULL;
	int rc;

	hbt_systemd_init();
	hbt_log_begin("master");
	hbt_vitals_begin();
	rc = hbt_config_load(&cfg, options.config, &err);
	if (rc == HALIBUT_OK && options.test) {
		rc = test(cfg, &err);
		if (rc == HALIBUT_OK && options.online)
			rc = hbt_online(cfg, stdout, &err);
	} else if (rc == HALIBUT_OK) {
		rc = hbt_master_start(&m, cfg, &err);
		cfg = NULL;
		if (rc == HALIBUT_OK)
			hbt_master_run(m);
	}
	if (rc != HALIBUT_OK)
		complain(&err);
	hbt_master_free(&m);
	hbt_config_free(&cfg);
	halibut_error_clear(&err);
	return rc == HALIBUT_OK ? 0 : 1;
}
