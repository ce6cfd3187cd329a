/*
 * Queue endpoints of this node, the sections queue: requests for them are run
 * by its service programs, with no connection between. As many at a time as
 * the section says take from the endpoint's queue. redis-queue 14
 */
#ifndef HBT_MASTER_HOSTED_H
#define HBT_MASTER_HOSTED_H

#include "master/config.h"
#include "master/link.h"
#include "queue/switchboard.h"

struct hbt_hosted;
struct hbt_hosted_taker;

/* host: a service worker that is ready, or NULL. NULL: no memory. */
struct hbt_hosted *hbt_hosted_new(struct hbt_switchboard *sb,
                                  struct hbt_link *(*host)(void *arg),
                                  void *arg);
/* After all calls. */
void hbt_hosted_free(struct hbt_hosted **h);

/* The sections were read; cfg is not kept. What runs is finished. */
void hbt_hosted_configure(struct hbt_hosted *h, const struct hbt_config *cfg);
/* The service worker came or went: takers are offered or withdrawn. */
void hbt_hosted_review(struct hbt_hosted *h);
/* Is anybody at work for the endpoint of a queue, or ready to be? For any? */
bool hbt_hosted_has(const struct hbt_hosted *h, const struct hbt_queue *q);
bool hbt_hosted_is_at_work(const struct hbt_hosted *h);

/* How many takers the endpoint of a queue has, and how many are at work. */
void hbt_hosted_count(const struct hbt_hosted *h, const struct hbt_queue *q,
                      size_t *takers, size_t *busy);

#endif
