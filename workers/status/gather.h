/*
 * Snapshots of the master's tables. A snapshot is made of the pages as they
 * came, and shared by all who ask within a second, so that many who look at
 * once are not more work for the node than one. Who wants a new one waits for
 * the next that is made, with all others who do: two are made at the most.
 */
#ifndef HBT_STATUS_GATHER_H
#define HBT_STATUS_GATHER_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipc/ipc.h"
#include "ipc/rows.h"

/* Rows behind one another, as hbt_row_put() wrote them. */
struct snapshot_page {
	const uint8_t *data;
	size_t len;
	uint32_t n;
};

struct snapshot {
	unsigned refs;
	enum hbt_table table;
	uint64_t number; /* counted by table, from 1 */
	bool failed;     /* nothing came, or there was no memory for it */
	bool incomplete; /* somebody whose rows belong here did not answer */
	int64_t at_ms;   /* when it was begun; monotonic */
	uint64_t n_rows;
	size_t bytes;
	struct snapshot_page *pages;
	size_t n_pages, room;
};
void snapshot_unref(struct snapshot **s); /* NULL inside is allowed */

struct gather;
struct gather_waiter;

struct gather *gather_new(struct event_base *base, struct hbt_ipc *ipc);
/* Waiters are not called any more. */
void gather_free(struct gather **g);

/*
 * A snapshot that is at most a second old or, when it is to be new, of which
 * nothing was asked for before now: done() is called with a reference for the
 * callee, never from within this function. gather_cancel() before that ends
 * it. NULL: out of memory.
 */
struct gather_waiter *
gather_ask(struct gather *g, enum hbt_table table, bool is_new,
           void (*done)(void *arg, struct snapshot *s), void *arg);
void gather_cancel(struct gather_waiter **waiter);

/* ROWS of the master. */
void gather_rows(struct gather *g, struct hbt_ipc_msg *msg);

/* How often tables were asked for, and how many were made of it. */
struct gather_counts {
	uint64_t asked, made, pages;
};
const struct gather_counts *gather_counts(const struct gather *g);

#endif
