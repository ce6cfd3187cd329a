/* Socket options, endings and addresses. runtime-behaviour 4.4 */
#ifndef HBT_NET_SOCK_H
#define HBT_NET_SOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "base/limits.h"

#define HBT_ADDRESS_TEXT 56 /* [v6]:port with terminator */

struct hbt_keep_alive {
	bool enabled;
	int idle_s, interval_s, count;
};

struct hbt_keep_alive hbt_keep_alive_of(const struct hbt_limits *limits);

/*
 * Non-blocking, close-on-exec, no delay, keep-alive as wished. 0 or errno;
 * only a descriptor that is no TCP socket fails.
 */
int hbt_sock_prepare(int fd, const struct hbt_keep_alive *keep);

/* Acknowledges at once what was read, so that no peer waits for our ACK. */
void hbt_sock_quick_ack(int fd);

/* Closes with RST: what is unsent is dropped. -1 is allowed. */
void hbt_sock_abort(int fd);

/* "address:port", "[v6]:port", v4-mapped as v4; "<none>" for others. */
void hbt_sock_format(const struct sockaddr *sa, char text[HBT_ADDRESS_TEXT]);

#endif
