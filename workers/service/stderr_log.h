/*
 * What a program says on its standard error: logged line by line at a
 * bounded rate, and its last lines kept for the error that may follow.
 */
#ifndef HBT_SERVICE_STDERR_LOG_H
#define HBT_SERVICE_STDERR_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "bounds.h"

struct hbt_svc_stderr {
	char line[SVC_STDERR_LINE + 1]; /* not complete yet */
	size_t len;
	char last[SVC_STDERR_LAST][SVC_STDERR_LINE + 1];
	unsigned n_lines; /* in all; the newest is last[(n - 1) % LAST] */
	double tokens;    /* lines that may be logged now */
	int64_t filled_ms;
	unsigned long dropped;
};

void hbt_svc_stderr_init(struct hbt_svc_stderr *s, int64_t now_ms);
/* name stands in front of each line, e.g. "IEchoService (pid 12)". */
void hbt_svc_stderr_add(struct hbt_svc_stderr *s, const char *name,
                        const char *data, size_t len, int64_t now_ms);
/* The program ended: logs a line without an end, and what was dropped. */
void hbt_svc_stderr_end(struct hbt_svc_stderr *s, const char *name,
                        int64_t now_ms);
/* The last lines, joined by " / ", malloced; "" when there were none. NULL
 * when memory is short. */
char *hbt_svc_stderr_last(const struct hbt_svc_stderr *s);

#endif
