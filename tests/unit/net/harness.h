/* Both ends of a connection in one process on one loop, over loopback TCP. */
#ifndef HBT_TEST_NET_HARNESS_H
#define HBT_TEST_NET_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/timespan.h"
#include "net/conn.h"
#include "../loopback.h"

#define PATIENCE_MS 60000

/* One end, with what it was told. */
struct side {
	struct hbt_conn *conn;
	int opened, eofs, failures, drains;
	struct halibut_error err;
	uint8_t *data; /* all that input() was given and took */
	size_t len, calls;
	size_t take;    /* what input() takes at most, each time */
	bool keep_none; /* count the bytes only */
	void (*on_opened)(struct side *s);
	void (*on_input)(struct side *s);
	void (*on_drained)(struct side *s);
	void (*on_eof)(struct side *s);
	void (*on_failed)(struct side *s);
	char steps[16]; /* c: an address is tried, u: unreached, p: proxy,
	                 * t: TLS */
};

extern struct event_base *base;
extern struct hbt_tls *server_tls, *client_tls;
extern struct hbt_limits limits;
extern const struct hbt_conn_ops side_ops; /* with a side as argument */

/* Of a group of tests: the loop, and a certificate for either end. */
int setup(void **state);
int teardown(void **state);
/* Of a test: the default limits. */
int fresh_limits(void **state);

#define TEST(name) cmocka_unit_test_setup(name, fresh_limits)

void side_init(struct side *s);
/* Closes its connection, without flushing, and begins anew. */
void side_fini(struct side *s);

/* Runs the loop until a condition holds, and fails if it never does. */
#define WAIT(condition)                                                        \
	do {                                                                   \
		int64_t give_up = hbt_now_ms() + PATIENCE_MS;                  \
		while (!(condition)) {                                         \
			if (hbt_now_ms() > give_up)                            \
				fail_msg("never happened: %s", #condition);    \
			event_base_loop(base, EVLOOP_ONCE);                    \
		}                                                              \
	} while (0)

/* A few turns, for what must not happen. */
void some_turns(void);

/* A connection of ours; the acceptor owns fd from here on. */
void start_server(struct side *s, int fd);
void start_client(struct side *c, const struct hbt_dial *dial);
struct hbt_dial dial_to(uint16_t port);
/* A dialler and an acceptor, not yet open; or open. */
void start_pair(struct side *c, struct side *s);
void open_pair(struct side *c, struct side *s);

#endif
