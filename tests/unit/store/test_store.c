/* Every kind of store keeps the same promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/timespan.h"
#include "redis/redis.h"
#include "store/store.h"
#include "wire/writer.h"
#include "../redis/redis_server.h"

enum { MAX_STREAMS = 4 };

static struct event_base *base;
static char dir[] = "/tmp/halibut-store-XXXXXX";
static char command[400];
static struct hbt_redis *redis;
static struct redis_server server;

/* ---- Messages and sections ---- */

static struct hbt_guid guid_of(size_t k)
{
	struct hbt_guid g = {{0}};

	g.wire[0] = (uint8_t)(k + 1);
	g.wire[15] = 0xee;
	return g;
}

static struct hbt_message *message(size_t n, const int64_t *lengths)
{
	struct hbt_envelope env = {.kind = HBT_MESSAGE_REQUEST};

	env.id = strdup("x");
	env.streams = calloc(n + 1, sizeof(*env.streams));
	env.n_streams = n;
	for (size_t k = 0; k < n; k++) {
		env.streams[k].id = guid_of(k);
		env.streams[k].length = lengths[k];
	}
	return hbt_message_new(&env, NULL, 0);
}

static uint8_t byte_at(size_t k, int64_t i)
{
	return (uint8_t)(k * 31 + (uint64_t)i * 2654435761u / 65536);
}

/* The section, streams in document order or the other way round. */
static uint8_t *section(size_t n, const int64_t *lengths, bool backwards,
                        size_t *len)
{
	uint8_t *p, *all;
	struct hbt_guid id;

	*len = 0;
	for (size_t k = 0; k < n; k++)
		*len += 32 + (size_t)lengths[k];
	p = all = malloc(*len + 1);
	for (size_t i = 0; i < n; i++) {
		size_t k = backwards ? n - 1 - i : i;

		id = guid_of(k);
		hbt_section_head(&id, lengths[k], p);
		p += 24;
		for (int64_t j = 0; j < lengths[k]; j++)
			*p++ = byte_at(k, j);
		hbt_section_tail(lengths[k], p);
		p += 8;
	}
	return all;
}

/* ---- Saving and loading ---- */

struct saved {
	bool done;
	int place; /* among all that were saved */
	uint8_t *metadata;
	size_t len;
	struct halibut_error err;
};

static void on_saved(void *arg, const uint8_t *metadata, size_t len,
                     const struct halibut_error *err)
{
	struct saved *s = arg;
	static int n_saved;

	assert_false(s->done);
	s->done = true;
	s->place = ++n_saved;
	if (err != NULL) {
		hbt_error_copy(&s->err, err);
		return;
	}
	s->metadata = malloc(len + 1);
	memcpy(s->metadata, metadata, len);
	s->metadata[len] = 0;
	s->len = len;
}

static void saved_fini(struct saved *s)
{
	free(s->metadata);
	halibut_error_clear(&s->err);
	memset(s, 0, sizeof(*s));
}

static void wake(void *arg)
{
	*(bool *)arg = true;
}

/* Feeds len bytes in steps; false when the sink failed. */
static bool feed(struct hbt_sink *sink, const uint8_t *data, size_t len,
                 size_t step)
{
	bool awake = true;
	size_t done = 0;

	sink->wake = wake;
	sink->wake_arg = &awake;
	while (done < len) {
		size_t n = len - done < step ? len - done : step;
		ssize_t took = sink->ops->write(sink, data + done, n, NULL);

		if (took < 0)
			return false;
		done += (size_t)took;
		if ((size_t)took < n) {
			awake = false;
			while (!awake)
				assert_int_equal(
					event_base_loop(base, EVLOOP_ONCE), 0);
		}
	}
	sink->wake = NULL;
	return true;
}

static void save(struct hbt_store *s, const struct hbt_message *m,
                 int64_t ttl_ms, const uint8_t *data, size_t len, size_t step,
                 struct saved *saved)
{
	struct hbt_saving *g;
	struct hbt_sink *sink;

	memset(saved, 0, sizeof(*saved));
	assert_int_equal(
		hbt_store_save(&g, s, m, ttl_ms, &sink, on_saved, saved), 0);
	assert_int_equal(sink != NULL, m->env.n_streams > 0);
	if (sink != NULL) {
		feed(sink, data, len, step);
		assert_false(saved->done);
		hbt_sink_end(&sink, NULL);
	}
	assert_false(saved->done);
	while (!saved->done)
		assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
}

static int64_t progress[MAX_STREAMS];

static void on_progress(void *arg, size_t stream, int64_t sent)
{
	(void)arg;
	assert_true(sent >= progress[stream]);
	progress[stream] = sent;
}

/* Reads all of it; NULL when that failed. */
static uint8_t *read_all(struct hbt_source *src, size_t expected, size_t step,
                         size_t *len, struct halibut_error *err)
{
	uint8_t *all = malloc(expected + step);
	bool awake;
	ssize_t n;

	src->wake = wake;
	src->wake_arg = &awake;
	*len = 0;
	for (;;) {
		awake = false;
		n = src->ops->read(src, all + *len, step, err);
		if (n == 0)
			return all;
		if (n > 0) {
			*len += (size_t)n;
			assert_true(*len <= expected);
			continue;
		}
		if (n != -HALIBUT_EAGAIN) {
			free(all);
			return NULL;
		}
		while (!awake)
			assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
	}
}

static size_t files(void)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	size_t n = 0;

	while ((e = readdir(d)) != NULL)
		n += strlen(e->d_name) > 32;
	closedir(d);
	return n;
}

static long long redis_keys;

static void on_dbsize(void *arg, redisReply **replies, size_t n,
                      const struct halibut_error *err)
{
	(void)n;
	if (err != NULL)
		fail_msg("%s", err->message);
	redis_keys = replies[0]->integer;
	*(bool *)arg = true;
}

static size_t keys(void)
{
	struct hbt_redis_batch *b;
	bool done = false;

	if (redis == NULL)
		return 0;
	b = hbt_redis_batch_new(redis);
	hbt_redis_batch_add(b, "DBSIZE");
	hbt_redis_batch_send(b, HBT_REDIS_WINDOW_MS, on_dbsize, &done);
	while (!done)
		event_base_loop(base, EVLOOP_ONCE);
	return (size_t)redis_keys;
}

/* Deletes run beside the loop. */
static void await_files(size_t n)
{
	int64_t until = hbt_now_ms() + 20000;
	struct timeval tv = {.tv_usec = 10000};

	while (files() + keys() != n && hbt_now_ms() < until) {
		event_base_loopexit(base, &tv);
		event_base_loop(base, 0);
	}
	assert_int_equal(files() + keys(), n);
}

static struct hbt_store_config config_of(const char *kind)
{
	return (struct hbt_store_config){
		.kind = kind,
		.key_prefix = "test",
		.directory = dir,
		.command = command,
		.max_metadata_bytes = 64 << 20,
		.program_timeout_ms = 60000,
	};
}

static struct hbt_store *open_store(const struct hbt_store_config *config)
{
	struct halibut_error err = {0};
	struct hbt_store *s;

	if (hbt_store_new(&s, base, redis, config, &err) != HALIBUT_OK)
		fail_msg("%s", err.message);
	return s;
}

static struct hbt_store *store_of(const char *kind)
{
	struct hbt_store_config config = config_of(kind);

	return open_store(&config);
}

static const char *const kinds[] = {"metadata", "directory", "program",
                                    "redis"};
static size_t n_kinds = 3; /* four where there is a Redis server */
#define FOR_EACH_KIND(kind)                                                    \
	for (size_t kind##_i = 0; kind##_i < n_kinds; kind##_i++)              \
		for (const char *kind = kinds[kind##_i]; kind != NULL;         \
		     kind = NULL)

static void there_and_back(const char *kind, size_t n, const int64_t *lengths,
                           bool backwards, size_t step)
{
	struct hbt_store *s = store_of(kind);
	struct hbt_message *m = message(n, lengths);
	struct halibut_error err = {0};
	struct hbt_source *src;
	struct saved saved;
	size_t len, got;
	uint8_t *data = section(n, lengths, backwards, &len);
	uint8_t *back;

	save(s, m, 60000, data, len, step, &saved);
	free(data);
	if (saved.err.status != HALIBUT_OK)
		fail_msg("%s: %s", kind, saved.err.message);
	memset(progress, 0, sizeof(progress));
	assert_int_equal(hbt_store_load(&src, s, m, saved.metadata, saved.len,
	                                on_progress, NULL, &err),
	                 HALIBUT_OK);
	assert_non_null(src);
	back = read_all(src, len, step, &got, &err);
	if (back == NULL)
		fail_msg("%s: %s", kind, err.message);
	data = section(n, lengths, false, &len);
	assert_int_equal(got, len);
	assert_memory_equal(back, data, len);
	for (size_t k = 0; k < n; k++)
		assert_int_equal(progress[k], lengths[k]);
	hbt_source_free(&src);
	free(data);
	free(back);
	await_files(0);
	saved_fini(&saved);
	hbt_message_unref(&m);
	hbt_store_free(&s);
}

static void streams_of_all_sizes_come_back(void **state)
{
	static const int64_t sizes[] = {0, 1, 2, 3, 4, 49151, 49152, 49153,
	                                262143, 262144, 262145, 1048577};

	(void)state;
	FOR_EACH_KIND(kind)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			there_and_back(kind, 1, &sizes[i], false, 16384);
}

static void several_streams_come_back_in_document_order(void **state)
{
	static const int64_t lengths[] = {1000, 0, 300000, 7};

	(void)state;
	FOR_EACH_KIND(kind) {
		there_and_back(kind, 4, lengths, false, 65536);
		there_and_back(kind, 4, lengths, true, 65536);
		there_and_back(kind, 2, lengths, true, 1);
	}
}

static void a_large_stream_comes_back(void **state)
{
	static const int64_t length = 20 << 20;

	(void)state;
	FOR_EACH_KIND(kind)
		there_and_back(kind, 1, &length, false, 1 << 20);
}

static void without_streams_the_metadata_is_an_empty_object(void **state)
{
	struct hbt_message *m = message(0, NULL);
	struct hbt_source *src;
	struct saved saved;

	(void)state;
	FOR_EACH_KIND(kind) {
		struct hbt_store *s = store_of(kind);

		save(s, m, 60000, NULL, 0, 1, &saved);
		assert_string_equal((char *)saved.metadata, "{}");
		saved_fini(&saved);
		assert_int_equal(hbt_store_load(&src, s, m, NULL, 0, NULL, NULL,
		                                NULL),
		                 HALIBUT_OK);
		assert_null(src);
		hbt_store_free(&s);
	}
	hbt_message_unref(&m);
}

struct begins {
	struct hbt_store *store;
	struct hbt_message *m;
	struct saved saved[20];
};

static void begin_all(evutil_socket_t fd, short what, void *arg)
{
	struct begins *b = arg;
	struct hbt_saving *g;
	struct hbt_sink *sink;

	(void)fd;
	(void)what;
	for (int i = 0; i < 20; i++)
		assert_int_equal(hbt_store_save(&g, b->store, b->m, 60000,
		                                &sink, on_saved, &b->saved[i]),
		                 HALIBUT_OK);
}

/* Within one turn, as requests come that waited for Redis together. */
static void what_began_first_ends_first(void **state)
{
	const struct timeval now = {0};

	(void)state;
	FOR_EACH_KIND(kind) {
		struct begins b = {.store = store_of(kind),
		                   .m = message(0, NULL)};

		event_base_once(base, -1, EV_TIMEOUT, begin_all, &b, &now);
		while (!b.saved[19].done)
			assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
		for (int i = 1; i < 20; i++) {
			assert_true(b.saved[i - 1].done);
			assert_int_equal(b.saved[i].place,
			                 b.saved[i - 1].place + 1);
		}
		for (int i = 0; i < 20; i++)
			saved_fini(&b.saved[i]);
		hbt_message_unref(&b.m);
		hbt_store_free(&b.store);
	}
}

static void a_cut_section_leaves_nothing(void **state)
{
	static const int64_t lengths[] = {5, 3};
	struct hbt_message *m = message(2, lengths);
	size_t len;
	uint8_t *data = section(2, lengths, false, &len);
	struct saved saved;

	(void)state;
	FOR_EACH_KIND(kind) {
		struct hbt_store *s = store_of(kind);

		for (size_t cut = 0; cut < len; cut += 3) {
			save(s, m, 60000, data, cut, 1000, &saved);
			assert_int_equal(saved.err.status, HALIBUT_ECLOSED);
			saved_fini(&saved);
		}
		await_files(0);
		hbt_store_free(&s);
	}
	free(data);
	hbt_message_unref(&m);
}

static void a_cancelled_saving_is_silent_and_leaves_nothing(void **state)
{
	static const int64_t lengths[] = {5, 3};
	struct hbt_message *m = message(2, lengths);
	size_t len;
	uint8_t *data = section(2, lengths, false, &len);
	struct saved saved = {0};
	struct hbt_saving *g;
	struct hbt_sink *sink;

	(void)state;
	FOR_EACH_KIND(kind) {
		struct hbt_store *s = store_of(kind);

		for (size_t cut = 0; cut <= len; cut += 4) {
			assert_int_equal(hbt_store_save(&g, s, m, 60000, &sink,
			                                on_saved, &saved),
			                 0);
			assert_true(feed(sink, data, cut, 1000));
			if (cut == len)
				hbt_sink_end(&sink, NULL);
			hbt_saving_cancel(&g);
			assert_null(g);
			if (sink != NULL) {
				assert_int_equal(sink->ops->write(sink, "xy",
				                                  2, NULL),
				                 2);
				hbt_sink_end(&sink, NULL);
			}
			event_base_loop(base, EVLOOP_NONBLOCK);
		}
		await_files(0);
		assert_false(saved.done);
		hbt_store_free(&s);
	}
	free(data);
	hbt_message_unref(&m);
}

static void what_is_not_read_is_deleted(void **state)
{
	static const int64_t lengths[] = {5, 3, 9};
	struct hbt_message *m = message(3, lengths);
	size_t len;
	uint8_t *data = section(3, lengths, false, &len);
	struct hbt_source *src;
	struct saved saved;
	uint8_t some[40];

	(void)state;
	FOR_EACH_KIND(kind)
		for (size_t part = 0; part <= 40; part += 10) {
			struct hbt_store *s = store_of(kind);

			save(s, m, 60000, data, len, 1000, &saved);
			assert_int_equal(saved.err.status, HALIBUT_OK);
			if (part == 40) {
				hbt_store_discard(s, m, saved.metadata,
				                  saved.len);
			} else {
				assert_int_equal(hbt_store_load(
							 &src, s, m,
							 saved.metadata,
							 saved.len, NULL, NULL,
							 NULL),
				                 HALIBUT_OK);
				if (part > 0)
					src->ops->read(src, some, part, NULL);
				hbt_source_free(&src);
			}
			await_files(0);
			saved_fini(&saved);
			hbt_store_free(&s);
		}
	free(data);
	hbt_message_unref(&m);
}

static void what_is_gone_is_an_error_at_the_reader(void **state)
{
	static const int64_t lengths[] = {5};
	struct hbt_message *m = message(1, lengths);
	size_t len, got;
	uint8_t *data = section(1, lengths, false, &len);
	struct halibut_error err = {0};
	struct hbt_source *src;
	struct saved saved;

	(void)state;
	for (size_t i = 1; i < n_kinds; i++) {
		struct hbt_store *s = store_of(kinds[i]);

		save(s, m, 60000, data, len, 1000, &saved);
		hbt_store_discard(s, m, saved.metadata, saved.len);
		await_files(0);
		assert_int_equal(hbt_store_load(&src, s, m, saved.metadata,
		                                saved.len, NULL, NULL, NULL),
		                 HALIBUT_OK);
		assert_null(read_all(src, len, 100, &got, &err));
		assert_int_equal(err.status, HALIBUT_ESYSTEM);
		assert_non_null(err.message);
		halibut_error_clear(&err);
		hbt_source_free(&src);
		saved_fini(&saved);
		hbt_store_free(&s);
	}
	free(data);
	hbt_message_unref(&m);
}

static int load(struct hbt_store *s, const char *metadata,
                struct hbt_source **src, struct halibut_error *err)
{
	static const int64_t lengths[] = {5};
	struct hbt_message *m = message(1, lengths);
	int rc = hbt_store_load(src, s, m, (const uint8_t *)metadata,
	                        strlen(metadata), NULL, NULL, err);

	hbt_message_unref(&m);
	return rc;
}

#define GUID "00000001-0000-0000-0000-0000000000ee"
static void what_the_sample_of_the_original_writes_is_read(void **state)
{
	struct hbt_source *src;
	uint8_t back[100];

	(void)state;
	FOR_EACH_KIND(kind) {
		struct hbt_store *s = store_of(kind);

		assert_int_equal(load(s, "{\"" GUID "\":\"SGVsbG8=\"}", &src,
		                      NULL),
		                 HALIBUT_OK);
		assert_int_equal(src->ops->read(src, back, 100, NULL), 37);
		assert_memory_equal(back + 24, "Hello", 5);
		hbt_source_free(&src);
		hbt_store_free(&s);
	}
}

/* A .NET node stores what its writer gave, whatever the length it declared. */
static void a_stream_beside_its_message_is_as_long_as_the_message_says(
	void **state)
{
	static const char *const wrong[] = {"SGVsbA==", "SGVsbG8h", ""};
	struct halibut_error err = {0};
	struct hbt_source *src;
	char metadata[100];

	(void)state;
	FOR_EACH_KIND(kind) {
		struct hbt_store *s = store_of(kind);

		for (size_t i = 0; i < 3; i++) {
			snprintf(metadata, sizeof(metadata), "{\"%s\":\"%s\"}",
			         GUID, wrong[i]);
			assert_int_equal(load(s, metadata, &src, &err),
			                 HALIBUT_ESTREAM);
			assert_null(src);
		}
		assert_string_equal(
			err.message,
			"Data stream size mismatch detected during send. "
			"Message Id: x, Stream ID: " GUID ", Declared length: "
			"5, Actual bytes written: 0. Total length of all "
			"DataStreams to be sent is 5.");
		hbt_store_free(&s);
	}
	halibut_error_clear(&err);
}

static void foreign_metadata_is_refused_with_a_reason(void **state)
{
	static const char *const foreign[] = {
		"", "{}", "x", "[]", "null", "{\"" GUID "\":1}",
		"{\"" GUID "\":\"SGVsbG8\"}", "{\"" GUID "\":\"SG=sbG8=\"}",
		"{\"" GUID "\":\"SGV bG8=\"}", "{\"no guid\":\"\"}",
		"{\"store\":\"metadata\",\"id\":"
		"\"0123456789abcdef0123456789abcdef\",\"ttl\":1,\"streams\":"
		"[{\"id\":\"" GUID "\",\"length\":1}]}",
		"{\"store\":\"s3\",\"id\":\"x\"}",
		"{\"store\":\"directory\",\"id\":\"../../../../etc/passwd\"}",
		"{\"store\":\"directory\",\"id\":"
		"\"0123456789abcdef0123456789abcdef\",\"ttl\":1,\"streams\":"
		"[{\"id\":\"" GUID "\",\"length\":-1}]}",
	};
	struct halibut_error err = {0};
	struct hbt_source *src;

	(void)state;
	FOR_EACH_KIND(kind) {
		struct hbt_store *s = store_of(kind);

		for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]);
		     i++) {
			assert_int_equal(load(s, foreign[i], &src, &err),
			                 HALIBUT_EPROTO);
			assert_null(src);
			assert_non_null(err.message);
		}
		hbt_store_free(&s);
	}
	halibut_error_clear(&err);
}

static void the_limits_are_kept(void **state)
{
	static const int64_t lengths[] = {6000, 6000};
	struct hbt_message *m = message(2, lengths);
	size_t len;
	uint8_t *data = section(2, lengths, false, &len);
	struct saved saved;

	(void)state;
	for (size_t i = 0; i < n_kinds; i++) {
		struct hbt_store_config config = config_of(kinds[i]);
		struct hbt_store *s;

		if (strcmp(kinds[i], "program") == 0)
			continue; /* its own affair */
		config.max_total_bytes = config.max_metadata_bytes = 10000;
		s = open_store(&config);
		save(s, m, 60000, data, len, 1000, &saved);
		assert_int_equal(saved.err.status, HALIBUT_ELIMIT);
		assert_non_null(strstr(saved.err.message, "10000 bytes"));
		saved_fini(&saved);
		await_files(0);
		hbt_store_free(&s);
	}
	free(data);
	hbt_message_unref(&m);
}

static void configurations_that_are_wrong_are_refused(void **state)
{
	struct hbt_store_config configs[] = {
		{.kind = "s3"},
		{.kind = NULL},
		{.kind = "redis"},
		{.kind = "directory"},
		{.kind = "directory", .directory = "/nonexistent/x"},
		{.kind = "program"},
		{.kind = "program", .command = "a | b"},
	};
	struct halibut_error err = {0};
	struct hbt_store *s;

	(void)state;
	for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++) {
		assert_int_equal(
			hbt_store_new(&s, base, NULL, &configs[i], &err),
			HALIBUT_EINVAL);
		assert_null(s);
		assert_non_null(err.message);
	}
	halibut_error_clear(&err);
}

/* Without a server its kind is not tested. */
static int start_redis(void)
{
	struct hbt_redis_options options;
	int rc;

	if (redis_server_start(&server, NULL) != 0)
		return 0;
	hbt_redis_options_init(&options);
	rc = hbt_redis_options_parse(&options, server.url, NULL);
	if (rc == HALIBUT_OK)
		rc = hbt_redis_new(&redis, base, NULL, &options, NULL);
	hbt_redis_options_fini(&options);
	n_kinds++;
	return rc == HALIBUT_OK ? 0 : -1;
}

static int set_up(void **state)
{
	(void)state;
	if (mkdtemp(dir) == NULL || (base = event_base_new()) == NULL ||
	    start_redis() != 0)
		return -1;
	snprintf(command, sizeof(command),
	         "sh -c 'f=%s/program-store-of-streams-$1; case $0 in store) "
	         "exec cat >$f;; fetch) exec cat $f;; delete) exec rm -f $f;; "
	         "esac'",
	         dir);
	return 0;
}

static int tear_down(void **state)
{
	char marker[64];

	(void)state;
	hbt_redis_free(&redis);
	redis_server_stop(&server);
	event_base_free(base);
	snprintf(marker, sizeof(marker), "%s/.swept", dir);
	unlink(marker);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_of_all_sizes_come_back),
		cmocka_unit_test(several_streams_come_back_in_document_order),
		cmocka_unit_test(a_large_stream_comes_back),
		cmocka_unit_test(
			without_streams_the_metadata_is_an_empty_object),
		cmocka_unit_test(what_began_first_ends_first),
		cmocka_unit_test(a_cut_section_leaves_nothing),
		cmocka_unit_test(
			a_cancelled_saving_is_silent_and_leaves_nothing),
		cmocka_unit_test(what_is_not_read_is_deleted),
		cmocka_unit_test(what_is_gone_is_an_error_at_the_reader),
		cmocka_unit_test(
			what_the_sample_of_the_original_writes_is_read),
		cmocka_unit_test(
			a_stream_beside_its_message_is_as_long_as_the_message_says),
		cmocka_unit_test(foreign_metadata_is_refused_with_a_reason),
		cmocka_unit_test(the_limits_are_kept),
		cmocka_unit_test(configurations_that_are_wrong_are_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
