/*
 * Which nodes share this queue: for the status. Each node keeps a key of its
 * own, which expires when it is no longer renewed, and its id in an index by
 * time; no command walks the whole of Redis. All of it is best effort, and no
 * other program looks at these keys: names of .NET nodes never end like that.
 *
 *   {keyPrefix}:HalibutRedis:string:HalibutNodes::{node id}   JSON, 45 s
 *   {keyPrefix}:HalibutRedis:zset:HalibutNodes   ids by time of renewal, 1 h
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/log.h"
#include "worker.h"

#define TICK_S 1
#define RENEWAL_S 15
/* While Redis stores nothing new: by these it is noticed at rest, and that it
 * does again. */
#define REFUSED_S 5
#define LOOK_S 10 /* 2 + n commands */
#define EXPIRY_S 45
#define INDEX_EXPIRY_S 3600
#define MAX_NODES 100

struct nodes {
	struct worker *w;
	struct event *timer;
	bool up;       /* as the tick last saw Redis */
	unsigned tick; /* since it came up */
	bool refused;  /* the ACL does not allow it */
	char *prefix, *index_key, *own; /* prefix: of each node's key */
	char *description;
	struct hbt_redis_batch *renewal, *index, *look;
	json_t *list;
};

static int64_t wall_ms(void)
{
	struct timeval now;

	gettimeofday(&now, NULL);
	return (int64_t)now.tv_sec * 1000 + now.tv_usec / 1000;
}

static void note(struct nodes *n, const struct halibut_error *err)
{
	if (n->refused || strstr(err->message, "NOPERM") == NULL) {
		log_debug("redis: nodes: %s", err->message);
		return;
	}
	n->refused = true;
	log_info("redis: the status does not show the other nodes: %s. To see "
	         "them, allow +zadd +zrem +zrangebyscore",
	         err->message);
}

/* ---- Who we are ---- */

static char *describe(const struct worker *w)
{
	char host[256] = "", at[32];
	time_t now = time(NULL);
	json_t *o = json_object();
	struct tm tm;
	char *text;

	gethostname(host, sizeof(host) - 1);
	gmtime_r(&now, &tm);
	strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_object_set_new(o, "name", json_string(w->settings.node));
	json_object_set_new(o, "version", json_string(HBT_VERSION));
	json_object_set_new(o, "started", json_string(at));
	json_object_set_new(o, "host", json_string(host));
	json_object_set_new(o, "pid", json_integer(getppid()));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

static void on_renewed(void *arg, redisReply **replies, size_t n,
                       const struct halibut_error *err)
{
	struct nodes *nodes = arg;

	(void)replies;
	(void)n;
	nodes->renewal = NULL;
	if (err != NULL)
		note(nodes, err);
}

static void add_to_index(const struct nodes *n, struct hbt_redis_batch *b)
{
	hbt_redis_batch_add(b, "ZADD %s %lld %s", n->index_key,
	                    (long long)wall_ms(), n->w->queue.node_id);
	hbt_redis_batch_add(b, "EXPIRE %s %d", n->index_key, INDEX_EXPIRY_S);
}

static void renew(struct nodes *n)
{
	struct hbt_redis_batch *b = hbt_redis_batch_new(n->w->setup->redis);

	if (b == NULL)
		return;
	hbt_redis_batch_add(b, "SET %s %s EX %d", n->own, n->description,
	                    EXPIRY_S);
	if (!n->refused) /* alone it tells whether Redis stores anything */
		add_to_index(n, b);
	n->renewal = b;
	hbt_redis_batch_send(b, 0, on_renewed, n);
}

static void on_signed_off(void *arg, redisReply **replies, size_t n,
                          const struct halibut_error *err)
{
	struct nodes *nodes = arg;

	(void)replies;
	(void)n;
	(void)err;
	event_base_loopexit(nodes->w->base, NULL);
}

void nodes_sign_off(struct worker *w)
{
	struct hbt_redis_batch *b = hbt_redis_batch_new(w->setup->redis);
	struct nodes *n = w->nodes;

	if (b == NULL)
		return;
	event_del(n->timer);
	hbt_redis_batch_add(b, "DEL %s", n->own);
	hbt_redis_batch_add(b, "ZREM %s %s", n->index_key, w->queue.node_id);
	hbt_redis_batch_send(b, 0, on_signed_off, n);
}

/* ---- Who else ---- */

static void add_found(struct nodes *n, const char *id, const redisReply *r)
{
	json_t *o = r->type == REDIS_REPLY_STRING
	                    ? json_loadb(r->str, r->len, 0, NULL)
	                    : NULL;

	if (!json_is_object(o)) { /* it has ended */
		json_decref(o);
		return;
	}
	json_object_set_new(o, "id", json_string(id));
	json_object_set_new(o, "self",
	                    json_boolean(strcmp(id, n->w->queue.node_id) == 0));
	json_array_append_new(n->list, o);
}

static void free_index(char **ids, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(ids[i]);
	free(ids);
}

/* The ids whose keys are asked for; they arrive with their replies. */
struct looked_up {
	struct nodes *nodes;
	char **ids;
	size_t n;
};

/* Out of the index with those whose keys have expired. Not by their scores:
 * clocks of nodes differ, by hours if need be. Who is only slow comes again
 * when it renews its key. */
static void remove_ended(struct nodes *nodes, const struct looked_up *l,
                         redisReply **replies, size_t n)
{
	struct hbt_redis_batch *b = NULL;

	for (size_t i = 0; i < n && i < l->n; i++) {
		if (replies[i]->type != REDIS_REPLY_NIL)
			continue;
		if (b == NULL)
			b = hbt_redis_batch_new(nodes->w->setup->redis);
		if (b == NULL)
			return;
		hbt_redis_batch_add(b, "ZREM %s %s", nodes->index_key,
		                    l->ids[i]);
	}
	if (b != NULL)
		hbt_redis_batch_send(b, 0, NULL, NULL);
}

static void on_looked_up(void *arg, redisReply **replies, size_t n,
                         const struct halibut_error *err)
{
	struct looked_up *l = arg;

	l->nodes->look = NULL;
	if (err == NULL) {
		json_array_clear(l->nodes->list);
		for (size_t i = 0; i < n && i < l->n; i++)
			add_found(l->nodes, l->ids[i], replies[i]);
		remove_ended(l->nodes, l, replies, n);
	} else {
		note(l->nodes, err);
	}
	free_index(l->ids, l->n);
	free(l);
}

static struct looked_up *copy_index(struct nodes *nodes, const redisReply *r)
{
	struct looked_up *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->nodes = nodes;
	l->ids = calloc(r->elements + 1, sizeof(*l->ids));
	for (size_t i = 0; l->ids != NULL && i < r->elements; i++)
		if (r->element[i]->type == REDIS_REPLY_STRING &&
		    (l->ids[l->n] = strdup(r->element[i]->str)) != NULL)
			l->n++;
	return l;
}

static void on_index(void *arg, redisReply **replies, size_t n,
                     const struct halibut_error *err)
{
	struct nodes *nodes = arg;
	struct hbt_redis_batch *b;
	struct looked_up *l;

	nodes->index = NULL;
	if (err != NULL) {
		note(nodes, err);
		return;
	}
	if (n != 1 || replies[0]->type != REDIS_REPLY_ARRAY ||
	    replies[0]->elements == 0 ||
	    (l = copy_index(nodes, replies[0])) == NULL)
		return;
	b = l->n > 0 ? hbt_redis_batch_new(nodes->w->setup->redis) : NULL;
	if (b == NULL) {
		free_index(l->ids, l->n);
		free(l);
		return;
	}
	for (size_t i = 0; i < l->n; i++)
		hbt_redis_batch_add(b, "GET %s%s", nodes->prefix, l->ids[i]);
	nodes->look = b;
	hbt_redis_batch_send(b, 0, on_looked_up, l);
}

static void look(struct nodes *n)
{
	struct hbt_redis_batch *b = hbt_redis_batch_new(n->w->setup->redis);

	if (b == NULL)
		return;
	hbt_redis_batch_add(b, "ZRANGEBYSCORE %s -inf +inf LIMIT 0 %d",
	                    n->index_key, MAX_NODES);
	n->index = b;
	hbt_redis_batch_send(b, 0, on_index, n);
}

/* ---- ---- */

static unsigned renewal_s(const struct hbt_redis_state *s)
{
	return s->refusing_since_ms != 0 ? REFUSED_S : RENEWAL_S;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct nodes *n = arg;
	struct hbt_redis_state s;

	(void)fd;
	(void)what;
	hbt_redis_state(n->w->setup->redis, &s);
	if (!n->up)
		n->tick = 0, n->refused = false;
	n->up = s.commands_up;
	if (!n->up)
		return;
	if (n->tick % renewal_s(&s) == 0 && n->renewal == NULL)
		renew(n);
	/* Soon after the first renewal, too: nodes often start together. */
	if (!n->refused &&
	    (n->tick == 1 || n->tick == 3 || n->tick % LOOK_S == 0) &&
	    n->index == NULL && n->look == NULL)
		look(n);
	n->tick++;
}

static char *name(const struct worker *w, const char *rest, const char *id)
{
	char *text;

	if (asprintf(&text, "%s:HalibutRedis:%s%s", w->queue.key_prefix, rest,
	             id) < 0)
		return NULL;
	return text;
}

int nodes_start(struct worker *w)
{
	static const struct timeval pause = {.tv_sec = TICK_S};
	struct nodes *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return HALIBUT_ENOMEM;
	n->w = w;
	w->nodes = n;
	n->list = json_array();
	n->description = describe(w);
	n->index_key = name(w, "zset:HalibutNodes", "");
	n->prefix = name(w, "string:HalibutNodes::", "");
	n->own = name(w, "string:HalibutNodes::", w->queue.node_id);
	n->timer = event_new(w->base, -1, EV_PERSIST, on_tick, n);
	if (n->list == NULL || n->description == NULL ||
	    n->index_key == NULL || n->prefix == NULL || n->own == NULL ||
	    n->timer == NULL || event_add(n->timer, &pause) != 0)
		return HALIBUT_ENOMEM;
	return HALIBUT_OK;
}

void nodes_free(struct worker *w)
{
	struct nodes *n = w->nodes;

	if (n == NULL)
		return;
	w->nodes = NULL;
	json_decref(n->list);
	free(n->description);
	free(n->index_key);
	free(n->prefix);
	free(n->own);
	if (n->timer != NULL)
		event_free(n->timer);
	free(n);
}

json_t *nodes_list(const struct worker *w)
{
	return json_deep_copy(w->nodes->list);
}
