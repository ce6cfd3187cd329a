/*
 * What connections there are, and which were there last, as rows for the
 * status. Nothing is kept for it while a connection is open: a page looks at
 * each of its connections, wherever that came from.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/guid.h"
#include "base/timespan.h"
#include "base/unix_time.h"
#include "base/uri.h"
#include "ipc/rows.h"
#include "net/cert_facts.h"
#include "worker.h"

#define MOST_CLOSED 256
#define MAX_TEXT 512

struct closed_entry {
	uint64_t serial;
	struct hbt_connection_row row;
	TAILQ_ENTRY(closed_entry) link;
};

struct closed {
	TAILQ_HEAD(entries, closed_entry) all; /* the youngest first */
	size_t n;
	uint64_t last_serial;
};

/* A row, and the texts in it that are nobody's else. */
struct made {
	struct hbt_connection_row row;
	char activity[HBT_GUID_TEXT];
	char *subscription;
};

static const char *role_name(enum hbt_role role)
{
	switch (role) {
	case HBT_ROLE_SERVE_CLIENT:
		return "client";
	case HBT_ROLE_FEED_SUBSCRIBER:
		return "subscriber";
	case HBT_ROLE_ASK_SERVICE:
		return "service";
	case HBT_ROLE_SERVE_POLLED:
		return "server";
	default:
		return "opening";
	}
}

static void add_tls(struct hbt_connection_row *row, const struct hbt_conn *c)
{
	struct hbt_cert_facts cert;

	hbt_cert_facts(hbt_conn_peer_certificate(c), &cert);
	row->thumbprint = hbt_conn_peer_thumbprint(c);
	row->own_thumbprint = hbt_conn_own_thumbprint(c);
	row->key_type = cert.key_type;
	row->key_bits = cert.key_bits;
	row->not_after_at = cert.not_after_ms;
	row->cipher = hbt_conn_cipher(c);
	if (row->cipher != NULL)
		row->tls_version = hbt_conn_tls_version(c);
}

/* m is good as long as nothing happens to ex; made_fini(). */
static void make(const struct worker *w, const struct hbt_exchange *ex,
                 struct made *m)
{
	const struct hbt_conn *c = hbt_exchange_conn(ex);
	struct hbt_exchange_facts f;

	hbt_exchange_facts(ex, &f);
	memset(m, 0, sizeof(*m));
	if (f.subscription != NULL)
		m->subscription = hbt_uri_key(f.subscription, true);
	m->row = (struct hbt_connection_row){
		.worker = w->settings.index,
		.id = f.id,
		.role = role_name(f.role),
		.peer = hbt_conn_peer_address(c),
		.subscription = m->subscription,
		.endpoint = f.url,
		.state = f.state,
		.opened_at = hbt_unix_ms_of(f.opened_ms),
		.idle_ms = (uint64_t)f.idle_ms,
		.calls = f.calls,
		.messages_in = f.messages_in,
		.messages_out = f.messages_out,
		.bytes_in = hbt_conn_bytes_in(c),
		.bytes_out = hbt_conn_bytes_out(c),
	};
	if (m->row.peer[0] == '\0')
		m->row.peer = NULL;
	if (f.activity != NULL) {
		hbt_guid_format(f.activity, m->activity);
		m->row.activity = m->activity;
	}
	add_tls(&m->row, c);
}

static void made_fini(struct made *m)
{
	free(m->subscription);
}

/* Open ones */

static void fill_open(struct worker *w, uint64_t after, struct hbt_page *page,
                      uint64_t *next)
{
	const struct hbt_exchange *ex;
	struct made m;

	while (hbt_page_has_room(page) &&
	       (ex = hbt_slots_next(&w->env.all, &after)) != NULL) {
		make(w, ex, &m);
		hbt_page_add(page, &m.row);
		made_fini(&m);
	}
	*next = after;
}

/* Closed ones */

static void drop(struct closed *closed, struct closed_entry *e)
{
	TAILQ_REMOVE(&closed->all, e, link);
	closed->n--;
	hbt_row_fini(HBT_TABLE_CLOSED, &e->row);
	free(e);
}

/* Each text becomes the row's own. */
static void own_texts(struct hbt_connection_row *row)
{
	const struct hbt_field *f = hbt_table_fields(HBT_TABLE_CLOSED);

	for (; f->name != NULL; f++) {
		char **at = (char **)(void *)((char *)row + f->offset);

		if (f->kind == HBT_FIELD_TEXT && *at != NULL)
			*at = strndup(*at, MAX_TEXT);
	}
}

/*
 * Those that never showed a certificate that we trust are not worth a place
 * here, which others would lose: they are among the refused, if they were.
 */
static void on_ended(void *arg, const struct hbt_exchange *ex, const char *why)
{
	struct worker *w = arg;
	struct closed *closed = w->closed;
	struct hbt_exchange_facts f;
	struct closed_entry *e;
	struct made m;

	hbt_exchange_facts(ex, &f);
	if (!f.is_known || (e = calloc(1, sizeof(*e))) == NULL)
		return;
	make(w, ex, &m);
	e->row = m.row;
	e->row.state = "closed";
	e->row.reason = why;
	e->row.closed_at = hbt_unix_ms();
	own_texts(&e->row);
	made_fini(&m);
	e->serial = ++closed->last_serial;
	TAILQ_INSERT_HEAD(&closed->all, e, link);
	if (++closed->n > MOST_CLOSED)
		drop(closed, TAILQ_LAST(&closed->all, entries));
}

static void fill_closed(const struct closed *closed, uint64_t after,
                        struct hbt_page *page, uint64_t *next)
{
	const struct closed_entry *e;
	uint64_t last = 0;

	TAILQ_FOREACH (e, &closed->all, link) {
		if (after != 0 && e->serial >= after)
			continue;
		if (!hbt_page_has_room(page)) {
			*next = last;
			return;
		}
		hbt_page_add(page, &e->row);
		last = e->serial;
	}
}

void rows_ask(struct worker *w, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct hbt_rows_ask ask;
	struct hbt_page page;
	uint64_t next = 0;

	hbt_rows_ask_get(&r, &ask);
	if (hbt_rd_finish(&r) != HALIBUT_OK ||
	    (ask.table != HBT_TABLE_CONNECTIONS &&
	     ask.table != HBT_TABLE_CLOSED)) {
		hbt_page_refuse(w->ipc, msg->id);
		return;
	}
	hbt_page_init(&page, (enum hbt_table)ask.table);
	if (ask.table == HBT_TABLE_CONNECTIONS)
		fill_open(w, ask.after, &page, &next);
	else
		fill_closed(w->closed, ask.after, &page, &next);
	hbt_page_send(&page, w->ipc, msg->id, next);
}

int rows_start(struct worker *w)
{
	if ((w->closed = calloc(1, sizeof(*w->closed))) == NULL)
		return HALIBUT_ENOMEM;
	TAILQ_INIT(&w->closed->all);
	w->env.ended = on_ended;
	w->env.ended_arg = w;
	return HALIBUT_OK;
}

void rows_fini(struct worker *w)
{
	if (w->closed == NULL)
		return;
	while (!TAILQ_EMPTY(&w->closed->all))
		drop(w->closed, TAILQ_FIRST(&w->closed->all));
	free(w->closed);
	w->closed = NULL;
}
