#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

#include "base/log.h"
#include "base/timespan.h"
#include "runtime/pool.h"

enum { MOST_IDLE = 5 };

struct idle {
	struct bucket *bucket;
	struct hbt_exchange *ex;
	int64_t since_ms;
	TAILQ_ENTRY(idle) link;
};

struct bucket { /* the idle connections of one endpoint, oldest first */
	struct hbt_pool *pool;
	char *key;
	size_t n;
	TAILQ_HEAD(idle_list, idle) idle;
	UT_hash_handle hh;
};

struct hbt_pool {
	const struct hbt_limits *limits;
	struct bucket *buckets;
	size_t n;
};

/* Base URI, thumbprint and proxy, all five fields: 1.6. */
static char *pool_key(const struct hbt_endpoint *e)
{
	char *key;
	int n;

	n = asprintf(&key, "%s\n%s\n%s\n%u\n%s\n%s", e->key,
	             e->thumbprint ? e->thumbprint : "",
	             e->proxy_host ? e->proxy_host : "", e->proxy_port,
	             e->proxy_user ? e->proxy_user : "",
	             e->proxy_password ? e->proxy_password : "");
	return n < 0 ? NULL : key;
}

static struct bucket *find(struct hbt_pool *pool, const struct hbt_endpoint *e)
{
	struct bucket *b = NULL;
	char *key = pool_key(e);

	if (key != NULL)
		HASH_FIND_STR(pool->buckets, key, b);
	free(key);
	return b;
}

static struct bucket *find_or_make(struct hbt_pool *pool,
                                   const struct hbt_endpoint *e)
{
	struct bucket *b = find(pool, e);

	if (b != NULL)
		return b;
	if ((b = calloc(1, sizeof(*b))) == NULL)
		return NULL;
	if ((b->key = pool_key(e)) == NULL) {
		free(b);
		return NULL;
	}
	b->pool = pool;
	TAILQ_INIT(&b->idle);
	HASH_ADD_KEYPTR(hh, pool->buckets, b->key, strlen(b->key), b);
	return b;
}

/* Takes the connection out; an empty bucket goes as well. */
static struct hbt_exchange *unlink_idle(struct idle *i)
{
	struct bucket *b = i->bucket;
	struct hbt_exchange *ex = i->ex;

	TAILQ_REMOVE(&b->idle, i, link);
	b->pool->n--;
	if (--b->n == 0) {
		HASH_DEL(b->pool->buckets, b);
		free(b->key);
		free(b);
	}
	free(i);
	return ex;
}

static void end(struct idle *i)
{
	struct hbt_exchange *ex = unlink_idle(i);

	hbt_exchange_finish(&ex);
}

/* The service closed an idle connection of ours: ordinary. */
static void idle_closed(void *arg, const struct halibut_error *err)
{
	struct idle *i = arg;

	log_debug("pooled connection to %s closed: %s",
	          hbt_conn_peer_address(hbt_exchange_conn(i->ex)),
	          err->message ? err->message : "by the service");
	end(i);
}

static const struct hbt_exchange_ops idle_ops = {.closed = idle_closed};

struct hbt_pool *hbt_pool_new(const struct hbt_limits *limits)
{
	struct hbt_pool *pool = calloc(1, sizeof(*pool));

	if (pool != NULL)
		pool->limits = limits;
	return pool;
}

void hbt_pool_put(struct hbt_pool *pool, const struct hbt_endpoint *e,
                  struct hbt_exchange *ex)
{
	struct bucket *b = find_or_make(pool, e);
	struct idle *i = calloc(1, sizeof(*i));

	if (b == NULL || i == NULL) {
		free(i);
		hbt_exchange_finish(&ex);
		return;
	}
	i->bucket = b;
	i->ex = ex;
	i->since_ms = hbt_now_ms();
	TAILQ_INSERT_TAIL(&b->idle, i, link);
	b->n++;
	pool->n++;
	hbt_exchange_set_owner(ex, &idle_ops, i);
	if (b->n > MOST_IDLE)
		end(TAILQ_FIRST(&b->idle));
}

struct hbt_exchange *hbt_pool_take(struct hbt_pool *pool,
                                   const struct hbt_endpoint *e)
{
	int64_t oldest = hbt_now_ms() -
	                 hbt_limits_safe_pool_age_ms(pool->limits);
	struct bucket *b = find(pool, e);
	struct idle *i;

	if (b == NULL)
		return NULL;
	i = TAILQ_LAST(&b->idle, idle_list);
	if (i->since_ms >= oldest)
		return unlink_idle(i);
	hbt_pool_clear(pool, e); /* the youngest is too old: so are all */
	return NULL;
}

static void clear_bucket(struct bucket *b)
{
	size_t n = b->n; /* the last end() frees b */

	while (n-- > 0)
		end(TAILQ_FIRST(&b->idle));
}

void hbt_pool_clear(struct hbt_pool *pool, const struct hbt_endpoint *e)
{
	struct bucket *b, *next;

	if (e != NULL) {
		if ((b = find(pool, e)) != NULL)
			clear_bucket(b);
		return;
	}
	HASH_ITER (hh, pool->buckets, b, next)
		clear_bucket(b);
}

size_t hbt_pool_count(const struct hbt_pool *pool)
{
	return pool->n;
}

void hbt_pool_free(struct hbt_pool **pool)
{
	if (*pool == NULL)
		return;
	hbt_pool_clear(*pool, NULL);
	free(*pool);
	*pool = NULL;
}
