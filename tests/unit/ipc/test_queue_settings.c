/* What the queue worker is told of Redis, and what becomes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/queue_settings.h"

static char *mutable(const char *s)
{
	return (char *)s; /* put and resolve do not change it */
}

static struct hbt_queue_settings full(void)
{
	static char *wrappers[2];
	struct hbt_queue_settings s = {
		.url = mutable("redis://one.example.com/7"),
		.user = mutable("halibut"),
		.password = mutable("secret"),
		.sentinel_user = mutable("watcher"),
		.sentinel_password = mutable("secret too"),
		.database = 3,
		.key_prefix = mutable("production"),
		.channel_prefix = mutable("c:"),
		.tls_insecure = true,
		.tls_ca = mutable("/ca"),
		.tls_certificate = mutable("/certificate"),
		.tls_key = mutable("/key"),
		.connect_timeout_ms = 1,
		.command_timeout_ms = (int64_t)1 << 40,
		.streams = mutable("directory"),
		.streams_directory = mutable("/streams"),
		.streams_command = mutable("keep"),
		.streams_max_bytes = (int64_t)1 << 41,
		.wrappers = wrappers,
		.n_wrappers = 2,
		.own_response_pulses = true,
		.max_waiting_requests = 4,
		.max_waiting_requests_per_endpoint = 5,
		.max_waiting_bytes = (size_t)6 << 32,
		.max_waiting_bytes_per_endpoint = 7,
		.node_id = mutable("8f14e45f-ceea-467f-9575-3b5f0d0c1a2b"),
	};

	wrappers[0] = mutable("gzip");
	wrappers[1] = mutable("program seal");
	hbt_redis_times_init(&s.times);
	s.times.heartbeat_delay_ms = 11;
	s.times.retry_window_ms = 12;
	return s;
}

static void settings_arrive_as_they_were_sent(void **state)
{
	struct hbt_queue_settings sent = full(), got;
	struct hbt_rd r;
	struct hbt_wr w;

	(void)state;
	hbt_wr_init(&w, 100000);
	hbt_queue_settings_put(&w, &sent);
	assert_int_equal(w.status, HALIBUT_OK);
	r = hbt_rd_from(w.buf.data, w.buf.len);
	hbt_queue_settings_get(&r, &got);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_string_equal(got.url, sent.url);
	assert_string_equal(got.user, sent.user);
	assert_string_equal(got.password, sent.password);
	assert_string_equal(got.sentinel_user, sent.sentinel_user);
	assert_string_equal(got.sentinel_password, sent.sentinel_password);
	assert_int_equal(got.database, 3);
	assert_string_equal(got.key_prefix, sent.key_prefix);
	assert_string_equal(got.channel_prefix, sent.channel_prefix);
	assert_true(got.tls_insecure);
	assert_string_equal(got.tls_ca, sent.tls_ca);
	assert_string_equal(got.tls_certificate, sent.tls_certificate);
	assert_string_equal(got.tls_key, sent.tls_key);
	assert_int_equal(got.connect_timeout_ms, 1);
	assert_int_equal(got.command_timeout_ms, (int64_t)1 << 40);
	assert_string_equal(got.streams, sent.streams);
	assert_string_equal(got.streams_directory, sent.streams_directory);
	assert_string_equal(got.streams_command, sent.streams_command);
	assert_int_equal(got.streams_max_bytes, (int64_t)1 << 41);
	assert_int_equal(got.n_wrappers, 2);
	assert_string_equal(got.wrappers[0], "gzip");
	assert_string_equal(got.wrappers[1], "program seal");
	assert_true(got.own_response_pulses);
	assert_int_equal(got.max_waiting_requests, 4);
	assert_int_equal(got.max_waiting_requests_per_endpoint, 5);
	assert_int_equal(got.max_waiting_bytes, (size_t)6 << 32);
	assert_int_equal(got.max_waiting_bytes_per_endpoint, 7);
	assert_string_equal(got.node_id, sent.node_id);
	assert_memory_equal(&got.times, &sent.times, sizeof(got.times));
	hbt_queue_settings_fini(&got);
	hbt_wr_fini(&w);
}

static void settings_that_are_cut_off_fail(void **state)
{
	struct hbt_queue_settings sent = full(), got;
	struct hbt_wr w;

	(void)state;
	hbt_wr_init(&w, 100000);
	hbt_queue_settings_put(&w, &sent);
	for (size_t len = 0; len < w.buf.len; len++) {
		uint8_t *cut = malloc(len + 1);
		struct hbt_rd r = hbt_rd_from(cut, len);

		memcpy(cut, w.buf.data, len);
		hbt_queue_settings_get(&r, &got);
		assert_int_equal(hbt_rd_finish(&r), HALIBUT_EPROTO);
		hbt_queue_settings_fini(&got);
		free(cut);
	}
	hbt_wr_fini(&w);
}

static void what_is_said_beside_the_url_counts_more(void **state)
{
	struct hbt_queue_settings s = full();
	struct hbt_redis_settings out;
	struct halibut_error err = {0};

	(void)state;
	assert_int_equal(hbt_queue_settings_resolve(&s, &out, &err),
	                 HALIBUT_OK);
	assert_string_equal(out.options.servers[0].host, "one.example.com");
	assert_int_equal(out.options.database, 3);
	assert_string_equal(out.options.user, "halibut");
	assert_string_equal(out.options.password, "secret");
	assert_string_equal(out.options.channel_prefix, "c:");
	assert_int_equal(out.options.connect_timeout_ms, 1);
	assert_string_equal(out.key_prefix, "production");
	assert_string_equal(out.streams_directory, "/streams");
	assert_string_equal(out.node_id, s.node_id);
	assert_int_equal(out.n_wrappers, 2);
	assert_false(out.pattern_responses);
	assert_int_equal(out.times.heartbeat_delay_ms, 11);
	hbt_redis_settings_fini(&out);
	s.database = -1;
	s.user = s.password = NULL;
	s.url = mutable("redis://me:word@one.example.com/7");
	assert_int_equal(hbt_queue_settings_resolve(&s, &out, &err),
	                 HALIBUT_OK);
	assert_int_equal(out.options.database, 7);
	assert_string_equal(out.options.user, "me");
	assert_string_equal(out.options.password, "word");
	hbt_redis_settings_fini(&out);
}

static void times_that_would_make_the_living_look_dead_are_refused(void **state)
{
	struct hbt_queue_settings s = full();
	struct hbt_redis_settings out;
	struct halibut_error err = {0};

	(void)state;
	s.times.receiver_gone_ms = s.times.heartbeat_interval_ms;
	assert_int_equal(hbt_queue_settings_resolve(&s, &out, &err),
	                 HALIBUT_EINVAL);
	assert_non_null(strstr(err.message, "receiver_gone"));
	halibut_error_clear(&err);
	hbt_redis_settings_fini(&out);
	s = full();
	s.times.data_loss_ttl_ms = s.times.data_loss_check_ms;
	assert_int_equal(hbt_queue_settings_resolve(&s, &out, &err),
	                 HALIBUT_EINVAL);
	assert_non_null(strstr(err.message, "data_loss_ttl"));
	halibut_error_clear(&err);
	hbt_redis_settings_fini(&out);
}

static void an_error_does_not_show_a_password(void **state)
{
	struct hbt_queue_settings s = full();
	struct hbt_redis_settings out;
	struct halibut_error err = {0};

	(void)state;
	s.url = mutable("redis://me:word@one.example.com:x/7");
	assert_int_equal(hbt_queue_settings_resolve(&s, &out, &err),
	                 HALIBUT_EINVAL);
	assert_null(strstr(err.message, "word"));
	halibut_error_clear(&err);
	hbt_redis_settings_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_arrive_as_they_were_sent),
		cmocka_unit_test(settings_that_are_cut_off_fail),
		cmocka_unit_test(what_is_said_beside_the_url_counts_more),
		cmocka_unit_test(
			times_that_would_make_the_living_look_dead_are_refused),
		cmocka_unit_test(an_error_does_not_show_a_password),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
