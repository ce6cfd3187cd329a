/* The listening sockets: accepting, and not accepting, connections. */
#ifndef HBT_MASTER_LISTEN_H
#define HBT_MASTER_LISTEN_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "base/error.h"
#include "master/config.h"

struct hbt_listeners;

struct hbt_listen_address {
	struct sockaddr_storage sa;
	socklen_t len;
	bool any; /* "10943" or "*:10943": IPv6 and IPv4 */
};

/*
 * "ADDRESS:PORT" with a numeric address, "*:PORT" or "PORT"; port 0 lets the
 * system choose. HALIBUT_OK, or HALIBUT_EINVAL with a message.
 */
int hbt_listen_parse(const char *text, struct hbt_listen_address *out,
                     struct halibut_error *err);

/* A socket that listens there, non-blocking and close-on-exec; or -1, and errno
 * says why. */
int hbt_listen_bind(struct hbt_listen_address *a);

struct hbt_listen_ops {
	/*
	 * A connection; the callee owns fd. peer is "address:port". False:
	 * nobody can take another one, and the callee has paused.
	 */
	bool (*accepted)(void *arg, int fd, const char *peer);
	void *arg;
};

/*
 * Binds all, or takes the sockets that systemd hands over instead if there
 * are any, and logs "listening on ADDR:PORT" for each. backlog: how many
 * connections the kernel keeps that nobody has accepted; 0: as many as the
 * system allows. Accepting starts paused. The message of a failure names the
 * address.
 */
int hbt_listeners_new(struct hbt_listeners **out, struct event_base *base,
                      const struct hbt_strings *addresses, int backlog,
                      const struct hbt_listen_ops *ops,
                      struct halibut_error *err);
void hbt_listeners_free(struct hbt_listeners **ls);

/*
 * Stops and restarts accepting; the kernel keeps what comes meanwhile. why is
 * logged when it pauses for a reason that an operator should know; NULL: not.
 */
void hbt_listeners_pause(struct hbt_listeners *ls, const char *why);
void hbt_listeners_resume(struct hbt_listeners *ls);

size_t hbt_listeners_count(const struct hbt_listeners *ls);
/* "address:port" as it was bound. */
const char *hbt_listeners_address(const struct hbt_listeners *ls, size_t i);

/* "address:port", IPv6 in brackets, v4-mapped as v4. */
void hbt_address_format(const struct sockaddr *sa, char *text, size_t size);
#define HBT_ADDRESS_TEXT 64

#endif
