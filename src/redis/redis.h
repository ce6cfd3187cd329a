/*
 * A Redis server as the queue sees it: one connection for commands, one for
 * subscriptions, both kept alive, reconnected and replayed in here. It knows
 * nothing of Halibut. redis-queue 5, 15, 18.3
 *
 * Callbacks come from the loop, never from inside the function that asked.
 */
#ifndef HBT_REDIS_REDIS_H
#define HBT_REDIS_REDIS_H

#include <event2/dns.h>
#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "redis/options.h"

struct hbt_redis;
struct hbt_redis_batch;
struct hbt_redis_listener;

/*
 * options is copied. Connecting begins at once, in the background, and never
 * ends: no server is no error here. The operator's Redis server is down or
 * wrong, or refuses to write: one log line when that begins, one when it ends.
 */
int hbt_redis_new(struct hbt_redis **out, struct event_base *base,
                  struct evdns_base *dns,
                  const struct hbt_redis_options *options,
                  struct halibut_error *err);
/* Batches end with HALIBUT_ESHUTDOWN before this returns (the exception to
 * the rule above); listeners that are left hear nothing any more. */
void hbt_redis_free(struct hbt_redis **r);

/* ---- Commands ---- */

/*
 * A batch: commands that are written together, in order, and whose replies
 * are handed over together. When the connection is lost, or the server says
 * that it cannot now (LOADING, READONLY, OOM, MASTERDOWN, …: every error
 * reply counts, 5.2), the whole batch is sent again, a second later or as
 * soon as the server is back, until its window has passed. So it may hold
 * only what may happen twice; see the table in 5.2.
 */
struct hbt_redis_batch *hbt_redis_batch_new(struct hbt_redis *r);
/* hiredis' format: %s a string, %b pointer and size_t. A failure (memory)
 * sticks and is reported by send. */
void hbt_redis_batch_add(struct hbt_redis_batch *b, const char *format, ...);
/* The same for a list of arguments. */
void hbt_redis_batch_add_argv(struct hbt_redis_batch *b, int argc,
                              const char **argv, const size_t *lens);

/* replies: n of them, none of them an error; the library's, valid during the
 * call. err: NULL when it went well; else it names the server and the last
 * failure, and replies is NULL. The batch is gone afterwards. */
typedef void (*hbt_redis_done_fn)(void *arg, redisReply **replies, size_t n,
                                  const struct halibut_error *err);
/*
 * What is added in between happens as a whole or not at all, even if the
 * connection or this process ends in the middle: MULTI and EXEC, once a batch,
 * whose replies are among the others. A server that refuses MULTI executes it
 * as ever, and is not asked again.
 */
void hbt_redis_batch_begin(struct hbt_redis_batch *b);
void hbt_redis_batch_commit(struct hbt_redis_batch *b);
/*
 * window_ms: how long to try again after failures (30 s in the reference: 5.2);
 * 0: a single attempt. A batch that is not the connection's fault and was
 * refused with an error that cannot change (ERR syntax, WRONGTYPE, NOPERM,
 * NOAUTH …) still follows the rule, as the reference does. done may be NULL.
 * HALIBUT_ESYSTEM is what a failure's status is, HALIBUT_ETIMEOUT when there
 * was no answer.
 */
void hbt_redis_batch_send(struct hbt_redis_batch *b, int64_t window_ms,
                          hbt_redis_done_fn done, void *arg);
/* Inside done(): a connection broke after it was written there, so that Redis
 * may have executed it, or a part of it, more than once. */
bool hbt_redis_batch_was_repeated(const struct hbt_redis_batch *b);
/* Forgets it: done is not called. Commands already written may still be
 * executed. Also for one that was never sent. */
void hbt_redis_batch_cancel(struct hbt_redis_batch **b);

#define HBT_REDIS_WINDOW_MS 30000 /* MaxDurationToRetryFor */

/* ---- Subscriptions ---- */

/*
 * Embedded in the listener's own struct. Channels are counted: SUBSCRIBE goes
 * out for the first listener of a channel, UNSUBSCRIBE some time after the
 * last, both many at a time (variadic, once a turn of the loop; UNSUBSCRIBE
 * collected for up to a second).
 */
struct hbt_redis_listener {
	/* payload need not end with a NUL. channel: the actual one, also for a
	 * pattern. */
	void (*message)(struct hbt_redis_listener *l, const char *channel,
	                const char *payload, size_t len);
	/*
	 * The subscription is established: after the first time, and again
	 * after each loss of the connection. Messages in between are lost:
	 * whoever relies on them looks now for what they would have told. May be
	 * NULL.
	 */
	void (*established)(struct hbt_redis_listener *l);
	/* The server refused it (ACL); it is tried again with the next
	 * connection, or not at all when this removes it. May be NULL. */
	void (*refused)(struct hbt_redis_listener *l, const char *why);

	/* The library's. */
	struct hbt_redis_channel *channel;
	struct hbt_redis_listener *next, *prev;
	bool told; /* established() was called */
};

/* channelPrefix of the options is put in front in here. pattern: PSUBSCRIBE.
 * HALIBUT_OK or HALIBUT_ENOMEM. */
int hbt_redis_listen(struct hbt_redis *r, struct hbt_redis_listener *l,
                     const char *channel, bool pattern);
/* No-op when it does not listen. May be called from its own callbacks. */
void hbt_redis_unlisten(struct hbt_redis *r, struct hbt_redis_listener *l);
bool hbt_redis_is_established(const struct hbt_redis_listener *l);
/* PUBLISH with channelPrefix; part of a batch. */
void hbt_redis_batch_publish(struct hbt_redis_batch *b, const char *channel,
                             const char *payload, size_t len);

/* ---- What an operator sees ---- */

struct hbt_redis_state {
	bool commands_up, subscriber_up;
	char server[256];       /* where it is connected or tries to: no secret */
	char last_error[512];   /* "" when there was none */
	int64_t last_error_ms;  /* hbt_now_ms(); 0: there was none */
	int64_t up_since_ms;    /* hbt_now_ms(); 0: not up */
	int64_t down_since_ms;  /* 0: up */
	bool was_up;            /* once at least since hbt_redis_new() */
	/* It is there, but takes nothing new: full, for instance. 0: it does. */
	int64_t refusing_since_ms;
	char refusal[512];      /* what it said, and what mends it; or "" */
	uint64_t outages, reconnects;
	uint64_t commands, failures, retries;
	uint64_t bytes_out, bytes_in;
	uint32_t latency_us;    /* of commands, smoothed as TCP does */
	size_t in_flight, channels;
};
void hbt_redis_state(const struct hbt_redis *r, struct hbt_redis_state *out);

/* Told when up (both connections) changes; one observer. NULL: none. */
void hbt_redis_observe(struct hbt_redis *r,
                       void (*changed)(void *arg, bool up), void *arg);

#endif
