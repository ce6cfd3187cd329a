/* halibutctl cert: make certificates and look at them. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <halibut/halibut.h>
#include "ctl/cert_file.h"
#include "ctl/ctl.h"
#include "ctl/options.h"

static const char help[] =
	"Usage: halibutctl cert new [OPTION...]\n"
	"       halibutctl cert show [OPTION...] FILE|https://HOST:PORT\n"
	"\n"
	"new makes an RSA key and a self-signed certificate, writes both to one\n"
	"PEM file that only its owner can read, and prints the thumbprint, by\n"
	"which peers are told to trust it.\n"
	"  --name CN             common name (halibut)\n"
	"  --days N              how long it is valid (36500)\n"
	"  --out FILE            where to (halibut.pem)\n"
	"  --pfx FILE            the same as PKCS#12, as .NET wants it\n"
	"  --password-file FILE  its first line protects the PKCS#12 file\n"
	"  --force               replace files that exist\n"
	"\n"
	"show prints thumbprint, names, validity and key of a PEM or PKCS#12\n"
	"file, or of whoever listens at a URL.\n"
	"  --password-file FILE  for a PKCS#12 file or an encrypted key\n"
	"  --thumbprint          print nothing else\n"
	"  --json                print one object\n"
	"\n"
	"Examples:\n"
	"  halibutctl cert new --name gateway-1 --out /etc/halibut/node.pem\n"
	"  halibutctl cert new --out tentacle.pem --pfx tentacle.pfx \\\n"
	"      --password-file secret\n"
	"  halibutctl cert show /etc/halibut/node.pem\n"
	"  halibutctl cert show https://octopus.example.com:10943\n";

#define DEFAULT_DAYS 36500

enum {
	OPT_NAME = 256,
	OPT_DAYS,
	OPT_OUT,
	OPT_PFX,
	OPT_PASSWORD_FILE,
	OPT_FORCE,
	OPT_THUMBPRINT,
	OPT_JSON,
};

static const struct option new_options[] = {
	{"name", required_argument, NULL, OPT_NAME},
	{"days", required_argument, NULL, OPT_DAYS},
	{"out", required_argument, NULL, OPT_OUT},
	{"pfx", required_argument, NULL, OPT_PFX},
	{"password-file", required_argument, NULL, OPT_PASSWORD_FILE},
	{"force", no_argument, NULL, OPT_FORCE},
	{NULL, 0, NULL, 0},
};

static const struct option show_options[] = {
	{"password-file", required_argument, NULL, OPT_PASSWORD_FILE},
	{"thumbprint", no_argument, NULL, OPT_THUMBPRINT},
	{"json", no_argument, NULL, OPT_JSON},
	{NULL, 0, NULL, 0},
};

struct request {
	const char *name, *out, *pfx, *password_file;
	int days;
	bool force;
};

static int read_new_options(struct request *q, int argc, char **argv)
{
	int opt;
	char *end;

	while ((opt = getopt_long(argc, argv, ":", new_options, NULL)) != -1) {
		switch (opt) {
		case OPT_NAME:
			q->name = optarg;
			break;
		case OPT_DAYS:
			q->days = (int)strtol(optarg, &end, 10);
			if (*end != '\0' || q->days < 1 || q->days > 365000)
				return hbt_ctl_misuse("cert",
				                      "--days is a number "
				                      "from 1 to 365000, not "
				                      "\"%s\"",
				                      optarg);
			break;
		case OPT_OUT:
			q->out = optarg;
			break;
		case OPT_PFX:
			q->pfx = optarg;
			break;
		case OPT_PASSWORD_FILE:
			q->password_file = optarg;
			break;
		case OPT_FORCE:
			q->force = true;
			break;
		default:
			return hbt_ctl_bad_option("cert", opt, argv);
		}
	}
	if (optind < argc)
		return hbt_ctl_misuse("cert", "new takes no argument \"%s\"; "
		                              "--out names the file",
		                      argv[optind]);
	if (q->password_file != NULL && q->pfx == NULL)
		return hbt_ctl_misuse("cert", "--password-file protects the "
		                              "file that --pfx names");
	return 0;
}

static int write_pfx(const struct request *q, const char *cert,
                     const char *key, struct halibut_error *err)
{
	char *password = NULL;
	int rc;

	if (q->password_file != NULL) {
		password = hbt_ctl_read_password(q->password_file, err);
		if (password == NULL)
			return err->status;
	}
	rc = hbt_ctl_write_pfx(q->pfx, q->force, q->name, cert, key,
	                       password != NULL ? password : "", err);
	if (password != NULL)
		explicit_bzero(password, strlen(password));
	free(password);
	return rc;
}

static int run_new(int argc, char **argv)
{
	struct request q = {
		.name = "halibut", .out = "halibut.pem", .days = DEFAULT_DAYS};
	struct halibut_error err = {.status = HALIBUT_OK};
	char thumbprint[HALIBUT_THUMBPRINT_SIZE];
	char *cert = NULL, *key = NULL;
	int rc = read_new_options(&q, argc, argv);

	if (rc != 0)
		return rc;
	rc = halibut_certificate_create(q.name, q.days, &cert, &key, &err);
	if (rc == 0)
		rc = halibut_certificate_thumbprint(cert, thumbprint, &err);
	if (rc == 0)
		rc = hbt_ctl_write_secret(q.out, q.force, cert, key, &err);
	if (rc == 0 && q.pfx != NULL)
		rc = write_pfx(&q, cert, key, &err);
	if (rc == 0) {
		fprintf(stderr, "certificate and key are in %s%s%s\n", q.out,
		        q.pfx != NULL ? " and " : "",
		        q.pfx != NULL ? q.pfx : "");
		puts(thumbprint);
	}
	if (key != NULL)
		explicit_bzero(key, strlen(key));
	free(key);
	free(cert);
	return rc == 0 ? HBT_EXIT_OK : hbt_ctl_failed(&err);
}

static void print_facts(const struct hbt_ctl_cert_facts *f)
{
	char left[64] = "";

	if (f->days_left < 0)
		snprintf(left, sizeof(left), "  (expired)");
	else if (f->not_yet_valid)
		snprintf(left, sizeof(left), "  (not valid yet: from %s)",
		         f->not_before);
	else
		snprintf(left, sizeof(left), "  (%ld days left)",
		         f->days_left);
	printf("thumbprint  %s\n"
	       "subject     %s\n"
	       "issuer      %s\n"
	       "valid       %s to %s%s\n"
	       "key         %s%s\n",
	       f->thumbprint, f->subject, f->issuer, f->not_before,
	       f->not_after, left, f->key,
	       f->private_key ? ", with the private key" : "");
}

static int run_show(int argc, char **argv)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	struct hbt_ctl_cert_facts facts;
	const char *password_file = NULL;
	bool json = false, only_thumbprint = false;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, ":", show_options, NULL)) != -1) {
		switch (opt) {
		case OPT_PASSWORD_FILE:
			password_file = optarg;
			break;
		case OPT_THUMBPRINT:
			only_thumbprint = true;
			break;
		case OPT_JSON:
			json = true;
			break;
		default:
			return hbt_ctl_bad_option("cert", opt, argv);
		}
	}
	if (argc - optind != 1)
		return hbt_ctl_misuse("cert", "show takes one file or URL");
	if (strncmp(argv[optind], "https://", 8) == 0)
		rc = hbt_ctl_cert_of_url(argv[optind], &facts, &err);
	else
		rc = hbt_ctl_cert_of_file(argv[optind], password_file, &facts,
		                          &err);
	if (rc != 0)
		return hbt_ctl_failed(&err);
	if (only_thumbprint)
		puts(facts.thumbprint);
	else if (json)
		hbt_ctl_print_json(hbt_ctl_cert_facts_json(&facts));
	else
		print_facts(&facts);
	hbt_ctl_cert_facts_fini(&facts);
	return HBT_EXIT_OK;
}

static int run(int argc, char **argv)
{
	if (argc >= 2 && strcmp(argv[1], "new") == 0)
		return run_new(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "show") == 0)
		return run_show(argc - 1, argv + 1);
	return hbt_ctl_misuse("cert", "say what to do: new or show");
}

const struct hbt_ctl_command hbt_ctl_cert = {
	.name = "cert",
	.run = run,
	.summary = "make certificates and look at them",
	.help = help,
};
