/*
 * The status worker: shows what the node does, over HTTP to people and
 * programs, and over the channel to halibutctl. It holds no key of the node
 * and sees no traffic; all it knows are rows that it asks the master for, a
 * page at a time. Should it hang or die, nothing else notices.
 *
 *   main.c       start and stop
 *   channel.c    what the master says
 *   http.c       HTTP: listening, requests, answers
 *   http_connections.c  its connections, and their limits
 *   authorize.c  who may ask: token, TLS, certificates
 *   query.c      a path with its parameters
 *   gather.c     snapshots of tables, made of pages, shared for a second
 *   view.c       a row of a snapshot, where it lies
 *   select.c     the rows that somebody wants: filtered, sorted, cut out
 *   request.c    a document on its way to who asked for it, bit by bit
 *   relay.c      documents for halibutctl, through the master
 *   documents.c  which documents there are
 *   list.c       a document that is rows of tables
 *   lists.c      those: /connz and the like
 *   varz.c       /varz, /redisz: the node as a whole
 *   health.c     /healthz, /livez, /readyz
 *   metrics.c    /metrics
 *   index.c      /
 */
#ifndef HBT_WORKER_STATUS_H
#define HBT_WORKER_STATUS_H

#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "ipc/ipc.h"
#include "ipc/proto.h"
#include "ipc/status_settings.h"

struct gather;
struct http;
struct relay;

struct worker {
	struct event_base *base;
	struct hbt_ipc *ipc;
	struct hbt_settings settings;
	struct hbt_status_settings status;
	bool ready; /* SETTINGS came */
	int exit_code;

	struct gather *gather;
	struct http *http;
	LIST_HEAD(, relay) relays;

	struct event *second;
	struct hbt_worker_stats stats, stats_told;
};

/* channel.c */
extern const struct hbt_ipc_ops worker_channel_ops; /* arg: worker */
void worker_fini(struct worker *w);

#endif
