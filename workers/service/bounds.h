/* Every size and delay of the service worker that no setting changes. */
#ifndef HBT_SERVICE_BOUNDS_H
#define HBT_SERVICE_BOUNDS_H

#include <stddef.h>

/* One answer of a program: a line, which is held in memory. */
#define SVC_MAX_LINE ((size_t)16 * 1024 * 1024)
/* What one turn reads from or writes to one descriptor. */
#define SVC_READ_BYTES ((size_t)64 * 1024)
/* Calls of a program that wait for a process, and their bytes in all. */
#define SVC_MAX_WAITING 256
#define SVC_MAX_WAITING_BYTES ((size_t)256 * 1024 * 1024)
/* DataStreams of one result: each is an open file until it is sent. */
#define SVC_MAX_RESULT_STREAMS 256

/* From the end of standard input to SIGTERM, from there to SIGKILL. */
#define SVC_EOF_GRACE_MS 1000
#define SVC_TERM_GRACE_MS 2000
/* Before a program that died is started again; doubles with each death. */
#define SVC_RESTART_MIN_MS 100
#define SVC_RESTART_MAX_MS 30000
/* A call whose program was configured without a time-out. */
#define SVC_DEFAULT_TIMEOUT_MS (10 * 60 * 1000)

/* Standard error: a longer line is cut in pieces. */
#define SVC_STDERR_LINE 1000
#define SVC_STDERR_BURST 200  /* lines at once, */
#define SVC_STDERR_RATE 20    /* and then a second */
#define SVC_STDERR_LAST 3     /* lines that an error message repeats */

#endif
