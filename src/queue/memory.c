/* The queue of an endpoint in memory. runtime-behaviour 7.2 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/timespan.h"
#include "queue/transitions.h"

/* How many requests may time out in one turn of the loop. */
#define TURN_EXPIRIES 256
/* A timer may come early and look again; this keeps its arithmetic safe. */
#define LONGEST_WAIT_MS ((int64_t)24 * 3600 * 1000)

struct memory_queue {
	struct hbt_queue q;
	struct event *timer;
	int64_t timer_at_ms; /* INT64_MAX: it is not running */
	struct hbt_deadlines deadlines; /* of those that wait */
	struct hbt_pending_list waiting; /* the oldest first */
	struct hbt_pending_list taken;
	struct hbt_taker_list takers;
	size_t n_waiting, n_taken, n_takers;
	size_t waiting_bytes;
	bool matching; /* join_up() is at work further up the stack */
};

static struct memory_queue *self(struct hbt_queue *q)
{
	return (struct memory_queue *)q;
}

static size_t bytes_of(const struct hbt_pending *p)
{
	return p->msg != NULL ? p->msg->deflated_len : 0;
}

/*
 * One timer serves all that wait. It is only ever moved forward: when it was
 * meant for somebody who left, it fires in vain and is set anew.
 */
static void start_timer(struct memory_queue *mq)
{
	const struct hbt_deadline *d = mq->deadlines.soonest;
	int64_t now = hbt_now_ms();
	struct timeval tv;
	int64_t wait;

	if (d == NULL || d->at_ms >= mq->timer_at_ms)
		return;
	wait = d->at_ms > now ? d->at_ms - now : 0;
	if (wait > LONGEST_WAIT_MS)
		wait = LONGEST_WAIT_MS;
	tv.tv_sec = wait / 1000;
	tv.tv_usec = wait % 1000 * 1000;
	mq->timer_at_ms = d->at_ms;
	event_add(mq->timer, &tv);
}

static struct hbt_pending *pending_of(struct hbt_deadline *d)
{
	return (struct hbt_pending *)((char *)d -
	                              offsetof(struct hbt_pending, deadline));
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct memory_queue *mq = arg;
	int64_t now = hbt_now_ms();

	(void)fd;
	(void)what;
	mq->timer_at_ms = INT64_MAX;
	for (int i = 0; i < TURN_EXPIRIES; i++) {
		struct hbt_deadline *d = mq->deadlines.soonest;

		if (d == NULL || d->at_ms > now)
			break;
		hbt_pending_expire(pending_of(d));
	}
	start_timer(mq);
}

static void leave_waiting(struct memory_queue *mq, struct hbt_pending *p)
{
	TAILQ_REMOVE(&mq->waiting, p, link);
	mq->n_waiting--;
	mq->waiting_bytes -= bytes_of(p);
	hbt_deadline_clear(&mq->deadlines, &p->deadline);
}

/*
 * Hands requests to takers while there are both. deliver() may push and offer
 * again: that is then for the loop that is running already, which keeps the
 * order and the stack flat.
 */
static void join_up(struct memory_queue *mq)
{
	struct hbt_pending *p;
	struct hbt_taker *t;

	if (mq->matching)
		return;
	mq->matching = true;
	while ((p = TAILQ_FIRST(&mq->waiting)) != NULL &&
	       (t = TAILQ_FIRST(&mq->takers)) != NULL) {
		leave_waiting(mq, p);
		TAILQ_INSERT_TAIL(&mq->taken, p, link);
		mq->n_taken++;
		TAILQ_REMOVE(&mq->takers, t, link);
		mq->n_takers--;
		hbt_pending_hand_over(p, t);
	}
	mq->matching = false;
}

static void wait_at(struct memory_queue *mq, struct hbt_pending *p, bool front)
{
	if (front)
		TAILQ_INSERT_HEAD(&mq->waiting, p, link);
	else
		TAILQ_INSERT_TAIL(&mq->waiting, p, link);
	mq->n_waiting++;
	mq->waiting_bytes += bytes_of(p);
	/* Who is taken at once needs no timer. */
	if (mq->matching || TAILQ_EMPTY(&mq->takers)) {
		hbt_deadline_set(&mq->deadlines, &p->deadline);
		start_timer(mq);
	}
	join_up(mq);
}

static void memory_push(struct hbt_queue *q, struct hbt_pending *p)
{
	wait_at(self(q), p, false);
}

static void memory_put_back(struct hbt_queue *q, struct hbt_pending *p)
{
	struct memory_queue *mq = self(q);

	TAILQ_REMOVE(&mq->taken, p, link);
	mq->n_taken--;
	wait_at(mq, p, true);
}

static void memory_offer(struct hbt_queue *q, struct hbt_taker *t)
{
	struct memory_queue *mq = self(q);

	TAILQ_INSERT_TAIL(&mq->takers, t, link);
	mq->n_takers++;
	join_up(mq);
}

static void memory_withdraw(struct hbt_queue *q, struct hbt_taker *t)
{
	struct memory_queue *mq = self(q);

	TAILQ_REMOVE(&mq->takers, t, link);
	mq->n_takers--;
}

static void memory_forget(struct hbt_queue *q, struct hbt_pending *p)
{
	struct memory_queue *mq = self(q);

	if (p->state == HBT_PENDING_WAITING) {
		leave_waiting(mq, p);
		return;
	}
	TAILQ_REMOVE(&mq->taken, p, link);
	mq->n_taken--;
}

static void memory_counts(struct hbt_queue *q, struct hbt_queue_counts *out)
{
	struct memory_queue *mq = self(q);
	const struct hbt_pending *oldest = TAILQ_FIRST(&mq->waiting);

	*out = q->totals;
	out->waiting = mq->n_waiting;
	out->taken = mq->n_taken;
	out->takers = mq->n_takers;
	out->waiting_bytes = mq->waiting_bytes;
	out->oldest_waiting_ms =
		oldest != NULL ? hbt_now_ms() - oldest->since_ms : 0;
}

static void memory_free(struct hbt_queue *q)
{
	struct memory_queue *mq = self(q);
	struct hbt_pending *p;
	struct hbt_taker *t;

	assert(!mq->matching);
	mq->matching = true; /* nothing is handed out any more */
	while ((t = TAILQ_FIRST(&mq->takers)) != NULL)
		hbt_queue_withdraw(t);
	while ((p = TAILQ_FIRST(&mq->waiting)) != NULL ||
	       (p = TAILQ_FIRST(&mq->taken)) != NULL)
		hbt_pending_cancel(p);
	while ((t = TAILQ_FIRST(&mq->takers)) != NULL)
		hbt_queue_withdraw(t);
	if (mq->timer != NULL)
		event_free(mq->timer);
	free(q->key);
	free(mq);
}

struct hbt_queue *hbt_memory_queue_new(struct event_base *base,
                                       const char *key)
{
	static const struct hbt_queue_ops ops = {
		.push = memory_push,
		.offer = memory_offer,
		.withdraw = memory_withdraw,
		.put_back = memory_put_back,
		.forget = memory_forget,
		.counts = memory_counts,
		.free = memory_free,
	};
	struct memory_queue *mq = calloc(1, sizeof(*mq));

	if (mq == NULL)
		return NULL;
	mq->q.ops = &ops;
	mq->timer_at_ms = INT64_MAX;
	TAILQ_INIT(&mq->waiting);
	TAILQ_INIT(&mq->taken);
	TAILQ_INIT(&mq->takers);
	mq->q.key = strdup(key);
	mq->timer = event_new(base, -1, 0, on_timer, mq);
	if (mq->q.key == NULL || mq->timer == NULL) {
		memory_free(&mq->q);
		return NULL;
	}
	return &mq->q;
}
