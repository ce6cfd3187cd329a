/*
 * Who has how many bytes in the spools of this process, and how many he may
 * have: all together, a source, a certificate, a subscription. Whoever is at a
 * limit is not failed, he waits: his sender is read again when others of the
 * same account have given some back. Who waits longest is woken first; a
 * newcomer of the same turn may be faster, and who got on through his pipe
 * loses his place.
 *
 * Nobody waits for ever, and not in a circle: what does not go into a spool
 * goes through its pipe, as fast as its own reader takes it.
 */
#ifndef HBT_IPC_SPOOL_ACCOUNT_H
#define HBT_IPC_SPOOL_ACCOUNT_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/limits.h"
#include "base/source.h"

enum hbt_spool_whose {
	HBT_SPOOL_OF_ALL,
	HBT_SPOOL_OF_SOURCE,
	HBT_SPOOL_OF_THUMBPRINT,
	HBT_SPOOL_OF_SUBSCRIPTION,
	HBT_SPOOL_KINDS, /* none: how many there are */
};

struct hbt_spool_accounts;

/*
 * All accounts of a process. The limits are copied; the rule of sources
 * outlives it, the event base all payers. NULL: no memory.
 */
struct hbt_spool_accounts *
hbt_spool_accounts_new(struct event_base *base, const struct hbt_limits *limits,
                       const struct hbt_source_rule *sources);
/* Payers may live on; nobody is woken any more. */
void hbt_spool_accounts_free(struct hbt_spool_accounts **all);
/* How often somebody had to wait because of the limit of that kind. */
uint64_t hbt_spool_accounts_full(const struct hbt_spool_accounts *all,
                                 enum hbt_spool_whose whose);
/* How many accounts there are: one a source that has a payer, and so on. */
size_t hbt_spool_accounts_count(const struct hbt_spool_accounts *all);

/* Who pays for the spool of one message: up to one account of each kind. */
struct hbt_spool_payer;

/*
 * For a message of peer, "address:port", with that certificate, or NULL.
 * subscription: hbt_uri_key() of the endpoint that it is to or from; NULL:
 * none. The caller has a reference. NULL: no memory.
 */
struct hbt_spool_payer *hbt_spool_payer_new(struct hbt_spool_accounts *all,
                                            const char *peer,
                                            const char *thumbprint,
                                            const char *subscription);
struct hbt_spool_payer *hbt_spool_payer_ref(struct hbt_spool_payer *p);
/* *p becomes NULL; NULL is allowed. */
void hbt_spool_payer_unref(struct hbt_spool_payer **p);

/*
 * Its subscription is not known yet: it has no room until that is decided,
 * which it must be; NULL: there is none. Only the first decision counts.
 * False: subscriptions have no limit, there is nothing to decide.
 */
bool hbt_spool_payer_defer(struct hbt_spool_payer *p);
void hbt_spool_payer_decide(struct hbt_spool_payer *p,
                            const char *subscription);

/* The rest is for the spool and its sink; p NULL: nobody pays. */

/* So many bytes may be added; none while it must wait. */
int64_t hbt_spool_payer_room(const struct hbt_spool_payer *p);
/* So many bytes more, or less, are in its spool. */
void hbt_spool_payer_charge(struct hbt_spool_payer *p, int64_t bytes);
/*
 * It wants to add more than it has room for: it is woken, from the loop, when
 * there is some again. No-op when it has room. Whoever was woken and got
 * nothing keeps his place in line.
 */
void hbt_spool_payer_wait(struct hbt_spool_payer *p, void (*wake)(void *arg),
                          void *arg);
/* It got some, or wants nothing any more: it is not woken, and the next time
 * it comes last. */
void hbt_spool_payer_leave(struct hbt_spool_payer *p);

#endif
