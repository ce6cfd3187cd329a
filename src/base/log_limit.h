/*
 * Lines that somebody else can cause: of those with the same key the first in
 * a minute is logged, the others are counted, and one line says how many they
 * were. From the fiftieth key of an event on they have one together. Where
 * debug lines are wanted, all are logged.
 */
#ifndef HBT_BASE_LOG_LIMIT_H
#define HBT_BASE_LOG_LIMIT_H

#include <stdint.h>
#include "base/log.h"

/* log_limited(key, HBT_LOG_WARNING, LOG_ABOUT(...), "%s refused", peer) */
#define log_limited(key, level, about, ...)                                    \
	do {                                                                   \
		if (hbt_log_wants(level))                                      \
			hbt_log_limited_from(__FILE__, key, level, about,      \
			                     __VA_ARGS__);                     \
	} while (0)
void hbt_log_limited_from(const char *file, const char *key,
                          enum hbt_log_level level,
                          const struct hbt_log_about *about, const char *fmt,
                          ...) __attribute__((format(printf, 5, 6)));

/*
 * Says what was left out in minutes that are over, and forgets those. For a
 * timer; without one it is said with the next line that is limited.
 */
void hbt_log_limit_tick(int64_t now_ms);

/* A key of lines about the same at the same source: peer is "address:port", of
 * which the port does not count. */
#define HBT_LOG_KEY 256
void hbt_log_key(char key[HBT_LOG_KEY], const char *what, const char *peer);

/*
 * A peer that was refused, once a source and reason a minute. peer is
 * "address:port"; thumbprint may be NULL.
 */
void hbt_log_refusal(const char *peer, const char *thumbprint,
                     const char *reason);

/*
 * Outages: what fails again and again until it works again, by a key such as
 * a URL. began: is this the first failure? Then log it. over: was there an
 * outage? Then log how long it took, and how many failures there were.
 */
struct hbt_outage {
	int64_t since_ms;
	unsigned failures;
};
bool hbt_outage_began(const char *key, int64_t now_ms);
bool hbt_outage_over(const char *key, struct hbt_outage *was);

#endif
