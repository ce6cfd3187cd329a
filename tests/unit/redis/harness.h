/* A loop, a log that is counted, and connections, for the tests beside. */
#ifndef TESTS_REDIS_HARNESS_H
#define TESTS_REDIS_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "redis/redis.h"

#define DEADLINE_MS 30000

struct harness {
	struct event_base *base;
	struct hbt_redis *redis;
	int warnings, infos; /* lines of the log */
	char warning[4096], info[4096];
};
extern struct harness h;

int harness_start(void **state);
int harness_stop(void **state);

/* Options of url with short times; for harness_connect_with(). */
struct hbt_redis_options harness_options(const char *url);
/* o ends here. */
void harness_connect_with(struct hbt_redis_options *o);
void harness_connect(const char *url);

/* Runs the loop until cond, which every turn may have changed. */
#define AWAIT(cond)                                                            \
	do {                                                                   \
		harness_arm();                                                 \
		while (!(cond))                                                \
			harness_turn(#cond);                                   \
		harness_disarm();                                              \
	} while (0)
void harness_arm(void);
void harness_disarm(void);
void harness_turn(const char *what);
/* What is due in this turn, without waiting. */
void harness_settle(void);
/* Runs the loop for so long: only where nothing may happen. */
void harness_idle(int ms);

bool harness_is_up(void);

/* A batch that ended. */
struct outcome {
	bool done;
	int status; /* HALIBUT_OK or err's */
	char text[1024]; /* err's, or the replies with a space after each */
	size_t n;
	int64_t at_ms;
};
void harness_done(void *arg, redisReply **replies, size_t n,
                  const struct halibut_error *err);
/* One command, of words without spaces in them. */
void harness_send(struct outcome *out, int64_t window_ms, const char *format,
                  ...) __attribute__((format(printf, 3, 4)));

/* A listener that counts. */
struct ear {
	struct hbt_redis_listener l;
	int messages, established, refused;
	char channel[256], payload[256], why[256];
	/* Called at the end of message() and established(). */
	void (*hook)(struct ear *ear);
};
void ear_open(struct ear *e, const char *channel, bool pattern);

/* Commands and messages go there and back, with the rights of the queue. */
void harness_works(void);
/* A command fails with both of these in its reason, and one warning. */
void harness_fails_with(const char *one, const char *two);

#endif
