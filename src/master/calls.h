/*
 * The calls that pass through the master: who asked, who carries, and that
 * whoever asked hears exactly one answer or failure.
 */
#ifndef HBT_MASTER_CALLS_H
#define HBT_MASTER_CALLS_H

#include <event2/event.h>
#include "ipc/rows.h"
#include "master/admission.h"
#include "master/config.h"
#include "master/histogram.h"
#include "master/holders.h"
#include "master/link.h"
#include "queue/switchboard.h"

struct hbt_calls;
struct hbt_subscriptions;

struct hbt_calls_env {
	struct event_base *base;
	struct hbt_switchboard *switchboard;
	struct hbt_share *share; /* NULL: nothing is shared with other nodes */
	struct hbt_subscriptions *subscriptions;
	struct hbt_holders *holders;
	struct hbt_admission *admission; /* NULL: nobody is limited by name */
	/* A worker that dials url, always the same while the workers are; one
	 * that hosts services. NULL: none runs now. */
	struct hbt_link *(*dialler)(void *arg, const char *url);
	struct hbt_link *(*host)(void *arg);
	void *arg;
};

/* Configure it before the first message. env is copied. NULL: no memory. */
struct hbt_calls *hbt_calls_new(const struct hbt_calls_env *env);
/* After all links are gone. */
void hbt_calls_free(struct hbt_calls **calls);
/* From now on cfg, which stays the caller's and must live as long. */
void hbt_calls_configure(struct hbt_calls *calls, const struct hbt_config *cfg);

/*
 * CALL, ANSWER, FAIL, CANCEL or RETURN from a link. HALIBUT_EPROTO when the
 * other side broke the protocol: its channel should be closed. Answers to ids
 * that are not open are ignored: a cancelled call still gets its FAIL.
 */
int hbt_calls_message(struct hbt_calls *calls, struct hbt_link *link,
                      struct hbt_ipc_msg *msg);

/* Calls of the link that have no answer yet. */
size_t hbt_calls_asked(const struct hbt_link *link);

/*
 * The other side is gone: what it asked is cancelled, what it carried fails.
 * link->ipc is not used. After hbt_subscriptions_link_gone().
 */
void hbt_calls_link_gone(struct hbt_calls *calls, struct hbt_link *link);

/* Refuses new calls, but for those that were taken out of the queue that the
 * nodes share. */
void hbt_calls_stop(struct hbt_calls *calls);
/* Fails, as not executed, those that wait and cannot be taken any more: may
 * says whether somebody is left for the requests of a queue; collected: the
 * queue worker brought this one, and it goes back to it. why is the beginning
 * of a sentence: "The gateway is stopping". */
void hbt_calls_end_unserved(struct hbt_calls *calls,
                            bool (*may)(void *arg, const struct hbt_queue *q,
                                        bool collected),
                            void *arg, const char *why);

struct hbt_calls_counts {
	size_t in_flight;
	size_t waiting, waiting_bytes;
	uint64_t total, answered, slow;
	uint64_t failed[HALIBUT_STATUS_COUNT];
	/* Of calls that are over: until somebody took them (of those that went
	 * through a queue), from then on, and all together. */
	struct hbt_histogram time_waiting, time_executing, time_total;
};
const struct hbt_calls_counts *hbt_calls_counts(const struct hbt_calls *calls);

/* Rows of HBT_TABLE_CALLS and HBT_TABLE_PAST_CALLS, from after on; *next is
 * where to go on, 0 at the end. */
void hbt_calls_fill(const struct hbt_calls *calls, uint64_t after,
                    struct hbt_page *page, uint64_t *next);
void hbt_calls_fill_past(const struct hbt_calls *calls, uint64_t after,
                         struct hbt_page *page, uint64_t *next);

#endif
