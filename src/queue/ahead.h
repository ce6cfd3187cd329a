/*
 * Reads the beginning of a source before anybody is told of it: what fails
 * until then can still be told with an error.
 */
#ifndef HBT_QUEUE_AHEAD_H
#define HBT_QUEUE_AHEAD_H

#include <event2/event.h>
#include "wire/flow.h"

struct hbt_ahead;

/* src: the whole of the source, the callee's; NULL with the reason why it
 * failed. */
typedef void (*hbt_ahead_fn)(void *arg, struct hbt_source *src,
                             const struct halibut_error *err);

/*
 * Takes src over and reads until it ends, or max bytes are there; done is
 * called then, once, from the loop. *out is gone before that. HALIBUT_OK or
 * HALIBUT_ENOMEM, which frees src.
 */
int hbt_ahead_new(struct hbt_ahead **out, struct event_base *base,
                  struct hbt_source *src, size_t max, hbt_ahead_fn done,
                  void *arg);
/* done is not called; the source is freed. NULL allowed. */
void hbt_ahead_cancel(struct hbt_ahead **a);

#endif
