/*
 * The time-to-live of an endpoint's list of ids. In the reference each push
 * arms it. Here as well, until somebody hears of one and it is popped soon: a
 * list that is empty is none. From then on it is armed only when Redis does not
 * say that somebody has heard of a push, or the id is not known to be popped a
 * moment later. redis-queue 2.4
 */
#include "base/timespan.h"
#include "queue/redis_private.h"

enum {
	/* How long a list is without a time-to-live while somebody has heard
	 * of what was pushed, and may be about to pop it; how often that is set
	 * at most; and after how long again, if Redis did not take it. */
	HEARD_MS = 100,
	PAUSE_MS = 25,
	RETRY_MS = 1000,
};

static void watch(struct redis_queue *rq, unsigned *round, int64_t at_ms)
{
	struct redis_list *l = &rq->list;

	l->watched++;
	*round = l->round;
	if (!hbt_deadline_is_set(&rq->node->deadlines, &l->due.deadline) ||
	    at_ms < l->due.deadline.at_ms)
		redis_due_set(rq->node, &l->due, at_ms);
}

static void arm_again(struct redis_queue *rq)
{
	unsigned round;

	watch(rq, &round, hbt_now_ms() + RETRY_MS);
}

static void on_armed(void *arg, redisReply **replies, size_t n,
                     const struct halibut_error *err)
{
	struct redis_queue *rq = arg;

	(void)replies;
	(void)n;
	rq->list.batch = NULL;
	if (err != NULL)
		arm_again(rq);
}

static void send_expiry(struct redis_queue *rq, struct hbt_redis_batch *b,
                        hbt_redis_done_fn done)
{
	struct hbt_redis_name name;

	redis_add_expire(b,
	                 hbt_redis_name(&name, rq->node->prefix,
	                                HBT_REDIS_LIST, rq->q.key),
	                 rq->node->times.list_ttl_ms);
	hbt_redis_batch_send(b, rq->node->times.retry_window_ms, done, rq);
}

static void on_due(struct redis_due *due)
{
	struct redis_queue *rq =
		(struct redis_queue *)((char *)due -
	                               offsetof(struct redis_queue, list.due));
	struct redis_list *l = &rq->list;

	if (l->watched == 0)
		return;
	l->watched = 0;
	l->round++;
	l->armed_ms = hbt_now_ms();
	l->served = false;
	hbt_redis_batch_cancel(&l->batch); /* this one comes later */
	l->batch = hbt_redis_batch_new(rq->node->redis);
	if (l->batch != NULL)
		send_expiry(rq, l->batch, on_armed);
	else
		arm_again(rq);
}

void redis_list_init(struct redis_queue *rq)
{
	rq->list.round = 1;
	rq->list.due.fn = on_due;
}

void redis_list_fini(struct redis_queue *rq)
{
	struct redis_list *l = &rq->list;
	struct hbt_redis_batch *b = NULL;

	redis_due_clear(rq->node, &l->due);
	if (l->watched > 0 || l->batch != NULL)
		b = hbt_redis_batch_new(rq->node->redis);
	hbt_redis_batch_cancel(&l->batch);
	if (b != NULL)
		send_expiry(rq, b, NULL);
}

void redis_list_pushing(struct redis_queue *rq, struct hbt_redis_batch *b,
                        const char *list, unsigned *round)
{
	struct redis_list *l = &rq->list;
	int64_t now = hbt_now_ms();

	if (l->heard && (l->served || now - l->armed_ms < PAUSE_MS)) {
		watch(rq, round, now + HEARD_MS);
		return;
	}
	redis_add_expire(b, list, rq->node->times.list_ttl_ms);
	l->armed_ms = now;
}

void redis_list_pushed(struct redis_queue *rq, unsigned *round, bool heard,
                       bool sure)
{
	rq->list.heard = heard;
	/* What was armed since may have been so before the push. */
	if (!sure || (*round != 0 && *round != rq->list.round))
		watch(rq, round, rq->list.armed_ms + PAUSE_MS);
}

void redis_list_popped(struct redis_queue *rq, unsigned *round,
                       int64_t pushed_ms)
{
	if (*round != 0 && *round == rq->list.round)
		rq->list.watched--;
	*round = 0;
	if (hbt_now_ms() - pushed_ms < HEARD_MS)
		rq->list.served = true;
}
