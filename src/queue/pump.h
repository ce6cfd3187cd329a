/* Data from a source into a sink, as fast as both allow. */
#ifndef HBT_QUEUE_PUMP_H
#define HBT_QUEUE_PUMP_H

#include <event2/event.h>
#include "wire/flow.h"

struct hbt_feed;

/*
 * Owns both ends, also when it fails. Runs by itself, from the loop; when it
 * has ended *self is NULL, so whoever keeps it there can end it early; self may
 * be NULL. HALIBUT_ENOMEM.
 */
int hbt_feed_new(struct hbt_feed **self, struct event_base *base,
                 struct hbt_source *src, struct hbt_sink *sink);
/* Ends it, the sink with why (not NULL). No-op when *self is NULL. */
void hbt_feed_end(struct hbt_feed **self, const struct halibut_error *why);

#endif
