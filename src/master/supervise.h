/*
 * The worker processes: starting them, noticing that one hangs or is gone,
 * starting another. What they say is for others: hbt_workers_ops.
 */
#ifndef HBT_MASTER_SUPERVISE_H
#define HBT_MASTER_SUPERVISE_H

#include <event2/event.h>
#include <sys/types.h>
#include "master/config.h"
#include "master/link.h"
#include "master/spawn.h"

enum hbt_worker_state {
	WORKER_RESTING,  /* no process; the timer starts one */
	WORKER_STARTING, /* has to say hello before the timer ends */
	WORKER_READY,    /* said hello; is pinged */
	WORKER_STOPPING, /* was told to stop; is pinged, gets nothing new */
	WORKER_LOST,     /* no channel any more; was killed, is to be reaped */
	WORKER_GONE,     /* no process, and none follows */
	WORKER_STATE_COUNT,
};

struct hbt_workers;

struct hbt_worker {
	struct hbt_link link; /* ipc is NULL without a channel */
	struct hbt_workers *all;
	unsigned index; /* among its kind; no other one ever has it */
	unsigned generation;
	enum hbt_worker_state state;
	bool retiring;        /* it is not started again */
	enum hbt_stop told;   /* while it is stopping */
	enum hbt_drained drained; /* as it last said */
	pid_t pid;       /* 0: none, or reaped */
	int exit_status; /* of the last process, as waitpid() gives it */
	char last_exit[96]; /* the same, in words; "": none ended yet */
	int64_t last_exit_at; /* Unix time in ms */
	unsigned restarts;
	unsigned ends_in_a_row; /* each within a minute of its start */
	int64_t started_ms, heard_ms;
	int64_t delay_ms; /* before the next start */
	bool answered;    /* the last ping */
	bool silent;      /* for so long that it was said in the log */
	struct event *timer;
	struct hbt_worker_stats stats; /* as it last said */
};

struct hbt_workers_ops {
	/* It said hello: tell it what it must know. */
	void (*ready)(void *arg, struct hbt_worker *w);
	/* Any message that is not the supervisor's. A status other than OK
	 * ends the worker. */
	int (*message)(void *arg, struct hbt_worker *w,
	               struct hbt_ipc_msg *msg);
	/* Its channel is lost; nothing can be sent to it. */
	void (*lost)(void *arg, struct hbt_worker *w);
	/* It became WORKER_GONE. */
	void (*gone)(void *arg, struct hbt_worker *w);
	void *arg;
};

/* cfg must outlive it; what it says may change. */
int hbt_workers_new(struct hbt_workers **out, struct event_base *base,
                    const struct hbt_config *cfg,
                    const struct hbt_identity *identity,
                    const struct hbt_workers_ops *ops);
/* Kills and reaps what is left. */
void hbt_workers_free(struct hbt_workers **ws);
/* Who those run as that are started from now on. */
void hbt_workers_identify(struct hbt_workers *ws,
                          const struct hbt_identity *identity);

/* Adds one and starts it. Its number is the next of its kind. */
int hbt_workers_add(struct hbt_workers *ws, enum hbt_peer_kind kind);

/* Reaps every child that ended; for SIGCHLD. */
void hbt_workers_reap(struct hbt_workers *ws);

/*
 * A new generation, of n workers. The others go on until they are retired:
 * when hbt_workers_renewed() says that all of the new one are ready. Should
 * they never be, the old ones serve on. HALIBUT_ELIMIT: too many old ones are
 * still there; HALIBUT_ENOMEM. Then everything is as before.
 */
int hbt_workers_renew(struct hbt_workers *ws, enum hbt_peer_kind kind,
                      unsigned n);
/* So many more can be started. */
unsigned hbt_workers_room(const struct hbt_workers *ws);
bool hbt_workers_renewed(const struct hbt_workers *ws,
                         enum hbt_peer_kind kind);
/* Tells the generations older than that of by, whose kind they are, to stop;
 * they vanish when they have ended. */
void hbt_workers_retire(struct hbt_workers *ws, const struct hbt_worker *by,
                        enum hbt_stop how, int64_t spread_ms);

/* Tells all of a kind to stop and not to be started again. */
void hbt_workers_stop(struct hbt_workers *ws, enum hbt_peer_kind kind,
                      enum hbt_stop how, int64_t spread_ms);
/* Tells one that is stopping how to go on with it. */
void hbt_worker_stop_on(struct hbt_worker *w, enum hbt_stop how,
                        int64_t spread_ms);
/* SIGKILL for all that are still there; why is for the log. */
void hbt_workers_kill_all(struct hbt_workers *ws, const char *why);
/* For those of other kinds: none of them is started again. */
void hbt_workers_kill_but(struct hbt_workers *ws, enum hbt_peer_kind kind,
                          const char *why);

/* In order of addition; NULL behind the last one. */
struct hbt_worker *hbt_workers_at(const struct hbt_workers *ws, size_t i);
/* Those of a kind that are not WORKER_GONE. */
size_t hbt_workers_left(const struct hbt_workers *ws, enum hbt_peer_kind kind);
/* How many the newest generation has, and the place of w in it, from 0. */
unsigned hbt_workers_newest(const struct hbt_workers *ws,
                            enum hbt_peer_kind kind);
unsigned hbt_worker_place(const struct hbt_worker *w);
bool hbt_worker_is_newest(const struct hbt_worker *w);
const char *hbt_worker_state_name(enum hbt_worker_state state);

#endif
