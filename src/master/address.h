/* Addresses to listen on, as settings have them; hbt_sock_format() is how they
 * are shown. */
#ifndef HBT_MASTER_ADDRESS_H
#define HBT_MASTER_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>
#include "base/error.h"
#include "net/sock.h"

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

/* One of any becomes that of IPv4 alone. */
bool hbt_listen_any_v4(struct hbt_listen_address *a);

/* A socket that listens there, non-blocking and close-on-exec; or -1, and errno
 * says why. only_v6: not to IPv4, too; of consequence for IPv6 alone. */
int hbt_listen_bind(struct hbt_listen_address *a, int backlog, bool only_v6);

#endif
