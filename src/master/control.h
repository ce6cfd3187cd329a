/* The control socket: where halibutctl comes in. */
#ifndef HBT_MASTER_CONTROL_H
#define HBT_MASTER_CONTROL_H

#include <event2/event.h>
#include <sys/queue.h>
#include "master/link.h"

struct hbt_control;

struct hbt_client {
	struct hbt_link link;
	struct hbt_control *control;
	struct event *timer; /* until it said hello */
	bool said_hello;
	unsigned uid; /* as the kernel says */
	int fd;       /* the channel's, to see that nobody is there any more */
	bool paused;  /* nothing is read from it */
	size_t unsent;    /* what it had not read when we looked */
	int64_t moved_ms; /* when it last read some of it */
	TAILQ_ENTRY(hbt_client) next;
};

struct hbt_control_ops {
	/* Any message after the hello. Not OK closes the client. */
	int (*message)(void *arg, struct hbt_client *c,
	               struct hbt_ipc_msg *msg);
	/* As much is under way for it as may be: nothing more is read from it
	 * until that is less. May be NULL. */
	bool (*busy)(void *arg, const struct hbt_client *c);
	/* It is gone; forget its link. */
	void (*lost)(void *arg, struct hbt_client *c);
	void *arg;
};

/*
 * Binds path with the mode. What a dead process left there is removed; if
 * somebody listens there it fails. Makes the directory if only that is
 * missing.
 */
int hbt_control_new(struct hbt_control **out, struct event_base *base,
                    const char *path, unsigned mode,
                    const struct hbt_control_ops *ops,
                    struct halibut_error *err);
/*
 * What clients have not read of what they asked for. Who has more than a MiB
 * of it is not read from; who then reads nothing for 30 s, or has 256 MiB, is
 * closed.
 */
size_t hbt_control_unread(const struct hbt_control *control);
/* Says DONE to what it asked with id; text (may be NULL) is for a person. */
void hbt_client_done(struct hbt_client *c, uint32_t id, bool ok,
                     const char *text);
/* Closes all clients, what was sent to them goes out first, and removes the
 * socket. */
void hbt_control_free(struct hbt_control **control);

#endif
