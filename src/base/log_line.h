/* The forms of a log line: for log.c alone. */
#ifndef HBT_BASE_LOG_LINE_H
#define HBT_BASE_LOG_LINE_H

#include <time.h>
#include "base/log.h"

/* A line and its newline stay within what a pipe takes in one piece. */
#define HBT_LOG_LINE_MAX 4095

struct hbt_log_record {
	struct timespec time;
	enum hbt_log_level level;
	enum hbt_log_area area;
	const char *process; /* may be empty */
	long pid;
	const struct hbt_log_about *about; /* not NULL */
	const char *message;
};

/* "process: message", without newline; line has HBT_LOG_LINE_MAX bytes. */
void hbt_log_line_text(const struct hbt_log_record *rec, char *line);
/* A whole line with its newline, in a format; returns its length. */
size_t hbt_log_line(const struct hbt_log_record *rec,
                    enum hbt_log_format format, char *line);

#endif
