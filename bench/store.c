/*
 * What it costs to keep a DataStream in a store and to fetch it again:
 *
 *   bench/store redis unix:///tmp/redis.sock 64
 *   bench/store directory /mnt/streams 2048
 *   bench/store program ./examples/store 64
 *   bench/store metadata - 8
 *
 * Prints MiB/s, CPU and the largest memory of this process, which is both
 * nodes at once; and for Redis the commands.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/timespan.h"
#include "queue/pump.h"
#include "redis/redis.h"
#include "store/store.h"
#include "wire/writer.h"

static struct event_base *base;

/* ---- A section of one stream, made up as it is read ---- */

struct made {
	struct hbt_source src;
	const struct hbt_stream_ref *ref;
	int64_t at; /* in the section */
};

static ssize_t made_read(struct hbt_source *src, void *buf, size_t cap,
                         struct halibut_error *err)
{
	struct made *s = (struct made *)src;
	int64_t length = s->ref->length;
	uint8_t head[24], tail[8], *p = buf;
	size_t n = 0;

	(void)err;
	hbt_section_head(&s->ref->id, length, head);
	hbt_section_tail(length, tail);
	while (n < cap && s->at < 24 + length + 8) {
		size_t most = cap - n;

		if (s->at >= 24 && s->at < 24 + length) {
			if ((int64_t)most > 24 + length - s->at)
				most = (size_t)(24 + length - s->at);
			memset(p + n, (int)(s->at >> 10), most);
		} else {
			most = 1;
			p[n] = s->at < 24 ? head[s->at]
			                  : tail[s->at - 24 - length];
		}
		n += most;
		s->at += (int64_t)most;
	}
	return (ssize_t)n;
}

static void made_free(struct hbt_source *src)
{
	(void)src;
}

static const struct hbt_source_ops made_ops = {made_read, made_free};

/* ---- Measuring ---- */

struct mark {
	int64_t us;
	double cpu;
};

static struct mark mark_now(void)
{
	struct rusage self, children;

	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	return (struct mark){
		.us = hbt_now_us(),
		.cpu = (double)(self.ru_utime.tv_sec + self.ru_stime.tv_sec +
	                        children.ru_utime.tv_sec +
	                        children.ru_stime.tv_sec) +
		       (double)(self.ru_utime.tv_usec + self.ru_stime.tv_usec +
	                        children.ru_utime.tv_usec +
	                        children.ru_stime.tv_usec) /
			       1e6,
	};
}

static void report(const char *what, struct mark from, double mib)
{
	struct mark now = mark_now();
	struct rusage self;

	getrusage(RUSAGE_SELF, &self);
	printf("%s: %.0f MiB/s, %.2f ms CPU a MiB, at most %ld KiB of memory\n",
	       what, mib * 1e6 / (double)(now.us - from.us),
	       (now.cpu - from.cpu) * 1000 / mib, self.ru_maxrss);
}

/* ---- There and back ---- */

static uint8_t *metadata;
static size_t metadata_len;

static void on_saved(void *arg, const uint8_t *data, size_t len,
                     const struct halibut_error *err)
{
	if (err != NULL) {
		fprintf(stderr, "bench/store: %s\n", err->message);
		exit(1);
	}
	metadata = malloc(len);
	memcpy(metadata, data, metadata_len = len);
	*(bool *)arg = true;
}

static void save(struct hbt_store *s, const struct hbt_message *m)
{
	struct made made = {.src.ops = &made_ops, .ref = m->env.streams};
	bool done = false;
	struct hbt_saving *g;
	struct hbt_sink *sink;
	struct hbt_feed *feed;

	if (hbt_store_save(&g, s, m, 600000, &sink, on_saved, &done) != 0 ||
	    hbt_feed_new(&feed, base, &made.src, sink) != 0)
		abort();
	while (!done)
		event_base_loop(base, EVLOOP_ONCE);
}

struct counter {
	struct hbt_sink sink;
	int64_t bytes;
	bool ended;
};

static ssize_t count(struct hbt_sink *sink, const void *data, size_t len,
                     struct halibut_error *err)
{
	(void)data;
	(void)err;
	((struct counter *)sink)->bytes += (int64_t)len;
	return (ssize_t)len;
}

static void counted(struct hbt_sink *sink, const struct halibut_error *why)
{
	if (why != NULL) {
		fprintf(stderr, "bench/store: %s\n", why->message);
		exit(1);
	}
	((struct counter *)sink)->ended = true;
}

static void load(struct hbt_store *s, const struct hbt_message *m)
{
	static const struct hbt_sink_ops ops = {count, counted};
	struct counter c = {.sink.ops = &ops};
	struct halibut_error err = {0};
	struct hbt_source *src;
	struct hbt_feed *feed;

	if (hbt_store_load(&src, s, m, metadata, metadata_len, NULL, NULL,
	                   &err) != 0 ||
	    hbt_feed_new(&feed, base, src, &c.sink) != 0) {
		fprintf(stderr, "bench/store: %s\n", err.message);
		exit(1);
	}
	while (!c.ended)
		event_base_loop(base, EVLOOP_ONCE);
	if (c.bytes != m->env.streams[0].length + 32)
		abort();
}

static uint64_t commands(struct hbt_redis *redis)
{
	struct hbt_redis_state state = {0};

	if (redis != NULL)
		hbt_redis_state(redis, &state);
	return state.commands;
}

static struct hbt_redis *connect_redis(const char *url)
{
	struct hbt_redis_options options;
	struct halibut_error err = {0};
	struct hbt_redis *redis;

	hbt_redis_options_init(&options);
	if (hbt_redis_options_parse(&options, url, &err) != 0 ||
	    hbt_redis_new(&redis, base, NULL, &options, &err) != 0) {
		fprintf(stderr, "bench/store: %s\n", err.message);
		exit(1);
	}
	hbt_redis_options_fini(&options);
	return redis;
}

static struct hbt_message *message(int64_t length)
{
	struct hbt_envelope env = {.kind = HBT_MESSAGE_REQUEST};

	env.id = strdup("bench");
	env.streams = calloc(1, sizeof(*env.streams));
	env.n_streams = 1;
	env.streams[0].id = hbt_guid_new();
	env.streams[0].length = length;
	return hbt_message_new(&env, NULL, 0);
}

int main(int argc, char **argv)
{
	struct hbt_store_config config = {
		.kind = argc > 1 ? argv[1] : "",
		.key_prefix = "bench",
		.max_total_bytes = INT64_MAX,
		.max_metadata_bytes = 1 << 30,
		.program_timeout_ms = 60000,
	};
	double mib = argc > 3 ? atof(argv[3]) : 64;
	struct halibut_error err = {0};
	struct hbt_redis *redis = NULL;
	struct hbt_message *m;
	struct hbt_store *s;
	struct mark from;
	uint64_t before;

	if (argc < 3) {
		fprintf(stderr, "usage: bench/store KIND URL|DIRECTORY|COMMAND "
		                "[MIB]\n");
		return 2;
	}
	base = event_base_new();
	config.directory = config.command = argv[2];
	if (strcmp(config.kind, "redis") == 0)
		redis = connect_redis(argv[2]);
	if (hbt_store_new(&s, base, redis, &config, &err) != 0) {
		fprintf(stderr, "bench/store: %s\n", err.message);
		return 1;
	}
	m = message((int64_t)(mib * 1048576));
	from = mark_now();
	before = commands(redis);
	save(s, m);
	report("save", from, mib);
	if (redis != NULL)
		printf("      %.1f commands a MiB\n",
		       (double)(commands(redis) - before) / mib);
	from = mark_now();
	before = commands(redis);
	load(s, m);
	report("load", from, mib);
	if (redis != NULL)
		printf("      %.1f commands a MiB\n",
		       (double)(commands(redis) - before) / mib);
	free(metadata);
	hbt_message_unref(&m);
	hbt_store_free(&s);
	if (redis != NULL)
		hbt_redis_free(&redis);
	event_base_free(base);
	return 0;
}
