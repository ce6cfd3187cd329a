/*
 * What the files of the Redis queue share.
 *
 *   redis_queue.c    the queue of an endpoint: takers, looks into the list
 *   redis_list.c     the time-to-live of that list
 *   redis_send*.c    a request of this process, until it has its answer
 *   redis_lost.c     whether the node that took a request has lost it
 *   redis_receive*.c a request that was taken out of Redis, until its
 *                    response is there
 *   redis_node.c     what they share: time, pulses, tidying up
 *   redis_guard.c    whether Redis lost its data
 */
#ifndef HBT_QUEUE_REDIS_PRIVATE_H
#define HBT_QUEUE_REDIS_PRIVATE_H

#include "base/guid.h"
#include "base/hash.h"
#include "queue/redis_errors.h"
#include "queue/redis_names.h"
#include "queue/redis_queue.h"

/* Something that is due at some time: one timer for all of a node. */
struct redis_due { /* zero: not set */
	struct hbt_deadline deadline;
	void (*fn)(struct redis_due *due); /* may free what it is part of */
};

struct redis_send;
struct redis_receive;
struct redis_queue;
TAILQ_HEAD(redis_send_list, redis_send);
TAILQ_HEAD(redis_receive_list, redis_receive);

/* Of a message's DataStreams, before it goes on: a store that lost them is then
 * an error of the call, not a connection that breaks. */
#define REDIS_READ_AHEAD (256 * 1024)

struct redis_lost { /* zero: at_ms is set by one of its functions */
	int64_t listeners; /* to the endpoint's pulse when the request came */
	int64_t at_ms;     /* when it is asked next; INT64_MAX: not */
	unsigned nobody;   /* so many answers in a row: nobody carries it */
	struct hbt_redis_batch *batch;
	void (*answered)(struct redis_lost *l, bool is_lost);
};

struct redis_guard {
	bool watched;
	char id[HBT_GUID_TEXT];
	struct hbt_redis_batch *batch;
	struct redis_due due;
	int64_t looked_ms;
	uint64_t losses;
};

struct hbt_redis_node {
	struct event_base *base;
	struct hbt_redis *redis;
	struct hbt_store *store;
	struct hbt_wrappers *wrappers;
	const struct hbt_limits *limits;
	struct hbt_redis_times times;
	char *prefix;

	struct hbt_deadlines deadlines;
	struct event *timer;
	int64_t timer_at_ms; /* INT64_MAX: it is not running */

	struct redis_guard guard;
	struct redis_send *by_ref;     /* those that wait for a response */
	struct redis_send_list fresh;  /* wait until data is watched over */
	struct redis_send_list sends;  /* all others */
	struct redis_receive_list receives; /* all */
	size_t n_sending, n_receiving;

	LIST_HEAD(, redis_queue) queues;
	bool paused;     /* nothing is taken out of Redis */
	size_t n_taking; /* looks, and what of n_coming came of them */
	void (*settled)(void *arg); /* NULL: nobody waits for that */
	void *settled_arg;

	/* The pattern that brings the pulses of all responses. */
	struct hbt_redis_listener pattern;
	bool may_use_pattern;
	bool pattern_began; /* it was established since it is listened to */
	uint64_t pulses_ours, pulses_foreign; /* since it was last judged */
	/* Requests since it was left, and until it is tried again. */
	uint64_t alone, alone_max;
	bool no_llen; /* the ACL does not allow it */

	/* Responses that were read and wait for their UNLINK. */
	char **read_keys;
	size_t n_read_keys;
	struct redis_due tidy;

	uint64_t beats_out, beats_in;
};

/* Of an endpoint's list of ids: its time-to-live. */
struct redis_list {
	bool heard;     /* somebody, of the last push */
	bool served;    /* what was pushed lately was popped soon */
	size_t watched; /* pushed since it was armed, not known to be popped */
	unsigned round; /* another one each time that it is armed */
	int64_t armed_ms;
	struct hbt_redis_batch *batch; /* arms it */
	struct redis_due due;
};

/* An endpoint's queue. */
struct redis_queue {
	struct hbt_queue q;
	struct hbt_queue receiving; /* of what takers carry; q.ops are not its */
	struct hbt_redis_node *node;
	LIST_ENTRY(redis_queue) link; /* of the node's */

	struct redis_send_list sends; /* those whose origin waits */
	struct hbt_pending_list starved; /* no memory for them; they fail */
	struct redis_due starved_due;
	size_t n_waiting, n_collected, waiting_bytes;

	struct hbt_taker_list takers;
	size_t n_takers;
	struct redis_receive_list received; /* taken out of Redis by us */
	struct hbt_pending_list returned;   /* they need another taker */
	size_t n_remote; /* of received: carried, and not ours to begin with */
	size_t n_coming; /* ids and requests on their way to a taker */
	bool matching;

	struct hbt_redis_listener pulse; /* while there are takers */
	size_t expected; /* pulses that no look accounts for yet */
	bool unsure;     /* there may be ids without a pulse */
	size_t burst;    /* how many ids an unsure look asks for */
	struct redis_look *look;
	struct redis_due look_due;

	struct redis_list list;
};

/* ---- redis_node.c ---- */

void redis_due_set(struct hbt_redis_node *n, struct redis_due *due,
                   int64_t at_ms);
void redis_due_clear(struct hbt_redis_node *n, struct redis_due *due);
/* *to becomes at_ms if that is sooner. */
static inline void redis_due_lower(int64_t *to, int64_t at_ms)
{
	if (at_ms < *to)
		*to = at_ms;
}

/* EXPIRE, or PEXPIRE when it is no whole number of seconds. 2.5 */
void redis_add_expire(struct hbt_redis_batch *b, const char *key,
                      int64_t ttl_ms);
/* HMSET of the two fields, and EXPIRE; a large one is never there without. */
void redis_add_message(struct hbt_redis_batch *b, const char *key,
                       const uint8_t *body, size_t body_len,
                       const uint8_t *metadata, size_t metadata_len,
                       int64_t ttl_ms);
/*
 * What an HMGET of these two fields replied. The copies are the caller's;
 * *body is set on success, *metadata NULL or set in any case.
 */
int redis_read_message(const redisReply *fields, uint8_t **body,
                       size_t *body_len, uint8_t **metadata,
                       size_t *metadata_len, struct halibut_error *err);
/* The response of this request was read: its key may go. */
void redis_tidy(struct hbt_redis_node *n, const char *ref);
/*
 * Publishes a heart beat. *batch is not NULL while it waits for Redis, so that
 * after an outage the other node hears at once that we live.
 */
void redis_beat(struct hbt_redis_node *n, struct hbt_redis_batch **batch,
                enum hbt_redis_kind channel, const char *ref,
                const char *json);
/* A time, rounded up so that many beats go out together. */
int64_t redis_beat_time(int64_t at_ms);

/* The pulses of all responses are listened to, for the request that begins now
 * and those after it; else it listens to its own. */
bool redis_hears_responses(struct hbt_redis_node *n);

/* Nothing of n_taking is left? */
void redis_settle(struct hbt_redis_node *n);

/* ---- redis_guard.c ---- */

void redis_guard_start(struct hbt_redis_node *n);
/* Looks at once: Redis was away. */
void redis_guard_look(struct hbt_redis_node *n);
/* A request is gone: collected, or with everything else. Looks, but not for
 * each of many. */
void redis_guard_suspect(struct hbt_redis_node *n);
void redis_guard_stop(struct hbt_redis_node *n);

/* ---- redis_send*.c, which share redis_send.h ---- */

/* False when memory is short; p is as it was. */
bool redis_send_new(struct redis_queue *rq, struct hbt_pending *p);
/* p left its queue. */
void redis_send_forget(struct redis_queue *rq, struct hbt_pending *p);
/* Ends p after Redis has said whether somebody has it. */
void redis_send_cancel(struct hbt_pending *p);
/* The queue is freed: 9. */
void redis_sends_shutdown(struct redis_queue *rq);
/* When the oldest that waits was pushed; 0: none waits. */
int64_t redis_sends_oldest_ms(const struct redis_queue *rq);
/* Somebody in this very process has taken it. */
void redis_send_taken_here(struct redis_send *s);
/* The response may be there. */
void redis_send_pulse(struct redis_send *s);
/* Data is watched over from now on. */
void redis_sends_guarded(struct hbt_redis_node *n);
void redis_sends_lost(struct hbt_redis_node *n);
/* The pattern is established: what it would have told before is looked at.
 * again: Redis was away. */
void redis_sends_look(struct hbt_redis_node *n, bool again);
/* Each listens to its own channel, if it does not yet. */
void redis_sends_listen(struct hbt_redis_node *n);
struct redis_send *redis_send_find(struct hbt_redis_node *n, const char *ref);
void redis_sends_free(struct hbt_redis_node *n);

/* ---- redis_lost.c ---- */

/* Somebody took the request just now. */
void redis_lost_start(struct redis_lost *l, const struct hbt_redis_node *n);
/* It is known that somebody carries it, or does not matter any more. */
void redis_lost_stop(struct redis_lost *l);
/* Leads to answered(). */
void redis_lost_ask(struct redis_lost *l, struct hbt_redis_node *n,
                    const char *key, const char *ref);

/* ---- redis_list.c ---- */

void redis_list_init(struct redis_queue *rq);
/* Arms it once more, if it has to be. */
void redis_list_fini(struct redis_queue *rq);
/*
 * b has just been given a push to it; then Redis has replied: somebody has heard
 * of it; and sure: the id is there once, or has a time-to-live. Then it is known
 * that somebody has popped it, which was pushed at pushed_ms. *round, 0 at
 * first, is kept by whoever pushes.
 */
void redis_list_pushing(struct redis_queue *rq, struct hbt_redis_batch *b,
                        const char *list, unsigned *round);
void redis_list_pushed(struct redis_queue *rq, unsigned *round, bool heard,
                       bool sure);
void redis_list_popped(struct redis_queue *rq, unsigned *round,
                       int64_t pushed_ms);

/* ---- redis_queue.c ---- */

/* One of n_coming is p, which waits for a taker now. */
void redis_queue_came(struct redis_queue *rq, struct hbt_pending *p);
/* One of n_coming does not come. */
void redis_queue_lost(struct redis_queue *rq);
/* The node is not paused any more. */
void redis_queue_resume(struct redis_queue *rq);

/* ---- redis_receive*.c, which share redis_receive.h ---- */

/* Takes a request whose id was popped; one of rq's n_coming. */
void redis_receive_new(struct redis_queue *rq, const struct hbt_guid *id);
/* Its taker gave p back; it is among rq->returned. */
void redis_receive_returned(struct hbt_pending *p);
/* rq is freed: its takers carry nothing any more. */
void redis_receives_shutdown(struct redis_queue *rq);
void redis_receives_lost(struct hbt_redis_node *n);
void redis_receives_free(struct hbt_redis_node *n);

#endif
