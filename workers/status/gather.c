#include "gather.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/log.h"
#include "base/timespan.h"
#include "halibut/error.h"
#include "ipc/proto.h"

#define FRESH_MS 1000
#define PATIENCE_MS 3000 /* for one page */
#define MAX_BYTES ((size_t)256 * 1024 * 1024) /* of one snapshot */
#define MAX_WORKERS 260

struct gather_waiter {
	struct shelf *shelf;
	void (*done)(void *arg, struct snapshot *s);
	void *arg;
	uint64_t from; /* the first snapshot that will do */
	TAILQ_ENTRY(gather_waiter) next;
};

/* A table: its latest snapshot, and the one that is being made. */
struct shelf {
	struct gather *all;
	enum hbt_table table;
	struct snapshot *latest; /* NULL: none, or too old */
	struct snapshot *making;
	struct snapshot nothing; /* for who waits when memory is short */
	uint64_t begun; /* so many; the number of the last one */
	struct gather_waiter *workers_first; /* of connection tables */
	uint32_t workers[MAX_WORKERS]; /* those that have a part of it */
	size_t n_workers, worker;
	uint32_t asked; /* the id of our question; 0: none is open */
	struct event *timer;    /* an answer is due; or latest is too old */
	struct event *deliver;  /* waiters, from the loop */
	TAILQ_HEAD(, gather_waiter) waiters;
};

struct gather {
	struct hbt_ipc *ipc;
	struct shelf shelves[HBT_TABLES];
	struct gather_counts counts;
	uint32_t last_id;
};

static void ask_page(struct shelf *s, uint64_t after);

void snapshot_unref(struct snapshot **at)
{
	struct snapshot *s = *at;

	*at = NULL;
	if (s == NULL || --s->refs > 0)
		return;
	for (size_t i = 0; i < s->n_pages; i++)
		free((void *)s->pages[i].data);
	free(s->pages);
	free(s);
}

static void set_timer(struct shelf *s, int64_t ms)
{
	const struct timeval tv = {.tv_sec = ms / 1000,
	                           .tv_usec = ms % 1000 * 1000};

	event_add(s->timer, &tv);
}

/* ---- Making one ---- */

static void finish(struct shelf *s)
{
	int64_t age = hbt_now_ms() - s->making->at_ms;

	snapshot_unref(&s->latest);
	s->latest = s->making;
	s->making = NULL;
	s->asked = 0;
	s->all->counts.made++;
	set_timer(s, age < FRESH_MS ? FRESH_MS - age : 0);
	event_active(s->deliver, EV_TIMEOUT, 1);
}

/* From the next worker, or that was the last one. */
static void go_on(struct shelf *s)
{
	if (++s->worker < s->n_workers)
		ask_page(s, 0);
	else
		finish(s);
}

static bool is_of_workers(enum hbt_table table)
{
	return table == HBT_TABLE_CONNECTIONS || table == HBT_TABLE_CLOSED;
}

static void no_answer(struct shelf *s)
{
	s->making->incomplete = true;
	if (!is_of_workers(s->table) && s->making->n_pages == 0)
		s->making->failed = true;
	s->asked = 0;
	go_on(s);
}

static void ask_page(struct shelf *s, uint64_t after)
{
	const struct hbt_rows_ask ask = {
		.table = (uint8_t)s->table,
		.worker = s->n_workers > 0 ? s->workers[s->worker] : 0,
		.after = after,
	};
	struct hbt_wr w;

	if (++s->all->last_id == 0)
		s->all->last_id = 1;
	s->asked = s->all->last_id;
	hbt_wr_init(&w, 64);
	hbt_rows_ask_put(&w, &ask);
	if (hbt_ipc_send_wr(s->all->ipc, HBT_IPC_ROWS_ASK, s->asked, &w, -1) !=
	    HALIBUT_OK)
		s->asked = 0; /* the timer goes on */
	set_timer(s, PATIENCE_MS);
}

/* Those connection workers that run. */
static void read_workers(struct shelf *s, const struct snapshot *from)
{
	s->n_workers = 0;
	for (size_t i = 0; i < from->n_pages; i++) {
		const struct snapshot_page *page = &from->pages[i];
		struct hbt_rd r = hbt_rd_from(page->data, page->len);

		for (uint32_t k = 0; k < page->n; k++) {
			struct hbt_worker_row row;

			hbt_row_get(&r, HBT_TABLE_WORKERS, &row);
			if (r.status == HALIBUT_OK && row.kind != NULL &&
			    strcmp(row.kind, "connection") == 0 &&
			    row.pid != 0 && s->n_workers < MAX_WORKERS)
				s->workers[s->n_workers++] = row.index;
			hbt_row_fini(HBT_TABLE_WORKERS, &row);
		}
	}
}

static void on_workers(void *arg, struct snapshot *workers)
{
	struct shelf *s = arg;

	s->workers_first = NULL;
	s->making->incomplete = workers->failed;
	read_workers(s, workers);
	snapshot_unref(&workers);
	s->worker = 0;
	if (s->n_workers > 0)
		ask_page(s, 0);
	else
		finish(s);
}

/* Is there somebody who waits for a new one? */
static bool is_new_wanted(const struct shelf *s)
{
	const struct gather_waiter *w;

	TAILQ_FOREACH (w, &s->waiters, next)
		if (w->from > 0)
			return true;
	return false;
}

/* False: out of memory. */
static bool begin(struct shelf *s)
{
	struct snapshot *fresh = calloc(1, sizeof(*fresh));

	if (fresh == NULL)
		return false;
	fresh->refs = 1;
	fresh->table = s->table;
	fresh->at_ms = hbt_now_ms();
	fresh->number = ++s->begun;
	s->making = fresh;
	if (!is_of_workers(s->table)) {
		s->worker = 0;
		s->n_workers = 0;
		ask_page(s, 0);
		return true;
	}
	s->workers_first = gather_ask(s->all, HBT_TABLE_WORKERS,
	                              is_new_wanted(s), on_workers, s);
	if (s->workers_first == NULL) {
		snapshot_unref(&s->making);
		return false;
	}
	event_del(s->timer); /* that the latest is too old is known */
	return true;
}

static bool add_page(struct snapshot *s, const uint8_t *data, size_t len,
                     uint32_t n)
{
	struct snapshot_page *page;
	uint8_t *copy;

	if (n == 0)
		return true;
	if (s->bytes + len > MAX_BYTES)
		return false;
	if (s->n_pages == s->room) {
		size_t room = s->room == 0 ? 8 : s->room * 2;

		page = realloc(s->pages, room * sizeof(*page));
		if (page == NULL)
			return false;
		s->pages = page;
		s->room = room;
	}
	if ((copy = malloc(len)) == NULL)
		return false;
	memcpy(copy, data, len);
	s->pages[s->n_pages++] = (struct snapshot_page){copy, len, n};
	s->bytes += len;
	s->n_rows += n;
	return true;
}

static void on_rows(struct shelf *s, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	uint64_t next;
	uint32_t n;

	if (msg->lost || !hbt_rows_begin(&r, &next, &n) ||
	    !add_page(s->making, r.p, r.left, n)) {
		no_answer(s);
		return;
	}
	s->all->counts.pages++;
	if (next != 0)
		ask_page(s, next);
	else
		go_on(s);
}

void gather_rows(struct gather *g, struct hbt_ipc_msg *msg)
{
	for (size_t i = 1; i < HBT_TABLES; i++)
		if (g->shelves[i].asked == msg->id && msg->id != 0) {
			on_rows(&g->shelves[i], msg);
			return;
		}
	/* Else it comes too late, and nobody waits for it any more. */
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct shelf *s = arg;

	(void)fd;
	(void)what;
	if (s->making == NULL) {
		snapshot_unref(&s->latest);
		return;
	}
	log_warning("no rows of table %d within %d ms", (int)s->table,
	            PATIENCE_MS);
	no_answer(s);
}

/* ---- Who wants it ---- */

static bool is_fresh(const struct shelf *s)
{
	return s->latest != NULL && !s->latest->failed &&
	       hbt_now_ms() - s->latest->at_ms < FRESH_MS;
}

static struct gather_waiter *first_served_by(const struct shelf *s,
                                             const struct snapshot *latest)
{
	struct gather_waiter *w;

	TAILQ_FOREACH (w, &s->waiters, next)
		if (w->from <= latest->number)
			return w;
	return NULL;
}

/* For those who wait. Without memory they hear so now. */
static void begin_or_fail(struct shelf *s)
{
	struct gather_waiter *w;

	if (s->making != NULL || TAILQ_EMPTY(&s->waiters) || begin(s))
		return;
	log_error("the state of the node cannot be gathered: out of memory");
	while ((w = TAILQ_FIRST(&s->waiters)) != NULL) {
		TAILQ_REMOVE(&s->waiters, w, next);
		s->nothing.refs++;
		w->done(w->arg, &s->nothing);
		free(w);
	}
}

static void on_deliver(evutil_socket_t fd, short what, void *arg)
{
	struct shelf *s = arg;
	struct snapshot *latest = s->latest;
	struct gather_waiter *w;

	(void)fd;
	(void)what;
	if (latest == NULL) { /* it became too old in the meantime */
		begin_or_fail(s);
		return;
	}
	latest->refs++; /* while we go through them */
	while ((w = first_served_by(s, latest)) != NULL) {
		TAILQ_REMOVE(&s->waiters, w, next);
		latest->refs++;
		w->done(w->arg, latest);
		free(w);
	}
	snapshot_unref(&latest);
	begin_or_fail(s);
}

struct gather_waiter *
gather_ask(struct gather *g, enum hbt_table table, bool is_new,
           void (*done)(void *arg, struct snapshot *s), void *arg)
{
	struct shelf *s = &g->shelves[table];
	struct gather_waiter *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	g->counts.asked++;
	w->shelf = s;
	w->done = done;
	w->arg = arg;
	w->from = is_new ? s->begun + 1 : 0;
	TAILQ_INSERT_TAIL(&s->waiters, w, next);
	if (s->making == NULL && (is_new || !is_fresh(s)) && !begin(s)) {
		gather_cancel(&w);
		return NULL;
	}
	if (s->making == NULL)
		event_active(s->deliver, EV_TIMEOUT, 1);
	return w;
}

void gather_cancel(struct gather_waiter **at)
{
	struct gather_waiter *w = *at;

	*at = NULL;
	if (w == NULL)
		return;
	TAILQ_REMOVE(&w->shelf->waiters, w, next);
	free(w);
}

const struct gather_counts *gather_counts(const struct gather *g)
{
	return &g->counts;
}

struct gather *gather_new(struct event_base *base, struct hbt_ipc *ipc)
{
	struct gather *g = calloc(1, sizeof(*g));

	if (g == NULL)
		return NULL;
	g->ipc = ipc;
	for (size_t i = 1; i < HBT_TABLES; i++) {
		struct shelf *s = &g->shelves[i];

		s->all = g;
		s->table = (enum hbt_table)i;
		s->nothing = (struct snapshot){
			.refs = 1, /* ours: it is never freed */
			.table = s->table,
			.failed = true,
		};
		TAILQ_INIT(&s->waiters);
		s->timer = evtimer_new(base, on_timer, s);
		s->deliver = event_new(base, -1, 0, on_deliver, s);
		if (s->timer == NULL || s->deliver == NULL) {
			gather_free(&g);
			return NULL;
		}
	}
	return g;
}

void gather_free(struct gather **at)
{
	struct gather *g = *at;

	*at = NULL;
	if (g == NULL)
		return;
	for (size_t i = 1; i < HBT_TABLES; i++) {
		struct shelf *s = &g->shelves[i];
		struct gather_waiter *w;

		gather_cancel(&s->workers_first);
		while ((w = TAILQ_FIRST(&s->waiters)) != NULL)
			gather_cancel(&w);
		snapshot_unref(&s->latest);
		snapshot_unref(&s->making);
		if (s->timer != NULL)
			event_free(s->timer);
		if (s->deliver != NULL)
			event_free(s->deliver);
	}
	free(g);
}
