/*
 * The polling loop of a service: dial, subscribe, serve, dial again with
 * growing delays. wire-protocol 5.3, runtime-behaviour 3.4-3.5
 */
#ifndef HBT_RUNTIME_POLLER_H
#define HBT_RUNTIME_POLLER_H

#include "runtime/dialler.h"
#include "runtime/inlet.h"

struct hbt_poller;

/*
 * Starts one connection that polls e as subscription, for ever. Requests go
 * to ops. All arguments outlive it; e and subscription are copied.
 */
int hbt_poller_new(struct hbt_poller **out, struct hbt_exchange_env *env,
                   struct evdns_base *dns, struct hbt_tls *tls,
                   const struct hbt_endpoint *e, const char *subscription,
                   const struct hbt_inlet_ops *ops, void *arg);
/* Ends the loop; an idle connection gets END. */
void hbt_poller_free(struct hbt_poller **p);

/* A request is being received, executed or answered. */
bool hbt_poller_is_busy(const struct hbt_poller *p);

/*
 * Ends the loop as soon as no request can be lost in its connection: the
 * server may hand it one at any time, so that it is told END where NEXT would
 * be due. It is over when that has happened; then it can be freed.
 */
void hbt_poller_retire(struct hbt_poller *p);
bool hbt_poller_is_over(const struct hbt_poller *p);
/* May a request come over it at any moment? */
bool hbt_poller_may_bring(const struct hbt_poller *p);
const char *hbt_poller_state_text(const struct hbt_poller *p);

/*
 * The delay before the next attempt, elapsed_ms after the first of a series:
 * clamp(elapsed * (1 + multiplier), min, max). 3.5
 */
int64_t hbt_poller_delay_ms(int64_t elapsed_ms, double multiplier,
                            int64_t min_ms, int64_t max_ms);

#endif
