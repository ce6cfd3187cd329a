/* Between the files of the calls, and subscriptions. */
#ifndef HBT_MASTER_CALLS_PRIVATE_H
#define HBT_MASTER_CALLS_PRIVATE_H

#include "master/calls.h"
#include "base/slots.h"
#include "base/hash.h"
#include "master/past_calls.h"
#include "queue/queue.h"

#define HBT_CALL_CARRIER_TEXT 48

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
	const char *unserved; /* why a failure is this one instead, or NULL */
	struct hbt_link *asker; /* NULL: gone, nobody hears the end */
	uint32_t asker_id;
	struct hbt_link *carrier;
	uint32_t carrier_id;
	struct hbt_subscriber *subscriber; /* that has it, or NULL */
	struct hbt_hosted_taker *hosted;   /* that has it, or NULL */
	struct hbt_pending pending;        /* msg and streams, for all calls */
	/* Who asked: an address, or the name of a process; and a certificate,
	 * or NULL. */
	char *from, *from_thumbprint;
	char *destination; /* as it was asked for; NULL: as msg says */
	char carried_by[HBT_CALL_CARRIER_TEXT]; /* the last one; "": nobody */
	uint32_t carried_on; /* its number of the connection; 0: of none */
	uint64_t number;     /* the how manieth call of this node it is */
	/* Of hbt_now_us(). taken: 0 until somebody has it. */
	int64_t since_us, taken_us, phase_us;
	uint8_t phase; /* enum hbt_call_phase */
	bool found_busy; /* it waits because all connections are at work */
	uint32_t slot;
	struct hbt_asker from_whom; /* for limits */
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
	struct hbt_slots slots; /* of all: for walks in steps */
	struct hbt_past_calls *past;
	uint64_t last_number;
	bool stopping;
};

/* A call by the id that its asker chose: a new one (NULL: no memory), and the
 * one that is open (NULL: none). */
struct hbt_call *hbt_call_new(struct hbt_calls *calls, struct hbt_link *asker,
                              uint32_t id);
struct hbt_call *hbt_call_asked(struct hbt_link *link, uint32_t id);
/* It came out of the queue that the nodes share. */
bool hbt_call_is_collected(const struct hbt_call *call);

/* The one place where a call changes state, and the counts with it. */
void hbt_call_set_state(struct hbt_call *call, enum hbt_call_state to);

/* calls_rows.c. How long it waited for a taker, up to now or until it had
 * one. */
int64_t hbt_call_waited_us(const struct hbt_call *call);
/* It is over: for the histograms, the past calls and the audit log. err NULL:
 * it was answered. */
void hbt_call_note_end(struct hbt_call *call, const struct halibut_error *err);
/* CALL_PHASE of its carrier. */
int hbt_call_on_phase(struct hbt_call *call, struct hbt_ipc_msg *msg);

/* Ends it, through its queue if it is taken from one. */
void hbt_call_fail(struct hbt_call *call, const struct halibut_error *err);
void hbt_call_fail_with(struct hbt_call *call, int status,
                        enum halibut_connection_state state, const char *text);

/* Not executed, because of us: the text that callers see. */
void hbt_call_refuse(struct halibut_error *err, const char *why);

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

/* Ends a new one: the queue worker may give it to another node. */
void hbt_call_return(struct hbt_call *call);

/* By subscriptions.c: called when its call is no longer with it. */
void hbt_subscriber_done(struct hbt_subscriber *s);
/* The same, by hosted.c. */
void hbt_hosted_done(struct hbt_hosted_taker *t);

#endif
