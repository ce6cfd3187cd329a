/*
 * What the tests of a connection talk with: a dialler and an acceptor of
 * ours, or an acceptor and a bare client, whose socket can be looked at.
 */
#ifndef HBT_TEST_NET_CONN_SIDES_H
#define HBT_TEST_NET_CONN_SIDES_H

#include "harness.h"

extern struct side c, s; /* the dialler, and the acceptor */

/* Of a test: the default limits, and neither side has a connection; what is
 * left at its end is closed. */
int fresh(void **state);
int done(void **state);

#define T(name) cmocka_unit_test_setup_teardown(name, fresh, done)

/* Ends both inside of a test, for another pair. */
void sides_fini(void);

void text(struct side *side, const char *words);

/* The bare client. */
struct raw {
	SSL *ssl;
	int fd; /* -1: closed */
};
extern struct raw raw;

/* TCP to the acceptor, which waits for a handshake; or that as well. */
void raw_connect(void);
void raw_handshake(void);
void raw_close(void);
void raw_reset(void);

#endif
