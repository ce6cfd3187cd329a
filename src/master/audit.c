#include "master/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/log_limit.h"

#define MAX_TEXT 2048

static int file = -1; /* -1: among the other lines */
static bool wants_calls;

void hbt_audit_configure(const struct hbt_config *cfg)
{
	wants_calls = cfg->audit_calls;
}

int hbt_audit_open(const struct hbt_config *cfg, struct halibut_error *err)
{
	int fd;

	hbt_audit_configure(cfg);
	if (cfg->audit_log == NULL)
		return HALIBUT_OK;
	fd = open(cfg->audit_log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC,
	          0640);
	if (fd < 0)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "audit_log %s cannot be opened: %s; make "
		                     "its directory writable to halibutd, or "
		                     "name another file",
		                     cfg->audit_log, strerror(errno));
	if (file >= 0)
		close(file);
	file = fd;
	return HALIBUT_OK;
}

void hbt_audit(const struct hbt_log_about *about, const char *fmt, ...)
{
	char text[MAX_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* Not in its file: then at least here. */
	if (file >= 0 && hbt_log_object_to(file, HBT_LOG_INFO, about, text))
		return;
	if (file >= 0)
		log_limited("audit_lost", HBT_LOG_ERROR,
		            LOG_ABOUT(.event = "audit_lost",
		                      .reason = strerror(errno),
		                      .remedy = "look for a full disk"),
		            "audit_log cannot be written: %s; its lines are "
		            "here meanwhile",
		            strerror(errno));
	hbt_log_from(__FILE__, HBT_LOG_INFO, about, "%s", text);
}

static void tell_thumbprint(const char *event, const char *who,
                            const struct hbt_trusted *one, const char *what)
{
	char hex[HBT_SHA1_TEXT];

	hbt_sha1_format(one->sha1, hex);
	hbt_audit(LOG_ABOUT(.event = event, .peer = who, .thumbprint = hex),
	          "%s %s", hex, what);
}

void hbt_audit_trust(const char *who, const struct hbt_trust *before,
                     const struct hbt_trust *after)
{
	size_t a = 0, b = 0;

	while (a < before->n || b < after->n) {
		int order = a == before->n  ? 1
		            : b == after->n ? -1
		                            : memcmp(before->list[a].sha1,
		                                     after->list[b].sha1,
		                                     HBT_SHA1_LEN);

		if (order < 0)
			tell_thumbprint("trust_removed", who,
			                &before->list[a],
			                "is not trusted any more");
		else if (order > 0)
			tell_thumbprint("trust_added", who, &after->list[b],
			                "is trusted from now on");
		a += order <= 0;
		b += order >= 0;
	}
}

bool hbt_audit_wants_calls(void)
{
	return wants_calls;
}
