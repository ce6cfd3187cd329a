/* What every kind of queue must do; see queue_suite.c. */
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
