/*
 * The switchboard: joins whoever asks with whoever can carry, by endpoint. It
 * knows nothing of TLS, parameters or sockets. design: "Sources and sinks
 * around a switchboard"
 */
#ifndef HBT_QUEUE_SWITCHBOARD_H
#define HBT_QUEUE_SWITCHBOARD_H

#include "base/limits.h"
#include "queue/queue.h"

struct hbt_switchboard;

/* Makes the queue of an endpoint on its first use; the Redis queue plugs in
 * here. key is hbt_uri_key() of a poll:// or queue:// URI, with its path. */
typedef struct hbt_queue *(*hbt_queue_factory)(void *arg, const char *key);

/* factory NULL: memory queues. NULL when memory is short. */
struct hbt_switchboard *hbt_switchboard_new(struct event_base *base,
                                            hbt_queue_factory factory,
                                            void *arg);
/* Frees all queues: see there for what their requests end with. */
void hbt_switchboard_free(struct hbt_switchboard **sb);

/*
 * The queue of a poll:// or queue:// URI, made when new. NULL when uri is
 * none of those (or memory is short). Good until control returns to the loop,
 * and as long as a request or taker is in it or its users say so: queue.h.
 */
struct hbt_queue *hbt_switchboard_queue(struct hbt_switchboard *sb,
                                        const char *uri);

/* Calls fn for every queue, in no order. fn may not add queues. */
void hbt_switchboard_each(struct hbt_switchboard *sb,
                          void (*fn)(void *arg, struct hbt_queue *q),
                          void *arg);

/* The same in steps: the next queue at or behind *at; 0 begins. As
 * hbt_slots_next(). */
struct hbt_queue *hbt_switchboard_next(const struct hbt_switchboard *sb,
                                       uint64_t *at);

/* The queue of a key, or NULL; it is not made, nor counted as used. */
struct hbt_queue *hbt_switchboard_find(const struct hbt_switchboard *sb,
                                       const char *key);

/* Frees queues that nobody uses and that were idle for ms: a caller that asks
 * for ever new endpoints must not bloat us. Looks at a thousand of them, the
 * next time at the next: to be called once a second from the loop, not from a
 * callback of a queue. */
void hbt_switchboard_trim(struct hbt_switchboard *sb, int64_t ms);

#endif
