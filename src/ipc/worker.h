/*
 * What every worker program does, whatever its work is: how it begins, says
 * hello, tells what it costs, and obeys the orders that are for any of them.
 */
#ifndef HBT_IPC_WORKER_H
#define HBT_IPC_WORKER_H

#include <event2/dns.h>
#include <event2/event.h>
#include <stdbool.h>

#include "base/error.h"
#include "ipc/ipc.h"
#include "ipc/proto.h"

/*
 * First of all: signals, descriptors, the log in the name of kind ("queue
 * worker"), what the process costs. False: the program, such as
 * "halibut-queue-worker", was not started by halibutd, and that was said on
 * standard error; the exit code for it is 2.
 */
bool hbt_worker_begin(int argc, const char *program, const char *kind);
/* Has read what libraries read from files, time zone and OpenSSL's, before a
 * sandbox in which no file can be opened. */
int hbt_worker_read_files(struct halibut_error *err);
/* Last: both are freed, with what was left for the next turn of the loop. */
void hbt_worker_end(struct event_base **base, struct evdns_base **dns);

/* HELLO, the first message. halibutctl says it as well. */
int hbt_worker_hello(struct hbt_ipc *ipc, enum hbt_peer_kind kind);
/*
 * SETTINGS: reads them, then names the process in the log ("queue worker 0",
 * or of kind alone when is_only) and sets its level. fini s in every case.
 */
int hbt_worker_settings(struct hbt_rd *r, struct hbt_settings *s,
                        const char *kind, bool is_only);
/* LOG and PING. False, and nothing was done: it is another message. */
bool hbt_worker_obey(struct hbt_ipc *ipc, struct hbt_ipc_msg *msg);

/*
 * Sends what the master must not miss. body (NULL: none) is finished, fd
 * closed when it was sent, or not. If memory is too short for it that is
 * logged, and the worker has to leave: then the master knows at least.
 */
int hbt_worker_tell(struct hbt_ipc *ipc, enum hbt_ipc_type type, uint32_t id,
                    struct hbt_wr *body, int fd);
/* Once a second: says how many lines were not logged, notes what the process
 * costs, and sends STATS if they are not as in *told, which they become. */
void hbt_worker_second(struct hbt_ipc *ipc, struct hbt_worker_stats *stats,
                       struct hbt_worker_stats *told);

#endif
