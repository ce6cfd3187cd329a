/*
 * A request on its way through Redis, seen from the node whose caller waits:
 * its beginning, what its queue and its node ask of it, and when its time has
 * come. redis-queue 6
 */
#include <assert.h>
#include <stdlib.h>

#include "base/timespan.h"
#include "queue/redis_send.h"

static struct redis_send *of_taker(struct hbt_taker *t)
{
	return (struct redis_send *)((char *)t -
	                             offsetof(struct redis_send, taker));
}

/* The origin gives it up; p has left the queue already. */
static bool on_cancelled(struct hbt_taker *t, struct hbt_pending *p)
{
	struct redis_send *s = of_taker(t);
	bool seen = s->stage >= SEND_SUBMITS && !s->withdrawn;

	(void)p;
	redis_send_farewell(s, seen && s->stage < SEND_READS);
	return seen;
}

static void on_due(struct redis_due *due)
{
	struct redis_send *s =
		(struct redis_send *)((char *)due -
	                              offsetof(struct redis_send, due));
	int64_t now = hbt_now_ms();

	if (s->stage >= SEND_SUBMITS) {
		redis_send_on_time(s, now);
	} else if (s->node->guard.watched) {
		redis_sends_guarded(s->node); /* in the order of their pushes */
	} else if (now - s->since_ms >= s->node->times.data_loss_wait_ms) {
		struct hbt_redis_state state;

		hbt_redis_state(s->node->redis, &state);
		redis_send_fail(s, HBT_REDIS_NOT_WATCHED, state.last_error,
		                false);
	} else {
		redis_due_set(s->node, &s->due,
		              s->since_ms + s->node->times.data_loss_wait_ms);
	}
}

bool redis_send_new(struct redis_queue *rq, struct hbt_pending *p)
{
	struct redis_send *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return false;
	s->node = rq->node;
	s->queue = rq;
	s->p = p;
	s->msg = hbt_message_ref(p->msg);
	s->taker.cancelled = on_cancelled;
	s->lost.at_ms = INT64_MAX;
	s->lost.answered = redis_send_on_lost_answer;
	p->taker = &s->taker;
	hbt_guid_format(&p->msg->env.activity_id, s->id);
	TAILQ_INSERT_TAIL(&rq->sends, s, of_queue);
	s->fresh = true;
	TAILQ_INSERT_TAIL(&rq->node->fresh, s, of_node);
	rq->n_waiting++;
	rq->waiting_bytes += s->msg->deflated_len;
	rq->node->n_sending++;
	s->since_ms = hbt_now_ms();
	s->due.fn = on_due;
	/* From the loop: nothing may be heard of it before push returned. */
	redis_due_set(rq->node, &s->due, s->since_ms);
	return true;
}

/* ---- What its queue asks ---- */

void redis_send_forget(struct redis_queue *rq, struct hbt_pending *p)
{
	struct redis_send *s = of_taker(p->taker);

	assert(s->p == p);
	if (s->stage == SEND_SUBMITS) /* Redis has not replied */
		redis_list_pushed(rq, &s->list_round, rq->list.heard, false);
	if (s->collected)
		rq->n_collected--;
	else
		rq->n_waiting--;
	if (!s->collected)
		rq->waiting_bytes -= s->msg->deflated_len;
	TAILQ_REMOVE(&rq->sends, s, of_queue);
	rq->node->n_sending--;
	s->p = NULL;
	s->queue = NULL;
}

void redis_send_cancel(struct hbt_pending *p)
{
	struct redis_send *s = of_taker(p->taker);

	s->wants_end = true;
	if (s->stage < SEND_WAITS)
		hbt_pending_cancel(p);
	else if (s->collected)
		redis_send_end_cancelled(s);
	else
		redis_send_withdraw(s);
}

void redis_sends_shutdown(struct redis_queue *rq)
{
	struct redis_send *s;

	while ((s = TAILQ_FIRST(&rq->sends)) != NULL)
		redis_send_fail(s, HBT_REDIS_SHUTDOWN, NULL,
		                s->stage >= SEND_SUBMITS &&
		                        s->stage < SEND_READS);
}

int64_t redis_sends_oldest_ms(const struct redis_queue *rq)
{
	const struct redis_send *s;

	TAILQ_FOREACH(s, &rq->sends, of_queue) {
		if (!s->collected)
			return s->p->since_ms;
	}
	return 0;
}

/* ---- All of a node ---- */

void redis_sends_guarded(struct hbt_redis_node *n)
{
	struct redis_send *s;

	while (n->guard.watched && (s = TAILQ_FIRST(&n->fresh)) != NULL)
		redis_send_prepare(s);
}

/* Whoever is told may push or end others. */
static struct redis_send *first_unanswered(struct hbt_redis_node *n)
{
	struct redis_send *s;

	TAILQ_FOREACH(s, &n->sends, of_node) {
		if (s->p != NULL)
			return s;
	}
	return NULL;
}

void redis_sends_lost(struct hbt_redis_node *n)
{
	struct redis_send *s;

	while ((s = first_unanswered(n)) != NULL)
		redis_send_fail(s, HBT_REDIS_DATA_LOST, NULL,
		                s->stage >= SEND_SUBMITS);
}

void redis_sends_look(struct hbt_redis_node *n, bool again)
{
	struct redis_send *s;

	TAILQ_FOREACH(s, &n->sends, of_node) {
		if (again || s->pulse.channel == NULL)
			redis_send_pulse(s);
		/* A reply to a receiver's LPOP may have been lost. */
		if (again && s->stage == SEND_WAITS && s->withdrawal == NULL) {
			s->push_again = true;
			redis_send_check(s);
		}
	}
}

void redis_sends_listen(struct hbt_redis_node *n)
{
	struct redis_send *s;

	TAILQ_FOREACH(s, &n->sends, of_node) {
		if (s->stage >= SEND_STORES && s->stage <= SEND_COLLECTED)
			redis_send_listen(s);
	}
}

void redis_sends_free(struct hbt_redis_node *n)
{
	struct redis_send *s;

	while ((s = TAILQ_FIRST(&n->fresh)) != NULL)
		redis_send_destroy(s);
	while ((s = TAILQ_FIRST(&n->sends)) != NULL)
		redis_send_destroy(s);
}
