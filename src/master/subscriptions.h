/*
 * The polling connections that workers hold: each is a taker of its
 * subscription's queue. Counted a subscription for the whole node, because
 * the limit is: runtime-behaviour 4.3.
 */
#ifndef HBT_MASTER_SUBSCRIPTIONS_H
#define HBT_MASTER_SUBSCRIPTIONS_H

#include "master/admission.h"
#include "master/config.h"
#include "master/holders.h"
#include "master/link.h"
#include "master/refused.h"
#include "queue/switchboard.h"

struct hbt_subscriptions;

/* adm counts connections; NULL: nobody does. All outlive it. */
struct hbt_subscriptions *hbt_subscriptions_new(struct hbt_switchboard *sb,
                                                struct hbt_admission *adm,
                                                struct hbt_refused *refused,
                                                struct hbt_holders *holders);
/* After all links are gone. */
void hbt_subscriptions_free(struct hbt_subscriptions **subs);
/* limit: connections a subscription; 0: none. For those that come. */
void hbt_subscriptions_configure(struct hbt_subscriptions *subs,
                                 const struct hbt_config *cfg);

/* IDENTIFY, SUBSCRIBE, UNSUBSCRIBE, OFFER, WITHDRAW or LEAVE. HALIBUT_EPROTO as
 * hbt_calls_message(). */
int hbt_subscriptions_message(struct hbt_subscriptions *subs,
                              struct hbt_link *link, struct hbt_ipc_msg *msg);

/* Withdraws the link's takers, so that none gets a request any more. Before
 * hbt_calls_link_gone(), which ends what they carry. */
void hbt_subscriptions_link_gone(struct hbt_subscriptions *subs,
                                 struct hbt_link *link);

/* What is known of the polling connections of a queue's endpoint. */
struct hbt_subscription_facts {
	size_t connections, busy;
	int64_t last_seen_at; /* Unix time in ms; 0: never */
	unsigned machines;    /* certificates that claim it now */
	char thumbprints[4 * 41]; /* some of them */
	uint64_t waited_busy; /* requests that waited, as all were busy */
	int64_t waited_busy_at;
	bool wants_connections; /* that happened often of late */
};
void hbt_subscriptions_facts(const struct hbt_subscriptions *subs,
                             const struct hbt_queue *q,
                             struct hbt_subscription_facts *facts);

/* Has the endpoint connections, so that whoever waits for one waits because
 * all are busy? */
bool hbt_subscriptions_has(const struct hbt_subscriptions *subs,
                           const struct hbt_queue *q);

/*
 * Endpoints without connections are remembered for a day, and not too many of
 * them; this forgets some of the others. Once a second, from the loop.
 */
void hbt_subscriptions_trim(struct hbt_subscriptions *subs);

#endif
