/*
 * The deadlines of many waiters, soonest first, behind one timer: a pairing
 * heap through nodes that live in the waiters, so that setting one neither
 * allocates nor fails. Setting is O(1), clearing O(log n) amortised.
 */
#ifndef HBT_QUEUE_DEADLINES_H
#define HBT_QUEUE_DEADLINES_H

#include <stdbool.h>
#include <stdint.h>

struct hbt_deadline { /* zero: not set */
	int64_t at_ms;
	struct hbt_deadline *child, *next;
	struct hbt_deadline *prev; /* left neighbour; of the first: parent */
};

struct hbt_deadlines { /* zero: empty */
	struct hbt_deadline *soonest; /* NULL when none is set */
};

/* d, whose at_ms says when, must not be set. */
void hbt_deadline_set(struct hbt_deadlines *all, struct hbt_deadline *d);
/* No-op when it is not set. at_ms stays. */
void hbt_deadline_clear(struct hbt_deadlines *all, struct hbt_deadline *d);
bool hbt_deadline_is_set(const struct hbt_deadlines *all,
                         const struct hbt_deadline *d);

#endif
