/*
 * What the files of the polling connections share.
 *
 *   subscriptions.c      connections: messages about them, and as takers
 *   subscription_book.c  what is known of an endpoint: how many it has, by
 *                        which certificates, whether they are too few
 */
#ifndef HBT_MASTER_SUBSCRIPTIONS_PRIVATE_H
#define HBT_MASTER_SUBSCRIPTIONS_PRIVATE_H

#include "master/calls_private.h"
#include "master/subscriptions.h"

/* A certificate with which connections claim an endpoint. */
struct hbt_claim {
	struct hbt_holder *holder;
	uint32_t connections;
};

/* All connections of one endpoint. */
struct hbt_subscription {
	struct hbt_queue *queue; /* one of its users */
	size_t connections, busy;
	struct hbt_claim *claims; /* one nearly always */
	unsigned n_claims;
	uint64_t waited_busy;
	int64_t waited_busy_ms; /* the last one */
	int64_t span_ms;        /* when a span began, in which there were */
	unsigned in_span;
	int64_t left_ms;                /* when the last connection went */
	/* Of those that workers let go, whose place others have: how many are
	 * still there, when the last one was told, and one that is not to go
	 * before another has come; or NULL. */
	size_t leaving;
	int64_t let_go_ms;
	struct hbt_subscriber *last;
	TAILQ_ENTRY(hbt_subscription) link; /* while it has none */
	UT_hash_handle hh;              /* by the address of the queue */
};

struct hbt_subscriptions {
	struct hbt_switchboard *switchboard;
	struct hbt_refused *refused;
	struct hbt_holders *holders;
	struct hbt_admission *admission;
	const struct hbt_config *cfg;
	struct hbt_subscription *list;
	TAILQ_HEAD(, hbt_subscription) left; /* the longest first */
	size_t n_left;
};

/* ---- subscription_book.c ---- */

/* NULL: it never had a connection, or is forgotten. */
struct hbt_subscription *
hbt_subscription_find(const struct hbt_subscriptions *subs,
                      const struct hbt_queue *q);
/* Uses q as long as it is remembered. NULL without memory. */
struct hbt_subscription *
hbt_subscription_find_or_make(struct hbt_subscriptions *subs,
                              struct hbt_queue *q);
/* One that never had a connection is not worth remembering. */
void hbt_subscription_forget_if_new(struct hbt_subscriptions *subs,
                                    struct hbt_subscription *s);
/* One more connection, by this certificate; hbt_subscription_leave() takes the
 * holder, which is NULL without memory. */
struct hbt_holder *hbt_subscription_enter(struct hbt_subscriptions *subs,
                                          struct hbt_subscription *s,
                                          const char *thumbprint);
void hbt_subscription_leave(struct hbt_subscriptions *subs,
                            struct hbt_subscription *s,
                            struct hbt_holder *holder);
/* Can it do without one more of its connections? No: that is the last one, and
 * another was let go that may still come back. */
bool hbt_subscription_can_spare(const struct hbt_subscription *s);
/* A connection has taken this call: would one more have taken it sooner? */
void hbt_subscription_note_wait(struct hbt_subscription *s,
                                const struct hbt_call *call);

#endif
