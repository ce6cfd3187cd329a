/*
 * Idle connections to listening services, kept for the next call.
 * wire-protocol 5.2, runtime-behaviour 4.1
 */
#ifndef HBT_RUNTIME_POOL_H
#define HBT_RUNTIME_POOL_H

#include "exchange/exchange.h"
#include "runtime/dialler.h"

struct hbt_pool;

/* NULL when memory is short. base outlives the pool. */
struct hbt_pool *hbt_pool_new(struct event_base *base,
                              const struct hbt_limits *limits);
/* Every connection gets END. */
void hbt_pool_free(struct hbt_pool **pool);

/*
 * The pool owns ex from here on. Of an endpoint's connections the five used
 * last are kept; more only as long as they were in use within a second.
 */
void hbt_pool_put(struct hbt_pool *pool, const struct hbt_endpoint *e,
                  struct hbt_exchange *ex);
/* The connection used last, now the caller's; expired ones are ended. NULL
 * when there is none. */
struct hbt_exchange *hbt_pool_take(struct hbt_pool *pool,
                                   const struct hbt_endpoint *e);
/* Ends all of e; with e NULL, all there are. */
void hbt_pool_clear(struct hbt_pool *pool, const struct hbt_endpoint *e);
size_t hbt_pool_count(const struct hbt_pool *pool);

#endif
