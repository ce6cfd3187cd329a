/*
 * Pending requests and the queue of an endpoint: one interface, whatever
 * keeps the requests. runtime-behaviour 7
 *
 * A pending request has an origin (who asked) and, once taken, a taker (who
 * carries it to the service). Whatever happens, the origin hears exactly one
 * of answered() and failed(), and nothing after it.
 *
 * All callbacks may call back into the queue: push, offer, withdraw, cancel,
 * and end other pendings. deliver() comes from inside push, offer or put_back;
 * a taker that ends the request right there makes its origin hear of it
 * before hbt_queue_push() returned, so an origin expects that. However long
 * such a chain gets, the stack does not grow with it. Only hbt_queue_free()
 * is not allowed inside a callback of its queue.
 */
#ifndef HBT_QUEUE_QUEUE_H
#define HBT_QUEUE_QUEUE_H

#include <sys/queue.h>
#include <event2/event.h>
#include <stdbool.h>
#include "queue/deadlines.h"
#include "wire/flow.h"
#include "wire/message.h"

struct hbt_conn;
struct hbt_queue;
struct hbt_taker;
struct hbt_pending;

enum hbt_pending_state {
	HBT_PENDING_IDLE,    /* not submitted yet, or answered */
	HBT_PENDING_WAITING, /* in a queue; nobody has seen it */
	HBT_PENDING_TAKEN,   /* a taker has it; the service may see it */
};

/* Embedded in the origin's own struct, which outlives the answer. */
struct hbt_pending {
	/* Set by the origin before it submits. */
	struct hbt_message *msg;    /* a reference that the pending owns */
	struct hbt_source *streams; /* owned until the taker takes it; or NULL */
	int64_t queue_timeout_ms;   /* PollingRequestQueueTimeout */
	/*
	 * The response; the callee owns the reference to msg. Its DataStreams,
	 * if it has any, come in one of two ways, while they still arrive:
	 * streams is a source, now the callee's; or streams is NULL and the
	 * callee stores a sink in *sink, which the taker fills and ends.
	 */
	void (*answered)(struct hbt_pending *p, struct hbt_message *msg,
	                 struct hbt_source *streams, struct hbt_sink **sink);
	void (*failed)(struct hbt_pending *p, const struct halibut_error *err);
	/* How much of a DataStream has reached the service, when that is not
	 * what was read from streams: it waits elsewhere in between. p is a
	 * struct hbt_pending. May be NULL. */
	void (*progress)(void *p, const struct hbt_guid *stream, int64_t sent);

	/* The queue's and the taker's. */
	enum hbt_pending_state state;
	struct hbt_queue *queue;
	struct hbt_taker *taker;
	/* Whose response answered() hears of; NULL: of no connection. */
	const struct hbt_conn *answerer;
	struct hbt_deadline deadline; /* set while it waits; at_ms stays */
	int64_t since_ms; /* hbt_now_ms() when it was submitted, then taken */
	TAILQ_ENTRY(hbt_pending) link;
};

/*
 * Somebody who can carry one request at a time to the service: a polling
 * connection. Embedded in the taker's own struct.
 */
struct hbt_taker {
	/*
	 * The request is the taker's to carry: it takes p->streams (and sets
	 * it to NULL), and ends with one of hbt_pending_answer,
	 * hbt_pending_fail or hbt_pending_put_back. It is no longer offered.
	 */
	void (*deliver)(struct hbt_taker *t, struct hbt_pending *p);
	/*
	 * The caller has given p up and hears of it next. The taker forgets p
	 * before it returns, and tears its connection down: 7.3. It does not
	 * end p, which is not its own any more. It returns whether the service
	 * may have seen the request; that decides between transferring- and
	 * connecting-cancelled.
	 */
	bool (*cancelled)(struct hbt_taker *t, struct hbt_pending *p);

	struct hbt_queue *queue; /* NULL: not offered */
	TAILQ_ENTRY(hbt_taker) link;
};

TAILQ_HEAD(hbt_pending_list, hbt_pending);
TAILQ_HEAD(hbt_taker_list, hbt_taker);

struct hbt_queue_counts {
	size_t waiting, taken, takers;
	size_t waiting_bytes;
	int64_t oldest_waiting_ms; /* age; 0 when none waits */
	/* Since the queue was made. A request that was put back and taken
	 * again was collected twice. */
	uint64_t collected, answered, failed, not_collected, cancelled;
};

struct hbt_queue_ops {
	/* Takes p over until it is answered. Never calls back before it
	 * returned, except deliver(). */
	void (*push)(struct hbt_queue *q, struct hbt_pending *p);
	/* t wants one request. First offered, first served. */
	void (*offer)(struct hbt_queue *q, struct hbt_taker *t);
	/* t does not want one any more. */
	void (*withdraw)(struct hbt_queue *q, struct hbt_taker *t);
	/* A taken request came back before a byte of it was sent: to the
	 * front again, with what is left of its time (at least 0). */
	void (*put_back)(struct hbt_queue *q, struct hbt_pending *p);
	/* Ends p as hbt_pending_cancel_soon() says; NULL: at once. */
	void (*cancel)(struct hbt_queue *q, struct hbt_pending *p);
	/* p left the TAKEN or WAITING state; the queue forgets it. */
	void (*forget)(struct hbt_queue *q, struct hbt_pending *p);
	void (*counts)(struct hbt_queue *q, struct hbt_queue_counts *out);
	/* All requests are cancelled, takers are forgotten: 7.3 "queue
	 * disposed". Nobody pushes or offers again from inside that. */
	void (*free)(struct hbt_queue *q);
};

struct hbt_queue {
	const struct hbt_queue_ops *ops;
	char *key; /* hbt_uri_key() of the endpoint */
	/* Whoever keeps the pointer between two uses adds one, and takes it
	 * away again; hbt_switchboard_trim() spares the queue as long. */
	unsigned users;
	/* The uint64_t ones are kept in here, for every kind of queue. */
	struct hbt_queue_counts totals;
};

/* In memory, with the rules of 7.2. NULL when memory is short. */
struct hbt_queue *hbt_memory_queue_new(struct event_base *base,
                                       const char *key);
void hbt_queue_free(struct hbt_queue **q);

/* p is IDLE and has its first part set. Its time counts from now on; once it
 * is taken, no queue timeout applies. */
void hbt_queue_push(struct hbt_queue *q, struct hbt_pending *p);
void hbt_queue_offer(struct hbt_queue *q, struct hbt_taker *t);
void hbt_queue_withdraw(struct hbt_taker *t); /* no-op when not offered */

/* A taker without a queue takes p straight from its origin: p is TAKEN, and
 * cannot be put back. deliver() is not called. */
void hbt_pending_assign(struct hbt_pending *p, struct hbt_taker *t);

/*
 * By the taker, once. msg's reference and streams pass to the origin. With
 * streams NULL and DataStreams in msg, sink must be given; *sink is then
 * never NULL afterwards (an origin that has none to give makes the answer a
 * failure of its own and leaves one that discards).
 */
void hbt_pending_answer(struct hbt_pending *p, struct hbt_message *msg,
                        struct hbt_source *streams, struct hbt_sink **sink);
void hbt_pending_fail(struct hbt_pending *p, const struct halibut_error *err);
/* The taker has given p->streams back. Its time ran on meanwhile. */
void hbt_pending_put_back(struct hbt_pending *p);

/*
 * By the origin: it does not want the answer any more. Waiting: withdrawn.
 * Taken: the taker is told and says which. The origin gets failed() with the
 * connecting- or transferring-cancelled status (texts: 3.11) before this
 * returns. No-op when IDLE.
 */
void hbt_pending_cancel(struct hbt_pending *p);
/*
 * The same, when the origin can wait for the exact answer: a queue outside of
 * this process is asked first whether somebody has p. failed(), or answered()
 * when the response was faster, comes inside or soon.
 */
void hbt_pending_cancel_soon(struct hbt_pending *p);

/* Frees what a pending holds (msg, streams); it must be IDLE. */
void hbt_pending_fini(struct hbt_pending *p);

#endif
