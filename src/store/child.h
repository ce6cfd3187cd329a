/*
 * Programs that we feed and listen to, without a shell and without waiting:
 * the wrappers and stores that an operator writes.
 *
 * Each leads a process group of its own, which ends with it. Its standard
 * error is read; the last line of it tells in errors what went wrong.
 */
#ifndef HBT_STORE_CHILD_H
#define HBT_STORE_CHILD_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/error.h"

struct hbt_child;
struct hbt_children; /* of one owner, with the time limit that they share */

struct hbt_child_ops {
	/* From the loop: after a short write there may be room, after
	 * -HALIBUT_EAGAIN something to read. */
	void (*go_on)(void *arg);
	/*
	 * From the loop, once: it ended, and what it wrote before may still
	 * be read. err is NULL after status 0, when it had taken all of its
	 * input. Free it here or later.
	 */
	void (*ended)(void *arg, const struct halibut_error *err);
};

/* timeout_ms: how long we wait for a child that neither takes nor gives a
 * byte, or does not end after its last; 0: for ever. */
int hbt_children_new(struct hbt_children **out, struct event_base *base,
                     int64_t timeout_ms);
/*
 * All but those that were let go are freed by now. These get a second
 * together to end, then they are killed.
 */
void hbt_children_free(struct hbt_children **cs);

/*
 * Starts the program of argv with its arguments and n_more further ones. env:
 * NULL-terminated "NAME=value" besides our own environment, or NULL.
 * HALIBUT_ESYSTEM, HALIBUT_ENOMEM; err says why it did not start.
 */
int hbt_child_start(struct hbt_child **out, struct hbt_children *cs,
                    char *const *argv, const char *const *more, size_t n_more,
                    const char *const *env, const struct hbt_child_ops *ops,
                    void *arg, struct halibut_error *err);
/* Kills it, unless it ended; no callback follows. NULL allowed. */
void hbt_child_free(struct hbt_child **c);
/* Leaves it to itself: its end is logged when it failed, and no callback
 * follows. For those that have no input. */
void hbt_child_let_go(struct hbt_child **c);

/* 0..len bytes were taken. What it does not take because it closed its input
 * is told by ended. */
size_t hbt_child_write(struct hbt_child *c, const void *data, size_t len);
void hbt_child_close_input(struct hbt_child *c);
/* > 0; 0 at the end; -HALIBUT_EAGAIN. */
ssize_t hbt_child_read(struct hbt_child *c, void *buf, size_t cap);

/*
 * For a process that reaps with waitpid(-1), as process 1 has to: tells how
 * pid ended, which it has reaped. False when it is none of ours.
 */
bool hbt_child_reaped(pid_t pid, int status);

#endif
