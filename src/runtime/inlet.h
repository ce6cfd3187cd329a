/*
 * The place where requests come in over one connection: from a client that
 * dialled us, or from a server that we poll. One request at a time.
 */
#ifndef HBT_RUNTIME_INLET_H
#define HBT_RUNTIME_INLET_H

#include "exchange/exchange.h"

struct hbt_inlet;

struct hbt_inlet_ops {
	/*
	 * A request. The callee owns m; when it has DataStreams, *sink must
	 * be set. Exactly one hbt_inlet_answer() or hbt_inlet_fail() is owed,
	 * at any later time (or from in here), unless gone() comes first.
	 */
	void (*request)(void *arg, struct hbt_inlet *in, struct hbt_message *m,
	                struct hbt_sink **sink);
	/* The asker went away before its answer was sent; nothing is owed. */
	void (*gone)(void *arg, struct hbt_inlet *in);
	/* The answer has left completely. May be NULL. */
	void (*sent)(void *arg, struct hbt_inlet *in);
};

struct hbt_inlet {
	const struct hbt_inlet_ops *ops;
	void *arg;
	struct hbt_exchange *ex;
	enum hbt_inlet_state {
		INLET_IDLE,
		INLET_ARRIVING, /* the request's section still comes in */
		INLET_OWED,     /* an answer is owed */
		INLET_SENDING,
	} state;
	char *request_id;
	struct hbt_message *answer; /* ready before the request was read */
	struct hbt_source *answer_streams;
	void *call; /* the owner's, for the request under way */
};

void hbt_inlet_init(struct hbt_inlet *in, const struct hbt_inlet_ops *ops,
                    void *arg, struct hbt_exchange *ex);
/* Tells gone() if an answer is owed. */
void hbt_inlet_fini(struct hbt_inlet *in);

/* m is borrowed, streams taken over. Ignored when nothing is owed. */
void hbt_inlet_answer(struct hbt_inlet *in, struct hbt_message *m,
                      struct hbt_source *streams);
/* Sends the error as a response of its class: wire-protocol 10.2. */
void hbt_inlet_fail(struct hbt_inlet *in, const struct halibut_error *err);

/* What the exchange's owner passes on. */
void hbt_inlet_message(struct hbt_inlet *in, struct hbt_message *m,
                       struct hbt_sink **sink);
void hbt_inlet_message_end(struct hbt_inlet *in);
void hbt_inlet_sent(struct hbt_inlet *in);

#endif
