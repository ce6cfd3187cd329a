/* The queue in Redis does what every queue must do. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "queue/redis_queue.h"
#include "queue_suite.h"
#include "../redis/redis_server.h"

static struct redis_server server;
static struct hbt_limits limits;
static struct hbt_redis *redis;
static struct hbt_store *store;
static struct hbt_wrappers *wrappers;
static struct hbt_redis_node *node;

/* Linked with --wrap=malloc. */
static bool no_table;

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
	if (no_table && n == sizeof(UT_hash_table)) {
		no_table = false;
		return NULL;
	}
	return __real_malloc(n);
}

static void finish(void)
{
	hbt_redis_node_free(&node);
	hbt_wrappers_free(&wrappers);
	hbt_store_free(&store);
	hbt_redis_free(&redis);
}

static void die(const struct halibut_error *err)
{
	fprintf(stderr, "%s\n", err->message ? err->message : "out of memory");
	exit(1);
}

static void start_node(struct event_base *base)
{
	static const struct hbt_store_config streams = {
		.kind = "metadata", .max_metadata_bytes = 1 << 20};
	struct halibut_error err = {.status = HALIBUT_OK};
	struct hbt_redis_options options;
	struct hbt_redis_node_config config = {.limits = &limits,
	                                       .pattern_responses = true};
	static int tests;
	char prefix[32];

	hbt_redis_options_init(&options);
	if (hbt_redis_options_parse(&options, server.url, &err) != 0 ||
	    hbt_redis_new(&redis, base, NULL, &options, &err) != 0 ||
	    hbt_store_new(&store, base, redis, &streams, &err) != 0 ||
	    hbt_wrappers_new(&wrappers, base, NULL, 0, 1 << 20, 1000, &err) !=
	            0)
		die(&err);
	hbt_redis_options_fini(&options);
	/* What a test leaves behind is not for the next. */
	snprintf(prefix, sizeof(prefix), "suite-%d", ++tests);
	config.key_prefix = prefix;
	config.redis = redis;
	config.store = store;
	config.wrappers = wrappers;
	hbt_redis_times_init(&config.times);
	/* A carrier hears at once that its request is cancelled. */
	config.times.heartbeat_delay_ms = 0;
	if (hbt_redis_node_new(&node, base, &config) != 0)
		die(&err);
}

static struct hbt_queue *make(struct event_base *base, const char *key)
{
	if (node == NULL)
		start_node(base);
	return hbt_redis_queue_new(node, key);
}

int main(void)
{
	static const struct queue_suite suite = {
		.name = "redis queue",
		.make = make,
		.finish = finish,
		.remote = true,
		.no_table = &no_table,
	};
	int failed;

	hbt_limits_init(&limits);
	if (redis_server_start(&server, NULL) != 0) {
		printf("1..0 # SKIP no redis-server here\n");
		return 0;
	}
	failed = queue_suite_run(&suite);
	redis_server_stop(&server);
	return failed;
}
