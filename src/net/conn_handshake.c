/*
 * TLS handshakes of accepted connections. Each of their steps costs as much
 * processor time as a dozen calls, so that thousands of peers that come at
 * once would keep everybody waiting. Therefore
 *
 *   - a loop turn does one step, when nothing else is to be done; if there
 *     always is something, one every few milliseconds all the same,
 *   - handshakes that have begun go on before others begin,
 *   - so many are at work at a time, and begin a second; the others wait in
 *     the order in which their first bytes came, and cost a descriptor each,
 *   - who hung up while it waited is dropped without a handshake.
 *
 * A peer that lets us wait does not count as at work after a while, so that
 * it holds up nobody; too many of those, and the oldest is dropped.
 */
#include <assert.h>
#include <poll.h>
#include <string.h>
#include "base/timespan.h"
#include "net/conn_int.h"

enum {
	OVERDUE_MS = 5,  /* the longest that busy turns put a step off */
	STALL_MS = 500,  /* the peer's turn for longer: it is not at work */
	STALLED_MAX = 16, /* times as many as may be at work */
	DROPS_A_TURN = 64,
};

static struct hbt_handshake_counts counts;

const struct hbt_handshake_counts *hbt_conn_handshakes(void)
{
	return &counts;
}

static bool is_queued(const struct hbt_conn *c)
{
	return c->shake == SHAKE_WAITING || c->shake == SHAKE_GOING;
}

bool conn_shake_is_queued(const struct hbt_conn *c)
{
	return is_queued(c);
}

int64_t hbt_conn_waited_ms(const struct hbt_conn *c)
{
	return c->waited_ms +
	       (is_queued(c) ? hbt_now_ms() - c->shake_at : 0);
}

/* The lists */

static struct conn_shake_list *list_of(struct conn_shakes *s,
                                       enum conn_shake shake)
{
	switch (shake) {
	case SHAKE_WAITING:
		return &s->waiting;
	case SHAKE_BEGUN:
		return &s->begun;
	case SHAKE_GOING:
		return &s->going;
	case SHAKE_STALLED:
		return &s->stalled;
	default:
		return NULL;
	}
}

static bool is_at_work(enum conn_shake shake)
{
	return shake == SHAKE_BEGUN || shake == SHAKE_GOING;
}

/* The one place where a handshake changes its list. */
static void set_shake(struct conn_shakes *s, struct hbt_conn *c,
                      enum conn_shake to)
{
	struct conn_shake_list *from = list_of(s, c->shake);
	int64_t now = hbt_now_ms();

	if (from != NULL)
		TAILQ_REMOVE(from, c, shake_link);
	if (is_queued(c))
		c->waited_ms += now - c->shake_at;
	counts.waiting -= c->shake == SHAKE_WAITING;
	s->n_stalled -= c->shake == SHAKE_STALLED;
	s->at_work -= is_at_work(c->shake);
	c->shake = to;
	c->shake_at = now;
	counts.waiting += to == SHAKE_WAITING;
	s->n_stalled += to == SHAKE_STALLED;
	s->at_work += is_at_work(to);
	if (list_of(s, to) != NULL)
		TAILQ_INSERT_TAIL(list_of(s, to), c, shake_link);
}

/* Whom the peer has let wait for long does not count. */
static void set_stalled_aside(struct conn_shakes *s, int64_t now)
{
	struct hbt_conn *c;

	while ((c = TAILQ_FIRST(&s->begun)) != NULL &&
	       now - c->shake_at >= STALL_MS)
		set_shake(s, c, SHAKE_STALLED);
	while (s->n_stalled > (size_t)s->max * STALLED_MAX) {
		c = TAILQ_FIRST(&s->stalled);
		conn_fail(c, HALIBUT_ETIMEOUT,
		          "%s did not go on with the TLS handshake while too "
		          "many others did the same",
		          c->address);
	}
}

/* So many may begin at once: what ten milliseconds allow. */
static int rate_burst(const struct conn_shakes *s)
{
	return 1 + s->per_second / 100;
}

/* In how many milliseconds one more may begin; 0: now. */
static int64_t wait_to_begin(struct conn_shakes *s)
{
	int64_t now = hbt_now_ms();
	const struct hbt_conn *oldest;

	if (s->max > 0 && s->at_work >= (size_t)s->max) {
		set_stalled_aside(s, now);
		oldest = TAILQ_FIRST(&s->begun);
		if (s->at_work >= (size_t)s->max)
			return oldest != NULL
			               ? oldest->shake_at + STALL_MS - now
			               : OVERDUE_MS; /* all wait for us */
	}
	if (s->per_second > 0)
		return hbt_rate_wait_ms(&s->rate, s->per_second,
		                        rate_burst(s), now);
	return 0;
}

/* Events */

static void add_timer(struct event *e, int64_t ms)
{
	const struct timeval tv = {ms / 1000, ms % 1000 * 1000};

	event_add(e, &tv);
}

static void step_soon(struct conn_shakes *s)
{
	if (TAILQ_EMPTY(&s->going) && TAILQ_EMPTY(&s->waiting))
		return;
	if (!evtimer_pending(&s->step, NULL))
		add_timer(&s->step, 0);
	if (!evtimer_pending(&s->overdue, NULL))
		add_timer(&s->overdue, OVERDUE_MS);
}

/* Sees to it that whoever can go on, or begin, does. */
static void schedule(struct conn_shakes *s)
{
	int64_t wait = TAILQ_EMPTY(&s->going) && !TAILQ_EMPTY(&s->waiting)
	                       ? wait_to_begin(s)
	                       : 0;

	if (wait > 0)
		add_timer(&s->later, wait);
	else
		step_soon(s);
}

static bool hung_up(const struct hbt_conn *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) > 0 &&
	       (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static void begin(struct conn_shakes *s, struct hbt_conn *c)
{
	SSL_CTX *ctx = c->ctx;

	if (s->per_second > 0)
		hbt_rate_take(&s->rate, s->per_second, rate_burst(s),
		              hbt_now_ms());
	counts.begun++;
	c->ctx = NULL;
	if (conn_start_tls(c, ctx, true) != HALIBUT_OK)
		conn_fail(c, HALIBUT_ENOMEM,
		          "There was no memory for a TLS handshake with %s",
		          c->address);
	SSL_CTX_free(ctx);
}

/* One step, which is what costs. */
static void step(struct conn_shakes *s, struct hbt_conn *c)
{
	bool begins = c->ssl == NULL;
	int64_t waited = c->waited_ms;

	s->stepped = true;
	if (!evtimer_pending(&s->step, NULL))
		add_timer(&s->step, 0);
	set_shake(s, c, SHAKE_BEGUN);
	if (begins)
		begin(s, c);
	else /* our delay is not the peer's */
		c->step_due += c->waited_ms - waited;
	c->dry = false;
	if (c->state == CONN_HANDSHAKE)
		conn_handshake(c);
}

/* The next in line; those that hung up meanwhile are dropped on the way. */
static struct hbt_conn *next(struct conn_shakes *s)
{
	struct hbt_conn *c = TAILQ_FIRST(&s->going);

	if (c != NULL)
		return c;
	for (int i = 0; i < DROPS_A_TURN; i++) {
		c = TAILQ_FIRST(&s->waiting);
		if (c == NULL || wait_to_begin(s) > 0)
			return NULL;
		if (!hung_up(c))
			return c;
		counts.given_up++;
		conn_fail(c, HALIBUT_ECLOSED,
		          "%s hung up while it waited for its turn to do the "
		          "TLS handshake",
		          c->address);
	}
	return NULL;
}

static void on_step(evutil_socket_t fd, short what, void *arg)
{
	struct conn_shakes *s = arg;
	struct hbt_conn *c;

	(void)fd;
	(void)what;
	event_del(&s->step);
	event_del(&s->overdue);
	s->stepped = false;
	conn_shakes_hold(s);
	if ((c = next(s)) != NULL) {
		conn_enter(c);
		step(s, c);
		conn_leave(c);
	}
	schedule(s);
	conn_shakes_release(s);
}

/* For conn.c */

void conn_shake_readable(struct hbt_conn *c)
{
	struct conn_shakes *s = conn_turn_shakes(c);
	bool begins = c->ssl == NULL;

	if (is_queued(c))
		return;
	if (!s->stepped && TAILQ_EMPTY(&s->going) &&
	    (!begins ||
	     (TAILQ_EMPTY(&s->waiting) && wait_to_begin(s) == 0))) {
		step(s, c);
		return;
	}
	set_shake(s, c, begins ? SHAKE_WAITING : SHAKE_GOING);
	schedule(s);
}

void conn_shake_leave(struct hbt_conn *c)
{
	struct conn_shakes *s;

	SSL_CTX_free(c->ctx);
	c->ctx = NULL;
	if (c->shake == SHAKE_NO)
		return;
	s = conn_turn_shakes(c);
	set_shake(s, c, SHAKE_NO);
	step_soon(s); /* there may be room for another one */
}

void conn_shake_accept(struct hbt_conn *c, SSL_CTX *ctx,
                       const struct hbt_limits *limits)
{
	struct conn_shakes *s = conn_turn_shakes(c);

	s->max = limits->max_handshakes;
	s->per_second = limits->max_handshakes_per_second;
	SSL_CTX_up_ref(ctx);
	c->ctx = ctx;
	c->state = CONN_HANDSHAKE;
	c->step_due = hbt_now_ms() + c->handshake_ms;
}

void conn_shakes_init(struct conn_shakes *s, struct event_base *base)
{
	int lowest = event_base_get_npriorities(base) - 1;

	TAILQ_INIT(&s->waiting);
	TAILQ_INIT(&s->begun);
	TAILQ_INIT(&s->going);
	TAILQ_INIT(&s->stalled);
	event_assign(&s->step, base, -1, 0, on_step, s);
	event_assign(&s->overdue, base, -1, 0, on_step, s);
	event_assign(&s->later, base, -1, 0, on_step, s);
	event_priority_set(&s->step, lowest);
}

void conn_shakes_fini(struct conn_shakes *s)
{
	event_del(&s->step);
	event_del(&s->overdue);
	event_del(&s->later);
}
