/* Exit codes, complaints, and values as people write them. */
#include "ctl/ctl.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int hbt_ctl_exit_code(int status)
{
	switch ((enum halibut_status)status) {
	case HALIBUT_OK:
		return HBT_EXIT_OK;
	case HALIBUT_EREMOTE:
	case HALIBUT_ESERVICE_NOT_FOUND:
	case HALIBUT_EMETHOD_NOT_FOUND:
	case HALIBUT_EAMBIGUOUS_METHOD:
	case HALIBUT_ENO_MATCHING:
	case HALIBUT_EINVOCATION:
		return HBT_EXIT_REMOTE;
	case HALIBUT_EINVAL:
		return HBT_EXIT_USAGE;
	case HALIBUT_ERESOLVE:
	case HALIBUT_EREFUSED:
	case HALIBUT_ECONNECT:
	case HALIBUT_ECONNECT_TIMEOUT:
	case HALIBUT_EPROXY:
	case HALIBUT_ENO_ROUTE:
		return HBT_EXIT_CONNECT;
	case HALIBUT_ETIMEOUT:
	case HALIBUT_ENOT_COLLECTED:
		return HBT_EXIT_TIMEOUT;
	case HALIBUT_ETLS:
	case HALIBUT_ECERTIFICATE:
	case HALIBUT_EUNTRUSTED:
		return HBT_EXIT_TRUST;
	case HALIBUT_EPROTO:
	case HALIBUT_ESTREAM:
		return HBT_EXIT_PROTOCOL;
	case HALIBUT_ECONNECTING_CANCELLED:
	case HALIBUT_ETRANSFERRING_CANCELLED:
		return HBT_EXIT_CANCELLED;
	case HALIBUT_ECLOSED:
	case HALIBUT_ENO_RESPONSE:
	case HALIBUT_EWORKER:
	case HALIBUT_ESHUTDOWN:
		return HBT_EXIT_BROKEN;
	case HALIBUT_ENOMEM:
	case HALIBUT_ESYSTEM:
	case HALIBUT_EAGAIN:
	case HALIBUT_ELIMIT:
	case HALIBUT_STATUS_COUNT:
		break;
	}
	return HBT_EXIT_MACHINE;
}

int hbt_ctl_misuse(const char *command, const char *fmt, ...)
{
	va_list ap;

	fputs("halibutctl", stderr);
	if (command != NULL)
		fprintf(stderr, " %s", command);
	fputs(": ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nTry `halibutctl%s%s --help`.\n",
	        command != NULL ? " " : "", command != NULL ? command : "");
	return HBT_EXIT_USAGE;
}

int hbt_ctl_bad_option(const char *command, int opt, char **argv)
{
	const char *option = argv[optind - 1];

	if (opt == ':')
		return hbt_ctl_misuse(command, "%s needs a value", option);
	return hbt_ctl_misuse(command, "there is no option %s", option);
}

int hbt_ctl_failed(struct halibut_error *err)
{
	int code = hbt_ctl_exit_code(err->status);

	fprintf(stderr, "halibutctl: %s\n",
	        err->message != NULL ? err->message
	                             : halibut_strerror(err->status));
	/* The message of a remote error has its details inside already. */
	if (err->details != NULL && err->details[0] != '\0' &&
	    (err->message == NULL ||
	     strstr(err->message, err->details) == NULL))
		fprintf(stderr, "%s\n", err->details);
	halibut_error_clear(err);
	return code;
}

bool hbt_ctl_parse_duration(const char *text, int64_t *ms)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = {
		{"", 1000},     {"ms", 1},       {"s", 1000},
		{"min", 60000}, {"m", 60000},    {"h", 3600000},
		{"d", 86400000},
	};
	char *end;

	errno = 0;
	if (!isdigit((unsigned char)text[0]))
		return false;
	*ms = strtoll(text, &end, 10);
	if (errno != 0 || *ms <= 0 || *ms > INT64_MAX / 86400000 / 2)
		return false;
	while (*end == ' ')
		end++;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].name) == 0) {
			*ms *= units[i].ms;
			return true;
		}
	}
	return false;
}

bool hbt_ctl_parse_host_port(const char *text, char **host, uint16_t *port)
{
	const char *colon = strrchr(text, ':');
	const char *end = colon;
	unsigned long n;
	char *rest;

	*host = NULL;
	if (colon == NULL || !isdigit((unsigned char)colon[1]))
		return false;
	n = strtoul(colon + 1, &rest, 10);
	if (*rest != '\0' || n > 65535)
		return false;
	if (text[0] == '[' && colon > text + 1 && colon[-1] == ']') {
		text++;
		end--;
	} else if (memchr(text, ':', (size_t)(colon - text)) != NULL) {
		return false; /* IPv6 without brackets */
	}
	if (end == text)
		return false;
	*host = strndup(text, (size_t)(end - text));
	*port = (uint16_t)n;
	return *host != NULL;
}

size_t hbt_ctl_terminal_columns(FILE *f)
{
	struct winsize size;

	if (!isatty(fileno(f)))
		return 0;
	return ioctl(fileno(f), TIOCGWINSZ, &size) == 0 && size.ws_col > 0
	               ? size.ws_col
	               : 80;
}

void hbt_ctl_format_bytes(int64_t n, char text[32])
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
	double v = (double)n / 1024;
	size_t i = 0;

	if (n < 1024) {
		snprintf(text, 32, "%" PRId64 " B", n);
		return;
	}
	while (v >= 1024 && i + 1 < sizeof(units) / sizeof(units[0])) {
		v /= 1024;
		i++;
	}
	snprintf(text, 32, "%.1f %s", v, units[i]);
}

void hbt_ctl_format_ms(int64_t ms, char text[32])
{
	int64_t s = ms / 1000;

	if (ms < 1000)
		snprintf(text, 32, "%" PRId64 " ms", ms);
	else if (s < 60)
		snprintf(text, 32, "%" PRId64 ".%" PRId64 " s", s,
		         ms % 1000 / 100);
	else if (s < 3600)
		snprintf(text, 32, "%" PRId64 " min %" PRId64 " s", s / 60,
		         s % 60);
	else if (s < 86400)
		snprintf(text, 32, "%" PRId64 " h %" PRId64 " min", s / 3600,
		         s % 3600 / 60);
	else
		snprintf(text, 32, "%" PRId64 " d %" PRId64 " h", s / 86400,
		         s % 86400 / 3600);
}

char *hbt_ctl_read_password(const char *path, struct halibut_error *err)
{
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	if (f == NULL) {
		hbt_error_set(err, HALIBUT_EINVAL,
		              "cannot read the password file %s: %s", path,
		              strerror(errno));
		return NULL;
	}
	n = getline(&line, &cap, f);
	fclose(f);
	if (n < 0) {
		free(line);
		hbt_error_set(err, HALIBUT_EINVAL,
		              "the password file %s is empty; its first line "
		              "is the password",
		              path);
		return NULL;
	}
	line[strcspn(line, "\r\n")] = '\0';
	return line;
}
