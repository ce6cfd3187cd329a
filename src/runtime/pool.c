#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/timespan.h"
#include "runtime/pool.h"

enum {
	MOST_IDLE = 5,
	/*
	 * What is above it ends only after this long: calls that run side by
	 * side come back in bunches and would dial anew each time.
	 */
	SURPLUS_MS = 1000,
};

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
	struct event *trimmer; /* pending while there is a surplus */
};

/* Base URI, thumbprint and proxy, all five fields: 1.6; and who we are. */
static char *pool_key(const struct hbt_endpoint *e)
{
	char *key;
	int n;

	n = asprintf(&key, "%p\n%s\n%s\n%s\n%u\n%s\n%s", (void *)e->tls, e->key,
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
	struct bucket *b = NULL;
	char *key = pool_key(e);

	if (key != NULL)
		HASH_FIND_STR(pool->buckets, key, b);
	if (b != NULL || key == NULL || (b = calloc(1, sizeof(*b))) == NULL) {
		free(key);
		return b;
	}
	b->key = key;
	b->pool = pool;
	TAILQ_INIT(&b->idle);
	HASH_ADD_KEYPTR(hh, pool->buckets, b->key, strlen(b->key), b);
	if (b->hh.tbl == NULL) {
		free(key);
		free(b);
		return NULL;
	}
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

static void end(struct idle *i, const char *why)
{
	struct hbt_exchange *ex = unlink_idle(i);

	hbt_exchange_explain(ex, why);
	hbt_exchange_finish(&ex);
}

/* The service closed an idle connection of ours: ordinary. */
static void idle_closed(void *arg, const struct halibut_error *err)
{
	struct idle *i = arg;

	log_debug("pooled connection to %s closed: %s",
	          hbt_conn_peer_address(hbt_exchange_conn(i->ex)),
	          err->message ? err->message : "by the service");
	end(i, NULL);
}

static const struct hbt_exchange_ops idle_ops = {.closed = idle_closed};

/* True when some of the surplus is too young yet. */
static bool trim_bucket(struct bucket *b, int64_t now)
{
	struct idle *i;

	while (b->n > MOST_IDLE) {
		i = TAILQ_FIRST(&b->idle);
		if (now - i->since_ms < SURPLUS_MS)
			return true;
		end(i, "enough idle connections to the service are kept");
	}
	return false;
}

static void trim_later(struct hbt_pool *pool)
{
	static const struct timeval tv = {SURPLUS_MS / 1000,
	                                  SURPLUS_MS % 1000 * 1000};

	if (!evtimer_pending(pool->trimmer, NULL))
		evtimer_add(pool->trimmer, &tv);
}

static void trim(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_pool *pool = arg;
	struct bucket *b, *next;
	int64_t now = hbt_now_ms();
	bool is_left = false;

	(void)fd;
	(void)what;
	HASH_ITER (hh, pool->buckets, b, next)
		is_left = trim_bucket(b, now) || is_left;
	if (is_left)
		trim_later(pool);
}

struct hbt_pool *hbt_pool_new(struct event_base *base,
                              const struct hbt_limits *limits)
{
	struct hbt_pool *pool = calloc(1, sizeof(*pool));

	if (pool == NULL)
		return NULL;
	pool->limits = limits;
	if ((pool->trimmer = evtimer_new(base, trim, pool)) == NULL) {
		free(pool);
		return NULL;
	}
	return pool;
}

void hbt_pool_put(struct hbt_pool *pool, const struct hbt_endpoint *e,
                  struct hbt_exchange *ex)
{
	struct idle *i = calloc(1, sizeof(*i));
	/* Last, as no bucket may stay empty. */
	struct bucket *b = i == NULL ? NULL : find_or_make(pool, e);

	if (b == NULL) {
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
		trim_later(pool);
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
		end(TAILQ_FIRST(&b->idle), "it is not kept idle any longer");
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
	event_free((*pool)->trimmer);
	free(*pool);
	*pool = NULL;
}
