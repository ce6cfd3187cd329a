/*
 * The polling connections that workers hold: each is a taker of its
 * subscription's queue. Counted a subscription for the whole node, because
 * the limit is: runtime-behaviour 4.3.
 */
#ifndef HBT_MASTER_SUBSCRIPTIONS_H
#define HBT_MASTER_SUBSCRIPTIONS_H

#include "master/config.h"
#include "master/link.h"
#include "queue/switchboard.h"

struct hbt_subscriptions;

struct hbt_subscriptions *hbt_subscriptions_new(struct hbt_switchboard *sb);
/* After all links are gone. */
void hbt_subscriptions_free(struct hbt_subscriptions **subs);
/* limit: connections a subscription; 0: none. For those that come. */
void hbt_subscriptions_configure(struct hbt_subscriptions *subs,
                                 const struct hbt_config *cfg);

/* SUBSCRIBE, UNSUBSCRIBE, OFFER or WITHDRAW. HALIBUT_EPROTO as
 * hbt_calls_message(). */
int hbt_subscriptions_message(struct hbt_subscriptions *subs,
                              struct hbt_link *link, struct hbt_ipc_msg *msg);

/* Withdraws the link's takers, so that none gets a request any more. Before
 * hbt_calls_link_gone(), which ends what they carry. */
void hbt_subscriptions_link_gone(struct hbt_subscriptions *subs,
                                 struct hbt_link *link);

/* The number of connections, and of those at work, of the queue's endpoint. */
void hbt_subscriptions_count(const struct hbt_subscriptions *subs,
                             const struct hbt_queue *q, size_t *connections,
                             size_t *busy);

#endif
