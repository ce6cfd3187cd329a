/*
 * What the files of the suite have in common. Their tests wait for conditions
 * only, so a queue may need turns of the loop for everything. What must not
 * happen is shown by something later that does.
 */
#ifndef TESTS_QUEUE_SUITE_PRIVATE_H
#define TESTS_QUEUE_SUITE_PRIVATE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/timespan.h"
#include "queue_suite.h"

#define LONG_MS 60000
#define PATIENCE_MS 20000

/* The tests of one file; the last for a queue with no_table only. */
struct queue_suite_part {
	const struct CMUnitTest *tests;
	size_t n;
};
#define PART(tests) {tests, sizeof(tests) / sizeof((tests)[0])}
extern const struct queue_suite_part queue_suite_takers, queue_suite_ends,
	queue_suite_crowds, queue_suite_no_table;

extern const struct queue_suite *suite; /* that runs now */
extern struct event_base *base;
extern struct hbt_queue *queue;

/* Who asks. */
struct origin {
	struct hbt_pending p;
	int answers, failures;
	int status, connection_state;
	char text[256];
	struct hbt_message *response;
	struct hbt_sink *sink;          /* offered for a response's streams */
	void (*then)(struct origin *o); /* after either callback */
};

/* Who carries. */
struct carrier {
	struct hbt_taker t;
	struct hbt_pending *got; /* what it carries now */
	int delivered, cancelled;
	bool began; /* says that the service may have seen it */
	void (*then)(struct carrier *c); /* inside deliver() */
};

/* Of a test: loop and queue. */
int set_up(void **state);
int tear_down(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* Runs the loop until the condition holds. */
#define await(condition)                                                       \
	do {                                                                   \
		int64_t give_up = hbt_now_ms() + PATIENCE_MS;                  \
                                                                               \
		event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);          \
		while (!(condition)) {                                         \
			if (hbt_now_ms() >= give_up)                           \
				fail_msg("never happened: %s", #condition);    \
			turn();                                                \
		}                                                              \
	} while (0)
/* One turn, at most as long as until the next look at a condition. */
void turn(void);

struct hbt_queue_counts counts(void);

/* An origin pushes a request; forget() ends both. */
void ask(struct origin *o, int64_t timeout_ms);
void forget(struct origin *o);

/* A carrier takes the next request; answers it; or gives it back. */
void offer(struct carrier *c);
void answer(struct carrier *c);
void put_back(struct carrier *c);

/* It has the request of o. A remote queue's carriers have a pending of their
 * own. */
void assert_carries(const struct carrier *c, const struct origin *o);

/* Offers, and gets the request of o. */
void take(struct carrier *c, const struct origin *o);
/* Answers, and o hears it. */
void answer_to(struct carrier *c, const struct origin *o);

/* A response, whose DataStream has this id and text. */
struct hbt_message *response(const char *id, bool has_stream);
extern const struct hbt_guid stream_id;
#define STREAM "abc"

#endif
