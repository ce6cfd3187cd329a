/*
 * The steps in a pending's life that a queue makes; those that origins and
 * takers make are in queue.h. For implementations of struct hbt_queue_ops.
 */
#ifndef HBT_QUEUE_TRANSITIONS_H
#define HBT_QUEUE_TRANSITIONS_H

#include "queue/queue.h"

/* Makes p, which waits, t's, and calls t->deliver(). Both have left the
 * queue's lists of waiting requests and takers; p and t may be gone after. */
void hbt_pending_hand_over(struct hbt_pending *p, struct hbt_taker *t);

/* With that text. */
void hbt_pending_not_collected(const struct hbt_pending *p,
                               struct halibut_error *err);
/* Nobody collected p, which waits, in time: fails it with the text of
 * wire-protocol 5.4. The queue is told to forget it. */
void hbt_pending_expire(struct hbt_pending *p);

#endif
