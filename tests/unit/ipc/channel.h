/*
 * A channel with both ends in this process, or with one of them as a bare
 * socket, by which a test speaks by hand.
 */
#ifndef TESTS_IPC_CHANNEL_H
#define TESTS_IPC_CHANNEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/error.h"
#include "descriptors.h"
#include "ipc/ipc.h"

#define MAX_BODY ((size_t)4 * 1024 * 1024)
#define INLINE_BYTES ((size_t)32 * 1024)

/* One end of a channel, and what it heard. */
struct side {
	struct hbt_ipc *ipc;
	int messages, closed, lost;
	uint16_t type;
	uint32_t id;
	uint8_t *data;
	size_t len;
	int fd; /* taken from the last message; -1 */
	char why[160];
	void (*then)(struct side *s, struct hbt_ipc_msg *msg);
};

extern struct event_base *base;
extern struct side a, b;
extern int raw; /* the bare socket; -1: there is none */
extern const struct hbt_ipc_ops side_ops; /* with a side as argument */

/* Both sides; no descriptor may be left at the end. */
int set_up(void **state);
int tear_down(void **state);
/* The same with raw instead of the side a. */
int set_up_raw(void **state);
int tear_down_raw(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define RAW(name)                                                              \
	cmocka_unit_test_setup_teardown(name, set_up_raw, tear_down_raw)

/* For then: the side keeps the descriptor; it pauses its channel. */
void take(struct side *s, struct hbt_ipc_msg *msg);
void pause_me(struct side *s, struct hbt_ipc_msg *msg);

/* The loop, until the condition holds. Everything is local: what has not come
 * after so many turns does not come. */
#define await(condition)                                                       \
	do {                                                                   \
		for (int turns = 0; !(condition); turns++) {                   \
			assert_true(turns < 20000);                            \
			event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);  \
		}                                                              \
	} while (0)
/* A few turns, for what must not happen. */
void some_turns(void);

/* The reading end of a pipe in which the text is. */
int pipe_with(const char *text);
void assert_pipe_has(int fd, const char *text);

#endif
