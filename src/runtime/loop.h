/* For functions that block: they turn the loop until they have their end. */
#ifndef HBT_RUNTIME_LOOP_H
#define HBT_RUNTIME_LOOP_H

#include <event2/event.h>
#include <stdbool.h>

#include "halibut/error.h"

/*
 * Runs the loop until a callback sets *done: HALIBUT_OK. HALIBUT_EINVAL: it
 * runs already, further up the stack, and no callback of ours can come before
 * we return. HALIBUT_ECONNECTING_CANCELLED: somebody ended the loop
 * (event_base_loopbreak() and the like), which is to be obeyed, not ignored;
 * it may be called again for what is still to come.
 */
int hbt_loop_until(struct event_base *base, const bool *done);

#endif
