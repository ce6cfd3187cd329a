/* One line a fact, written at once with one write(2), under 4096 bytes. */
#ifndef HBT_BASE_LOG_H
#define HBT_BASE_LOG_H

#include <stdbool.h>

enum hbt_log_level {
	HBT_LOG_ERROR,
	HBT_LOG_WARNING,
	HBT_LOG_INFO,
	HBT_LOG_DEBUG,
};

/* Called with one finished line without newline. */
typedef void (*hbt_log_sink)(void *arg, enum hbt_log_level level,
                             const char *line);

/*
 * What stands in front of each line, e.g. "worker 3". The text is copied,
 * up to 31 bytes. Default: empty.
 */
void hbt_log_set_process(const char *name);
void hbt_log_set_level(enum hbt_log_level level);
bool hbt_log_wants(enum hbt_log_level level);

/* NULL restores the default: standard error, with an ISO 8601 UTC time. */
void hbt_log_set_sink(hbt_log_sink sink, void *arg);

/* "error", "warning", "info", "debug"; returns -1 for anything else. */
int hbt_log_level_parse(const char *text);

/* Bytes below 0x20 and 0x7f inside the text are written as \xNN. */
void hbt_log(enum hbt_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...) hbt_log(HBT_LOG_ERROR, __VA_ARGS__)
#define log_warning(...) hbt_log(HBT_LOG_WARNING, __VA_ARGS__)
#define log_info(...) hbt_log(HBT_LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                         \
	do {                                                                   \
		if (hbt_log_wants(HBT_LOG_DEBUG))                              \
			hbt_log(HBT_LOG_DEBUG, __VA_ARGS__);                   \
	} while (0)

#endif
