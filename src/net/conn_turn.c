/*
 * What is done once at the end of a loop turn, and what goes on in the next.
 *
 * Writes are gathered: the first of a turn activates an event, which runs
 * behind all callbacks that are active now. Work that shall not keep others
 * waiting goes through a timer of no duration: the loop polls its sockets
 * before it fires.
 */
#include <stddef.h>
#include <stdlib.h>
#include "net/conn_int.h"

LIST_HEAD(conn_list, hbt_conn);

struct conn_turn {
	LIST_ENTRY(conn_turn) link;
	struct event_base *base;
	struct event ending, later;
	struct conn_list ending_conns, later_conns, orphans;
	struct conn_shakes shakes;
	size_t users; /* connections, and a run that is under way */
};

static LIST_HEAD(, conn_turn) turns = LIST_HEAD_INITIALIZER(turns);

static void release(struct conn_turn *t)
{
	if (--t->users > 0)
		return;
	event_del(&t->ending);
	event_del(&t->later);
	conn_shakes_fini(&t->shakes);
	LIST_REMOVE(t, link);
	free(t);
}

static void run_ending(evutil_socket_t fd, short what, void *arg)
{
	struct conn_turn *t = arg;
	struct conn_list now = t->ending_conns;
	struct hbt_conn *c;

	(void)fd;
	(void)what;
	/* What joins from here on is for the next run: no endless turn. */
	LIST_INIT(&t->ending_conns);
	if (!LIST_EMPTY(&now))
		LIST_FIRST(&now)->ending_link.le_prev = &LIST_FIRST(&now);
	t->users++;
	while ((c = LIST_FIRST(&now)) != NULL) {
		LIST_REMOVE(c, ending_link);
		c->ending = false;
		conn_end_turn(c);
	}
	release(t);
}

static void run_later(evutil_socket_t fd, short what, void *arg)
{
	struct conn_turn *t = arg;
	struct conn_list now = t->later_conns;
	struct hbt_conn *c;

	(void)fd;
	(void)what;
	LIST_INIT(&t->later_conns);
	if (!LIST_EMPTY(&now))
		LIST_FIRST(&now)->later_link.le_prev = &LIST_FIRST(&now);
	t->users++;
	while ((c = LIST_FIRST(&now)) != NULL) {
		LIST_REMOVE(c, later_link);
		c->later = false;
		conn_next_turn(c);
	}
	release(t);
}

int conn_turn_join(struct hbt_conn *c, struct event_base *base)
{
	struct conn_turn *t;

	LIST_FOREACH(t, &turns, link)
	{
		if (t->base == base)
			break;
	}
	if (t == NULL) {
		if ((t = calloc(1, sizeof(*t))) == NULL)
			return HALIBUT_ENOMEM;
		t->base = base;
		LIST_INIT(&t->ending_conns);
		LIST_INIT(&t->later_conns);
		LIST_INIT(&t->orphans);
		event_assign(&t->ending, base, -1, 0, run_ending, t);
		event_assign(&t->later, base, -1, 0, run_later, t);
		conn_shakes_init(&t->shakes, base);
		LIST_INSERT_HEAD(&turns, t, link);
	}
	t->users++;
	c->turn = t;
	return HALIBUT_OK;
}

static struct conn_turn *of_shakes(struct conn_shakes *s)
{
	return (struct conn_turn *)((char *)s -
	                            offsetof(struct conn_turn, shakes));
}

struct conn_shakes *conn_turn_shakes(struct hbt_conn *c)
{
	return &c->turn->shakes;
}

void conn_shakes_hold(struct conn_shakes *s)
{
	of_shakes(s)->users++;
}

void conn_shakes_release(struct conn_shakes *s)
{
	release(of_shakes(s));
}

void conn_turn_part(struct hbt_conn *c)
{
	conn_turn_forget(c);
	if (c->turn != NULL)
		release(c->turn);
	c->turn = NULL;
}

void conn_turn_ending(struct hbt_conn *c)
{
	if (c->ending)
		return;
	if (LIST_EMPTY(&c->turn->ending_conns))
		event_active(&c->turn->ending, EV_TIMEOUT, 0);
	LIST_INSERT_HEAD(&c->turn->ending_conns, c, ending_link);
	c->ending = true;
}

void conn_turn_later(struct hbt_conn *c)
{
	static const struct timeval at_once;

	if (c->later)
		return;
	if (LIST_EMPTY(&c->turn->later_conns))
		event_add(&c->turn->later, &at_once);
	LIST_INSERT_HEAD(&c->turn->later_conns, c, later_link);
	c->later = true;
}

void conn_turn_forget(struct hbt_conn *c)
{
	if (c->ending)
		LIST_REMOVE(c, ending_link);
	if (c->later)
		LIST_REMOVE(c, later_link);
	c->ending = c->later = false;
}

void conn_turn_orphan(struct hbt_conn *c)
{
	LIST_INSERT_HEAD(&c->turn->orphans, c, ending_link);
	c->ending = true; /* so that conn_turn_forget() takes it off */
}

void hbt_conn_end_flushing(struct event_base *base)
{
	struct conn_turn *t;

	LIST_FOREACH(t, &turns, link)
	{
		if (t->base == base)
			break;
	}
	if (t == NULL)
		return;
	t->users++;
	while (!LIST_EMPTY(&t->orphans))
		conn_dispose(LIST_FIRST(&t->orphans));
	release(t);
}
