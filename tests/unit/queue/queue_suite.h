/* What every kind of queue must do; see queue_suite.c. */
#ifndef TESTS_QUEUE_SUITE_H
#define TESTS_QUEUE_SUITE_H

#include "queue/queue.h"

/* Runs all tests against queues that make() makes. Returns how many failed,
 * as main() should. */
int queue_suite_run(const char *name,
                    struct hbt_queue *(*make)(struct event_base *base,
                                              const char *key));

#endif
