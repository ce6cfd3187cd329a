/* Envelopes, compression, and messages as a whole. */
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bson/bson.h>

#include "wire/message.h"

#define REQUEST "Halibut.Transport.Protocol.RequestMessage, Halibut"
#define RESPONSE "Halibut.Transport.Protocol.ResponseMessage, Halibut"

static int read_env(const bson_t *doc, struct hbt_envelope *env)
{
	struct halibut_error err = {0};
	int rc = hbt_envelope_read(bson_get_data(doc), doc->len, 8, env, &err);

	if (rc != HALIBUT_OK)
		assert_non_null(err.message);
	halibut_error_clear(&err);
	return rc;
}

/* Reads {name: message}; both documents are destroyed. */
static int read_as(const char *name, bson_t *message, struct hbt_envelope *env)
{
	bson_t root = BSON_INITIALIZER;
	int rc;

	bson_append_document(&root, name, -1, message);
	rc = read_env(&root, env);
	bson_destroy(&root);
	bson_destroy(message);
	return rc;
}

static int read_message(bson_t *message, struct hbt_envelope *env)
{
	return read_as("Message", message, env);
}

static void the_vectors_have_their_envelopes(void **state)
{
	static const enum hbt_message_kind kinds[] = {
		HBT_MESSAGE_NULL,     HBT_MESSAGE_RESPONSE,
		HBT_MESSAGE_RESPONSE, HBT_MESSAGE_RESPONSE,
		HBT_MESSAGE_RESPONSE, HBT_MESSAGE_RESPONSE,
		HBT_MESSAGE_RESPONSE, HBT_MESSAGE_RESPONSE,
		HBT_MESSAGE_REQUEST,  HBT_MESSAGE_REQUEST,
		HBT_MESSAGE_REQUEST,  HBT_MESSAGE_RESPONSE,
		HBT_MESSAGE_REQUEST,
	};
	struct hbt_envelope env;

	(void)state;
	for (int n = 1; n <= 13; n++) {
		struct bytes b = spec_vector(n, "bson");

		assert_int_equal(
			hbt_envelope_read(b.data, b.len, 8, &env, NULL),
			HALIBUT_OK);
		assert_int_equal(env.kind, kinds[n - 1]);
		assert_int_equal(env.is_error, n == 8 || n == 12);
		assert_int_equal(env.n_streams, n == 13);
		assert_int_equal(env.has_activity_id,
		                 env.kind == HBT_MESSAGE_REQUEST);
		assert_int_equal(env.id != NULL, n != 1);
		hbt_envelope_fini(&env);
		free(b.data);
	}
}

static void a_request_with_endpoint_names_its_destination(void **state)
{
	struct bytes b = spec_vector(10, "bson");
	struct hbt_envelope env;
	char guid[HBT_GUID_TEXT];

	(void)state;
	assert_int_equal(hbt_envelope_read(b.data, b.len, 8, &env, NULL),
	                 HALIBUT_OK);
	assert_string_equal(env.destination, "https://localhost:10933/");
	assert_string_equal(env.destination_thumbprint,
	                    "36F35047CE8B000CF4C671819A2DD1AFCDE3403D");
	assert_int_equal(env.queue_timeout_ms, 120000);
	assert_string_equal(env.service, "IEchoService");
	assert_string_equal(env.method, "SayHello");
	hbt_guid_format(&env.activity_id, guid);
	assert_string_equal(guid, "00112233-4455-6677-8899-aabbccddeeff");
	hbt_envelope_fini(&env);
	free(b.data);
}

static void a_plain_string_is_no_message(void **state)
{
	struct bytes b = spec_vector(14, "bson");
	struct hbt_envelope env;

	(void)state;
	assert_int_equal(hbt_envelope_read(b.data, b.len, 8, &env, NULL),
	                 HALIBUT_EPROTO);
	free(b.data);
}

static void names_match_without_case_and_exactly_first(void **state)
{
	struct hbt_envelope env;
	bson_t *m = BCON_NEW("$type", REQUEST, "id", "exact", "ID", "other",
	                     "SERVICE", "S", "MeThOd", "M");
	bson_t copy;

	(void)state;
	bson_copy_to(m, &copy);
	bson_destroy(m);
	assert_int_equal(read_as("mESSAGE", &copy, &env), HALIBUT_OK);
	assert_string_equal(env.id, "exact");
	assert_string_equal(env.service, "S");
	assert_string_equal(env.method, "M");
	hbt_envelope_fini(&env);
}

#define DOC(...)                                                               \
	__extension__({                                                        \
		bson_t *made = BCON_NEW(__VA_ARGS__);                          \
		bson_t *copied = bson_copy(made);                              \
		bson_destroy(made);                                            \
		copied;                                                        \
	})

static void assert_kind(bson_t *m, int kind)
{
	struct hbt_envelope env;
	int rc = read_message(m, &env);

	if (kind < 0) {
		assert_int_equal(rc, HALIBUT_EPROTO);
		assert_null(env.id);
		return;
	}
	assert_int_equal(rc, HALIBUT_OK);
	assert_int_equal(env.kind, kind);
	hbt_envelope_fini(&env);
}

static void
the_kind_is_told_by_members_when_no_type_stands_in_front(void **state)
{
	(void)state;
	assert_kind(DOC("id", "1", "service", "S", "method", "M"),
	            HBT_MESSAGE_REQUEST);
	assert_kind(DOC("id", "1", "error", BCON_NULL, "result", BCON_NULL),
	            HBT_MESSAGE_RESPONSE);
	assert_kind(DOC("id", "1", "$type", REQUEST, "result", BCON_NULL),
	            HBT_MESSAGE_RESPONSE);
	assert_kind(DOC("id", "1"), -1);
	assert_kind(DOC("$id", "9", "$type", RESPONSE, "id", "1"),
	            HBT_MESSAGE_RESPONSE);
	assert_kind(DOC("$type", RESPONSE ", Version=1.0.0.0", "id", "1"),
	            HBT_MESSAGE_RESPONSE);
}

static void another_type_in_front_is_refused(void **state)
{
	(void)state;
	assert_kind(DOC("$type", "Evil.Type, Evil", "id", "1", "service", "S"),
	            -1);
	assert_kind(DOC("$type", REQUEST "X", "id", "1", "service", "S"), -1);
	assert_kind(DOC("$type", BCON_NULL, "id", "1", "service", "S"), -1);
	assert_kind(DOC("$type", BCON_INT32(5), "id", "1", "service", "S"), -1);
}

static void requests_that_the_original_refuses_are_refused(void **state)
{
	(void)state;
	assert_kind(DOC("$type", REQUEST, "service", "S"), -1);
	assert_kind(DOC("$type", REQUEST, "id", BCON_NULL), -1);
	assert_kind(DOC("$type", REQUEST, "id", "1", "endpoint", "{", "}"), -1);
	assert_kind(DOC("$type", REQUEST, "id", "1", "endpoint", "{", "BaseUri",
	                "relative", "}"),
	            -1);
	assert_kind(DOC("$type", REQUEST, "id", "1", "endpoint", "{", "BaseUri",
	                BCON_INT32(1), "}"),
	            -1);
	assert_kind(DOC("$type", REQUEST, "id", "1", "endpoint", "https://x"),
	            -1);
	assert_kind(DOC("$type", REQUEST, "id", "1", "endpoint", "{", "BaseUri",
	                "https://x/", "PollingRequestQueueTimeout",
	                BCON_INT32(5), "}"),
	            -1);
	assert_kind(DOC("$type", REQUEST, "id", "1", "params", "none"), -1);
	assert_kind(DOC("$type", REQUEST, "id", "1", "activityId", "nonsense"),
	            -1);
	assert_kind(DOC("$type", REQUEST, "id", "1", "service", BCON_BOOL(1)),
	            -1);
	assert_kind(DOC("$type", RESPONSE, "id", "1", "error", "text"), -1);
}

static void missing_parts_are_absent(void **state)
{
	struct hbt_envelope env;

	(void)state;
	assert_int_equal(
		read_message(DOC("$type", REQUEST, "id", "1", "endpoint",
	                         BCON_NULL, "activityId", BCON_NULL, "params",
	                         BCON_NULL, "service", BCON_NULL),
	                     &env),
		HALIBUT_OK);
	assert_false(env.has_activity_id);
	assert_null(env.destination);
	assert_null(env.service);
	assert_null(env.method);
	assert_int_equal(env.queue_timeout_ms, -1);
	hbt_envelope_fini(&env);
	assert_int_equal(read_message(DOC("$type", RESPONSE), &env),
	                 HALIBUT_OK);
	assert_string_equal(env.id, "");
	hbt_envelope_fini(&env);
}

static void the_endpoint_of_old_releases_is_read(void **state)
{
	struct hbt_envelope env;

	(void)state;
	assert_int_equal(
		read_message(DOC("$type", REQUEST, "id", "1", "endpoint", "{",
	                         "baseURI", "poll://abc", "Proxy", BCON_NULL,
	                         "}"),
	                     &env),
		HALIBUT_OK);
	assert_string_equal(env.destination, "poll://abc");
	assert_null(env.destination_thumbprint);
	hbt_envelope_fini(&env);
}

static void an_id_is_kept_byte_for_byte(void **state)
{
	struct hbt_envelope env;
	bson_t *m = bson_new();

	(void)state;
	bson_append_utf8(m, "$type", -1, RESPONSE, -1);
	bson_append_utf8(m, "id", -1, "\xff\xfe \xc3", -1);
	assert_int_equal(read_message(m, &env), HALIBUT_OK);
	assert_string_equal(env.id, "\xff\xfe \xc3");
	hbt_envelope_fini(&env);
	m = bson_new();
	bson_append_utf8(m, "$type", -1, RESPONSE, -1);
	bson_append_utf8(m, "id", -1, "a\0b", 3);
	assert_int_equal(read_message(m, &env), HALIBUT_EPROTO);
}

static void scalar_ids_have_the_text_that_the_original_gives_them(void **state)
{
	struct hbt_envelope env;

	(void)state;
	assert_int_equal(
		read_message(DOC("$type", RESPONSE, "id", BCON_INT64(-5)),
	                     &env),
		HALIBUT_OK);
	assert_string_equal(env.id, "-5");
	hbt_envelope_fini(&env);
	assert_int_equal(
		read_message(DOC("$type", RESPONSE, "id", BCON_BOOL(true)),
	                     &env),
		HALIBUT_OK);
	assert_string_equal(env.id, "True");
	hbt_envelope_fini(&env);
}

/* {id, length} under key, with or without $type and a member too many. */
static void append_stream(bson_t *to, const char *key, const char *type,
                          uint8_t n, bool one_more)
{
	uint8_t id[16];
	bson_t d;

	memset(id, n, sizeof(id));
	bson_append_document_begin(to, key, -1, &d);
	if (type != NULL)
		bson_append_utf8(&d, "$type", -1, type, -1);
	bson_append_binary(&d, "id", -1, BSON_SUBTYPE_UUID, id, 16);
	bson_append_int64(&d, "length", -1, n * 100);
	if (one_more)
		bson_append_null(&d, "more", -1);
	bson_append_document_end(to, &d);
}

static void streams_are_found_by_shape_at_any_depth(void **state)
{
	struct hbt_envelope env;
	bson_t *m = bson_new();
	bson_t params, object, list;

	(void)state;
	bson_append_utf8(m, "$type", -1, REQUEST, -1);
	bson_append_utf8(m, "id", -1, "1", -1);
	append_stream(m, "unknown", NULL, 9, false); /* no reader counts it */
	append_stream(m, "result", NULL, 9, false);
	bson_append_array_begin(m, "params", -1, &params);
	append_stream(&params, "0", "Halibut.DataStream, Halibut", 1, false);
	append_stream(&params, "1", "Other.Type, Other", 9, false);
	bson_append_document_begin(&params, "2", -1, &object);
	append_stream(&object, "Stream", NULL, 2, false);
	append_stream(&object, "NoStream", NULL, 9, true);
	bson_append_array_begin(&object, "List", -1, &list);
	append_stream(&list, "0", NULL, 3, false);
	append_stream(&list, "1", NULL, 1, false);
	bson_append_array_end(&object, &list);
	bson_append_document_end(&params, &object);
	bson_append_array_end(m, &params);
	assert_int_equal(read_message(m, &env), HALIBUT_OK);
	assert_int_equal(env.n_streams, 4);
	assert_int_equal(env.streams[0].length, 100);
	assert_int_equal(env.streams[1].length, 200);
	assert_int_equal(env.streams[2].length, 300);
	assert_int_equal(env.streams[3].length, 100);
	assert_int_equal(env.streams[2].id.wire[15], 3);
	hbt_envelope_fini(&env);
}

static void a_stream_may_be_the_result(void **state)
{
	struct hbt_envelope env;
	bson_t *m = bson_new();

	(void)state;
	bson_append_utf8(m, "id", -1, "1", -1);
	append_stream(m, "result", "Halibut.DataStream, Halibut", 1, false);
	assert_int_equal(read_message(m, &env), HALIBUT_OK);
	assert_int_equal(env.n_streams, 1);
	hbt_envelope_fini(&env);
}

static void more_streams_than_allowed_are_refused(void **state)
{
	struct hbt_envelope env;
	char key[16];
	bson_t params;

	(void)state;
	for (int n = 8; n <= 9; n++) {
		bson_t *m = bson_new();

		bson_append_utf8(m, "id", -1, "1", -1);
		bson_append_utf8(m, "service", -1, "S", -1);
		bson_append_array_begin(m, "params", -1, &params);
		for (int i = 0; i < n; i++) {
			snprintf(key, sizeof(key), "%d", i);
			append_stream(&params, key, NULL, (uint8_t)i, false);
		}
		bson_append_array_end(m, &params);
		assert_int_equal(read_message(m, &env),
		                 n == 8 ? HALIBUT_OK : HALIBUT_ELIMIT);
		hbt_envelope_fini(&env);
	}
}

/* A document in which depth containers stand inside one another. */
static struct bytes nested(const char *top, int depth)
{
	struct bytes b = {calloc(1, 8 * (size_t)depth + 64), 0};
	size_t name = strlen(top) + 1;
	uint32_t len = (uint32_t)(5 + 1 + name + 8 * ((uint32_t)depth - 2) + 5);

	b.len = len;
	memcpy(b.data, &len, 4);
	b.data[4] = 3;
	memcpy(b.data + 5, top, name);
	for (size_t at = 5 + name; depth >= 2; depth--, at += 7) {
		len = (uint32_t)(8 * (depth - 2) + 5);
		memcpy(b.data + at, &len, 4);
		if (depth > 2)
			memcpy(b.data + at + 4, "\3x", 2);
	}
	return b;
}

static void nesting_deeper_than_64_is_refused(void **state)
{
	struct halibut_error err = {0};
	struct hbt_envelope env;

	(void)state;
	for (int depth = 64; depth <= 65; depth++) {
		struct bytes b = nested("unknown", depth);

		assert_int_equal(
			hbt_envelope_read(b.data, b.len, 8, &env, &err),
			depth == 64 ? HALIBUT_OK : HALIBUT_EPROTO);
		free(b.data);
	}
	assert_non_null(strstr(err.message, "deeper than 64"));
	halibut_error_clear(&err);
}

static void an_absurd_depth_does_no_harm(void **state)
{
	struct bytes b = nested("Message", 1000000);
	struct hbt_envelope env;

	(void)state;
	assert_int_equal(hbt_envelope_read(b.data, b.len, 8, &env, NULL),
	                 HALIBUT_EPROTO);
	free(b.data);
}

static void types_that_the_original_aborts_on_are_refused(void **state)
{
	struct hbt_envelope env;
	bson_t *m = bson_new();

	(void)state;
	bson_append_maxkey(m, "x", -1);
	assert_int_equal(read_env(m, &env), HALIBUT_EPROTO);
	bson_reinit(m);
	bson_append_minkey(m, "x", -1);
	assert_int_equal(read_env(m, &env), HALIBUT_EPROTO);
	bson_reinit(m);
	bson_append_regex(m, "x", -1, "a", "b");
	bson_append_oid(m, "y", -1, &(bson_oid_t){{0}});
	bson_append_code_with_scope(m, "z", -1, "code", m);
	bson_append_timestamp(m, "t", -1, 1, 2);
	bson_append_undefined(m, "u", -1);
	bson_append_symbol(m, "s", -1, "symbol", -1);
	assert_int_equal(read_env(m, &env), HALIBUT_OK);
	bson_destroy(m);
}

static void a_document_with_two_messages_is_refused(void **state)
{
	struct hbt_envelope env;
	bson_t *m = BCON_NEW("Message", BCON_NULL, "message", BCON_NULL);

	(void)state;
	assert_int_equal(read_env(m, &env), HALIBUT_EPROTO);
	bson_destroy(m);
}

static void what_the_original_deflates_is_inflated(void **state)
{
	static const int with_deflated[] = {1, 2, 9, 13, 14};
	uint8_t *out;
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(with_deflated) / sizeof(int); i++) {
		struct bytes bson = spec_vector(with_deflated[i], "bson");
		struct bytes deflated =
			spec_vector(with_deflated[i], "deflated");

		assert_int_equal(hbt_inflate(deflated.data, deflated.len, 1000,
		                             &out, &len),
		                 HALIBUT_OK);
		assert_bytes_equal(out, len, bson.data, bson.len);
		free(out);
		free(bson.data);
		free(deflated.data);
	}
}

/* Up to one packet it is stored, five bytes longer; beyond it is shorter. */
static void deflating_pays_or_is_not_done(void **state)
{
	static const char phrase[] = "Repeating phrase that compresses. ";
	struct hbt_deflater *d = hbt_deflater_new();
	uint8_t in[HBT_STORED_MAX + 1], *out, *back;
	size_t len, back_len;

	(void)state;
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)phrase[i % (sizeof(phrase) - 1)];
	for (uint16_t n = 5; n <= sizeof(in); n++) {
		memcpy(in, (uint8_t[]){(uint8_t)n, (uint8_t)(n >> 8), 0, 0}, 4);
		assert_int_equal(hbt_deflate(d, in, n, &out, &len),
		                 HALIBUT_OK);
		if (n <= HBT_STORED_MAX)
			assert_int_equal(len, n + 5);
		else
			assert_true(len < 100);
		assert_int_equal(
			hbt_inflate(out, len, sizeof(in), &back, &back_len),
			HALIBUT_OK);
		assert_bytes_equal(back, back_len, in, n);
		free(out);
		free(back);
	}
	hbt_deflater_free(&d);
}

static void inflating_takes_exactly_one_message(void **state)
{
	struct bytes b = spec_vector(9, "deflated");
	uint8_t *more = malloc(b.len + 1), *out;
	size_t len;

	(void)state;
	memcpy(more, b.data, b.len);
	assert_int_equal(hbt_inflate(more, b.len - 1, 1000, &out, &len),
	                 HALIBUT_EPROTO);
	assert_int_equal(hbt_inflate(more, b.len + 1, 1000, &out, &len),
	                 HALIBUT_EPROTO);
	assert_int_equal(hbt_inflate(more, b.len, 274, &out, &len),
	                 HALIBUT_ELIMIT);
	assert_null(out);
	assert_int_equal(hbt_inflate(more, b.len, 275, &out, &len), HALIBUT_OK);
	free(out);
	free(more);
	free(b.data);
}

static void a_large_message_goes_there_and_back(void **state)
{
	struct hbt_deflater *d = hbt_deflater_new();
	struct halibut_error err = {0};
	size_t size = 3000000, len;
	char *text = malloc(size + 1);
	struct hbt_message *m;
	uint8_t *bson;
	uint32_t seed = 1;
	bson_t doc;

	(void)state;
	for (size_t i = 0; i < size; i++) {
		seed = seed * 1664525 + 1013904223;
		text[i] = (char)('a' + (seed >> 28));
	}
	text[size] = '\0';
	bson_init(&doc);
	BCON_APPEND(&doc, "Message", "{", "$type", RESPONSE, "id", "1",
	            "result", text, "}");
	assert_int_equal(hbt_message_from_bson(d, bson_get_data(&doc), doc.len,
	                                       &m, &err),
	                 HALIBUT_OK);
	assert_string_equal(m->env.id, "1");
	assert_int_equal(hbt_message_to_bson(m, doc.len - 1, &bson, &len),
	                 HALIBUT_ELIMIT);
	assert_int_equal(hbt_message_to_bson(m, doc.len, &bson, &len),
	                 HALIBUT_OK);
	assert_bytes_equal(bson, len, bson_get_data(&doc), doc.len);
	free(bson);
	bson_destroy(&doc);
	free(text);
	hbt_message_unref(&m);
	hbt_deflater_free(&d);
}

static void the_null_message_is_shared_and_outlives_its_users(void **state)
{
	struct hbt_message *a = hbt_message_null(), *b = hbt_message_null();
	struct bytes want = spec_vector(1, "deflated");

	(void)state;
	assert_ptr_equal(a, b);
	hbt_message_unref(&a);
	hbt_message_unref(&b);
	assert_null(b);
	a = hbt_message_null();
	assert_int_equal(a->env.kind, HBT_MESSAGE_NULL);
	assert_bytes_equal(a->deflated, a->deflated_len, want.data, want.len);
	hbt_message_unref(&a);
	free(want.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vectors_have_their_envelopes),
		cmocka_unit_test(a_request_with_endpoint_names_its_destination),
		cmocka_unit_test(a_plain_string_is_no_message),
		cmocka_unit_test(names_match_without_case_and_exactly_first),
		cmocka_unit_test(
			the_kind_is_told_by_members_when_no_type_stands_in_front),
		cmocka_unit_test(another_type_in_front_is_refused),
		cmocka_unit_test(
			requests_that_the_original_refuses_are_refused),
		cmocka_unit_test(missing_parts_are_absent),
		cmocka_unit_test(the_endpoint_of_old_releases_is_read),
		cmocka_unit_test(an_id_is_kept_byte_for_byte),
		cmocka_unit_test(
			scalar_ids_have_the_text_that_the_original_gives_them),
		cmocka_unit_test(streams_are_found_by_shape_at_any_depth),
		cmocka_unit_test(a_stream_may_be_the_result),
		cmocka_unit_test(more_streams_than_allowed_are_refused),
		cmocka_unit_test(nesting_deeper_than_64_is_refused),
		cmocka_unit_test(an_absurd_depth_does_no_harm),
		cmocka_unit_test(types_that_the_original_aborts_on_are_refused),
		cmocka_unit_test(a_document_with_two_messages_is_refused),
		cmocka_unit_test(what_the_original_deflates_is_inflated),
		cmocka_unit_test(deflating_pays_or_is_not_done),
		cmocka_unit_test(inflating_takes_exactly_one_message),
		cmocka_unit_test(a_large_message_goes_there_and_back),
		cmocka_unit_test(
			the_null_message_is_shared_and_outlives_its_users),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
