/* One line a fact, written at once with one write(2), under 4096 bytes. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log_line.h"

#define PROCESS_MAX 32
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const char *const format_names[] = {"text", "json", "journal"};
static const char *const area_names[HBT_LOG_AREAS] = {
	[HBT_LOG_GATEWAY] = "gateway", [HBT_LOG_CONNECTIONS] = "connections",
	[HBT_LOG_QUEUES] = "queues",   [HBT_LOG_REDIS] = "redis",
	[HBT_LOG_SERVICES] = "services", [HBT_LOG_STATUS] = "status",
};

/* What the sources of a directory log is of an area. */
static const struct {
	const char *directory;
	enum hbt_log_area area;
} directories[] = {
	{"net/", HBT_LOG_CONNECTIONS},     {"exchange/", HBT_LOG_CONNECTIONS},
	{"runtime/", HBT_LOG_CONNECTIONS}, {"connection/", HBT_LOG_CONNECTIONS},
	{"queue/", HBT_LOG_QUEUES},        {"redis/", HBT_LOG_REDIS},
	{"store/", HBT_LOG_REDIS},         {"service/", HBT_LOG_SERVICES},
	{"status/", HBT_LOG_STATUS},
};

/* Of lines for which nobody found another word. */
static const struct hbt_log_about nameless[] = {
	[HBT_LOG_ERROR] = {.event = "problem"},
	[HBT_LOG_WARNING] = {.event = "problem"},
	[HBT_LOG_INFO] = {.event = "note"},
	[HBT_LOG_DEBUG] = {.event = "detail"},
};

static char process[PROCESS_MAX];
static enum hbt_log_level levels[HBT_LOG_AREAS] = {
	HBT_LOG_INFO, HBT_LOG_INFO, HBT_LOG_INFO,
	HBT_LOG_INFO, HBT_LOG_INFO, HBT_LOG_INFO,
};
static enum hbt_log_level max_level = HBT_LOG_INFO; /* of all areas */
static enum hbt_log_format line_format = HBT_LOG_TEXT;
static hbt_log_sink line_sink;
static void *line_sink_arg;
static hbt_log_tee line_tee;
static void *line_tee_arg;

void hbt_log_set_process(const char *name)
{
	snprintf(process, sizeof(process), "%s", name != NULL ? name : "");
}

void hbt_log_set_area_level(enum hbt_log_area area, enum hbt_log_level level)
{
	levels[area] = level;
	max_level = HBT_LOG_ERROR;
	for (size_t i = 0; i < COUNT(levels); i++)
		if (levels[i] > max_level)
			max_level = levels[i];
}

void hbt_log_set_level(enum hbt_log_level level)
{
	for (size_t i = 0; i < COUNT(levels); i++)
		hbt_log_set_area_level((enum hbt_log_area)i, level);
}

enum hbt_log_level hbt_log_area_level(enum hbt_log_area area)
{
	return levels[area];
}

static enum hbt_log_area area_of(const char *file)
{
	const char *name = strrchr(file, '/');

	for (size_t i = 0; name != NULL && i < COUNT(directories); i++) {
		size_t len = strlen(directories[i].directory);

		/* The slash in front of the name is the last of the two. */
		if ((size_t)(name + 1 - file) > len &&
		    name[-(ptrdiff_t)len] == '/' &&
		    memcmp(name + 1 - len, directories[i].directory, len) == 0)
			return directories[i].area;
	}
	return HBT_LOG_GATEWAY;
}

bool hbt_log_wants_from(const char *file, enum hbt_log_level level)
{
	/* The first test decides on every request, mostly. */
	return level <= max_level && level <= levels[area_of(file)];
}

void hbt_log_set_sink(hbt_log_sink sink, void *arg)
{
	line_sink = sink;
	line_sink_arg = arg;
}

void hbt_log_set_tee(hbt_log_tee tee, void *arg)
{
	line_tee = tee;
	line_tee_arg = arg;
}

void hbt_log_set_format(enum hbt_log_format format)
{
	line_format = format;
}

enum hbt_log_format hbt_log_format(void)
{
	return line_format;
}

static bool is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream != NULL &&
	       sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device &&
	       st.st_ino == inode;
}

enum hbt_log_format hbt_log_detect_format(void)
{
	const char *told = getenv("HALIBUT_LOG_FORMAT");
	int format = told != NULL ? hbt_log_format_parse(told) : -1;

	if (format >= 0)
		return (enum hbt_log_format)format;
	if (isatty(STDERR_FILENO))
		return HBT_LOG_TEXT;
	return is_journal() ? HBT_LOG_JOURNAL : HBT_LOG_JSON;
}

void hbt_log_begin(const char *name)
{
	hbt_log_set_process(name);
	hbt_log_set_format(hbt_log_detect_format());
}

static int find(const char *const *names, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(text, names[i]) == 0)
			return (int)i;
	return -1;
}

int hbt_log_level_parse(const char *text)
{
	return find(level_names, COUNT(level_names), text);
}

int hbt_log_area_parse(const char *text)
{
	return find(area_names, COUNT(area_names), text);
}

int hbt_log_format_parse(const char *text)
{
	return find(format_names, COUNT(format_names), text);
}

const char *hbt_log_level_name(enum hbt_log_level level)
{
	return level_names[level];
}

const char *hbt_log_area_name(enum hbt_log_area area)
{
	return area_names[area];
}

const char *hbt_log_format_name(enum hbt_log_format format)
{
	return format_names[format];
}

static bool write_all(int fd, const char *text, size_t n)
{
	ssize_t written;

	do
		written = write(fd, text, n);
	while (written < 0 && errno == EINTR);
	return written == (ssize_t)n;
}

static bool write_line(int fd, const struct hbt_log_record *rec,
                       enum hbt_log_format format)
{
	char line[HBT_LOG_LINE_MAX];
	size_t n = hbt_log_line(rec, format, line);

	return write_all(fd, line, n);
}

/* A log that cannot be written, on a full disk, has nobody to be told; but
 * it says so once it can. */
static void write_or_count(const struct hbt_log_record *rec)
{
	static unsigned long lost;
	char text[80];
	struct hbt_log_record note = *rec;

	if (lost > 0) {
		snprintf(text, sizeof(text),
		         "%lu lines could not be written before this one",
		         lost);
		note.level = HBT_LOG_WARNING;
		note.area = HBT_LOG_GATEWAY;
		note.about = LOG_ABOUT(.event = "log_lost",
		                       .remedy = "look for a full disk");
		note.message = text;
		/* A part of the first of them may be there. */
		if (write_all(STDERR_FILENO, "\n", 1) &&
		    write_line(STDERR_FILENO, &note, line_format))
			lost = 0;
	}
	if (!write_line(STDERR_FILENO, rec, line_format))
		lost++;
}

bool hbt_log_object_to(int fd, enum hbt_log_level level,
                       const struct hbt_log_about *about, const char *message)
{
	struct hbt_log_record rec = {
		.level = level,
		.area = HBT_LOG_GATEWAY,
		.process = process,
		.pid = (long)getpid(),
		.about = about,
		.message = message,
	};

	clock_gettime(CLOCK_REALTIME, &rec.time);
	return write_line(fd, &rec, HBT_LOG_JSON);
}

static void tell_tee(const struct hbt_log_record *rec)
{
	hbt_log_tee tee = line_tee;
	char line[HBT_LOG_LINE_MAX];
	size_t n;

	if (tee == NULL)
		return;
	n = hbt_log_line(rec, HBT_LOG_JSON, line);
	line_tee = NULL;
	tee(line_tee_arg, line, n - 1);
	line_tee = tee;
}

void hbt_log_from(const char *file, enum hbt_log_level level,
                  const struct hbt_log_about *about, const char *fmt, ...)
{
	int saved_errno = errno; /* callers log before they look at it */
	char message[HBT_LOG_LINE_MAX + 1], line[HBT_LOG_LINE_MAX];
	struct hbt_log_record rec = {
		.level = level,
		.area = area_of(file),
		.process = process,
		.pid = (long)getpid(),
		.about = about != NULL ? about : &nameless[level],
		.message = message,
	};
	va_list ap;

	clock_gettime(CLOCK_REALTIME, &rec.time);
	va_start(ap, fmt);
	if (vsnprintf(message, sizeof(message), fmt, ap) < 0)
		rec.message = fmt;
	va_end(ap);
	if (line_sink == NULL) {
		write_or_count(&rec);
	} else {
		hbt_log_line_text(&rec, line);
		line_sink(line_sink_arg, level, line);
	}
	tell_tee(&rec);
	errno = saved_errno;
}
