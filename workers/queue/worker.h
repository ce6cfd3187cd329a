/*
 * The queue worker: holds the connections to Redis, where requests wait that
 * several nodes share, for the master at the other end of descriptor 3. What
 * Redis does or does not, only this process waits for it.
 *
 *   main.c      start and stop
 *   channel.c   what the master says
 *   backend.c   Redis, and what stands on it: store, wrappers, queues
 *   enqueue.c   sources: requests of this node that go into a queue
 *   collect.c   sinks: requests of any node that a taker of this one gets
 *   nodes.c     which nodes there are
 *   lengths.c   how much waits, pushed by whichever node
 *   examine.c   whether the Redis server is fit for it
 *   room.c      how much of its memory is used
 *   state.c     what the status shows of all that
 */
#ifndef HBT_WORKER_QUEUE_H
#define HBT_WORKER_QUEUE_H

#include <event2/dns.h>
#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>

#include "ipc/ipc.h"
#include "ipc/proto.h"
#include "ipc/queue_settings.h"
#include "queue/switchboard.h"

struct enqueued; /* enqueue.c: a request that we have of the master */
struct credit;   /* collect.c: a request that the master has of us */
struct endpoint; /* collect.c */

struct worker {
	struct event_base *base;
	struct evdns_base *dns;
	struct hbt_ipc *ipc;
	bool ready;    /* both kinds of settings came */
	bool draining; /* STOP came: leave when nothing is under way */
	bool replaced; /* by another one: all that we have is still wanted */
	int exit_code;

	struct hbt_settings settings;
	struct hbt_queue_settings queue;

	struct hbt_redis_setup *setup;
	struct hbt_switchboard *switchboard;
	/* What other nodes send has a subscription, and nothing else that we
	 * know. */
	struct hbt_source_rule no_sources;
	struct hbt_spool_accounts *spools;

	struct enqueued *enqueued;  /* by the master's id */
	struct credit *collected;   /* by our id */
	struct endpoint *endpoints; /* by the master's id */
	uint32_t settle_id;         /* of COLLECT that is to be answered */
	bool paused;                /* nothing is taken out of Redis */
	uint32_t last_call;

	struct nodes *nodes;     /* nodes.c */
	struct lengths *lengths; /* lengths.c */
	struct examiner *examiner; /* examine.c */
	struct room *room;         /* room.c */
	bool leaving; /* it is looked at soon whether we can */
	bool signed_off;
	struct hbt_redis_batch *drain; /* enqueue.c: asks what is collected */

	/* Counted each second, and added to in between. */
	size_t waiting, waiting_bytes;
	struct event *tick;
	struct hbt_worker_stats stats, stats_told;
	char *state_told;
};

/* channel.c */
extern const struct hbt_ipc_ops worker_channel_ops; /* arg: worker */
void worker_fini(struct worker *w);
/* Draining: leaves the loop when nothing is under way any more. */
void worker_maybe_leave(struct worker *w);
/*
 * Sends what the master must not miss. If memory is too short for that, the
 * worker leaves: then the master knows at least. Takes body (may be NULL) and
 * fd over.
 */
void worker_tell(struct worker *w, enum hbt_ipc_type type, uint32_t id,
                 struct hbt_wr *body, int fd);
void worker_fail(struct worker *w, uint32_t id,
                 const struct halibut_error *err);
/*
 * A section for the other process: *fd is the reading end of a pipe, into which
 * src flows by itself; src is taken over, and NULL gives -1.
 */
int worker_pipe(struct worker *w, struct hbt_source *src, const char *endpoint,
                int *fd);
/* endpoint: whose spool it counts for, by its key; NULL: nobody's. */
int worker_pipe_sink(struct worker *w, struct hbt_sink **sink,
                     const char *endpoint, int *fd);

/* backend.c: HALIBUT_OK, or err says why it cannot be. */
int backend_start(struct worker *w, struct halibut_error *err);
void backend_free(struct worker *w);

/* enqueue.c */
void enqueue_call(struct worker *w, struct hbt_ipc_msg *msg);
void enqueue_cancel(struct worker *w, uint32_t id);
/* Those that nobody has collected are cancelled, once Redis has said which; the
 * others go on. Called again and again while it drains. */
void enqueue_drain(struct worker *w);
size_t enqueue_busy(const struct worker *w);

/* collect.c */
int collect_message(struct worker *w, struct hbt_ipc_msg *msg);
/* COLLECT. */
void collect_or_not(struct worker *w, uint32_t id, bool on);
/* Nothing is collected any more. */
void collect_drain(struct worker *w);
/* The same, but what is on its way out of Redis is still brought. */
void collect_hand_over(struct worker *w);
size_t collect_busy(const struct worker *w);
/* Before the switchboard's end. */
void collect_free(struct worker *w);

/* nodes.c */
int nodes_start(struct worker *w);
/* This node leaves: its key is removed, best effort; ends the loop then. */
void nodes_sign_off(struct worker *w);
void nodes_free(struct worker *w);
json_t *nodes_list(const struct worker *w); /* a copy */

/* lengths.c */
int lengths_start(struct worker *w);
void lengths_free(struct worker *w);
/* By endpoint, new: "queued", of all nodes, and what of this one waits; those
 * of which nothing waits are left out. */
json_t *lengths_list(const struct worker *w);

/* examine.c */
int examine_start(struct worker *w);
void examine_free(struct worker *w); /* after backend_free() */
json_t *examine_findings(const struct worker *w); /* a copy */
/* Soon: something has changed there. if_wrong: unless all was well. */
void examine_again(struct worker *w, bool if_wrong);

/* room.c */
int room_start(struct worker *w);
void room_free(struct worker *w); /* after backend_free() */
void room_describe(const struct worker *w, json_t *o);

/* state.c */
int state_start(struct worker *w);

#endif
