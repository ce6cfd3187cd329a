/* A key of our own that is gone when Redis lost its data. redis-queue 8.4 */
#include <stddef.h>
#include <string.h>

#include "base/log.h"
#include "base/timespan.h"
#include "queue/redis_private.h"

#define RETRY_MS 1000
/* Between two looks that something gives rise to. */
#define SUSPICION_MS 5000

static struct hbt_redis_node *node_of(struct redis_due *due)
{
	return (struct hbt_redis_node *)((char *)due -
	                                 offsetof(struct hbt_redis_node,
	                                          guard.due));
}

static const char *key_of(struct hbt_redis_node *n, struct hbt_redis_name *name)
{
	return hbt_redis_name(name, n->prefix, HBT_REDIS_LOSS, n->guard.id);
}

static void begin(struct hbt_redis_node *n);

static void on_set(void *arg, redisReply **replies, size_t n_replies,
                   const struct halibut_error *err)
{
	struct hbt_redis_node *n = arg;

	(void)replies;
	(void)n_replies;
	n->guard.batch = NULL;
	if (err != NULL) {
		redis_due_set(n, &n->guard.due, hbt_now_ms() + RETRY_MS);
		return;
	}
	n->guard.watched = true;
	redis_due_set(n, &n->guard.due,
	              hbt_now_ms() + n->times.data_loss_check_ms);
	redis_sends_guarded(n);
}

static void begin(struct hbt_redis_node *n)
{
	struct hbt_guid id = hbt_guid_new();
	struct hbt_redis_name name;
	struct hbt_redis_batch *b = hbt_redis_batch_new(n->redis);

	n->guard.watched = false;
	if (b == NULL) {
		redis_due_set(n, &n->guard.due, hbt_now_ms() + RETRY_MS);
		return;
	}
	hbt_guid_format(&id, n->guard.id);
	hbt_redis_batch_add(b, "SET %s %s", key_of(n, &name), n->guard.id);
	redis_add_expire(b, name.text, n->times.data_loss_ttl_ms);
	n->guard.batch = b;
	hbt_redis_batch_send(b, n->times.retry_window_ms, on_set, n);
}

static void on_look(void *arg, redisReply **replies, size_t n_replies,
                    const struct halibut_error *err)
{
	struct hbt_redis_node *n = arg;

	(void)n_replies;
	n->guard.batch = NULL;
	if (err != NULL || (replies[0]->type == REDIS_REPLY_STRING &&
	                    strcmp(replies[0]->str, n->guard.id) == 0)) {
		redis_due_set(n, &n->guard.due,
		              hbt_now_ms() + n->times.data_loss_check_ms);
		return;
	}
	log_event(HBT_LOG_ERROR,
	          LOG_ABOUT(.event = "redis_data_lost",
	                    .remedy = "maxmemory-policy noeviction"),
	          "Redis has lost its data: the key %s:HalibutRedis:string:"
	          "WatchForDataLoss::%s is gone. All requests on their way are "
	          "given up. Was it restarted, flushed, failed over, or does "
	          "its maxmemory-policy evict keys?",
	          n->prefix, n->guard.id);
	n->guard.losses++;
	begin(n); /* whoever comes from now on waits for the new one */
	redis_sends_lost(n);
	redis_receives_lost(n);
}

static void look(struct hbt_redis_node *n)
{
	struct hbt_redis_batch *b;
	struct hbt_redis_name name;

	if (n->guard.batch != NULL)
		return;
	if (!n->guard.watched) {
		begin(n);
		return;
	}
	redis_due_clear(n, &n->guard.due);
	n->guard.looked_ms = hbt_now_ms();
	if ((b = hbt_redis_batch_new(n->redis)) == NULL) {
		redis_due_set(n, &n->guard.due, hbt_now_ms() + RETRY_MS);
		return;
	}
	hbt_redis_batch_add(b, "GET %s", key_of(n, &name));
	redis_add_expire(b, name.text, n->times.data_loss_ttl_ms);
	n->guard.batch = b;
	hbt_redis_batch_send(b, n->times.retry_window_ms, on_look, n);
}

static void on_due(struct redis_due *due)
{
	look(node_of(due));
}

void redis_guard_start(struct hbt_redis_node *n)
{
	n->guard.due.fn = on_due;
	begin(n);
}

void redis_guard_look(struct hbt_redis_node *n)
{
	if (n->guard.watched)
		look(n);
}

void redis_guard_suspect(struct hbt_redis_node *n)
{
	if (hbt_now_ms() - n->guard.looked_ms >= SUSPICION_MS)
		redis_guard_look(n);
}

void redis_guard_stop(struct hbt_redis_node *n)
{
	struct hbt_redis_batch *b;
	struct hbt_redis_name name;

	hbt_redis_batch_cancel(&n->guard.batch);
	redis_due_clear(n, &n->guard.due);
	if (!n->guard.watched || (b = hbt_redis_batch_new(n->redis)) == NULL)
		return;
	n->guard.watched = false;
	hbt_redis_batch_add(b, "UNLINK %s", key_of(n, &name));
	hbt_redis_batch_send(b, 0, NULL, NULL);
}
