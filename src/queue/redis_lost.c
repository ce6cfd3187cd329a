/*
 * A node that took a request and cannot read it tells nobody: a .NET node
 * loses what has types that it does not know (redis-queue 7.2). But it shows.
 * Whoever carries a request listens to its sender's heart beats from
 * heartbeat_delay on; a node that is connected to Redis and does not, has
 * lost it. That is asked with PUBLISH, whose reply is the number of listeners,
 * some times in a row: a node that has just lost its connection to Redis, or
 * is very slow, keeps its sixty seconds.
 */
#include "base/timespan.h"
#include "queue/redis_private.h"

enum { QUESTIONS = 4 };

static int64_t pause_ms(const struct hbt_redis_node *n)
{
	return n->times.heartbeat_interval_ms / 3;
}

void redis_lost_start(struct redis_lost *l, const struct hbt_redis_node *n)
{
	l->nobody = 0;
	l->at_ms = hbt_now_ms() + n->times.heartbeat_delay_ms + pause_ms(n);
}

void redis_lost_stop(struct redis_lost *l)
{
	l->at_ms = INT64_MAX;
	hbt_redis_batch_cancel(&l->batch);
}

static void on_answer(void *arg, redisReply **replies, size_t n,
                      const struct halibut_error *err)
{
	struct redis_lost *l = arg;

	(void)n;
	l->batch = NULL;
	/* Fewer listeners than once: perhaps it is the one that is away. */
	if (err != NULL || replies[1]->integer < l->listeners ||
	    replies[1]->integer == 0)
		l->nobody = 0;
	else if (replies[0]->integer > 0)
		l->at_ms = INT64_MAX;
	else
		l->nobody++;
	l->answered(l, l->nobody >= QUESTIONS);
}

void redis_lost_ask(struct redis_lost *l, struct hbt_redis_node *n,
                    const char *key, const char *ref)
{
	struct hbt_redis_name name;

	l->at_ms = hbt_now_ms() + pause_ms(n);
	if (l->batch != NULL ||
	    (l->batch = hbt_redis_batch_new(n->redis)) == NULL)
		return;
	hbt_redis_batch_publish(
		l->batch,
		hbt_redis_name(&name, n->prefix, HBT_REDIS_SENDER_BEAT, ref),
		"{\"DataStreamProgress\":{}}", 25);
	hbt_redis_batch_publish(
		l->batch,
		hbt_redis_name(&name, n->prefix, HBT_REDIS_PULSE, key), "{}",
		2);
	hbt_redis_batch_send(l->batch, 0, on_answer, l);
}
