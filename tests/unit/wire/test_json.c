#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/compose.h"
#include "wire/json.h"

/* The value of JSON text as a document {"0": value}, and its status. */
static int to_bson(const char *text, bool object_slot, bson_t *doc,
                   struct halibut_error *err)
{
	struct hbt_stream_ref streams[2] = {{.length = 5}, {.length = 7}};
	json_error_t error;
	json_t *v = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	int rc;

	if (v == NULL)
		fail_msg("%s: %s", text, error.text);
	for (int i = 0; i < 2; i++)
		memset(streams[i].id.wire, i + 1, 16);
	bson_init(doc);
	rc = hbt_json_append_bson(doc, "0", v, object_slot, streams, 2, err);
	json_decref(v);
	return rc;
}

static char *to_text(const bson_t *doc)
{
	size_t next_stream = 0;
	bson_iter_t it;
	json_t *v;
	char *text;

	assert_true(bson_iter_init(&it, doc) && bson_iter_next(&it));
	assert_int_equal(
		hbt_json_from_bson(&it, &v, &next_stream, NULL, NULL, NULL),
		HALIBUT_OK);
	text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
	json_decref(v);
	assert_non_null(text);
	return text;
}

static void assert_becomes(const char *in, bool object_slot, const char *want)
{
	bson_t doc;
	char *text;

	assert_int_equal(to_bson(in, object_slot, &doc, NULL), HALIBUT_OK);
	text = to_text(&doc);
	assert_string_equal(text, want);
	free(text);
	bson_destroy(&doc);
}

static void values_come_back_as_they_were(void **state)
{
	static const char *const same[] = {
		"null",
		"true",
		"false",
		"\"\"",
		"\"\xc3\xa6\"",
		"0",
		"-1",
		"9223372036854775807",
		"-9223372036854775808",
		"1.5",
		"5.0",
		"[]",
		"{}",
		"[1,[2,[3]],\"x\"]",
		"{\"b\":1,\"a\":{\"c\":[true]}}",
		"{\"$type\":\"Acme.Point, Acme\",\"X\":1,\"Y\":2}",
		"{\"$type\":\"System.String[], mscorlib\",\"$values\":[\"a\"]}",
		"{\"$double\":\"NaN\"}",
		"{\"$double\":\"Infinity\"}",
		"{\"$double\":\"-Infinity\"}",
		"{\"$guid\":\"00112233-4455-6677-8899-aabbccddeeff\"}",
		"{\"$date\":\"2024-01-02T03:04:05.678Z\"}",
		"{\"$date\":\"0001-01-01T00:00:00.000Z\"}",
		"{\"$date\":\"9999-12-31T23:59:59.999Z\"}",
		"{\"$date\":\"1969-12-31T23:59:59.999Z\"}",
		"{\"$date\":\"2000-02-29T12:00:00.000Z\"}",
		"{\"$date\":253402300800000}",
		"{\"$bytes\":\"\"}",
		"{\"$bytes\":\"AQ==\"}",
		"{\"$bytes\":\"AQI=\"}",
		"{\"$bytes\":\"AQID\"}",
		"{\"$bytes\":\"+/+/AA==\"}",
		"{\"\":1,\"a.b\":2,\"$c\":3}",
		"\"a\\u0000b\"",
		"{\"x\":{\"$bytes\":\"AQID\"}}",
		"{\"$dataStream\":0,\"length\":5}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		assert_becomes(same[i], true, same[i]);
		assert_becomes(same[i], false, same[i]);
	}
}

static void other_spellings_become_the_usual_ones(void **state)
{
	(void)state;
	assert_becomes("{\"$int32\":5}", true, "5");
	assert_becomes("{\"$double\":2}", true, "2.0");
	assert_becomes("{\"$guid\":\"00112233445566778899AABBCCDDEEFF\"}", true,
	               "{\"$guid\":\"00112233-4455-6677-8899-aabbccddeeff\"}");
	assert_becomes("{\"$date\":\"2024-01-02T03:04:05+02:00\"}", true,
	               "{\"$date\":\"2024-01-02T01:04:05.000Z\"}");
	assert_becomes("{\"$date\":\"2024-01-02T03:04:05.6789999Z\"}", true,
	               "{\"$date\":\"2024-01-02T03:04:05.678Z\"}");
	assert_becomes("{\"$date\":1704164645678}", true,
	               "{\"$date\":\"2024-01-02T03:04:05.678Z\"}");
	assert_becomes("[{\"$dataStream\":1},{\"$dataStream\":0}]", true,
	               "[{\"$dataStream\":0,\"length\":7},"
	               "{\"$dataStream\":1,\"length\":5}]");
}

static void arguments_have_the_bytes_of_vector_11(void **state)
{
	static const char *const args[] = {
		"\"s\"",
		"{\"$int32\":7}",
		"7",
		"1.5",
		"true",
		"null",
		"{\"$date\":\"2024-01-02T03:04:05.678Z\"}",
		"{\"$guid\":\"00112233-4455-6677-8899-aabbccddeeff\"}",
		"{\"$int32\":5}",
		NULL,
		"1.1",
		"\"00:02:00\"",
		"\"https://example.com/x\"",
		"{\"$type\":\"System.Collections.Generic.List`1[[System.String,"
		" mscorlib]], mscorlib\",\"$values\":[\"a\",\"b\"]}",
		"{\"$type\":\"System.Collections.Generic.Dictionary`2[[System."
		"String, mscorlib],[System.Int32, mscorlib]], mscorlib\",\"k\":"
		"{\"$int32\":1}}",
		"{\"$type\":\"Acme.Contracts.Point, Acme.Contracts\",\"X\":"
		"{\"$int32\":1},\"Y\":{\"$int32\":2}}",
	};
	struct bytes b = spec_vector(11, "bson");
	bson_t want, params = BSON_INITIALIZER;
	char key[8];

	(void)state;
	assert_int_equal(hbt_request_params(b.data, b.len, &want), HALIBUT_OK);
	for (int i = 0; i < 16; i++) {
		const char *arg = args[i];
		json_t *v;

		v = json_loads(arg != NULL ? arg : "{\"$bytes\":\"AQID\"}",
		               JSON_DECODE_ANY, NULL);
		assert_non_null(v);
		snprintf(key, sizeof(key), "%d", i);
		assert_int_equal(hbt_json_append_bson(&params, key, v, true,
		                                      NULL, 0, NULL),
		                 0);
		json_decref(v);
	}
	assert_bytes_equal(bson_get_data(&params), params.len,
	                   bson_get_data(&want), want.len);
	bson_destroy(&params);
	free(b.data);
}

static void results_of_the_vectors_have_their_json(void **state)
{
	(void)state;
	for (int n = 3; n <= 7; n++) {
		struct bytes b = spec_vector(n, "bson");
		char *text = spec_vector_json(n);
		json_t *whole = json_loads(text, 0, NULL), *got, *want;
		size_t next_stream = 0;
		bson_iter_t it;
		bool found;

		want = json_object_get(json_object_get(whole, "Message"),
		                       "result");
		assert_int_equal(
			hbt_response_outcome(b.data, b.len, &it, &found, NULL),
			0);
		assert_int_equal(hbt_json_from_bson(&it, &got, &next_stream,
		                                    NULL, NULL, NULL),
		                 0);
		if (n == 7)
			assert_string_equal(json_string_value(json_object_get(
						    got, "$bytes")),
			                    json_string_value(json_object_get(
						    want, "$value")));
		else
			assert_true(json_equal(got, want));
		json_decref(got);
		json_decref(whole);
		free(text);
		free(b.data);
	}
}

static void a_stream_in_an_object_slot_has_its_type(void **state)
{
	bson_iter_t it, value;
	bson_t doc;

	(void)state;
	assert_int_equal(to_bson("{\"$dataStream\":0}", true, &doc, NULL), 0);
	bson_iter_init(&it, &doc);
	assert_true(bson_iter_find_descendant(&it, "0.$type", &value));
	assert_string_equal(bson_iter_utf8(&value, NULL),
	                    "Halibut.DataStream, Halibut");
	bson_destroy(&doc);
	assert_int_equal(to_bson("[{\"$dataStream\":0}]", true, &doc, NULL), 0);
	bson_iter_init(&it, &doc);
	assert_false(bson_iter_find_descendant(&it, "0.0.$type", &value));
	bson_destroy(&doc);
}

static void bad_values_are_named_by_their_path(void **state)
{
	static const struct {
		const char *text, *message;
	} bad[] = {
		{"{\"$int32\":2147483648}", "0: $int32 wants"},
		{"{\"a\":[0,{\"b\":{\"$int32\":\"x\"}}]}", "0.a[1].b: $int32"},
		{"{\"$double\":\"much\"}", "0: $double wants"},
		{"[{\"$guid\":\"nonsense\"}]", "0[0]: $guid wants"},
		{"{\"$guid\":5}", "0: $guid wants"},
		{"{\"$date\":\"2024-01-02\"}", "0: $date wants"},
		{"{\"$date\":\"2024-13-02T03:04:05Z\"}", "0: $date wants"},
		{"{\"$date\":\"2023-02-29T03:04:05Z\"}", "0: $date wants"},
		{"{\"$date\":\"2024-01-02T03:04:05\"}", "0: $date wants"},
		{"{\"$date\":\"2024-01-02T03:04:05Zz\"}", "0: $date wants"},
		{"{\"$date\":true}", "0: $date wants"},
		{"{\"$bytes\":\"AQI\"}", "0: $bytes wants"},
		{"{\"$bytes\":\"A=I=\"}", "0: $bytes wants"},
		{"{\"$bytes\":\"====\"}", "0: $bytes wants"},
		{"{\"$bytes\":\"AQ!=\"}", "0: $bytes wants"},
		{"{\"$bytes\":[1]}", "0: $bytes wants"},
		{"{\"$dataStream\":2}", "0: $dataStream wants"},
		{"{\"$dataStream\":-1}", "0: $dataStream wants"},
		{"[{\"$dataStream\":1},{\"$dataStream\":1}]", "0[1]: this"},
	};
	struct halibut_error err = {0};
	bson_t doc;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (to_bson(bad[i].text, true, &doc, &err) != HALIBUT_EINVAL)
			fail_msg("%s was accepted", bad[i].text);
		if (strncmp(err.message, bad[i].message,
		            strlen(bad[i].message)) != 0)
			fail_msg("%s: %s", bad[i].text, err.message);
		halibut_error_clear(&err);
		bson_destroy(&doc);
	}
}

static void a_stream_of_an_earlier_argument_is_used_up(void **state)
{
	struct hbt_stream_ref ref = {.length = 1};
	struct halibut_error err = {0};
	json_t *v = json_loads("[{\"$dataStream\":0}]", 0, NULL);
	bson_t doc = BSON_INITIALIZER;

	(void)state;
	assert_int_equal(
		hbt_json_append_bson(&doc, "0", v, true, &ref, 1, &err),
		HALIBUT_OK);
	assert_int_equal(
		hbt_json_append_bson(&doc, "1", v, true, &ref, 1, &err),
		HALIBUT_EINVAL);
	assert_non_null(strstr(err.message, "1[0]: this DataStream is used"));
	halibut_error_clear(&err);
	json_decref(v);
	bson_destroy(&doc);
}

/* depth arrays inside one another. */
static char *nested(size_t depth)
{
	char *text = calloc(1, 2 * depth + 1);

	memset(text, '[', depth);
	memset(text + depth, ']', depth);
	return text;
}

static void what_is_as_deep_as_accepted_fits_a_message(void **state)
{
	struct halibut_error err = {0};
	struct hbt_request_parts parts = {
		.id = "1", .service = "S", .method = "M"};
	struct hbt_envelope env;
	bson_t params, doc;
	char *text = nested(61);

	(void)state;
	assert_int_equal(to_bson(text, true, &params, &err), HALIBUT_OK);
	free(text);
	parts.params = &params;
	assert_int_equal(hbt_compose_request(&parts, &doc), HALIBUT_OK);
	assert_int_equal(
		hbt_envelope_read(bson_get_data(&doc), doc.len, 0, &env, &err),
		HALIBUT_OK);
	hbt_envelope_fini(&env);
	bson_destroy(&doc);
	bson_destroy(&params);
	text = nested(62);
	assert_int_equal(to_bson(text, true, &params, &err), HALIBUT_EINVAL);
	assert_non_null(strstr(err.message, "too deep"));
	halibut_error_clear(&err);
	bson_destroy(&params);
	free(text);
}

static void bson_nested_too_deep_has_no_json(void **state)
{
	struct halibut_error err = {0};
	bson_t doc = BSON_INITIALIZER;
	size_t next_stream = 0;
	bson_iter_t it;
	json_t *v;

	(void)state;
	for (int i = 0; i < 70; i++) {
		bson_t outer = BSON_INITIALIZER;

		bson_append_document(&outer, "x", -1, &doc);
		bson_destroy(&doc);
		bson_steal(&doc, &outer);
	}
	bson_iter_init(&it, &doc);
	assert_true(bson_iter_next(&it));
	assert_int_equal(
		hbt_json_from_bson(&it, &v, &next_stream, NULL, NULL, &err),
		HALIBUT_EPROTO);
	assert_null(v);
	halibut_error_clear(&err);
	bson_destroy(&doc);
}

static void broken_utf8_is_mended(void **state)
{
	bson_t doc = BSON_INITIALIZER, d;
	char *text;

	(void)state;
	bson_append_document_begin(&doc, "0", -1, &d);
	bson_append_utf8(&d, "k\xff", -1, "a\xc3(\xed\xa0\x80z", -1);
	bson_append_document_end(&doc, &d);
	text = to_text(&doc);
	assert_string_equal(text, "{\"k\xef\xbf\xbd\":\"a\xef\xbf\xbd(\xef\xbf"
	                          "\xbd\xef\xbf\xbd\xef\xbf\xbdz\"}");
	free(text);
	bson_destroy(&doc);
}

static json_t *name_stream(void *arg, size_t index,
                           const struct hbt_stream_ref *ref)
{
	return json_sprintf("%s%zu:%d", (const char *)arg, index,
	                    (int)ref->length);
}

static void a_caller_says_what_stands_for_a_stream(void **state)
{
	size_t next_stream = 3;
	bson_iter_t it;
	bson_t doc;
	json_t *v;

	(void)state;
	assert_int_equal(to_bson("[{\"$dataStream\":1},{\"$dataStream\":0}]",
	                         true, &doc, NULL),
	                 HALIBUT_OK);
	bson_iter_init(&it, &doc);
	bson_iter_next(&it);
	assert_int_equal(hbt_json_from_bson(&it, &v, &next_stream, name_stream,
	                                    (void *)"s", NULL),
	                 HALIBUT_OK);
	assert_string_equal(json_string_value(json_array_get(v, 0)), "s3:7");
	assert_string_equal(json_string_value(json_array_get(v, 1)), "s4:5");
	assert_int_equal(next_stream, 5);
	json_decref(v);
	bson_destroy(&doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_come_back_as_they_were),
		cmocka_unit_test(other_spellings_become_the_usual_ones),
		cmocka_unit_test(arguments_have_the_bytes_of_vector_11),
		cmocka_unit_test(results_of_the_vectors_have_their_json),
		cmocka_unit_test(a_stream_in_an_object_slot_has_its_type),
		cmocka_unit_test(bad_values_are_named_by_their_path),
		cmocka_unit_test(a_stream_of_an_earlier_argument_is_used_up),
		cmocka_unit_test(what_is_as_deep_as_accepted_fits_a_message),
		cmocka_unit_test(bson_nested_too_deep_has_no_json),
		cmocka_unit_test(broken_utf8_is_mended),
		cmocka_unit_test(a_caller_says_what_stands_for_a_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
