/*
 * How much waits in the queues that the nodes share: for the status. Of an
 * endpoint that has a taker here which waits, nothing does; Redis is asked
 * about the others alone, so that a node full of idle services asks nothing,
 * and seldom about those for which nothing is under way here, so that one that
 * called many others once does not ask for ever.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "queue/redis_names.h"
#include "worker.h"

#define LOOK_S 5
#define ALL_ROUNDS 12 /* every so many, those with nothing under way as well */
#define MAX_ASKED 200 /* endpoints at a time */
#define MAX_SHOWN 1000

struct lengths {
	struct worker *w;
	struct event *timer;
	bool refused; /* the ACL does not allow it */
	struct hbt_redis_batch *batch;
	json_t *by_key; /* the numbers that are not 0 */
	/* What batch asks about, in order. */
	char *keys[MAX_ASKED];
	size_t n_keys;
	size_t skip; /* where the next round begins */
	unsigned round;
	bool all; /* this round */
};

static void forget_keys(struct lengths *l)
{
	for (size_t i = 0; i < l->n_keys; i++)
		free(l->keys[i]);
	l->n_keys = 0;
}

static void keep(struct lengths *l, const char *key, long long length)
{
	if (length > 0)
		json_object_set_new(l->by_key, key, json_integer(length));
	else
		json_object_del(l->by_key, key);
}

static void on_lengths(void *arg, redisReply **replies, size_t n,
                       const struct halibut_error *err)
{
	struct lengths *l = arg;

	l->batch = NULL;
	for (size_t i = 0; err == NULL && i < n && i < l->n_keys; i++)
		keep(l, l->keys[i], replies[i]->integer);
	if (err != NULL && strstr(err->message, "NOPERM") != NULL) {
		l->refused = true;
		log_info("redis: the status does not show how much waits in "
		         "all nodes: %s. To see it, allow +llen",
		         err->message);
	}
	forget_keys(l);
}

struct pick {
	struct lengths *l;
	size_t i;
};

/* The next ones of all, so that each has its turn. */
static void pick_key(void *arg, struct hbt_queue *q)
{
	struct pick *pick = arg;
	struct lengths *l = pick->l;
	struct hbt_queue_counts n;

	q->ops->counts(q, &n);
	if (n.takers > 0) {
		json_object_del(l->by_key, q->key);
		return;
	}
	if (!l->all && n.waiting == 0 && n.taken == 0 &&
	    json_object_get(l->by_key, q->key) == NULL)
		return;
	if (pick->i++ < l->skip || l->n_keys == MAX_ASKED)
		return;
	if ((l->keys[l->n_keys] = strdup(q->key)) != NULL)
		l->n_keys++;
}

/* A round over all of them begins anew, and is not ended by the next. */
static void begin_turn(struct lengths *l)
{
	bool due = l->round++ % ALL_ROUNDS == 0;

	if (l->all && l->skip > 0)
		return;
	l->all = due;
	if (due)
		l->skip = 0;
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct lengths *l = arg;
	struct pick pick = {.l = l};
	struct hbt_redis_name name;
	struct hbt_redis_state s;

	(void)fd;
	(void)what;
	hbt_redis_state(l->w->setup->redis, &s);
	if (!s.commands_up || l->refused || l->batch != NULL)
		return;
	begin_turn(l);
	hbt_switchboard_each(l->w->switchboard, pick_key, &pick);
	l->skip = l->skip + l->n_keys < pick.i ? l->skip + l->n_keys : 0;
	if (l->skip == 0 && pick.i == l->n_keys)
		json_object_clear(l->by_key); /* some may be gone */
	if (l->n_keys > 0)
		l->batch = hbt_redis_batch_new(l->w->setup->redis);
	if (l->batch == NULL) {
		forget_keys(l);
		return;
	}
	for (size_t i = 0; i < l->n_keys; i++)
		hbt_redis_batch_add(l->batch, "LLEN %s",
		                    hbt_redis_name(&name,
		                                   l->w->queue.key_prefix,
		                                   HBT_REDIS_LIST,
		                                   l->keys[i]));
	hbt_redis_batch_send(l->batch, 0, on_lengths, l);
}

/* ---- The status ---- */

struct show {
	const struct lengths *l;
	json_t *all;
};

static void show_queue(void *arg, struct hbt_queue *q)
{
	const struct show *show = arg;
	json_t *queued = json_object_get(show->l->by_key, q->key);
	struct hbt_queue_counts n;
	json_t *o;

	q->ops->counts(q, &n);
	if ((n.waiting == 0 && queued == NULL) ||
	    json_object_size(show->all) == MAX_SHOWN)
		return;
	o = json_object();
	json_object_set_new(o, "queued",
	                    queued != NULL ? json_incref(queued)
	                                   : json_integer(0));
	json_object_set_new(o, "waiting", json_integer((json_int_t)n.waiting));
	json_object_set_new(o, "waiting_bytes",
	                    json_integer((json_int_t)n.waiting_bytes));
	json_object_set_new(o, "oldest_waiting_ms",
	                    json_integer((json_int_t)n.oldest_waiting_ms));
	json_object_set_new(show->all, q->key, o);
}

json_t *lengths_list(const struct worker *w)
{
	struct show show = {.l = w->lengths, .all = json_object()};

	hbt_switchboard_each(w->switchboard, show_queue, &show);
	return show.all;
}

int lengths_start(struct worker *w)
{
	static const struct timeval pause = {.tv_sec = LOOK_S};
	struct lengths *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return HALIBUT_ENOMEM;
	l->w = w;
	w->lengths = l;
	l->by_key = json_object();
	l->timer = event_new(w->base, -1, EV_PERSIST, on_turn, l);
	if (l->by_key == NULL || l->timer == NULL ||
	    event_add(l->timer, &pause) != 0)
		return HALIBUT_ENOMEM;
	return HALIBUT_OK;
}

void lengths_free(struct worker *w)
{
	struct lengths *l = w->lengths;

	if (l == NULL)
		return;
	w->lengths = NULL;
	forget_keys(l);
	json_decref(l->by_key);
	if (l->timer != NULL)
		event_free(l->timer);
	free(l);
}
