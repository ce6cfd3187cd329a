/* One line a fact, written at once with one write(2), under 4096 bytes. */
#ifndef HBT_BASE_LOG_H
#define HBT_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum hbt_log_level {
	HBT_LOG_ERROR,
	HBT_LOG_WARNING,
	HBT_LOG_INFO,
	HBT_LOG_DEBUG,
};

/*
 * What a line belongs to, and a level is set for. A line gets its area from
 * the directory of the source that logs it; see log.c.
 */
enum hbt_log_area {
	HBT_LOG_GATEWAY, /* the master, and all that is in no other area */
	HBT_LOG_CONNECTIONS,
	HBT_LOG_QUEUES,
	HBT_LOG_REDIS,
	HBT_LOG_SERVICES,
	HBT_LOG_STATUS,
	HBT_LOG_AREAS,
};

enum hbt_log_format {
	HBT_LOG_TEXT,
	HBT_LOG_JSON,    /* one object a line */
	HBT_LOG_JOURNAL, /* <PRIORITY>text, as sd-daemon(3) says; no time */
};

/*
 * What a line is about, for programs that read logs: fields of the JSON form.
 * The text of a line says all of it in prose. Each may be NULL; a line whose
 * event has no name of its own is a "problem", a "note" or a "detail".
 */
struct hbt_log_about {
	const char *event; /* "connection_refused"; words that never change */
	const char *peer, *thumbprint, *endpoint, *activity;
	const char *reason, *remedy;
};
#define LOG_ABOUT(...) (&(const struct hbt_log_about){__VA_ARGS__})

/* Called with one finished line of text without newline. */
typedef void (*hbt_log_sink)(void *arg, enum hbt_log_level level,
                             const char *line);

/*
 * What stands in front of each line, e.g. "worker 3". The text is copied,
 * up to 31 bytes. Default: empty.
 */
void hbt_log_set_process(const char *name);
/* Of all areas, or of one. */
void hbt_log_set_level(enum hbt_log_level level);
void hbt_log_set_area_level(enum hbt_log_area area, enum hbt_log_level level);
enum hbt_log_level hbt_log_area_level(enum hbt_log_area area);
/* By the area of the source file that asks. */
#define hbt_log_wants(level) hbt_log_wants_from(__FILE__, level)
bool hbt_log_wants_from(const char *file, enum hbt_log_level level);

/*
 * Hears every line as well, as a JSON object without newline; what it logs
 * itself, it does not hear. NULL: nobody.
 */
typedef void (*hbt_log_tee)(void *arg, const char *object, size_t len);
void hbt_log_set_tee(hbt_log_tee tee, void *arg);

/* NULL restores the default: standard error, in the format that is set. */
void hbt_log_set_sink(hbt_log_sink sink, void *arg);
/* Default: text, with an ISO 8601 UTC time. */
void hbt_log_set_format(enum hbt_log_format format);
enum hbt_log_format hbt_log_format(void);
/*
 * The format that suits standard error: what the environment variable
 * HALIBUT_LOG_FORMAT says, text on a terminal, the journal's when systemd
 * says that it is the journal (JOURNAL_STREAM), else JSON.
 */
enum hbt_log_format hbt_log_detect_format(void);
/* For the beginning of a program: its name, and the format that suits. */
void hbt_log_begin(const char *name);

/* By name; -1 for anything else. Names are lower case. */
int hbt_log_level_parse(const char *text); /* "error" ... "debug" */
int hbt_log_area_parse(const char *text);
int hbt_log_format_parse(const char *text);
const char *hbt_log_level_name(enum hbt_log_level level);
const char *hbt_log_area_name(enum hbt_log_area area);
const char *hbt_log_format_name(enum hbt_log_format format);

/*
 * Bytes of a peer cannot forge a line or speak to a terminal: control
 * characters, text direction marks and what is no UTF-8 are written as \xNN.
 * What is too long ends in an ellipsis. errno stays as it was.
 */
void hbt_log_from(const char *file, enum hbt_log_level level,
                  const struct hbt_log_about *about, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* One JSON object to another file, whatever the levels are. False, with errno,
 * when it was not written. */
bool hbt_log_object_to(int fd, enum hbt_log_level level,
                       const struct hbt_log_about *about, const char *message);

#define log_error(...) log_event(HBT_LOG_ERROR, NULL, __VA_ARGS__)
#define log_warning(...) log_event(HBT_LOG_WARNING, NULL, __VA_ARGS__)
#define log_info(...) log_event(HBT_LOG_INFO, NULL, __VA_ARGS__)
#define log_debug(...) log_event(HBT_LOG_DEBUG, NULL, __VA_ARGS__)
/* log_event(HBT_LOG_INFO, LOG_ABOUT(.event = "x", .peer = p), "%s is x", p) */
#define log_event(level, about, ...)                                           \
	do {                                                                   \
		if (hbt_log_wants(level))                                      \
			hbt_log_from(__FILE__, level, about, __VA_ARGS__);     \
	} while (0)

#endif
