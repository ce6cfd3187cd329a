/* Bodies: what was put is what is got, and nothing less than all of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ipc/proto.h"

#define MAX 100000

static struct hbt_wr w;

static int set_up(void **state)
{
	(void)state;
	hbt_wr_init(&w, MAX);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	hbt_wr_fini(&w);
	return 0;
}

static struct hbt_rd written(void)
{
	assert_int_equal(w.status, HALIBUT_OK);
	return hbt_rd_from(w.buf.data, w.buf.len);
}

/* The body cut off at any place must fail and leak nothing. */
#define assert_no_prefix_passes(type, get, fini)                               \
	do {                                                                   \
		for (size_t len = 0; len < w.buf.len; len++) {                 \
			uint8_t *cut = malloc(len + 1);                        \
			struct hbt_rd part = hbt_rd_from(cut, len);            \
			type value;                                            \
                                                                               \
			memcpy(cut, w.buf.data, len);                          \
			memset(&value, 0, sizeof(value));                      \
			get(&part, &value);                                    \
			assert_int_equal(hbt_rd_finish(&part),                 \
			                 HALIBUT_EPROTO);                      \
			fini(&value);                                          \
			free(cut);                                             \
		}                                                              \
	} while (0)

static void nothing_to_free(struct hbt_worker_stats *s)
{
	(void)s;
}

static char *mutable(const char *s)
{
	return (char *)s; /* put does not change it */
}

static struct hbt_endpoint_fields endpoint(void)
{
	return (struct hbt_endpoint_fields){
		.url = mutable("https://tentacle:10933/"),
		.thumbprint = mutable("0123456789ABCDEF"),
		.proxy_host = mutable("proxy"),
		.proxy_port = 8080,
		.proxy_user = mutable("user"),
		.proxy_password = mutable(""),
		.connect_host = NULL,
		.connect_port = 443,
	};
}

static void assert_endpoint(const struct hbt_endpoint_fields *e)
{
	assert_string_equal(e->url, "https://tentacle:10933/");
	assert_string_equal(e->thumbprint, "0123456789ABCDEF");
	assert_string_equal(e->proxy_host, "proxy");
	assert_int_equal(e->proxy_port, 8080);
	assert_string_equal(e->proxy_user, "user");
	assert_string_equal(e->proxy_password, "");
	assert_null(e->connect_host);
	assert_int_equal(e->connect_port, 443);
}

static void an_endpoint_comes_back(void **state)
{
	struct hbt_endpoint_fields in = endpoint(), out;
	struct hbt_rd r;

	(void)state;
	hbt_endpoint_fields_put(&w, &in);
	r = written();
	hbt_endpoint_fields_get(&r, &out);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_endpoint(&out);
	hbt_endpoint_fields_fini(&out);
	assert_null(out.url);
	assert_no_prefix_passes(struct hbt_endpoint_fields,
	                        hbt_endpoint_fields_get,
	                        hbt_endpoint_fields_fini);
}

static void an_endpoint_needs_a_url(void **state)
{
	struct hbt_endpoint_fields in = endpoint(), out;
	struct hbt_rd r;

	(void)state;
	in.url = NULL;
	hbt_endpoint_fields_put(&w, &in);
	r = written();
	hbt_endpoint_fields_get(&r, &out);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_EPROTO);
	hbt_endpoint_fields_fini(&out);
}

static void a_string_with_a_nul_is_not_an_absent_one(void **state)
{
	struct hbt_endpoint_fields out;
	struct hbt_rd r;

	(void)state;
	hbt_wr_cstr(&w, "https://x/");
	hbt_wr_str(&w, "A\0B", 3);
	hbt_wr_cstr(&w, NULL);
	hbt_wr_u16(&w, 0);
	hbt_wr_cstr(&w, NULL);
	hbt_wr_cstr(&w, NULL);
	hbt_wr_cstr(&w, NULL);
	hbt_wr_u16(&w, 0);
	r = written();
	hbt_endpoint_fields_get(&r, &out);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_EPROTO);
	hbt_endpoint_fields_fini(&out);
}

static void a_poll_comes_back(void **state)
{
	struct hbt_poll in = {.subscription = mutable("poll://me/"),
	                      .server = endpoint(),
	                      .connections = 5};
	struct hbt_poll out;
	struct hbt_rd r;

	(void)state;
	hbt_poll_put(&w, &in);
	r = written();
	hbt_poll_get(&r, &out);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_string_equal(out.subscription, "poll://me/");
	assert_endpoint(&out.server);
	assert_int_equal(out.connections, 5);
	hbt_poll_fini(&out);
	assert_no_prefix_passes(struct hbt_poll, hbt_poll_get, hbt_poll_fini);
}

static void a_program_comes_back(void **state)
{
	struct hbt_program in = {.service = mutable("IEcho"),
	                         .command = mutable("echo 'a b'"),
	                         .directory = mutable("/srv"),
	                         .processes = 3,
	                         .timeout_ms = 60000,
	                         .max_memory_bytes = UINT64_C(5) << 32};
	struct hbt_program out;
	struct hbt_rd r;

	(void)state;
	hbt_program_put(&w, &in);
	r = written();
	hbt_program_get(&r, &out);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_string_equal(out.service, "IEcho");
	assert_string_equal(out.command, "echo 'a b'");
	assert_string_equal(out.directory, "/srv");
	assert_int_equal(out.processes, 3);
	assert_int_equal(out.timeout_ms, 60000);
	assert_true(out.max_memory_bytes == UINT64_C(5) << 32);
	hbt_program_fini(&out);
	assert_no_prefix_passes(struct hbt_program, hbt_program_get,
	                        hbt_program_fini);
}

static void an_identity_comes_back(void **state)
{
	const struct hbt_identity_fields in = {mutable("new"), mutable("d"),
	                                       mutable("l"), mutable("a\nb")};
	struct hbt_identity_fields out;
	struct hbt_rd r;

	(void)state;
	hbt_identity_fields_put(&w, &in);
	r = written();
	hbt_identity_fields_get(&r, &out);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_string_equal(out.name, "new");
	assert_string_equal(out.certificate_pem, "d");
	assert_string_equal(out.key_pem, "l");
	assert_string_equal(out.server_names, "a\nb");
	hbt_identity_fields_fini(&out);
	assert_null(out.key_pem);
	assert_no_prefix_passes(struct hbt_identity_fields,
	                        hbt_identity_fields_get,
	                        hbt_identity_fields_fini);
}

static void settings_come_back(void **state)
{
	struct hbt_identity_fields identities[] = {
		{mutable("old"), mutable("c"), mutable("k"), NULL},
		{mutable("new"), mutable("d"), mutable("l"), mutable("a\nb")},
	};
	struct hbt_settings in = {
		.index = 7,
		.node = mutable("node-1"),
		.log_level = 3,
		.certificate_pem = mutable("certificate"),
		.key_pem = mutable("key"),
		.friendly_headers = mutable("A: b\nC: d"),
		.spool_directory = mutable("/var/tmp"),
		.serves_clients = 1,
		.source_prefix_ipv4 = 24,
		.source_prefix_ipv6 = 48,
		.unlimited_sources = mutable("10.0.0.0/8\n::1"),
		.identities = identities,
		.n_identities = 2,
	};
	struct hbt_settings out;
	struct hbt_rd r;

	(void)state;
	hbt_limits_init(&in.limits);
	in.limits.max_message_bytes = (size_t)3 << 32;
	in.limits.polling_reconnect_max_ms = -5;
	in.limits.retry_count_limit = -6;
	in.limits.spool_max_bytes_a_source = 1;
	in.limits.spool_max_bytes_a_thumbprint = INT64_MAX;
	in.limits.spool_max_bytes_a_subscription = 3;
	in.limits.tcp_keep_alive_enabled = false;
	hbt_settings_put(&w, &in);
	r = written();
	hbt_settings_get(&r, &out);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_int_equal(out.index, 7);
	assert_string_equal(out.node, "node-1");
	assert_int_equal(out.log_level, 3);
	assert_string_equal(out.certificate_pem, "certificate");
	assert_string_equal(out.key_pem, "key");
	assert_null(out.friendly_page);
	assert_string_equal(out.friendly_headers, "A: b\nC: d");
	assert_string_equal(out.spool_directory, "/var/tmp");
	assert_int_equal(out.serves_clients, 1);
	assert_int_equal(out.source_prefix_ipv4, 24);
	assert_int_equal(out.source_prefix_ipv6, 48);
	assert_string_equal(out.unlimited_sources, "10.0.0.0/8\n::1");
	assert_int_equal(out.limits.spool_max_bytes_a_source, 1);
	assert_int_equal(out.limits.spool_max_bytes_a_thumbprint, INT64_MAX);
	assert_int_equal(out.limits.spool_max_bytes_a_subscription, 3);
	assert_int_equal(out.n_identities, 2);
	assert_string_equal(out.identities[0].name, "old");
	assert_null(out.identities[0].server_names);
	assert_string_equal(out.identities[1].key_pem, "l");
	assert_string_equal(out.identities[1].server_names, "a\nb");
	assert_int_equal(out.limits.max_message_bytes, (size_t)3 << 32);
	assert_int_equal(out.limits.polling_reconnect_max_ms, -5);
	assert_int_equal(out.limits.retry_count_limit, -6);
	assert_false(out.limits.tcp_keep_alive_enabled);
	assert_true(out.limits
	                    .tcp_client_heartbeat_timeout_should_actually_be_used);
	hbt_settings_fini(&out);
	assert_null(out.key_pem);
	assert_no_prefix_passes(struct hbt_settings, hbt_settings_get,
	                        hbt_settings_fini);
}

/* Every byte of a limit or counter arrives: only padding stays as it was. */
static size_t count_zeros(const void *data, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((const uint8_t *)data)[i] == 0;
	return n;
}

static void no_limit_is_forgotten(void **state)
{
	struct hbt_settings in = {.index = 0}, out;
	struct hbt_rd r;

	(void)state;
	memset(&in.limits, 1, sizeof(in.limits));
	hbt_settings_put(&w, &in);
	r = written();
	hbt_settings_get(&r, &out);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	/* After retry_count_limit 4 bytes, after two booleans 6; the two
	 * counts of keep-alive and connections share a word. */
	assert_int_equal(count_zeros(&out.limits, sizeof(out.limits)), 10);
	hbt_settings_fini(&out);
}

static void counters_come_back(void **state)
{
	struct hbt_worker_stats in, out;
	struct hbt_rd r;

	(void)state;
	memset(&in, 1, sizeof(in));
	in.connections = 5;
	in.spool_bytes = UINT64_MAX;
	hbt_worker_stats_put(&w, &in);
	r = written();
	hbt_worker_stats_get(&r, &out);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_int_equal(out.connections, 5);
	assert_true(out.spool_bytes == UINT64_MAX);
	assert_int_equal(count_zeros(&out, sizeof(out)), 3 + 4);
	assert_no_prefix_passes(struct hbt_worker_stats, hbt_worker_stats_get,
	                        nothing_to_free);
}

static void an_error_comes_back(void **state)
{
	struct halibut_error in = {
		.status = HALIBUT_EINVOCATION,
		.connection_state = HALIBUT_CONNECTION_CONNECTING,
		.message = mutable("it \"broke\""),
		.details = mutable("   at X\r\n   at Y"),
		.type = NULL,
	};
	struct halibut_error out = {.status = HALIBUT_OK};
	struct hbt_rd r;

	(void)state;
	hbt_error_set(&out, HALIBUT_EPROTO, "what was in there before");
	hbt_ipc_error_put(&w, &in);
	r = written();
	hbt_ipc_error_get(&r, &out);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_int_equal(out.status, HALIBUT_EINVOCATION);
	assert_int_equal(out.connection_state, HALIBUT_CONNECTION_CONNECTING);
	assert_string_equal(out.message, "it \"broke\"");
	assert_string_equal(out.details, "   at X\r\n   at Y");
	assert_null(out.type);
	halibut_error_clear(&out);
	assert_no_prefix_passes(struct halibut_error, hbt_ipc_error_get,
	                        halibut_error_clear);
}

static void an_error_without_a_message_gets_one(void **state)
{
	struct halibut_error in = {.status = HALIBUT_EWORKER};
	struct halibut_error out = {.status = HALIBUT_OK};
	struct hbt_rd r;

	(void)state;
	hbt_ipc_error_put(&w, &in);
	r = written();
	hbt_ipc_error_get(&r, &out);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_string_equal(out.message, halibut_strerror(HALIBUT_EWORKER));
	halibut_error_clear(&out);
}

static void an_unknown_status_is_refused(void **state)
{
	struct halibut_error in = {.status = HALIBUT_STATUS_COUNT};
	struct halibut_error out = {.status = HALIBUT_OK};
	struct hbt_rd r;

	(void)state;
	hbt_ipc_error_put(&w, &in);
	r = written();
	hbt_ipc_error_get(&r, &out);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_EPROTO);
}

static struct hbt_message *request(size_t n_streams)
{
	struct hbt_envelope env = {.kind = HBT_MESSAGE_REQUEST};
	uint8_t *deflated = malloc(4);

	env.id = strdup("the-id");
	env.has_activity_id = true;
	memset(env.activity_id.wire, 0xaa, 16);
	env.destination = strdup("poll://there/");
	env.queue_timeout_ms = -1;
	env.service = strdup("IEcho");
	env.method = strdup("SayHello");
	env.n_streams = n_streams;
	if (n_streams > 0)
		env.streams = calloc(n_streams, sizeof(*env.streams));
	for (size_t i = 0; i < n_streams; i++) {
		memset(env.streams[i].id.wire, (int)i + 1, 16);
		env.streams[i].length = (int64_t)i - 1;
	}
	memcpy(deflated, "\0\1\2\3", 4);
	return hbt_message_new(&env, deflated, 4);
}

static void a_parcel_comes_back(void **state)
{
	struct hbt_message *in = request(3), *out;
	struct hbt_rd r;

	(void)state;
	hbt_parcel_put(&w, in);
	r = written();
	out = hbt_parcel_get(&r);
	assert_non_null(out);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_int_equal(out->env.kind, HBT_MESSAGE_REQUEST);
	assert_string_equal(out->env.id, "the-id");
	assert_true(out->env.has_activity_id);
	assert_memory_equal(&out->env.activity_id, &in->env.activity_id, 16);
	assert_string_equal(out->env.destination, "poll://there/");
	assert_null(out->env.destination_thumbprint);
	assert_int_equal(out->env.queue_timeout_ms, -1);
	assert_string_equal(out->env.service, "IEcho");
	assert_string_equal(out->env.method, "SayHello");
	assert_false(out->env.is_error);
	assert_int_equal(out->env.n_streams, 3);
	assert_memory_equal(out->env.streams, in->env.streams,
	                    3 * sizeof(*in->env.streams));
	assert_int_equal(out->deflated_len, 4);
	assert_memory_equal(out->deflated, "\0\1\2\3", 4);
	hbt_message_unref(&in);
	hbt_message_unref(&out);
}

static void the_null_message_is_a_parcel_too(void **state)
{
	struct hbt_message *in = hbt_message_null(), *out;
	struct hbt_rd r;

	(void)state;
	hbt_parcel_put(&w, in);
	r = written();
	out = hbt_parcel_get(&r);
	assert_non_null(out);
	assert_int_equal(out->env.kind, HBT_MESSAGE_NULL);
	assert_int_equal(out->deflated_len, in->deflated_len);
	hbt_message_unref(&in);
	hbt_message_unref(&out);
}

static void half_a_parcel_is_none(void **state)
{
	struct hbt_message *in = request(2);

	(void)state;
	hbt_parcel_put(&w, in);
	assert_int_equal(w.status, HALIBUT_OK);
	for (size_t len = 0; len < w.buf.len; len++) {
		uint8_t *cut = malloc(len + 1);
		struct hbt_rd r = hbt_rd_from(cut, len);

		memcpy(cut, w.buf.data, len);
		assert_null(hbt_parcel_get(&r));
		assert_int_equal(r.status, HALIBUT_EPROTO);
		free(cut);
	}
	hbt_message_unref(&in);
}

static void a_parcel_cannot_claim_streams_that_it_does_not_have(void **state)
{
	struct hbt_message *in = request(0);
	struct hbt_rd r;
	size_t count_at;

	(void)state;
	hbt_parcel_put(&w, in);
	count_at = w.buf.len - 4 - 4 - 4;
	memset(w.buf.data + count_at, 0xff, 4);
	r = written();
	assert_null(hbt_parcel_get(&r));
	hbt_message_unref(&in);
}

static void a_request_without_an_id_is_no_parcel(void **state)
{
	struct hbt_message *in = request(0);
	struct hbt_rd r;

	(void)state;
	free(in->env.id);
	in->env.id = NULL;
	hbt_parcel_put(&w, in);
	r = written();
	assert_null(hbt_parcel_get(&r));
	hbt_message_unref(&in);
}

static void an_unknown_kind_is_no_parcel(void **state)
{
	struct hbt_message *in = request(0);
	struct hbt_rd r;

	(void)state;
	hbt_parcel_put(&w, in);
	w.buf.data[0] = 3;
	r = written();
	assert_null(hbt_parcel_get(&r));
	hbt_message_unref(&in);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_endpoint_comes_back),
		TEST(an_endpoint_needs_a_url),
		TEST(a_string_with_a_nul_is_not_an_absent_one),
		TEST(a_poll_comes_back),
		TEST(a_program_comes_back),
		TEST(an_identity_comes_back),
		TEST(settings_come_back),
		TEST(no_limit_is_forgotten),
		TEST(counters_come_back),
		TEST(an_error_comes_back),
		TEST(an_error_without_a_message_gets_one),
		TEST(an_unknown_status_is_refused),
		TEST(a_parcel_comes_back),
		TEST(the_null_message_is_a_parcel_too),
		TEST(half_a_parcel_is_none),
		TEST(a_parcel_cannot_claim_streams_that_it_does_not_have),
		TEST(a_request_without_an_id_is_no_parcel),
		TEST(an_unknown_kind_is_no_parcel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
