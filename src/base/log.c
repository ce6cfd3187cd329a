/* One line a fact, written at once with one write(2), under 4096 bytes. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A line and its newline stay within what a pipe takes in one piece. */
#define LINE_MAX_BYTES 4095
#define PROCESS_MAX 32

static const char *const level_names[] = {"error", "warning", "info", "debug"};

static char process[PROCESS_MAX];
static enum hbt_log_level max_level = HBT_LOG_INFO;
static hbt_log_sink line_sink;
static void *line_sink_arg;

void hbt_log_set_process(const char *name)
{
	snprintf(process, sizeof(process), "%s", name != NULL ? name : "");
}

void hbt_log_set_level(enum hbt_log_level level)
{
	max_level = level;
}

bool hbt_log_wants(enum hbt_log_level level)
{
	return level <= max_level;
}

void hbt_log_set_sink(hbt_log_sink sink, void *arg)
{
	line_sink = sink;
	line_sink_arg = arg;
}

int hbt_log_level_parse(const char *text)
{
	for (int i = HBT_LOG_ERROR; i <= HBT_LOG_DEBUG; i++)
		if (strcmp(text, level_names[i]) == 0)
			return i;
	return -1;
}

/*
 * Copies text to line, control bytes as \xNN, so that what a peer sends can
 * neither start a new line nor speak to a terminal. Cuts at the end of line.
 */
static void append_escaped(char *line, size_t cap, const char *text)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = strlen(line);

	for (; *text != '\0'; text++) {
		uint8_t c = (uint8_t)*text;
		bool control = c < 0x20 || c == 0x7f;

		if (n + (control ? 4 : 1) >= cap)
			break;
		if (control) {
			line[n++] = '\\';
			line[n++] = 'x';
			line[n++] = digits[c >> 4];
			line[n++] = digits[c & 15];
		} else {
			line[n++] = (char)c;
		}
	}
	line[n] = '\0';
}

static void write_line(enum hbt_log_level level, const char *line)
{
	char out[LINE_MAX_BYTES + 1];
	struct timespec now;
	struct tm utc;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	n = strftime(out, sizeof(out), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(out + n, sizeof(out) - n, ".%03ldZ %-7s %s",
	         now.tv_nsec / 1000000, level_names[level], line);
	n = strlen(out);
	if (n == LINE_MAX_BYTES)
		n--;
	out[n++] = '\n';
	/* A log that cannot be written has nobody left to be told. */
	while (write(STDERR_FILENO, out, n) < 0 && errno == EINTR)
		continue;
}

void hbt_log(enum hbt_log_level level, const char *fmt, ...)
{
	char text[LINE_MAX_BYTES + 1], line[LINE_MAX_BYTES + 1] = "";
	int saved_errno = errno; /* callers log before they look at it */
	va_list ap;

	if (!hbt_log_wants(level))
		return;
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		snprintf(text, sizeof(text), "%s", fmt);
	va_end(ap);
	if (process[0] != '\0') {
		append_escaped(line, sizeof(line), process);
		append_escaped(line, sizeof(line), ": ");
	}
	append_escaped(line, sizeof(line), text);
	if (line_sink != NULL)
		line_sink(line_sink_arg, level, line);
	else
		write_line(level, line);
	errno = saved_errno;
}
