/* Between the files of the calls, and subscriptions. */
#ifndef HBT_MASTER_CALLS_PRIVATE_H
#define HBT_MASTER_CALLS_PRIVATE_H

#include "master/calls.h"
#include "master/hash.h"
#include "queue/queue.h"

enum hbt_call_state {
	CALL_NEW,     /* nobody but us knows of it */
	CALL_WAITING, /* in a queue; counted as waiting */
	CALL_CARRIED, /* carrier is set; it answers to carrier_id */
};

struct hbt_call {
	struct hbt_calls *calls;
	enum hbt_call_state state;
	bool by_queue; /* ends through pending; else there is no queue */
	bool returns;  /* a failure hands it back to its asker instead */
	struct hbt_link *asker; /* NULL: gone, nobody hears the end */
	uint32_t asker_id;
	struct hbt_link *carrier;
	uint32_t carrier_id;
	struct hbt_subscriber *subscriber; /* that has it, or NULL */
	struct hbt_hosted_taker *hosted;   /* that has it, or NULL */
	struct hbt_pending pending;        /* msg and streams, for all calls */
	char *from;                 /* for the audit log; NULL: not wanted */
	int64_t since_ms;           /* the same */
	size_t bytes;               /* as counted among those that wait */
	struct event *cancel_timer; /* the carrier was asked to give it up */
	UT_hash_handle by_asker, by_carrier;
	TAILQ_ENTRY(hbt_call) link;
};

struct hbt_calls {
	struct hbt_calls_env env;
	const struct hbt_config *cfg;
	struct hbt_calls_counts counts;
	TAILQ_HEAD(, hbt_call) all;
	bool stopping;
};

/* A call by the id that its asker chose: a new one (NULL: no memory), and the
 * one that is open (NULL: none). */
struct hbt_call *hbt_call_new(struct hbt_calls *calls, struct hbt_link *asker,
                              uint32_t id);
struct hbt_call *hbt_call_asked(struct hbt_link *link, uint32_t id);

/* The one place where a call changes state, and the counts with it. */
void hbt_call_set_state(struct hbt_call *call, enum hbt_call_state to);

/* Ends it, through its queue if it is taken from one. */
void hbt_call_fail(struct hbt_call *call, const struct halibut_error *err);
void hbt_call_fail_with(struct hbt_call *call, int status,
                        enum halibut_connection_state state, const char *text);

/* A CALL from a link. HALIBUT_EPROTO as hbt_calls_message(). calls_ask.c */
int hbt_calls_ask(struct hbt_calls *calls, struct hbt_link *link,
                  struct hbt_ipc_msg *msg);

/* Between the target's fields and the message; may be NULL. */
typedef void (*hbt_call_put_target)(struct hbt_wr *w, const void *target);

/*
 * Sends the call to a link and makes that its carrier. Takes the streams out
 * of pending. On failure the call is as before, without its streams.
 */
int hbt_call_carry(struct hbt_call *call, struct hbt_link *carrier,
                   enum hbt_call_how how, hbt_call_put_target put,
                   const void *target);
/* The same for p, taken from the queue of a shared endpoint: it goes to the
 * queue worker. Ends it when that fails. */
void hbt_call_enqueue_taken(struct hbt_pending *p, struct hbt_link *worker);
/* The carrier has nothing to do with it any more. */
void hbt_call_drop_carrier(struct hbt_call *call);

/* The queue worker may give it to another node: nobody has seen it, here it is
 * ended. */
void hbt_call_return(struct hbt_call *call);

/* By subscriptions.c: called when its call is no longer with it. */
void hbt_subscriber_done(struct hbt_subscriber *s);
/* The same, by hosted.c. */
void hbt_hosted_done(struct hbt_hosted_taker *t);

#endif
