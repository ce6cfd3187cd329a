/*
 * What the files of the worker processes share.
 *
 *   supervise.c      all workers: their generations, and stopping
 *   supervise_one.c  the life of one: started, heard, pinged, lost, reaped
 */
#ifndef HBT_MASTER_SUPERVISE_PRIVATE_H
#define HBT_MASTER_SUPERVISE_PRIVATE_H

#include "master/supervise.h"

#define MAX_WORKERS 1100 /* some generations of as many as can be set */

struct hbt_workers {
	struct event_base *base;
	const struct hbt_config *cfg;
	struct hbt_identity identity;
	struct hbt_workers_ops ops;
	struct hbt_worker *v[MAX_WORKERS];
	size_t n;
	/* By kind. */
	bool stopping[HBT_PEER_KINDS]; /* none is started */
	unsigned generation[HBT_PEER_KINDS];
	unsigned last_index[HBT_PEER_KINDS]; /* the next one's */
	struct event *sweeper; /* frees retired ones, from the loop */
};

/* ---- supervise_one.c ---- */

/* Not one of them yet: that is for hbt_worker_enlist(). NULL without memory. */
struct hbt_worker *hbt_worker_new(struct hbt_workers *ws,
                                  enum hbt_peer_kind kind);
/* It has no process any more. */
void hbt_worker_free(struct hbt_worker *w);
/* From here on it is one of them, and its process starts. */
void hbt_worker_enlist(struct hbt_worker *w);
/* The one place where a worker changes state and timer. */
void hbt_worker_set_state(struct hbt_worker *w, enum hbt_worker_state to);
/* It has no process, and none follows. */
void hbt_worker_set_gone(struct hbt_worker *w);
/* The one way to lose a worker, whatever the reason; why NULL: it ended by
 * itself, else it is killed. */
void hbt_worker_lose(struct hbt_worker *w, const char *why);
/* Its process has ended with this status of waitpid(). */
void hbt_worker_reaped(struct hbt_worker *w, int status);
/* Nothing can be sent to it any more. */
void hbt_worker_close_channel(struct hbt_worker *w);

#endif
