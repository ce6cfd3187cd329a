/*
 * The queue of an endpoint in Redis: those who ask are redis_send.c's; here
 * are those who carry, and the looks into the list of ids for them.
 * redis-queue 7.1, 18.3
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log_limit.h"
#include "base/timespan.h"
#include "queue/redis_private.h"
#include "queue/transitions.h"

enum {
	LOOK_MAX = 64, /* ids asked for at once */
	LOOK_RETRY_MS = 1000,
	/* A list that tells when something comes is looked at that much
	 * rarer: only a sender that died between two commands says nothing. */
	TOLD_LOOKS = 20,
};

/* LPOPs on their way. Outlives its queue: what it pops must not be lost. */
struct redis_look {
	struct redis_queue *queue; /* NULL: freed */
	struct hbt_redis_node *node;
	char *key;
	size_t n, expected;
	bool unsure;
};

static struct redis_queue *self(struct hbt_queue *q)
{
	return (struct redis_queue *)q;
}

static struct redis_queue *of_receiving(struct hbt_queue *q)
{
	return (struct redis_queue *)((char *)q -
	                              offsetof(struct redis_queue, receiving));
}

/* ---- Looking for ids ---- */

static void look(struct redis_queue *rq);

static void give_back(struct redis_look *l, const redisReply *id)
{
	struct hbt_redis_batch *b = hbt_redis_batch_new(l->node->redis);
	struct hbt_redis_name name;

	if (b == NULL)
		return;
	hbt_redis_name(&name, l->node->prefix, HBT_REDIS_LIST, l->key);
	hbt_redis_batch_add(b, "RPUSH %s %b", name.text, id->str, id->len);
	redis_add_expire(b, name.text, l->node->times.list_ttl_ms);
	hbt_redis_batch_publish(b,
	                        hbt_redis_name(&name, l->node->prefix,
	                                       HBT_REDIS_PULSE, l->key),
	                        "{}", 2);
	hbt_redis_batch_send(b, l->node->times.retry_window_ms, NULL, NULL);
}

static void take(struct redis_look *l, const redisReply *id)
{
	struct redis_queue *rq = l->queue;
	struct hbt_guid guid;

	if (rq == NULL || rq->n_takers <= rq->n_coming) {
		give_back(l, id); /* who wanted it has left */
		return;
	}
	if (hbt_redis_guid_read(id->str, id->len, &guid) != HALIBUT_OK) {
		log_limited("no activity id", HBT_LOG_WARNING,
		            LOG_ABOUT(.event = "message_unreadable",
		                      .endpoint = rq->q.key,
		                      .remedy = "look for who else writes to "
		                                "this Redis"),
		            "queue %s: an entry of its list in Redis is no "
		            "activity id; skipped",
		            rq->q.key);
		return;
	}
	rq->n_coming++;
	rq->node->n_taking++;
	redis_receive_new(rq, &guid);
}

/* One of n_taking is no more. */
static void arrived(struct hbt_redis_node *n)
{
	n->n_taking--;
	redis_settle(n);
}

/* What a look that got this many of its n ids tells of the list. */
static void learn(struct redis_queue *rq, const struct redis_look *l,
                  size_t got)
{
	if (got < l->n) { /* it was empty then */
		rq->expected -= l->expected;
		if (l->unsure) {
			rq->unsure = false;
			rq->burst = 1;
		}
		return;
	}
	/* Pulses that came meanwhile are part of expected. */
	rq->expected -= got < rq->expected ? got : rq->expected;
	if (rq->burst < LOOK_MAX)
		rq->burst *= 2;
}

static void on_look(void *arg, redisReply **replies, size_t n,
                    const struct halibut_error *err)
{
	struct redis_look *l = arg;
	struct redis_queue *rq = l->queue;
	size_t got = 0;

	if (rq != NULL)
		rq->look = NULL;
	for (size_t i = 0; err == NULL && i < n; i++)
		if (replies[i]->type == REDIS_REPLY_STRING)
			got++;
	if (rq != NULL && err == NULL) {
		learn(rq, l, got);
	} else if (rq != NULL) {
		rq->unsure = true;
		redis_due_set(rq->node, &rq->look_due,
		              hbt_now_ms() + LOOK_RETRY_MS);
	}
	for (size_t i = 0; err == NULL && i < n; i++)
		if (replies[i]->type == REDIS_REPLY_STRING)
			take(l, replies[i]);
	free(l->key);
	free(l);
	if (rq == NULL)
		return;
	if (err == NULL)
		look(rq);
	arrived(rq->node);
}

/* Never more ids than takers: an id that was popped is nobody else's. */
static void look(struct redis_queue *rq)
{
	size_t ready = rq->n_takers - (rq->n_coming < rq->n_takers
	                                       ? rq->n_coming
	                                       : rq->n_takers);
	size_t n = rq->expected;
	struct hbt_redis_batch *b;
	struct hbt_redis_name name;
	struct redis_look *l;

	if (rq->unsure && n < rq->burst)
		n = rq->burst;
	if (n > ready)
		n = ready;
	if (n > LOOK_MAX)
		n = LOOK_MAX;
	if (n == 0 || rq->look != NULL || rq->node->paused)
		return;
	l = calloc(1, sizeof(*l));
	b = hbt_redis_batch_new(rq->node->redis);
	if (l == NULL || b == NULL ||
	    (l->key = strdup(rq->q.key)) == NULL) {
		free(l);
		hbt_redis_batch_cancel(&b);
		redis_due_set(rq->node, &rq->look_due,
		              hbt_now_ms() + LOOK_RETRY_MS);
		return;
	}
	l->queue = rq;
	l->node = rq->node;
	l->n = n;
	l->expected = rq->expected;
	l->unsure = rq->unsure;
	hbt_redis_name(&name, rq->node->prefix, HBT_REDIS_LIST, rq->q.key);
	for (size_t i = 0; i < n; i++)
		hbt_redis_batch_add(b, "LPOP %s", name.text);
	rq->look = l;
	rq->node->n_taking++;
	/* Once: after a lost reply, a second look is as good as a repetition. */
	hbt_redis_batch_send(b, 0, on_look, l);
}

static struct redis_queue *of_pulse(struct hbt_redis_listener *l)
{
	return (struct redis_queue *)((char *)l -
	                              offsetof(struct redis_queue, pulse));
}

static void on_pulse(struct hbt_redis_listener *l, const char *channel,
                     const char *payload, size_t len)
{
	struct redis_queue *rq = of_pulse(l);

	(void)channel;
	(void)payload;
	(void)len;
	rq->expected++;
	look(rq);
}

static void look_anyway(struct redis_queue *rq)
{
	rq->unsure = true;
	look(rq);
}

static void set_look_due(struct redis_queue *rq)
{
	int64_t wait = rq->node->times.idle_look_ms;

	if (hbt_redis_is_established(&rq->pulse))
		wait *= TOLD_LOOKS;
	/* Thousands of queues that began together do not look together. */
	wait -= wait / 4 * (rand() % 256) / 256;
	redis_due_set(rq->node, &rq->look_due, hbt_now_ms() + wait);
}

static void on_established(struct hbt_redis_listener *l)
{
	struct redis_queue *rq = of_pulse(l);

	redis_guard_look(rq->node);
	set_look_due(rq);
	look_anyway(rq);
}

static void on_look_due(struct redis_due *due)
{
	struct redis_queue *rq =
		(struct redis_queue *)((char *)due -
	                               offsetof(struct redis_queue, look_due));

	if (rq->n_takers == 0) {
		hbt_redis_unlisten(rq->node->redis, &rq->pulse);
		return;
	}
	set_look_due(rq);
	look_anyway(rq);
}

/* ---- Takers ---- */

static void match(struct redis_queue *rq)
{
	struct hbt_pending *p;
	struct hbt_taker *t;

	if (rq->matching)
		return;
	rq->matching = true;
	while ((p = TAILQ_FIRST(&rq->returned)) != NULL &&
	       (t = TAILQ_FIRST(&rq->takers)) != NULL) {
		TAILQ_REMOVE(&rq->returned, p, link);
		TAILQ_REMOVE(&rq->takers, t, link);
		rq->n_takers--;
		hbt_pending_hand_over(p, t);
	}
	rq->matching = false;
}

void redis_queue_came(struct redis_queue *rq, struct hbt_pending *p)
{
	rq->n_coming--;
	p->queue = &rq->receiving;
	TAILQ_INSERT_TAIL(&rq->returned, p, link);
	match(rq);
	arrived(rq->node);
}

void redis_queue_lost(struct redis_queue *rq)
{
	rq->n_coming--;
	look(rq);
	arrived(rq->node);
}

void redis_queue_resume(struct redis_queue *rq)
{
	look(rq);
}

static void redis_offer(struct hbt_queue *q, struct hbt_taker *t)
{
	struct redis_queue *rq = self(q);
	struct hbt_redis_name name;

	TAILQ_INSERT_TAIL(&rq->takers, t, link);
	rq->n_takers++;
	if (rq->pulse.channel == NULL) {
		/* Its first look is when it is established, or due. */
		(void)hbt_redis_listen(rq->node->redis, &rq->pulse,
		                       hbt_redis_name(&name, rq->node->prefix,
		                                      HBT_REDIS_PULSE, q->key),
		                       false);
		set_look_due(rq);
	}
	match(rq);
	look(rq);
}

static void redis_withdraw(struct hbt_queue *q, struct hbt_taker *t)
{
	struct redis_queue *rq = self(q);

	TAILQ_REMOVE(&rq->takers, t, link);
	rq->n_takers--;
}

static void received_put_back(struct hbt_queue *q, struct hbt_pending *p)
{
	struct redis_queue *rq = of_receiving(q);

	TAILQ_INSERT_HEAD(&rq->returned, p, link);
	redis_receive_returned(p);
	match(rq);
}

static void received_forget(struct hbt_queue *q, struct hbt_pending *p)
{
	if (p->state == HBT_PENDING_WAITING)
		TAILQ_REMOVE(&of_receiving(q)->returned, p, link);
}

/* ---- Those who ask ---- */

static void on_starved(struct redis_due *due)
{
	struct redis_queue *rq =
		(struct redis_queue *)((char *)due -
	                               offsetof(struct redis_queue,
	                                        starved_due));
	struct halibut_error err = {.status = HALIBUT_OK};
	char id[HBT_GUID_TEXT];
	struct hbt_pending *p;

	while ((p = TAILQ_FIRST(&rq->starved)) != NULL) {
		hbt_guid_format(&p->msg->env.activity_id, id);
		hbt_redis_error(&err, HBT_REDIS_NOT_PREPARED, id,
		                "out of memory");
		p->state = HBT_PENDING_TAKEN;
		hbt_pending_fail(p, &err);
		halibut_error_clear(&err);
	}
}

static void redis_push(struct hbt_queue *q, struct hbt_pending *p)
{
	struct redis_queue *rq = self(q);

	if (redis_send_new(rq, p))
		return;
	TAILQ_INSERT_TAIL(&rq->starved, p, link);
	redis_due_set(rq->node, &rq->starved_due, 0);
}

static void redis_forget(struct hbt_queue *q, struct hbt_pending *p)
{
	if (p->taker != NULL)
		redis_send_forget(self(q), p);
	else
		TAILQ_REMOVE(&self(q)->starved, p, link);
}

static void redis_cancel(struct hbt_queue *q, struct hbt_pending *p)
{
	(void)q;
	if (p->taker != NULL)
		redis_send_cancel(p);
	else
		hbt_pending_cancel(p);
}

/* ---- The queue ---- */

static void redis_counts(struct hbt_queue *q, struct hbt_queue_counts *out)
{
	struct redis_queue *rq = self(q);
	int64_t oldest = redis_sends_oldest_ms(rq);

	*out = q->totals;
	out->collected += rq->receiving.totals.collected;
	out->waiting = rq->n_waiting;
	out->taken = rq->n_collected + rq->n_remote;
	out->takers = rq->n_takers;
	out->waiting_bytes = rq->waiting_bytes;
	out->oldest_waiting_ms = oldest != 0 ? hbt_now_ms() - oldest : 0;
}

size_t hbt_redis_queue_coming(const struct hbt_queue *q)
{
	const struct redis_queue *rq = (const struct redis_queue *)q;
	size_t n = rq->n_coming + (rq->look != NULL ? rq->look->n : 0);
	const struct hbt_pending *p;

	TAILQ_FOREACH(p, &rq->returned, link)
		n++;
	return n;
}

static void redis_free(struct hbt_queue *q)
{
	struct redis_queue *rq = self(q);
	struct hbt_taker *t;

	assert(!rq->matching);
	rq->matching = true; /* nothing is handed out any more */
	while ((t = TAILQ_FIRST(&rq->takers)) != NULL)
		hbt_queue_withdraw(t);
	on_starved(&rq->starved_due);
	redis_sends_shutdown(rq);
	redis_receives_shutdown(rq);
	if (rq->look != NULL)
		rq->look->queue = NULL;
	LIST_REMOVE(rq, link);
	rq->node->n_taking -= rq->n_coming + (rq->look != NULL);
	redis_settle(rq->node);
	hbt_redis_unlisten(rq->node->redis, &rq->pulse);
	redis_list_fini(rq);
	redis_due_clear(rq->node, &rq->look_due);
	redis_due_clear(rq->node, &rq->starved_due);
	free(rq->q.key);
	free(rq);
}

struct hbt_queue *hbt_redis_queue_new(struct hbt_redis_node *node,
                                      const char *key)
{
	static const struct hbt_queue_ops ops = {
		.push = redis_push,
		.offer = redis_offer,
		.withdraw = redis_withdraw,
		.cancel = redis_cancel,
		.forget = redis_forget,
		.counts = redis_counts,
		.free = redis_free,
	};
	static const struct hbt_queue_ops receiving = {
		.put_back = received_put_back,
		.forget = received_forget,
	};
	struct redis_queue *rq;

	if (strlen(key) > HBT_REDIS_ENDPOINT_MAX ||
	    (rq = calloc(1, sizeof(*rq))) == NULL)
		return NULL;
	if ((rq->q.key = strdup(key)) == NULL) {
		free(rq);
		return NULL;
	}
	rq->q.ops = &ops;
	rq->receiving.ops = &receiving;
	rq->receiving.key = rq->q.key;
	rq->node = node;
	LIST_INSERT_HEAD(&node->queues, rq, link);
	rq->burst = 1;
	rq->pulse.message = on_pulse;
	rq->pulse.established = on_established;
	rq->look_due.fn = on_look_due;
	redis_list_init(rq);
	rq->starved_due.fn = on_starved;
	TAILQ_INIT(&rq->sends);
	TAILQ_INIT(&rq->starved);
	TAILQ_INIT(&rq->takers);
	TAILQ_INIT(&rq->received);
	TAILQ_INIT(&rq->returned);
	return &rq->q;
}

struct hbt_queue *hbt_redis_queue_factory(void *node, const char *key)
{
	return hbt_redis_queue_new(node, key);
}
