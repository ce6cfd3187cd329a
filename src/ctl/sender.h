/* The files of a call as the section behind its request: wire-protocol 11.2 */
#ifndef HBT_CTL_SENDER_H
#define HBT_CTL_SENDER_H

#include <event2/event.h>
#include "base/limits.h"
#include "ctl/args.h"
#include "ctl/progress.h"
#include "wire/message.h"

struct hbt_ctl_sender;

struct hbt_ctl_sending {
	struct event_base *base;
	const struct hbt_ctl_args *args; /* at least one DataStream */
	const struct hbt_stream_ref *refs; /* as many; kept by reference */
	struct hbt_ctl_progress *progress;
	/* A file could not be read to its end. A reader of the pipe that goes
	 * away is no failure of ours: whoever closed it says why. */
	void (*failed)(void *arg, const struct halibut_error *err);
	void *arg;
};

/*
 * Makes the pipe, whose reading end *fd is the caller's, and fills it from the
 * loop. HALIBUT_ESYSTEM, HALIBUT_ENOMEM with a message.
 */
int hbt_ctl_sender_new(struct hbt_ctl_sender **out,
                       const struct hbt_ctl_sending *what, int *fd,
                       struct halibut_error *err);
/* Before the loop is freed. NULL is allowed. */
void hbt_ctl_sender_free(struct hbt_ctl_sender **s);

#endif
