/*
 * What every kind of queue must do, whatever keeps the requests: inventory
 * rows QUE-01 to QUE-16, and the state table of runtime-behaviour 7.3. The
 * tests are in queue_suite_*.c.
 */
#ifndef TESTS_QUEUE_SUITE_H
#define TESTS_QUEUE_SUITE_H

#include "queue/queue.h"

struct queue_suite {
	const char *name;
	struct hbt_queue *(*make)(struct event_base *base, const char *key);
	/* After a test's queue was freed; may be NULL. */
	void (*finish)(void);
	/* Whoever carries may be in another process: carriers have a pending
	 * of their own, their failures arrive as responses, and once a request
	 * is in the queue nobody can be sure that no service saw it. */
	bool remote;
	/* Set: the next hash table finds no memory, which clears it. NULL: the
	 * queue has none. */
	bool *no_table;
};

/* Runs all tests. Returns how many failed, as main() should. */
int queue_suite_run(const struct queue_suite *suite);

#endif
