/*
 * Streams in Redis itself, outside the queue's names: one hash a stream,
 * whose fields are its chunks by number. Writing and deleting a field may
 * happen twice, so that a batch can be sent again, and one expiry covers all.
 *
 *   {prefix}:HalibutStreams:{id}:{number}  hash, chunks
 *   {prefix}:HalibutStreams:usage          sorted set: what is reserved,
 *       "{id}:{number}:{bytes}", by the time (ms) when it may be forgotten
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "redis/redis.h"
#include "store/private.h"

enum {
	CHUNK = 256 * 1024,
	WINDOW = 4, /* chunks of a stream on their way */
	/* Reservations are timed by the nodes' clocks, which differ. */
	CLOCK_SLACK_MS = 60 * 1000,
	USAGE_TTL_S = 7 * 24 * 3600,
};

struct chunks {
	struct hbt_redis *redis;
	char *prefix;
	int64_t max_total_bytes;
	int64_t window_ms; /* how long a failure is tried again */
};

/* ---- Names and small batches ---- */

static char *make_key(const struct chunks *c, const struct hbt_stored *what,
                      size_t k)
{
	char *key;

	return asprintf(&key, "%s:HalibutStreams:%s:%zu", c->prefix, what->id,
	                k) >= 0
	               ? key
	               : NULL;
}

static void add_usage(struct hbt_redis_batch *b, const struct chunks *c,
                      const struct hbt_stored *what, size_t k, bool reserve)
{
	struct timespec now;
	int64_t until;

	clock_gettime(CLOCK_REALTIME, &now);
	until = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 +
	        what->ttl_ms + CLOCK_SLACK_MS;
	if (reserve)
		hbt_redis_batch_add(b,
		                    "ZADD %s:HalibutStreams:usage %lld "
		                    "%s:%lld:%lld",
		                    c->prefix, (long long)until, what->id,
		                    (long long)k,
		                    (long long)what->v[k].length);
	else
		hbt_redis_batch_add(b,
		                    "ZREM %s:HalibutStreams:usage "
		                    "%s:%lld:%lld",
		                    c->prefix, what->id, (long long)k,
		                    (long long)what->v[k].length);
}

static void chunks_remove(struct hbt_store *s, const struct hbt_stored *what,
                          size_t k)
{
	struct chunks *c = s->impl;
	struct hbt_redis_batch *b = hbt_redis_batch_new(c->redis);
	char *key = make_key(c, what, k);

	if (b != NULL && key != NULL) {
		hbt_redis_batch_add(b, "UNLINK %s", key);
		if (c->max_total_bytes > 0)
			add_usage(b, c, what, k, false);
		hbt_redis_batch_send(b, c->window_ms, NULL, NULL);
	} else {
		hbt_redis_batch_cancel(&b); /* it expires */
	}
	free(key);
}

static void chunks_refresh(struct hbt_store *s, const struct hbt_stored *what,
                           size_t k)
{
	struct chunks *c = s->impl;
	struct hbt_redis_batch *b = hbt_redis_batch_new(c->redis);
	char *key = make_key(c, what, k);

	if (b != NULL && key != NULL) {
		hbt_redis_batch_add(b, "PEXPIRE %s %lld", key,
		                    (long long)what->ttl_ms);
		if (c->max_total_bytes > 0)
			add_usage(b, c, what, k, true);
		hbt_redis_batch_send(b, c->window_ms, NULL, NULL);
	} else {
		hbt_redis_batch_cancel(&b);
	}
	free(key);
}

/* ---- The store ---- */

static void chunks_close(struct hbt_store *s)
{
	struct chunks *c = s->impl;

	if (c == NULL)
		return;
	free(c->prefix);
	free(c);
	s->impl = NULL;
}

static int chunks_open(struct hbt_store *s, struct hbt_redis *redis,
                       const struct hbt_store_config *config,
                       struct halibut_error *err)
{
	struct chunks *c = calloc(1, sizeof(*c));

	if ((s->impl = c) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
	if (redis == NULL || config->key_prefix == NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "A DataStream store of kind \"redis\" "
		                     "needs a Redis server and a key prefix.");
	c->redis = redis;
	c->max_total_bytes = config->max_total_bytes;
	c->window_ms = config->retry_window_ms > 0 ? config->retry_window_ms
	                                           : HBT_REDIS_WINDOW_MS;
	if ((c->prefix = strdup(config->key_prefix)) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
	return HALIBUT_OK;
}

/* ---- Saving ---- */

struct flight {
	struct hbt_saving *g;
	struct hbt_redis_batch *batch; /* NULL: free */
};

struct put {
	uint8_t *chunk;
	size_t len;     /* of the chunk that is being filled */
	size_t number;  /* and its number */
	struct flight flights[WINDOW];
	size_t in_flight;
	struct hbt_redis_batch *asking; /* reservation, or the last check */
	bool finishing;
};

static int no_memory(struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
}

static int put_open(struct hbt_saving *g, struct halibut_error *err)
{
	struct put *p = calloc(1, sizeof(*p));

	(void)err;
	if ((g->put = p) == NULL || (p->chunk = malloc(CHUNK)) == NULL)
		return HALIBUT_ENOMEM;
	for (int i = 0; i < WINDOW; i++)
		p->flights[i].g = g;
	return HALIBUT_OK;
}

static int64_t window_of(const struct hbt_saving *g)
{
	const struct chunks *c = g->store->impl;

	return g->window_ms > 0 ? g->window_ms : c->window_ms;
}

static bool put_ready(struct hbt_saving *g)
{
	struct put *p = g->put;

	return p->asking == NULL && p->in_flight < WINDOW;
}

static size_t chunks_of(int64_t length)
{
	return (size_t)((length + CHUNK - 1) / CHUNK);
}

/* Are all chunks there still, of all streams? */
static void on_checked(void *arg, redisReply **replies, size_t n,
                       const struct halibut_error *err)
{
	struct hbt_saving *g = arg;
	struct put *p = g->put;
	struct halibut_error lost = {0};

	p->asking = NULL;
	if (err != NULL) {
		hbt_saving_failed(g, err);
		return;
	}
	for (size_t k = 0; k < g->what.n && 2 * k < n; k++)
		if (replies[2 * k]->type != REDIS_REPLY_INTEGER ||
		    (uint64_t)replies[2 * k]->integer !=
		            chunks_of(g->what.v[k].length)) {
			hbt_error_set(&lost, HALIBUT_ESYSTEM,
			              "Redis lost a part of a DataStream "
			              "while the rest was stored: it was "
			              "evicted, or Redis started anew.");
			hbt_saving_failed(g, &lost);
			halibut_error_clear(&lost);
			return;
		}
	hbt_saving_done(g);
}

static void check(struct hbt_saving *g)
{
	struct chunks *c = g->store->impl;
	struct put *p = g->put;
	struct halibut_error err = {0};
	char *key;

	p->asking = hbt_redis_batch_new(c->redis);
	for (size_t k = 0; p->asking != NULL && k < g->what.n; k++) {
		if ((key = make_key(c, &g->what, k)) == NULL) {
			hbt_redis_batch_cancel(&p->asking);
			break;
		}
		hbt_redis_batch_add(p->asking, "HLEN %s", key);
		hbt_redis_batch_add(p->asking, "PEXPIRE %s %lld", key,
		                    (long long)g->what.ttl_ms);
		free(key);
	}
	if (p->asking != NULL) {
		hbt_redis_batch_send(p->asking, window_of(g), on_checked, g);
		return;
	}
	no_memory(&err);
	hbt_saving_failed(g, &err);
	halibut_error_clear(&err);
}

static void on_written(void *arg, redisReply **replies, size_t n,
                       const struct halibut_error *err)
{
	struct flight *f = arg;
	struct put *p = f->g->put;

	(void)replies;
	(void)n;
	f->batch = NULL;
	p->in_flight--;
	if (err != NULL)
		hbt_saving_failed(f->g, err);
	else if (p->finishing && p->in_flight == 0)
		check(f->g);
	else
		hbt_saving_go_on(f->g);
}

static int send_chunk(struct hbt_saving *g, struct halibut_error *err)
{
	struct chunks *c = g->store->impl;
	struct put *p = g->put;
	struct flight *f = p->flights;
	char *key = make_key(c, &g->what, g->begun - 1);

	while (f->batch != NULL)
		f++;
	if (key == NULL || (f->batch = hbt_redis_batch_new(c->redis)) == NULL) {
		free(key);
		return no_memory(err);
	}
	/* Whoever dies when: it never is there without its expiry. */
	hbt_redis_batch_add(f->batch, "MULTI");
	hbt_redis_batch_add(f->batch, "HSET %s %lld %b", key,
	                    (long long)p->number++, p->chunk, p->len);
	hbt_redis_batch_add(f->batch, "PEXPIRE %s %lld", key,
	                    (long long)g->what.ttl_ms);
	hbt_redis_batch_add(f->batch, "EXEC");
	p->len = 0;
	p->in_flight++;
	hbt_redis_batch_send(f->batch, window_of(g), on_written, f);
	free(key);
	return HALIBUT_OK;
}

/* The bytes that a member "id:number:bytes" reserves. */
static int64_t reserved(const redisReply *r)
{
	const char *colon = r->str != NULL ? strrchr(r->str, ':') : NULL;
	long long n = colon != NULL ? strtoll(colon + 1, NULL, 10) : 0;

	return n > 0 ? n : 0;
}

/* exec: what EXEC answers, whose last command is ZRANGE. */
static int64_t sum_of_reservations(const redisReply *exec)
{
	const redisReply *members;
	int64_t sum = 0;

	if (exec->elements == 0)
		return 0;
	members = exec->element[exec->elements - 1];
	for (size_t i = 0; i < members->elements; i++)
		if (__builtin_add_overflow(sum, reserved(members->element[i]),
		                           &sum))
			return INT64_MAX;
	return sum;
}

static void on_reserved(void *arg, redisReply **replies, size_t n,
                        const struct halibut_error *err)
{
	struct hbt_saving *g = arg;
	struct chunks *c = g->store->impl;
	struct put *p = g->put;
	struct halibut_error full = {0};
	int64_t sum;

	p->asking = NULL;
	if (err != NULL) {
		hbt_saving_failed(g, err);
		return;
	}
	sum = n > 0 ? sum_of_reservations(replies[n - 1]) : 0;
	if (sum > c->max_total_bytes) {
		hbt_error_set(&full, HALIBUT_ELIMIT,
		              "There is no room for a DataStream in Redis: "
		              "with it %lld bytes would be there, and the "
		              "limit of all nodes together is %lld bytes.",
		              (long long)sum, (long long)c->max_total_bytes);
		hbt_saving_failed(g, &full);
		halibut_error_clear(&full);
	} else if (p->finishing && p->in_flight == 0) {
		check(g);
	} else {
		hbt_saving_go_on(g);
	}
}

static int put_begin(struct hbt_saving *g, size_t k, struct halibut_error *err)
{
	struct chunks *c = g->store->impl;
	struct put *p = g->put;
	struct timespec now;

	p->number = 0;
	if (c->max_total_bytes <= 0)
		return HALIBUT_OK;
	if ((p->asking = hbt_redis_batch_new(c->redis)) == NULL)
		return no_memory(err);
	clock_gettime(CLOCK_REALTIME, &now);
	/* In one: of two nodes that ask at the same time one is the first. */
	hbt_redis_batch_add(p->asking, "MULTI");
	hbt_redis_batch_add(p->asking,
	                    "ZREMRANGEBYSCORE %s:HalibutStreams:usage -inf "
	                    "%lld",
	                    c->prefix, (long long)now.tv_sec * 1000);
	add_usage(p->asking, c, &g->what, k, true);
	hbt_redis_batch_add(p->asking, "EXPIRE %s:HalibutStreams:usage %d",
	                    c->prefix, USAGE_TTL_S);
	hbt_redis_batch_add(p->asking, "ZRANGE %s:HalibutStreams:usage 0 -1",
	                    c->prefix);
	hbt_redis_batch_add(p->asking, "EXEC");
	hbt_redis_batch_send(p->asking, window_of(g), on_reserved, g);
	return HALIBUT_OK;
}

static ssize_t put_write(struct hbt_saving *g, const uint8_t *data, size_t len,
                         struct halibut_error *err)
{
	struct put *p = g->put;
	int rc;

	if (len > CHUNK - p->len)
		len = CHUNK - p->len;
	memcpy(p->chunk + p->len, data, len);
	p->len += len;
	if (p->len == CHUNK && (rc = send_chunk(g, err)) != HALIBUT_OK)
		return -rc;
	return (ssize_t)len;
}

static int put_end(struct hbt_saving *g, size_t k, struct halibut_error *err)
{
	struct put *p = g->put;

	(void)k;
	return p->len > 0 ? send_chunk(g, err) : HALIBUT_OK;
}

static void put_finish(struct hbt_saving *g)
{
	struct put *p = g->put;

	p->finishing = true;
	if (p->in_flight == 0 && p->asking == NULL)
		check(g);
}

static void put_close(struct hbt_saving *g, bool kept)
{
	struct put *p = g->put;

	for (int i = 0; i < WINDOW; i++)
		if (p->flights[i].batch != NULL)
			hbt_redis_batch_cancel(&p->flights[i].batch);
	if (p->asking != NULL)
		hbt_redis_batch_cancel(&p->asking);
	/* After what was written already, on the same connection. */
	for (size_t k = 0; !kept && k < g->begun; k++)
		chunks_remove(g->store, &g->what, k);
	free(p->chunk);
	free(p);
}

/* ---- Loading ---- */

struct slot {
	struct hbt_load *l;
	struct hbt_redis_batch *batch; /* asked for */
	uint8_t *data;
	size_t len, number;
};

struct get {
	size_t k;
	size_t chunks;
	size_t asked;  /* chunks asked for so far */
	size_t number; /* the chunk that is read */
	size_t taken;  /* bytes of it */
	bool wanted;   /* the reader waits */
	struct slot slots[WINDOW]; /* a chunk's is its number modulo this */
	struct halibut_error err;  /* sticky */
};

static size_t chunk_len(const struct hbt_load *l, const struct get *g,
                        size_t number)
{
	int64_t left = l->what.v[g->k].length - (int64_t)number * CHUNK;

	return left < CHUNK ? (size_t)left : CHUNK;
}

static void on_chunk(void *arg, redisReply **replies, size_t n,
                     const struct halibut_error *err)
{
	struct slot *s = arg;
	struct get *g = s->l->get;
	redisReply *r = n > 0 ? replies[n - 1] : NULL;

	s->batch = NULL;
	if (err != NULL) {
		hbt_error_copy(&g->err, err);
	} else if (r == NULL || r->type != REDIS_REPLY_STRING ||
	           r->len != chunk_len(s->l, g, s->number)) {
		hbt_error_set(&g->err, HALIBUT_ESYSTEM,
		              "A part of a queued message's DataStream is no "
		              "longer in Redis: it expired, was evicted, or "
		              "was read before.");
	} else if ((s->data = malloc(r->len > 0 ? r->len : 1)) == NULL) {
		no_memory(&g->err);
	} else {
		memcpy(s->data, r->str, r->len);
		s->len = r->len;
	}
	if (g->wanted && (g->err.status != HALIBUT_OK ||
	                  g->slots[g->number % WINDOW].data != NULL)) {
		g->wanted = false;
		hbt_load_go_on(s->l);
	}
}

/* Asks for what the window has room for; what was read goes with it. */
static int ask(struct hbt_load *l, struct halibut_error *err)
{
	struct chunks *c = l->store->impl;
	struct get *g = l->get;
	char *key;

	if (g->asked == g->chunks || g->asked >= g->number + WINDOW)
		return HALIBUT_OK;
	if ((key = make_key(c, &l->what, g->k)) == NULL)
		return no_memory(err);
	while (g->asked < g->chunks && g->asked < g->number + WINDOW) {
		struct slot *s = &g->slots[g->asked % WINDOW];

		s->l = l;
		s->number = g->asked;
		if ((s->batch = hbt_redis_batch_new(c->redis)) == NULL) {
			free(key);
			return no_memory(err);
		}
		if (g->asked >= WINDOW) /* its slot was that one's */
			hbt_redis_batch_add(s->batch, "HDEL %s %lld", key,
			                    (long long)(g->asked - WINDOW));
		hbt_redis_batch_add(s->batch, "HGET %s %lld", key,
		                    (long long)g->asked++);
		hbt_redis_batch_send(s->batch, c->window_ms, on_chunk,
		                     s);
	}
	free(key);
	return HALIBUT_OK;
}

static int get_open(struct hbt_load *l, size_t k, struct halibut_error *err)
{
	struct get *g = calloc(1, sizeof(*g));

	if ((l->get = g) == NULL)
		return no_memory(err);
	g->k = k;
	g->chunks = chunks_of(l->what.v[k].length);
	return HALIBUT_OK;
}

static ssize_t get_read(struct hbt_load *l, size_t k, void *buf, size_t cap,
                        struct halibut_error *err)
{
	struct get *g = l->get;
	struct slot *s;
	size_t n;
	int rc;

	(void)k;
	if (g->err.status == HALIBUT_OK && (rc = ask(l, &g->err)) != 0)
		g->err.status = (enum halibut_status)rc;
	s = &g->slots[g->number % WINDOW];
	if (s->data == NULL && g->err.status != HALIBUT_OK) {
		if (err != NULL)
			hbt_error_copy(err, &g->err);
		return -(ssize_t)g->err.status;
	}
	if (s->data == NULL) {
		g->wanted = true;
		return -HALIBUT_EAGAIN;
	}
	n = s->len - g->taken < cap ? s->len - g->taken : cap;
	memcpy(buf, s->data + g->taken, n);
	g->taken += n;
	if (g->taken == s->len) {
		free(s->data);
		s->data = NULL;
		g->number++;
		g->taken = 0;
	}
	return (ssize_t)n;
}

static void get_close(struct hbt_load *l)
{
	struct get *g = l->get;

	for (int i = 0; i < WINDOW; i++) {
		if (g->slots[i].batch != NULL)
			hbt_redis_batch_cancel(&g->slots[i].batch);
		free(g->slots[i].data);
	}
	halibut_error_clear(&g->err);
	free(g);
}

const struct hbt_store_ops hbt_store_redis = {
	.kind = "redis",
	HBT_STORE_PUT_AND_GET,
	.open = chunks_open,
	.close = chunks_close,
	.put_finish = put_finish,
	.remove = chunks_remove,
	.refresh = chunks_refresh,
};
