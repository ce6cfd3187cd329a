/*
 * What the nodes share: endpoints whose requests wait in Redis, which the
 * queue worker alone talks to. Here each has its memory queue as ever, with
 * the takers of this node. What can be taken from it is offered to the queue
 * worker as credits, so that it collects no more than finds a taker here.
 *
 * A credit is OFFERed for each taker that waits in the memory queue. The queue
 * worker uses one up with a CALL; both sides then count one less. A WITHDRAW
 * that crosses such a CALL leaves -1 on both sides, and the OFFER that follows
 * makes up for it; the request waits here for the next taker.
 */
#ifndef HBT_MASTER_SHARE_H
#define HBT_MASTER_SHARE_H

#include "master/config.h"
#include "master/link.h"
#include "queue/queue.h"

struct hbt_share;

/* cfg outlives it. NULL: no memory. */
struct hbt_share *hbt_share_new(struct event_base *base,
                                const struct hbt_config *cfg);
/* After all its queues. */
void hbt_share_free(struct hbt_share **share);

/* A factory for hbt_switchboard_new(); arg is the share. A plain memory queue
 * for endpoints that are not shared. */
struct hbt_queue *hbt_share_queue(void *share, const char *key);

/* Is uri that of an endpoint whose requests wait in Redis? share may be
 * NULL. */
bool hbt_share_has(const struct hbt_share *share, const char *uri);

/* The queue worker, ready to be asked; NULL: none is. */
struct hbt_link *hbt_share_link(const struct hbt_share *share);
/* Is this one attached; NULL: is any? */
bool hbt_share_has_worker(const struct hbt_share *share,
                          const struct hbt_link *link);
/* It is ready: learns of all endpoints and credits, and gets what waited in
 * memory meanwhile. One that was attached before gets no more, and is to be
 * told to hand over; what it has taken already it still brings. */
void hbt_share_attach(struct hbt_share *share, struct hbt_link *link);
/* It is gone, and all credits with it, if it is the one that is attached. */
void hbt_share_detach(struct hbt_share *share, const struct hbt_link *link);
/* No credits any more, nothing to be enqueued. */
void hbt_share_stop(struct hbt_share *share);

/*
 * Before takers go: nothing more is collected. True once what was on its way
 * out of Redis is here, where it finds them, or has taken too long; others: a
 * queue worker that was attached before may still bring some. To be asked again
 * and again.
 */
bool hbt_share_settle(struct hbt_share *share, bool others);
/* SETTLED of the queue worker. */
void hbt_share_settled(struct hbt_share *share, uint32_t id);
/* There are takers again. */
void hbt_share_resume(struct hbt_share *share);

/* Nobody knows which credit a CALL of this worker used that was lost: all
 * anew. */
void hbt_share_renew(struct hbt_share *share, const struct hbt_link *worker);

/* A CALL of a queue worker to the endpoint with this number uses a credit,
 * unless another one has its place already: the endpoint's queue, or NULL when
 * it is gone. */
struct hbt_queue *hbt_share_used(struct hbt_share *share, uint32_t id,
                                 const struct hbt_link *worker);

#endif
