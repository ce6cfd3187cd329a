/*
 * What the processes of a node say to one another. Bodies are little-endian
 * fields in the order given (base/buf.h: str is u32 length and bytes; a cstr
 * may be absent). `parcel` is a message on its way: see hbt_parcel_*.
 *
 * Calls look the same on every channel: whoever asks sends CALL with an id of
 * its own choosing (unique on that channel and direction among its open
 * calls) and gets exactly one ANSWER or FAIL with that id. Either side may
 * ask: workers bring requests in, the master hands them out.
 */
#ifndef HBT_IPC_PROTO_H
#define HBT_IPC_PROTO_H

#include "base/buf.h"
#include "base/limits.h"
#include <event2/event.h>
#include "ipc/counters.h"
#include "ipc/spool_account.h"
#include "wire/flow.h"
#include "wire/message.h"

enum hbt_ipc_type {
	/* Anybody -> master, first: u32 protocol (HBT_IPC_PROTOCOL), u8 kind
	 * (enum hbt_peer_kind), u32 pid, cstr version. */
	HBT_IPC_HELLO = 1,

	/* Calls, both directions. The id names the call. */
	HBT_IPC_CALL = 10, /* u8 how, struct hbt_call_target by how, parcel */
	HBT_IPC_ANSWER,    /* parcel */
	HBT_IPC_FAIL,      /* error */
	HBT_IPC_CANCEL,    /* by the asker: give it up; FAIL still follows */
	/* By who was to carry it, a polling connection or (to the queue
	 * worker) the master: not a byte was sent. The DataStreams' descriptor
	 * comes back with it. */
	HBT_IPC_RETURN,

	/* Master -> connection worker. */
	HBT_IPC_SETTINGS = 30, /* struct hbt_settings: before anything else */
	HBT_IPC_TRUST,     /* u32 n, n * 20 bytes SHA-1; replaces the list */
	/* id: ticket. fd: accepted, nothing read yet. str peer address, cstr
	 * identity: whose certificate it is shown. CONN_GONE answers, some
	 * day. */
	HBT_IPC_CONN,
	HBT_IPC_POLLS,     /* u32 n, n * struct hbt_poll; replaces the list */
	HBT_IPC_SUBSCRIBED, /* id: connection. u8 allowed, cstr why not */
	HBT_IPC_STOP,      /* u8 enum hbt_stop, u32 spread in ms. Then exit 0 */
	HBT_IPC_PING,      /* worker answers PONG with the id */
	HBT_IPC_LOG,       /* see ipc/log_order.h; fd: the new standard error */
	/* struct hbt_identity_fields: one more certificate, of which CONN and
	 * CALL may speak from now on. Until new workers know it, those that
	 * serve have to. */
	HBT_IPC_IDENTITY,

	/* Connection worker -> master. */
	HBT_IPC_SUBSCRIBE = 50, /* id: connection. str uri, str thumbprint, str
	                         * peer address, u32 ticket: may it? SUBSCRIBED answers */
	HBT_IPC_UNSUBSCRIBE,    /* id: connection is gone */
	/* id: connection can take one request. To the queue worker, id:
	 * endpoint: one more of its requests can be taken here, a credit. */
	HBT_IPC_OFFER,
	/* id: it no longer can (closing). To the queue worker: one credit
	 * less; if a CALL has used it already, the next OFFER makes up. */
	HBT_IPC_WITHDRAW,
	HBT_IPC_STATS,          /* struct hbt_worker_stats; each second if new */
	HBT_IPC_PONG,
	HBT_IPC_REFUSED,   /* str peer address, cstr thumbprint, str reason */
	HBT_IPC_LOG_LINE,  /* str JSON object: a line, while LOG asks for them.
	                    * The master says it to halibutctl, too */

	/* Master -> service worker. */
	HBT_IPC_PROGRAMS = 70, /* u32 n, n * struct hbt_program */

	/* Master -> queue worker; it gets SETTINGS, STOP and PING as well. */
	HBT_IPC_QUEUE_SETTINGS = 75, /* queue_settings.h; once, behind SETTINGS */
	HBT_IPC_ENDPOINT,      /* id: endpoint. cstr uri: OFFERs may follow */
	HBT_IPC_ENDPOINT_GONE, /* id: no more of them, its credits are void */

	/* Queue worker -> master. */
	HBT_IPC_QUEUE_STATE = 80, /* str JSON text for the status; if new */

	/* halibutctl -> master, over the control socket. */
	HBT_IPC_RELOAD = 92, /* -> DONE */
	HBT_IPC_SHUTDOWN,    /* -> DONE */
	HBT_IPC_DONE,        /* u8 ok, cstr message */
	HBT_IPC_LOG_LEVEL,   /* str "LEVEL" or "AREA=LEVEL", or none: -> DONE,
	                      * whose message names the levels in force */
	HBT_IPC_LOG_FOLLOW,  /* -> LOG_LINE with the id, until it hangs up */

	/*
	 * Status worker -> master, and on to a connection worker: a page of a
	 * table (ipc/rows.h), struct hbt_rows_ask -> ROWS with the id: u8 ok,
	 * u64 next (0: that was all), u32 n, n rows. The master passes both on
	 * as they are, and answers ok = 0 in the name of a worker that is gone.
	 */
	HBT_IPC_ROWS_ASK = 100,
	HBT_IPC_ROWS,
	/*
	 * halibutctl -> master -> status worker: str path with query, as in
	 * "/connz?limit=50" -> DOCUMENT with the id: u16 HTTP status, str body.
	 */
	HBT_IPC_DOCUMENT_ASK,
	HBT_IPC_DOCUMENT,
	/* By who carries a call, about one that takes its time: u8 phase
	 * (enum hbt_call_phase). The id is that of its CALL. */
	HBT_IPC_CALL_PHASE,

	/* halibutctl -> master; each is answered with DONE. */
	HBT_IPC_TRUST_ADD = 120, /* str thumbprint, cstr comment */
	HBT_IPC_TRUST_REMOVE,    /* str thumbprint */
	HBT_IPC_DRAIN,           /* DONE: it has begun */
	HBT_IPC_UNDRAIN,
	/* halibutctl -> master. */
	HBT_IPC_CONFIG = 124,    /* -> CONFIG_DOC with the id: str JSON text */
	HBT_IPC_CONFIG_DOC,
	/* -> DONE: u8 enum hbt_kick_by, u32 worker, u32 connection, cstr
	 * thumbprint or subscription. */
	HBT_IPC_KICK,
	/* Master -> connection worker: u8 enum hbt_kick_by, u32 connection,
	 * cstr thumbprint or subscription (hbt_uri_key) -> CLOSED with the id:
	 * u32 how many were closed. */
	HBT_IPC_CLOSE,
	HBT_IPC_CLOSED,

	/* Master -> status worker, which gets SETTINGS, LOG, STOP and PING as
	 * well. */
	HBT_IPC_STATUS_SETTINGS = 110, /* status_settings.h; behind SETTINGS */
	/* fd: it listens. u8 1: TCP, 0: a Unix socket. str address. Behind
	 * STATUS_SETTINGS, which end those that were there. */
	HBT_IPC_STATUS_LISTEN,

	/* Connection worker -> master, after STOP: u8 enum hbt_drained. A queue
	 * worker says HBT_DRAINED_REQUESTS after HBT_STOP_HANDOVER: what it had
	 * taken out of Redis has come, each with its CALL. */
	HBT_IPC_DRAINED = 140,
	/* Master -> queue worker: u8 whether requests are taken out of Redis. If
	 * not, SETTLED answers with the id when those that were on their way
	 * here have come, each with its CALL; unless COLLECT comes again. */
	HBT_IPC_COLLECT,
	HBT_IPC_SETTLED,

	/* Connection worker -> master. */
	HBT_IPC_IDENTIFY = 150, /* id: connection, a client. str thumbprint, str
	                         * peer address, u32 ticket: may it? SUBSCRIBED
	                         * answers */
	HBT_IPC_CONN_GONE,      /* id: ticket */

	/* Master -> connection worker, about its CALL: cstr hbt_uri_key() of
	 * the queue that it goes to; none: it goes elsewhere. */
	HBT_IPC_ROUTED,

	/* Connection worker -> master, after HBT_STOP_HANDOVER. id: polling
	 * connection: can its subscription do without it? */
	HBT_IPC_LEAVE,
	/* Master -> connection worker. id: it can, now. */
	HBT_IPC_MAY_LEAVE,

	/* halibutctl -> master: str URL -> CONFIG_DOC with the id: where it leads,
	 * str JSON text (master/where.h). */
	HBT_IPC_WHERE = 160,
};

#define HBT_IPC_PROTOCOL 1u
#define HBT_IPC_MAX_BODY ((size_t)192 * 1024 * 1024)
#define HBT_CHANNEL_FD 3 /* a worker's whole world */

/* How a worker stops. A connection worker then waits for HBT_STOP_NOW, the
 * others leave by themselves. */
enum hbt_stop {
	HBT_STOP_NOW,
	/* A connection worker: bring no new ones; polling services stay. */
	HBT_STOP_REQUESTS,
	/* Polling services go, too, over the spread of time, each when nothing
	 * waits for it any more; what waits in Redis, and nobody has taken, is
	 * withdrawn. */
	HBT_STOP_ALL,
	/* The same, and others serve on, to whom new requests may always come:
	 * a polling service is let go whatever waits for it, when its
	 * subscription can do without it (LEAVE), or after HBT_RETURN_MS. A
	 * queue worker takes nothing more out of Redis, and goes on with what
	 * it has. */
	HBT_STOP_HANDOVER,
};

/* Within this time a polling service comes back that was let go: after 5 s, and
 * what a fleet needs for its handshakes. runtime-behaviour 3.5 */
#define HBT_RETURN_MS 30000

/* How far a worker has come with that. */
enum hbt_drained {
	HBT_DRAINED_NOTHING,
	HBT_DRAINED_REQUESTS, /* none can come from it any more */
	HBT_DRAINED_ALL,      /* nothing is left: HBT_STOP_NOW is welcome */
};

enum hbt_peer_kind {
	HBT_PEER_CONNECTION_WORKER = 1,
	HBT_PEER_SERVICE_WORKER,
	HBT_PEER_CONTROL,
	HBT_PEER_QUEUE_WORKER,
	HBT_PEER_STATUS_WORKER,
	HBT_PEER_KINDS, /* none: how many numbers they take */
};

/* How a CALL says where it goes. */
enum hbt_call_how {
	/*
	 * To the master: route it by destination (see "Routes" in the design).
	 * cstr destination (from the request, or what halibutctl was given),
	 * cstr thumbprint of the asker, str asker's address, cstr thumbprint
	 * expected of the destination (control only), u8 origin (enum
	 * hbt_call_origin).
	 */
	HBT_CALL_ROUTE = 1,
	/* To a worker: hand it to this polling connection. u32 connection. */
	HBT_CALL_TO_CONNECTION,
	/* To a worker: dial a listening service. struct hbt_endpoint_fields. */
	HBT_CALL_DIAL,
	/* To a service worker: the envelope names the service. No fields. */
	HBT_CALL_SERVE,
	/* To the queue worker: into the queue that the nodes share. cstr
	 * endpoint. */
	HBT_CALL_ENQUEUE,
	/* By the queue worker, which collected it from that queue for one
	 * credit of an endpoint: u32 endpoint, u64 milliseconds that it may
	 * wait here for a taker. */
	HBT_CALL_TO_ENDPOINT,
	/* As HBT_CALL_ROUTE; a connection worker hears ROUTED about it. */
	HBT_CALL_ROUTE_AND_TELL,
};

/* How far a call is, as far as the master knows. */
enum hbt_call_phase {
	HBT_PHASE_WAITING,   /* in a queue, nobody has it */
	HBT_PHASE_TAKEN,     /* somebody has it and has not begun to send */
	HBT_PHASE_SENDING,   /* the request, or its DataStreams */
	HBT_PHASE_EXECUTING, /* all was sent; the response is awaited */
	HBT_PHASE_RECEIVING, /* the response */
	HBT_PHASE_SHARED,    /* in Redis: waits, or another node has it */
	HBT_PHASE_CANCELLING, /* its asker does not want it any more */
	HBT_PHASES,
};

/* How a KICK says which connections. */
enum hbt_kick_by {
	HBT_KICK_ID = 1,
	HBT_KICK_THUMBPRINT,
	HBT_KICK_SUBSCRIPTION,
};

enum hbt_call_origin {
	HBT_ORIGIN_CLIENT = 1, /* a client that dialled in */
	HBT_ORIGIN_POLLED,     /* a server elsewhere that we poll */
	HBT_ORIGIN_CONTROL,
};

/* A listening service as we dial it. */
struct hbt_endpoint_fields {
	char *url;        /* https://host:port/ */
	char *thumbprint; /* expected, as hbt_thumbprints_parse() has it */
	char *proxy_host; /* NULL: none */
	uint16_t proxy_port;
	char *proxy_user, *proxy_password;
	char *connect_host; /* ForceResolveHost; NULL: none */
	uint16_t connect_port;
	char *identity; /* the section whose certificate we show; NULL: none */
};
void hbt_endpoint_fields_put(struct hbt_wr *w,
                             const struct hbt_endpoint_fields *e);
/* Malloced strings; fini in every case. Failure sticks in r. */
void hbt_endpoint_fields_get(struct hbt_rd *r, struct hbt_endpoint_fields *e);
void hbt_endpoint_fields_fini(struct hbt_endpoint_fields *e);

/* A server elsewhere that we poll on behalf of the services hosted here. */
struct hbt_poll {
	char *subscription; /* poll://… */
	struct hbt_endpoint_fields server;
	uint32_t connections;
};
void hbt_poll_put(struct hbt_wr *w, const struct hbt_poll *p);
void hbt_poll_get(struct hbt_rd *r, struct hbt_poll *p);
void hbt_poll_fini(struct hbt_poll *p);

/* A further certificate of the node, for peers that know it by that one. */
struct hbt_identity_fields {
	char *name;
	char *certificate_pem, *key_pem;
	char *server_names; /* patterns, lines with \n between; NULL: none */
};
#define HBT_MAX_IDENTITIES 64
void hbt_identity_fields_put(struct hbt_wr *w,
                             const struct hbt_identity_fields *f);
void hbt_identity_fields_get(struct hbt_rd *r, struct hbt_identity_fields *f);
void hbt_identity_fields_fini(struct hbt_identity_fields *f); /* wipes */

/* All that a worker knows of the configuration. */
struct hbt_settings {
	uint32_t index;       /* this worker's number, from 0 */
	char *node;           /* node name, for logs */
	uint8_t log_level;
	struct hbt_limits limits;
	char *certificate_pem, *key_pem;
	char *friendly_page;  /* NULL: the default */
	char *friendly_headers; /* lines with \n between; NULL: none */
	char *spool_directory;
	uint8_t serves_clients; /* MX-CLIENT connections are allowed */
	/* What is one source for limits->spool_max_bytes_a_source. */
	uint32_t source_prefix_ipv4, source_prefix_ipv6;
	char *unlimited_sources; /* lines with \n between; NULL: none */
	struct hbt_identity_fields *identities; /* connection workers */
	size_t n_identities;
};
void hbt_settings_put(struct hbt_wr *w, const struct hbt_settings *s);
void hbt_settings_get(struct hbt_rd *r, struct hbt_settings *s);
void hbt_settings_fini(struct hbt_settings *s);

/* A service program as the service worker runs it. */
struct hbt_program {
	char *service;   /* contract name, matched without case */
	char *command;   /* split like a shell does, no shell is started */
	char *directory; /* working directory; NULL: / */
	uint32_t processes;  /* how many at most, each one call at a time */
	uint32_t timeout_ms; /* of one call; the process is killed then */
	uint64_t max_memory_bytes; /* RLIMIT_AS; 0: none */
};
void hbt_program_put(struct hbt_wr *w, const struct hbt_program *p);
void hbt_program_get(struct hbt_rd *r, struct hbt_program *p);
void hbt_program_fini(struct hbt_program *p);

/* status, connection state, message, details, type. */
void hbt_ipc_error_put(struct hbt_wr *w, const struct halibut_error *err);
void hbt_ipc_error_get(struct hbt_rd *r, struct halibut_error *err);

/*
 * The envelope fields, then the compressed bytes. The DataStream section, if
 * n_streams > 0, is the message's descriptor: the reading end of a pipe that
 * carries the raw section and ends early if its writer failed.
 */
void hbt_parcel_put(struct hbt_wr *w, const struct hbt_message *m);
/* NULL, and r failed, when it is malformed or memory is short. */
struct hbt_message *hbt_parcel_get(struct hbt_rd *r);

/*
 * A source that reads a section from a descriptor, and the sink that writes
 * one. Pipes. The sink spools what the pipe does not take, in a memfd up to
 * limits->spool_memory_bytes, then in an unlinked file in directory, up to
 * spool_max_bytes_a_stream_section; then it takes no more until there is
 * room. A full disk makes it take no more instead of failing.
 *
 * The source takes fd over in every case. HALIBUT_EINVAL when it is no pipe,
 * HALIBUT_ENOMEM.
 */
int hbt_pipe_source_new(struct hbt_source **out, struct event_base *base,
                        int fd);
/* The descriptor of a pipe source, taken out of it; the source is freed. -1,
 * and nothing happens, when *src is NULL or another kind of source. */
int hbt_pipe_source_detach(struct hbt_source **src);
/*
 * *fd is the reading end, for the other process. When nobody reads it any
 * more, writing fails with HALIBUT_ECLOSED; SIGPIPE is ignored from the first
 * call on, unless the program handles it. A sink that was ended lives on until
 * the reader took everything or closed its end. The event base outlives both.
 * What waits in its spool is charged to payer, of which it keeps a reference;
 * NULL: to nobody.
 * HALIBUT_ENOMEM, HALIBUT_ESYSTEM.
 */
int hbt_pipe_sink_new(struct hbt_sink **out, struct event_base *base,
                      const struct hbt_limits *limits, const char *directory,
                      struct hbt_spool_payer *payer, int *fd);
/* What all pipe sinks of this process hold in memfds and files. */
uint64_t hbt_spool_bytes(void);
/* Those of this process that have not given all to their pipe yet: more may
 * come for them, even if nothing is in a spool. */
size_t hbt_pipe_sinks(void);

#endif
