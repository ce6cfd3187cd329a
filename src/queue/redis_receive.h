/*
 * A request that this node took out of Redis: what the files share that hand it
 * to a taker and bring the response back. Each calls only those below it.
 *
 *   redis_receive.c          takes it, and is what others call
 *   redis_receive_open.c     reads it, holds it for a taker, hears the taker
 *   redis_receive_respond.c  writes the response; frees it
 *   redis_receive_watch.c    its sender, our heart beats, its time
 *
 * A receive is on its node's list until it is freed, and on its queue's from
 * the popped id until p has ended. p is part of it; the queue and its takers
 * only refer to p. What is begun for it (batches, listeners, wrapping, saving,
 * ...) is its own. Its DataStreams are their taker's, and may outlive it.
 *
 * What files outside of these call is in redis_private.h.
 */
#ifndef HBT_QUEUE_REDIS_RECEIVE_H
#define HBT_QUEUE_REDIS_RECEIVE_H

#include "queue/redis_private.h"

enum redis_receive_stage {
	RECEIVE_TAKES,  /* asks Redis whether it gets it */
	RECEIVE_OPENS,  /* unwraps it */
	RECEIVE_HELD,   /* p waits for a taker, or has one */
	RECEIVE_WRITES, /* there is a response; on its way into Redis */
};

/* The request's DataStreams, as its taker reads them. Knows how far they got;
 * may outlive the receive. */
struct redis_receive_streams {
	struct hbt_source source;
	struct hbt_source *inner;
	struct redis_receive *receive; /* NULL: gone */
};

struct redis_receive {
	struct hbt_pending p; /* first: see redis_receive_of() */
	struct hbt_redis_node *node;
	struct redis_queue *queue; /* NULL: freed, or p has ended */
	enum redis_receive_stage stage;
	char id[HBT_GUID_TEXT];
	char *ref;
	bool coming;    /* one of the queue's n_coming */
	bool remote;    /* its sender is another node */
	bool cancelled; /* by its sender */
	bool abandoned; /* by us: 9 */
	bool wrapped, saved, is_error;

	struct hbt_redis_batch *batch, *marker, *beat;
	struct hbt_redis_listener cancel, beats;
	struct redis_due due;
	int64_t beat_ms, watch_ms, marker_ms, heard_ms, returned_until_ms;

	struct hbt_wrapping *wrapping;
	struct hbt_ahead *ahead;
	struct redis_receive_streams *streams;
	int64_t *sent; /* of each DataStream of the request */

	struct hbt_message *response;
	struct hbt_saving *saving;
	struct hbt_feed *feed;
	uint8_t *body, *metadata; /* of the request, then of the response */
	size_t body_len, metadata_len;

	TAILQ_ENTRY(redis_receive) of_node, of_queue;
};

static inline struct redis_receive *redis_receive_of(struct hbt_pending *p)
{
	return (struct redis_receive *)p;
}

/* ---- redis_receive_open.c ---- */

/* body is ours, the value of its one field; that of the other is r->metadata.
 * p waits for a taker afterwards, or its sender hears why not. */
void redis_receive_open(struct redis_receive *r, uint8_t *body, size_t len);
/* Answers that it cannot be read. */
void redis_receive_unreadable(struct redis_receive *r,
                              const struct halibut_error *err);

/* ---- redis_receive_respond.c ---- */

/* It is not its queue's any more. */
void redis_receive_leave_queue(struct redis_receive *r);
/* Frees it; p is idle. */
void redis_receive_destroy(struct redis_receive *r);
/*
 * msg is ours. Its DataStreams come from streams, or go into *sink. r may be
 * gone afterwards, but not before *sink is set.
 */
void redis_receive_respond(struct redis_receive *r, struct hbt_message *msg,
                           struct hbt_source *streams, struct hbt_sink **sink);
/* The same with an error; r may be gone afterwards. */
void redis_receive_respond_error(struct redis_receive *r,
                                 const struct halibut_error *err);
/* cause: NULL if none. */
void redis_receive_respond_failure(struct redis_receive *r,
                                   enum hbt_redis_failure what,
                                   const char *cause);

/* ---- redis_receive_watch.c ---- */

/* For r->due.fn. r may be gone afterwards. */
void redis_receive_on_due(struct redis_due *due);
/* Sets the timer for what comes next. */
void redis_receive_set_due(struct redis_receive *r);
/* This node gives it up: p, which waits or is carried, is cancelled. */
void redis_receive_abandon(struct redis_receive *r);
/* It does not matter any more whether its sender waits. */
void redis_receive_stop_watching(struct redis_receive *r);

#endif
