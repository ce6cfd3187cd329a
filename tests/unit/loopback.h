/* Bare TCP sockets on 127.0.0.1, for tests that are their own peer. */
#ifndef HBT_TEST_LOOPBACK_H
#define HBT_TEST_LOOPBACK_H

#include <stdint.h>

/* Listens on a free port, which goes to *port. */
int listen_on_loopback(uint16_t *port, int backlog);
int connect_to(uint16_t port);
/* Two ends of a connection. */
void bare_pair(int *dialler, int *acceptor);

#endif
