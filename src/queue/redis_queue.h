/*
 * The Redis pending request queue: the same interface as the memory queue,
 * shared by all nodes that use one Redis and one key prefix. redis-queue
 */
#ifndef HBT_QUEUE_REDIS_QUEUE_H
#define HBT_QUEUE_REDIS_QUEUE_H

#include "base/limits.h"
#include "queue/queue.h"
#include "redis/redis.h"
#include "store/store.h"
#include "store/wrap.h"

/* The times of section 4 that the reference fixes; tests shorten them. */
struct hbt_redis_times {
	int64_t request_ttl_surcharge_ms;  /* 120 s */
	int64_t list_ttl_ms;               /* 86,400 s */
	int64_t response_ttl_ms;           /* 1,200 s */
	int64_t cancel_marker_ttl_ms;      /* 900 s */
	int64_t heartbeat_delay_ms;        /* 7 s */
	int64_t heartbeat_interval_ms;     /* 15 s */
	int64_t sender_gone_ms;            /* 90 s */
	int64_t receiver_gone_ms;          /* 60 s */
	int64_t sweep_ms;                  /* 15 s: what pulses might have missed */
	int64_t idle_look_ms;              /* 30 s: PollingQueueWaitTimeout */
	int64_t data_loss_check_ms;        /* 60 s */
	int64_t data_loss_ttl_ms;          /* 28,800 s */
	int64_t data_loss_wait_ms;         /* 30 s */
	int64_t retry_window_ms;           /* 30 s */
};
void hbt_redis_times_init(struct hbt_redis_times *t);

/* What all queues of a process share. */
struct hbt_redis_node;

struct hbt_redis_node_config {
	const char *key_prefix;
	const char *node_id; /* GUID text of its own; NULL: random */
	struct hbt_redis *redis;       /* these four outlive the node */
	struct hbt_store *store;
	struct hbt_wrappers *wrappers;
	const struct hbt_limits *limits;
	struct hbt_redis_times times;
	/* Subscribe to the response pulses of all nodes with one pattern (two
	 * commands and one round trip a call less) while these are few and the
	 * ACL allows it; else to each call's own. */
	bool pattern_responses;
};
int hbt_redis_node_new(struct hbt_redis_node **out, struct event_base *base,
                       const struct hbt_redis_node_config *config);
/* After its queues. Deletes the data-loss key (best effort; waits for
 * nothing). */
void hbt_redis_node_free(struct hbt_redis_node **n);

/* NULL when memory is short. A factory for hbt_switchboard_new() is
 * hbt_redis_queue_factory with the node as arg. */
struct hbt_queue *hbt_redis_queue_new(struct hbt_redis_node *node,
                                      const char *key);
struct hbt_queue *hbt_redis_queue_factory(void *node, const char *key);

/*
 * Nothing more is taken out of Redis for the takers of this process. settled()
 * is called once, here or from the loop, when what was on its way has come to
 * them; not if hbt_redis_node_resume() comes first.
 */
void hbt_redis_node_pause(struct hbt_redis_node *n, void (*settled)(void *arg),
                          void *arg);
void hbt_redis_node_resume(struct hbt_redis_node *n);
/* So many requests may still come to takers of this queue during a pause. */
size_t hbt_redis_queue_coming(const struct hbt_queue *q);

/* For the status: what passes through this node. */
struct hbt_redis_node_state {
	size_t sending, receiving; /* requests on their way now */
	size_t taking; /* not 0: some more may come to be received */
	bool data_loss_watched;
	uint64_t data_losses, heartbeats_out, heartbeats_in;
	bool pattern_responses; /* at present */
};
void hbt_redis_node_state(const struct hbt_redis_node *n,
                          struct hbt_redis_node_state *out);

#endif
