/*
 * The DataStreams of a response on their way out: writes the section to a
 * pipe whose other end goes to the master, as fast as it is read there.
 */
#ifndef HBT_SERVICE_OUTLET_H
#define HBT_SERVICE_OUTLET_H

#include <event2/event.h>

#include "convert.h"

struct hbt_svc_outlet;

/*
 * Takes the streams out of *answer. *fd is the reading end. A reader that
 * takes nothing for idle_ms ends it. done is called once, err NULL when all
 * was written; the owner then frees it, here or later.
 * HALIBUT_ENOMEM, HALIBUT_ESYSTEM.
 */
int hbt_svc_outlet_new(struct hbt_svc_outlet **out, struct event_base *base,
                       struct hbt_svc_answer *answer, int64_t idle_ms,
                       void (*done)(void *arg, const struct halibut_error *err),
                       void *arg, int *fd);
/* What is not written is lost: the pipe ends early. NULL allowed. */
void hbt_svc_outlet_free(struct hbt_svc_outlet **outlet);

#endif
