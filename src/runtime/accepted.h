/*
 * An accepted connection, whichever it turns out to be: a client, whose
 * requests come in through an inlet, or a polling service, which carries
 * requests out as a taker.
 */
#ifndef HBT_RUNTIME_ACCEPTED_H
#define HBT_RUNTIME_ACCEPTED_H

#include "queue/queue.h"
#include "runtime/inlet.h"
#include "runtime/trust_set.h"

struct hbt_accepted;

struct hbt_accepted_ops {
	bool (*authorise)(void *arg, struct hbt_accepted *a,
	                  const char *thumbprint);
	/* Refused or broken before it was authorised; for status. The
	 * thumbprint may be NULL. It has been logged. */
	void (*refused)(void *arg, const char *peer, const char *thumbprint,
	                const char *reason);
	/* A client; hbt_accepted_admit() is owed, now or later. */
	void (*client)(void *arg, struct hbt_accepted *a);
	/* A polling service; the same. */
	void (*subscriber)(void *arg, struct hbt_accepted *a,
	                   const char *subscription);
	/* The subscriber can carry one request: a->taker may be offered. */
	void (*ready)(void *arg, struct hbt_accepted *a);
	/* It is over; a is freed after this. */
	void (*closed)(void *arg, struct hbt_accepted *a);
};

LIST_HEAD(hbt_accepted_list, hbt_accepted); /* an owner's */

struct hbt_accepted {
	const struct hbt_accepted_ops *ops;
	void *arg;
	struct hbt_exchange *ex;
	bool authorised, is_ready;
	bool refused; /* hbt_accepted_admit() said no */
	bool retired;    /* hbt_accepted_retire() */
	bool ending; /* closed() is due or was called; leave it alone */
	struct hbt_inlet inlet;       /* a client's */
	const struct hbt_inlet_ops *inlet_ops;
	void *inlet_arg;
	struct hbt_taker taker;       /* a polling service's */
	struct hbt_pending *carrying; /* what taker carries now */
	char *key;                    /* hbt_uri_key() of the subscription */
	uint32_t id;                  /* the owner's, e.g. for messages */
	uint32_t ticket;              /* the owner's, too */
	void *owner_data;
	char thumbprint[HBT_THUMBPRINT_TEXT];
	int64_t ready_ms; /* when ready() was called last */
	/* The owner's: its subscription has another one here; it may go. */
	bool is_further, may_leave;
	int64_t leaves_ms; /* the owner's: when it was to go; 0: not yet */
	LIST_ENTRY(hbt_accepted) link; /* the owner's list */
};

/* Takes fd over. The list is the owner's; insert before any callback. */
int hbt_accepted_new(struct hbt_accepted **out, struct hbt_exchange_env *env,
                     struct hbt_tls *tls, int fd,
                     const struct hbt_accepted_ops *ops,
                     const struct hbt_inlet_ops *inlet_ops, void *arg);
/* why_not NULL: it may stay. Else it is closed, and whoever refuses logs it. */
void hbt_accepted_admit(struct hbt_accepted *a, const char *why_not);
/* closed() is not called. A carried request fails at its caller. */
void hbt_accepted_free(struct hbt_accepted **a);
/* Ends it in good order between two calls (see hbt_exchange_is_busy()), then
 * closed() is called. Allowed last in ready() and in an inlet's sent(). */
void hbt_accepted_finish(struct hbt_accepted *a);
/* hbt_exchange_retire(): a client, or who may turn out to be one, ends when it
 * would ask for more. A polling service's end is its owner's to choose. */
void hbt_accepted_retire(struct hbt_accepted *a);
/* The connection is closed from our side (trust withdrawn, shutdown): what it
 * carries fails with err, then closed() is called. No-op when it is ending. */
void hbt_accepted_drop(struct hbt_accepted *a, const struct halibut_error *err);
/* Drops those whose certificate is not in trust any more. */
void hbt_accepted_drop_untrusted(struct hbt_accepted_list *list,
                                 const struct hbt_trust_set *trust);

#endif
