/*
 * What a node tells of itself, as rows of tables: the status worker asks for
 * them a page at a time, and makes documents of them. Whoever has a table
 * makes a page in one bounded callback, so that no loop is stalled and nobody
 * holds more than a page.
 *
 * Each table has an X-macro of its columns, X(kind, name), from which its
 * struct, its put, get and fini, and its list of fields come. Kinds: TEXT
 * (absent: NULL), U32, U64, I64, BOOL. In names, _at is a moment in
 * milliseconds of Unix time, 0 for never, and _ms a span.
 */
#ifndef HBT_IPC_ROWS_H
#define HBT_IPC_ROWS_H

#include "ipc/counters.h"
#include "ipc/ipc.h"

#include <stdbool.h>

enum hbt_table {
	HBT_TABLE_NODE = 1,    /* one row: struct hbt_node_row */
	HBT_TABLE_WORKERS,     /* the master itself is among them */
	HBT_TABLE_CONNECTIONS, /* of one connection worker: its index */
	HBT_TABLE_CLOSED,      /* the same; the last ones, youngest first */
	HBT_TABLE_SUBSCRIPTIONS,
	HBT_TABLE_CALLS,
	HBT_TABLE_PAST_CALLS, /* slow and failed ones, youngest first */
	HBT_TABLE_REFUSED,
	HBT_TABLE_TRUST,
	HBT_TABLES, /* none: one more than the last */
};

/* A JSON object: all that is one of its kind. */
#define HBT_NODE_ROW(X) X(TEXT, json)

/* A process; behind these its counters. */
#define HBT_WORKER_ROW(X)                                                      \
	X(TEXT, kind) /* master, connection, service, queue, status */         \
	X(U32, index) /* among those of its kind */                            \
	X(U32, pid)   /* 0: none runs now */                                   \
	X(TEXT, state)                                                         \
	X(U64, restarts)                                                       \
	X(I64, started_at)                                                     \
	X(U64, uptime_ms)                                                      \
	X(U64, heard_ms) /* since its loop last turned, as far as we know */   \
	X(U64, unsent_bytes) /* messages that it has not read */               \
	X(TEXT, last_exit)   /* how the process before it ended */             \
	X(I64, last_exit_at)

/* A connection, open or closed. */
#define HBT_CONNECTION_ROW(X)                                                  \
	X(U32, worker) /* index */                                             \
	X(U32, id)     /* unique in its worker */                              \
	X(TEXT, role)  /* opening, client, subscriber, service, server */      \
	X(TEXT, peer)  /* address:port */                                      \
	X(TEXT, thumbprint)                                                    \
	X(TEXT, subscription) /* that it polls for, or that we poll as */      \
	X(TEXT, endpoint)     /* that we dialled */                            \
	X(TEXT, tls_version)                                                   \
	X(TEXT, cipher)                                                        \
	X(TEXT, key_type) /* of the peer's certificate: RSA, EC, … */          \
	X(U32, key_bits)                                                       \
	X(I64, not_after_at)                                                   \
	X(TEXT, own_thumbprint) /* of the certificate that we showed */        \
	X(TEXT, state)                                                         \
	X(TEXT, activity) /* of the call that it carries now */                \
	X(I64, opened_at)                                                      \
	X(U64, idle_ms) /* since it last carried a call, or was opened */      \
	X(U64, calls)                                                          \
	X(U64, messages_in)                                                    \
	X(U64, messages_out)                                                   \
	X(U64, bytes_in)                                                       \
	X(U64, bytes_out)                                                      \
	X(I64, closed_at) /* 0: open */                                        \
	X(TEXT, reason)   /* why it was closed */

#define HBT_SUBSCRIPTION_ROW(X)                                                \
	X(TEXT, uri)                                                           \
	X(U64, connections) /* of polling services */                          \
	X(U64, hosted)      /* takers of a service program of this node */     \
	X(U64, busy)                                                           \
	X(U64, idle)                                                           \
	X(U64, waiting)                                                        \
	X(U64, waiting_bytes)                                                  \
	X(U64, oldest_waiting_ms)                                              \
	X(I64, queued) /* in Redis, by all nodes; -1: it is not shared */      \
	X(U64, collected)                                                      \
	X(U64, answered)                                                       \
	X(U64, failed)                                                         \
	X(U64, not_collected)                                                  \
	X(U64, cancelled)                                                      \
	X(I64, last_seen_at) /* when a connection of it was open; 0: never */  \
	X(U32, machines)     /* different certificates that claim it now */    \
	X(TEXT, thumbprints) /* some of them, with spaces between */           \
	X(U64, waited_busy)  /* requests that came while all were busy */      \
	X(I64, waited_busy_at)                                                 \
	X(BOOL, wants_connections) /* that happened often, and lately */

/* A call in flight. Never its parameters. */
#define HBT_CALL_ROW(X)                                                        \
	X(U64, number) /* counted since the start of the node */               \
	X(TEXT, phase) /* as enum hbt_call_phase has it, in lower case */      \
	X(TEXT, endpoint)                                                      \
	X(TEXT, service)                                                       \
	X(TEXT, method)                                                        \
	X(TEXT, activity)                                                      \
	X(TEXT, asker)   /* address and thumbprint, or a process */            \
	X(TEXT, carrier) /* NULL: nobody yet */                                \
	X(U32, carrier_connection) /* the worker's number of it; 0: none */    \
	X(I64, started_at)                                                     \
	X(U64, age_ms)                                                         \
	X(U64, waiting_ms)   /* for a taker, up to now or until it had one */  \
	X(U64, executing_ms) /* since it had one */                            \
	X(U64, phase_ms)     /* since the phase began */                       \
	X(U64, request_bytes) /* of the message, without DataStreams */        \
	X(U32, streams)

/* A call that is over: slow, failed, or both. */
#define HBT_PAST_CALL_ROW(X)                                                   \
	X(U64, number)                                                         \
	X(TEXT, endpoint)                                                      \
	X(TEXT, service)                                                       \
	X(TEXT, method)                                                        \
	X(TEXT, activity)                                                      \
	X(TEXT, asker)                                                         \
	X(TEXT, carrier)                                                       \
	X(I64, started_at)                                                     \
	X(I64, ended_at)                                                       \
	X(U64, total_ms)                                                       \
	X(U64, waiting_ms)                                                     \
	X(U64, executing_ms)                                                   \
	X(BOOL, slow)                                                          \
	X(TEXT, error)   /* halibut_status_name(); NULL: it was answered */    \
	X(TEXT, message)

/* Somebody who was refused, for one reason. */
#define HBT_REFUSED_ROW(X)                                                     \
	X(TEXT, address) /* without port */                                    \
	X(TEXT, thumbprint)                                                    \
	X(TEXT, reason)                                                        \
	X(U64, count)                                                          \
	X(I64, first_at)                                                       \
	X(I64, last_at)

/* A certificate that is trusted. */
#define HBT_TRUST_ROW(X)                                                       \
	X(TEXT, thumbprint)                                                    \
	X(TEXT, source)  /* config, file, added */                             \
	X(TEXT, comment)                                                       \
	X(U64, connections)  /* of polling services that have it now */        \
	X(I64, last_seen_at) /* since the start of the node; 0: never */

#define HBT_ROW_TEXT(name) const char *name;
#define HBT_ROW_U32(name) uint32_t name;
#define HBT_ROW_U64(name) uint64_t name;
#define HBT_ROW_I64(name) int64_t name;
#define HBT_ROW_BOOL(name) bool name;
#define HBT_ROW_MEMBER(kind, name) HBT_ROW_##kind(name)

/* Texts are borrowed for put, and malloced by get. */
struct hbt_node_row {
	HBT_NODE_ROW(HBT_ROW_MEMBER)
};
struct hbt_worker_row {
	HBT_WORKER_ROW(HBT_ROW_MEMBER)
	struct hbt_worker_stats stats;
};
struct hbt_connection_row {
	HBT_CONNECTION_ROW(HBT_ROW_MEMBER)
};
struct hbt_subscription_row {
	HBT_SUBSCRIPTION_ROW(HBT_ROW_MEMBER)
};
struct hbt_call_row {
	HBT_CALL_ROW(HBT_ROW_MEMBER)
};
struct hbt_past_call_row {
	HBT_PAST_CALL_ROW(HBT_ROW_MEMBER)
};
struct hbt_refused_row {
	HBT_REFUSED_ROW(HBT_ROW_MEMBER)
};
struct hbt_trust_row {
	HBT_TRUST_ROW(HBT_ROW_MEMBER)
};

/* Room for a row of any table. */
union hbt_row {
	struct hbt_node_row node;
	struct hbt_worker_row worker;
	struct hbt_connection_row connection; /* CONNECTIONS and CLOSED */
	struct hbt_subscription_row subscription;
	struct hbt_call_row call;
	struct hbt_past_call_row past_call;
	struct hbt_refused_row refused;
	struct hbt_trust_row trust;
};

enum hbt_field_kind {
	HBT_FIELD_TEXT,
	HBT_FIELD_U32,
	HBT_FIELD_U64,
	HBT_FIELD_I64,
	HBT_FIELD_BOOL,
};

struct hbt_field {
	enum hbt_field_kind kind;
	const char *name;
	size_t offset; /* in the table's struct */
};

/* The fields of a table; the last one has no name. NULL: no such table. */
const struct hbt_field *hbt_table_fields(enum hbt_table table);

/* A row of a table. Failure sticks in w, and a table that is none is one. */
void hbt_row_put(struct hbt_wr *w, enum hbt_table table, const void *row);
/* Zeroes row first; fini in every case. Failure sticks in r. */
void hbt_row_get(struct hbt_rd *r, enum hbt_table table, void *row);
void hbt_row_fini(enum hbt_table table, void *row);

/*
 * ROWS_ASK: u8 table, u32 worker, u64 after. after is 0 at first, and then
 * what the page before said; it means something only to who made that page.
 */
struct hbt_rows_ask {
	uint8_t table;   /* enum hbt_table, or anything else */
	uint32_t worker; /* index of a connection worker; else 0 */
	uint64_t after;
};
void hbt_rows_ask_put(struct hbt_wr *w, const struct hbt_rows_ask *a);
void hbt_rows_ask_get(struct hbt_rd *r, struct hbt_rows_ask *a);

/*
 * A page on its way out. The maker adds rows while there is room:
 *
 *   hbt_page_init(&page, HBT_TABLE_CALLS);
 *   while (hbt_page_has_room(&page) && ...)
 *           hbt_page_add(&page, &row);
 *   hbt_page_send(&page, ipc, id, next);
 */
#define HBT_PAGE_ROWS 256
#define HBT_PAGE_BYTES ((size_t)22 * 1024) /* fits a packet of src/ipc */

struct hbt_page {
	enum hbt_table table;
	struct hbt_wr rows;
	uint32_t n;
};
void hbt_page_init(struct hbt_page *p, enum hbt_table table);
bool hbt_page_has_room(const struct hbt_page *p);
/* Texts longer than a KiB are cut, but for that of a NODE. A lack of memory
 * sticks. */
void hbt_page_add(struct hbt_page *p, const void *row);
/* Sends ROWS: u8 ok, u64 next, u32 n, n rows. next is where to go on, 0: this
 * is the last page. Without memory ok is 0. The page is finished in any
 * case. */
int hbt_page_send(struct hbt_page *p, struct hbt_ipc *ipc, uint32_t id,
                  uint64_t next);
/* There is no such table, or nobody who has it. */
int hbt_page_refuse(struct hbt_ipc *ipc, uint32_t id);

/*
 * ROWS, as it comes in: hbt_row_get() follows, n times. False: nobody could
 * make the page, or (r has failed) it is malformed.
 */
bool hbt_rows_begin(struct hbt_rd *r, uint64_t *next, uint32_t *n);

#endif
