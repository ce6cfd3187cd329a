/*
 * The connection worker: does TLS and parses everything that comes from
 * outside, for the master at the other end of descriptor 3.
 *
 *   main.c      start and stop
 *   channel.c   what the master says
 *   incoming.c  sources: connections that bring requests in
 *   outgoing.c  sinks: requests that the master has us carry out
 *   drain.c     leaving without a loss
 *   rows.c      what connections there are, for the status
 *   close.c     connections that an operator wants closed
 */
#ifndef HBT_WORKER_CONNECTION_H
#define HBT_WORKER_CONNECTION_H

#include <event2/dns.h>
#include <sys/queue.h>

#include "ipc/ipc.h"
#include "ipc/proto.h"
#include "runtime/accepted.h"
#include "runtime/dialler.h"
#include "runtime/poller.h"
#include "runtime/trust_set.h"

struct asked;   /* incoming.c: a request that the master has */
struct carried; /* outgoing.c: a request that we have of the master */
struct subscriber; /* incoming.c */

struct polling { /* one connection to a server that we poll */
	struct hbt_poller *poller;
	struct hbt_buf key;
	bool wanted;  /* the list of servers to poll has it */
	bool retired; /* ends when no request can be lost */
	LIST_ENTRY(polling) link;
};

struct drain { /* drain.c's */
	struct event *timer;
	enum hbt_drained told; /* to the master */
	int64_t since_ms;
	bool hands_over; /* polling services end even if requests wait */
	bool everything; /* polling services end, too, from then on: */
	int64_t pollers_since_ms, spread_ms;
	/* further: beside another one of the same subscription */
	uint64_t n_pollers, pollers_ended, n_further, further_ended;
};

struct worker {
	struct event_base *base;
	struct evdns_base *dns;
	struct hbt_ipc *ipc;
	bool ready;    /* SETTINGS came */
	bool draining; /* STOP came: leave when nothing is under way */
	struct drain drain;
	int exit_code;

	struct hbt_settings settings;
	const char **headers; /* lines of settings.friendly_headers */
	struct hbt_tls *tls;
	struct hbt_tls **identities; /* of settings.identities, in that order */
	struct hbt_exchange_env env;
	struct hbt_trust_set *trust;
	struct hbt_source_rule sources;
	struct hbt_spool_accounts *spools;
	struct hbt_dialler *dialler;

	struct hbt_accepted_list accepted;
	LIST_HEAD(, polling) pollings;
	uint32_t last_call;
	struct subscriber *subscribers;
	struct asked *asked;
	struct carried *carried;
	struct hbt_queue to_master; /* takes back what was not sent */

	struct closed *closed; /* rows.c's */
	struct event *stats_timer;
	struct hbt_worker_stats stats, stats_told;
};

/* channel.c */
extern const struct hbt_ipc_ops worker_channel_ops; /* arg: worker */
void worker_fini(struct worker *w);
/*
 * Sends what the master must not miss. If memory is too short for that, the
 * worker leaves: then the master knows at least. fd is taken over, body
 * finished.
 */
void worker_tell(struct worker *w, enum hbt_ipc_type type, uint32_t id,
                 struct hbt_wr *body, int fd);

/* The certificate of a section identity; NULL: there is no such one. */
struct hbt_tls *worker_identity(struct worker *w, const char *name);

/* incoming.c */
/* r: the body of CONN. */
void incoming_connection(struct worker *w, uint32_t ticket, int fd,
                         struct hbt_rd *r);
void incoming_polls(struct worker *w, struct hbt_rd *r);
void incoming_subscribed(struct worker *w, uint32_t id, struct hbt_rd *r);
/* ROUTED */
void incoming_routed(struct worker *w, uint32_t id, struct hbt_rd *r);
void incoming_answer(struct worker *w, struct hbt_ipc_msg *msg);
void incoming_fail(struct worker *w, struct hbt_ipc_msg *msg);
void incoming_drop_untrusted(struct worker *w);
/* Servers that we poll: each ends when no request can be lost; those that did
 * are freed; may a request still come from one? */
void incoming_polls_retire(struct worker *w);
void incoming_polls_end(struct worker *w);
bool incoming_polls_may_bring(const struct worker *w);
size_t incoming_connections(const struct worker *w);
void incoming_free_all(struct worker *w);
size_t incoming_busy(const struct worker *w);
struct hbt_accepted *incoming_find(struct worker *w, uint32_t id);

/* outgoing.c */
void outgoing_init(struct worker *w);
void outgoing_call(struct worker *w, struct hbt_ipc_msg *msg);
void outgoing_cancel(struct worker *w, uint32_t id);
size_t outgoing_busy(const struct worker *w);
/* Once a second: how far the calls are that take their time. */
void outgoing_tell_phases(struct worker *w);
/* Moves the texts out of f; fini e in any case but failure. */
int worker_endpoint(struct worker *w, struct hbt_endpoint *e,
                    struct hbt_endpoint_fields *f, struct halibut_error *err);

/* drain.c: after STOP. Begins, or goes on otherwise. */
void drain_begin(struct worker *w, enum hbt_stop how, int64_t spread_ms);
/* The master has something for us after all: it must hear again that nothing
 * is left. */
void drain_interrupted(struct worker *w);
/* MAY_LEAVE: the subscription of this connection can do without it. */
void drain_may_leave(struct worker *w, uint32_t id);
/* A polling service can take a request: true when it has ended instead. */
bool drain_poller(struct worker *w, struct hbt_accepted *a);
void drain_fini(struct worker *w);

/* rows.c: what connections there are, and were. */
int rows_start(struct worker *w);
void rows_ask(struct worker *w, struct hbt_ipc_msg *msg);
void rows_fini(struct worker *w);

/* close.c: CLOSE */
void close_by_order(struct worker *w, struct hbt_ipc_msg *msg);

/* stats.c */
int stats_start(struct worker *w);

#endif
