/*
 * Which nodes share this queue, and how much waits in it: for the status. Each
 * node keeps a key of its own, which expires when it no longer renews it, and
 * its name in an index by time; no command walks the whole of Redis. All of
 * it is best effort, and no other program looks at these keys.
 *
 *   {keyPrefix}:HalibutNodes:{node id}   JSON, 45 s
 *   {keyPrefix}:HalibutNodes             sorted set: id by time of renewal
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/log.h"
#include "worker.h"

#define RENEWAL_S 15
#define EXPIRY_S 45
#define LOOK_S 5
/* Clocks of nodes differ: only what nobody's clock would call young. */
#define FORGET_MS ((int64_t)3600 * 1000)
#define MAX_NODES 100
#define MAX_LENGTHS 1000 /* endpoints that are asked about at a time */

struct nodes {
	struct worker *w;
	struct event *timer;
	unsigned turn; /* of LOOK_S each */
	bool refused;  /* the ACL does not allow it: not tried again */
	char *prefix, *own; /* keys */
	char *description;
	struct hbt_redis_batch *renewal, *index, *look, *lengths;
	json_t *list;
	json_t *length_by_key;
	/* The endpoints that lengths asks about, in order. */
	char **keys;
	size_t n_keys;
	size_t skip; /* where the next round begins */
};

static int64_t wall_ms(void)
{
	struct timeval now;

	gettimeofday(&now, NULL);
	return (int64_t)now.tv_sec * 1000 + now.tv_usec / 1000;
}

static void note(struct nodes *n, const struct halibut_error *err)
{
	if (strstr(err->message, "NOPERM") == NULL) {
		log_debug("redis: nodes: %s", err->message);
		return;
	}
	n->refused = true;
	log_info("redis: the status does not show the other nodes: %s. To see "
	         "them, allow +zadd +zrem +zrangebyscore +zremrangebyscore +set "
	         "+get +del on ~%s*, and +llen",
	         err->message, n->prefix);
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

static void renew(struct nodes *n)
{
	struct hbt_redis_batch *b = hbt_redis_batch_new(n->w->redis);

	if (b == NULL)
		return;
	hbt_redis_batch_add(b, "SET %s %s EX %d", n->own, n->description,
	                    EXPIRY_S);
	hbt_redis_batch_add(b, "ZADD %s %lld %s", n->prefix,
	                    (long long)wall_ms(), n->w->queue.node_id);
	hbt_redis_batch_add(b, "ZREMRANGEBYSCORE %s -inf %lld", n->prefix,
	                    (long long)(wall_ms() - FORGET_MS));
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
	struct hbt_redis_batch *b = hbt_redis_batch_new(w->redis);
	struct nodes *n = w->nodes;

	if (b == NULL)
		return;
	event_del(n->timer);
	hbt_redis_batch_add(b, "DEL %s", n->own);
	hbt_redis_batch_add(b, "ZREM %s %s", n->prefix, w->queue.node_id);
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

static void on_looked_up(void *arg, redisReply **replies, size_t n,
                         const struct halibut_error *err)
{
	struct looked_up *l = arg;

	l->nodes->look = NULL;
	if (err == NULL) {
		json_array_clear(l->nodes->list);
		for (size_t i = 0; i < n && i < l->n; i++)
			add_found(l->nodes, l->ids[i], replies[i]);
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
	b = l->n > 0 ? hbt_redis_batch_new(nodes->w->redis) : NULL;
	if (b == NULL) {
		free_index(l->ids, l->n);
		free(l);
		return;
	}
	for (size_t i = 0; i < l->n; i++)
		hbt_redis_batch_add(b, "GET %s:%s", nodes->prefix, l->ids[i]);
	nodes->look = b;
	hbt_redis_batch_send(b, 0, on_looked_up, l);
}

static void look(struct nodes *n)
{
	struct hbt_redis_batch *b = hbt_redis_batch_new(n->w->redis);

	if (b == NULL)
		return;
	hbt_redis_batch_add(b, "ZRANGEBYSCORE %s %lld +inf LIMIT 0 %d",
	                    n->prefix, (long long)(wall_ms() - FORGET_MS),
	                    MAX_NODES);
	n->index = b;
	hbt_redis_batch_send(b, 0, on_index, n);
}

/* ---- How much waits ---- */

static void forget_keys(struct nodes *n)
{
	for (size_t i = 0; i < n->n_keys; i++)
		free(n->keys[i]);
	n->n_keys = 0;
}

static void on_lengths(void *arg, redisReply **replies, size_t count,
                       const struct halibut_error *err)
{
	struct nodes *n = arg;

	n->lengths = NULL;
	if (err != NULL)
		note(n, err);
	for (size_t i = 0; err == NULL && i < count && i < n->n_keys; i++)
		if (replies[i]->type == REDIS_REPLY_INTEGER)
			json_object_set_new(n->length_by_key, n->keys[i],
			                    json_integer(replies[i]->integer));
	forget_keys(n);
}

struct pick {
	struct nodes *n;
	size_t i;
};

/* The next ones of all, so that each has its turn. */
static void pick_key(void *arg, const char *key, size_t credits)
{
	struct pick *pick = arg;
	struct nodes *n = pick->n;

	(void)credits;
	if (pick->i++ < n->skip || n->n_keys == MAX_LENGTHS)
		return;
	if ((n->keys[n->n_keys] = strdup(key)) != NULL)
		n->n_keys++;
}

static void measure(struct nodes *n)
{
	struct pick pick = {.n = n};
	struct hbt_redis_batch *b;

	collect_each(n->w, pick_key, &pick);
	n->skip = n->skip + n->n_keys < pick.i ? n->skip + n->n_keys : 0;
	if (n->skip == 0 && pick.i <= MAX_LENGTHS)
		json_object_clear(n->length_by_key); /* some may be gone */
	b = n->n_keys > 0 ? hbt_redis_batch_new(n->w->redis) : NULL;
	if (b == NULL) {
		forget_keys(n);
		return;
	}
	for (size_t i = 0; i < n->n_keys; i++)
		hbt_redis_batch_add(
			b,
			"LLEN %s:HalibutRedis:list:octopus::server::halibut"
			"::PendingRequestGuidsQueue::%s",
			n->w->queue.key_prefix, n->keys[i]);
	n->lengths = b;
	hbt_redis_batch_send(b, 0, on_lengths, n);
}

/* ---- ---- */

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct nodes *n = arg;
	struct hbt_redis_state s;

	(void)fd;
	(void)what;
	hbt_redis_state(n->w->redis, &s);
	if (!s.commands_up || n->refused)
		return;
	if (n->turn++ % (RENEWAL_S / LOOK_S) == 0 && n->renewal == NULL)
		renew(n);
	if (n->index == NULL && n->look == NULL)
		look(n);
	if (n->lengths == NULL)
		measure(n);
}

int nodes_start(struct worker *w)
{
	static const struct timeval pause = {.tv_sec = LOOK_S};
	struct nodes *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return HALIBUT_ENOMEM;
	n->w = w;
	w->nodes = n;
	n->list = json_array();
	n->length_by_key = json_object();
	n->description = describe(w);
	n->keys = calloc(MAX_LENGTHS, sizeof(*n->keys));
	if (asprintf(&n->prefix, "%s:HalibutNodes", w->queue.key_prefix) < 0)
		n->prefix = NULL;
	if (asprintf(&n->own, "%s:HalibutNodes:%s", w->queue.key_prefix,
	             w->queue.node_id) < 0)
		n->own = NULL;
	n->timer = event_new(w->base, -1, EV_PERSIST, on_turn, n);
	if (n->list == NULL || n->length_by_key == NULL ||
	    n->description == NULL || n->keys == NULL || n->prefix == NULL ||
	    n->own == NULL || n->timer == NULL ||
	    event_add(n->timer, &pause) != 0)
		return HALIBUT_ENOMEM;
	return HALIBUT_OK;
}

void nodes_free(struct worker *w)
{
	struct nodes *n = w->nodes;

	if (n == NULL)
		return;
	w->nodes = NULL;
	forget_keys(n);
	free(n->keys);
	json_decref(n->list);
	json_decref(n->length_by_key);
	free(n->description);
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

json_t *nodes_lengths(const struct worker *w)
{
	return json_deep_copy(w->nodes->length_by_key);
}
