/* Listening Unix sockets that have a path: the control socket and that of the
 * status. */
#ifndef HBT_MASTER_UNIX_SOCKET_H
#define HBT_MASTER_UNIX_SOCKET_H

#include "base/error.h"

/*
 * Binds path, with the mode from the first moment on, and listens. What a
 * dead process left there is removed; if somebody listens there it fails.
 * Makes the directory if only that is missing. type is SOCK_STREAM or
 * SOCK_SEQPACKET; setting is what the path comes from, for the message of a
 * failure. *fd is -1 then.
 */
int hbt_unix_listen(int *fd, const char *path, int type, unsigned mode,
                    const char *setting, struct halibut_error *err);

#endif
