/* Messages to lines of JSON-RPC and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <bson/bson.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "convert.h"
#include "wire/compose.h"
#include "wire/json.h"

#define MAX_BYTES ((size_t)1 << 20)
#define REQUEST_ID "IEcho::SayAsync[1] / x"

/* A request with the arguments of a JSON array. */
static struct hbt_message *request(const char *params_text,
                                   const struct hbt_stream_ref *refs,
                                   size_t n_refs)
{
	struct hbt_request_parts parts = {
		.id = REQUEST_ID, .service = "IEcho", .method = "Say"};
	struct hbt_deflater *d = hbt_deflater_new();
	json_t *values = json_loads(params_text, 0, NULL);
	bson_t params = BSON_INITIALIZER;
	struct hbt_message *m = NULL;
	json_t *value;
	bson_t doc;
	size_t i;

	assert_int_equal(hbt_guid_parse("00112233-4455-6677-8899-aabbccddeeff",
	                                &parts.activity_id),
	                 HALIBUT_OK);
	json_array_foreach(values, i, value)
	{
		char key[24];

		snprintf(key, sizeof(key), "%zu", i);
		assert_int_equal(hbt_json_append_bson(&params, key, value,
		                                      true, refs, n_refs,
		                                      NULL),
		                 HALIBUT_OK);
	}
	parts.params = &params;
	assert_int_equal(hbt_compose_request(&parts, &doc), HALIBUT_OK);
	assert_int_equal(hbt_message_from_bson(d, bson_get_data(&doc), doc.len,
	                                       &m, NULL),
	                 HALIBUT_OK);
	bson_destroy(&doc);
	bson_destroy(&params);
	json_decref(values);
	hbt_deflater_free(&d);
	return m;
}

static void check_line(const struct hbt_svc_request *r, const char *expected)
{
	struct halibut_error err = {0};
	char *line;
	size_t len;

	assert_int_equal(hbt_svc_request_line(r, &line, &len, &err),
	                 HALIBUT_OK);
	assert_int_equal(len, strlen(expected));
	assert_memory_equal(line, expected, len);
	free(line);
}

static void a_request_is_one_line_with_its_surroundings(void **state)
{
	struct hbt_message *m = request("[\"a\\nb\", 7, null, {\"x\": [true]}]",
	                                NULL, 0);
	struct hbt_svc_request r = {.message = m,
	                            .directory = "/d",
	                            .id = 9,
	                            .max_message_bytes = MAX_BYTES};

	(void)state;
	check_line(&r, "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"Say\","
	               "\"params\":[\"a\\nb\",7,null,{\"x\":[true]}],"
	               "\"service\":\"IEcho\",\"activityId\":"
	               "\"00112233-4455-6677-8899-aabbccddeeff\","
	               "\"requestId\":\"" REQUEST_ID "\","
	               "\"directory\":\"/d\"}\n");
	hbt_message_unref(&m);
}

static void a_stream_is_named_by_its_file(void **state)
{
	struct hbt_stream_ref refs[2] = {
		{.id = hbt_guid_new(), .length = 3},
		{.id = hbt_guid_new(), .length = 4},
	};
	/* Not in document order: the id decides. */
	struct hbt_svc_file files[2] = {
		{.path = (char *)"/d/one", .id = refs[1].id, .length = 44},
		{.path = (char *)"/d/two", .id = refs[0].id, .length = 33},
	};
	struct hbt_message *m = request(
		"[{\"$dataStream\": 0}, [{\"$dataStream\": 1}]]", refs, 2);
	struct hbt_svc_request r = {.message = m,
	                            .files = files,
	                            .directory = "/d",
	                            .id = 1,
	                            .max_message_bytes = MAX_BYTES};
	struct halibut_error err = {0};
	char *line;
	size_t len;

	(void)state;
	assert_int_equal(m->env.n_streams, 2);
	assert_int_equal(hbt_svc_request_line(&r, &line, &len, &err),
	                 HALIBUT_OK);
	line[len - 1] = '\0';
	assert_non_null(strstr(
		line, "[{\"$dataStream\":{\"path\":\"/d/two\",\"length\":33}},"
	              "[{\"$dataStream\":{\"path\":\"/d/one\",\"length\":44}}"
	              "]]"));
	free(line);
	hbt_message_unref(&m);
}

static void a_request_over_the_limit_is_an_error(void **state)
{
	struct hbt_message *m = request("[]", NULL, 0);
	struct hbt_svc_request r = {
		.message = m, .directory = "/d", .max_message_bytes = 20};
	struct halibut_error err = {0};
	char *line;
	size_t len;

	(void)state;
	assert_int_equal(hbt_svc_request_line(&r, &line, &len, &err),
	                 HALIBUT_ELIMIT);
	assert_null(line);
	assert_non_null(err.message);
	halibut_error_clear(&err);
	hbt_message_unref(&m);
}

/* Answers */

struct read {
	struct hbt_svc_answer answer;
	struct halibut_error err;
	int rc;
};

static struct read read_answer(const char *line, const char *directory)
{
	struct read r = {0};

	r.rc = hbt_svc_answer_read(line, strlen(line), 9, REQUEST_ID,
	                           directory, &r.answer, &r.err);
	if (r.rc != HALIBUT_OK) {
		assert_non_null(r.err.message);
		assert_null(r.answer.document);
		assert_int_equal(r.answer.n_streams, 0);
	}
	return r;
}

static void read_fini(struct read *r)
{
	hbt_svc_answer_fini(&r->answer);
	halibut_error_clear(&r->err);
}

static void a_result_becomes_a_response(void **state)
{
	struct read r = read_answer("{\"id\": 9, \"result\": \"hi\"}", "/");
	struct halibut_error err = {0};
	bson_iter_t result;
	bool found;

	(void)state;
	assert_int_equal(r.rc, HALIBUT_OK);
	assert_int_equal(hbt_response_outcome(r.answer.document, r.answer.len,
	                                      &result, &found, &err),
	                 HALIBUT_OK);
	assert_true(found);
	assert_string_equal(bson_iter_utf8(&result, NULL), "hi");
	read_fini(&r);
}

static void a_null_result_is_a_result(void **state)
{
	struct read r = read_answer("{\"id\": 9, \"result\": null}", "/");

	(void)state;
	assert_int_equal(r.rc, HALIBUT_OK);
	read_fini(&r);
}

static void what_is_no_answer_to_the_call_is_told_apart(void **state)
{
	static const char *const lines[] = {
		"",
		"hello",
		"[]",
		"7",
		"{}",
		"{\"id\": 9}",
		"{\"id\": 9, \"error\": \"text\"}",
		"{\"id\": 8, \"result\": 1}",
		"{\"id\": \"9\", \"result\": 1}",
		"{\"id\": null, \"result\": 1}",
		"{\"result\": 1}",
		"{\"id\": 9, \"result\": 1} x",
		"{\"id\": 9, \"result\": 99999999999999999999}",
		"{\"id\": 9, \"result\": \"\xff\"}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		struct read r = read_answer(lines[i], "/");

		assert_int_equal(r.rc, HALIBUT_EPROTO);
		read_fini(&r);
	}
}

static void an_error_is_the_services_own(void **state)
{
	struct read r = read_answer(
		"{\"id\": 9, \"error\": {\"code\": 5, \"message\": \"no\","
		"\"data\": \"at line 3\"}}",
		"/");

	(void)state;
	assert_int_equal(r.rc, HALIBUT_EINVOCATION);
	assert_string_equal(r.err.message, "no");
	assert_int_equal(strncmp(r.err.details,
	                         "System.Reflection.TargetInvocationException"
	                         ": Exception has been thrown by the target "
	                         "of an invocation.",
	                         strlen("System.Reflection.Target")),
	                 0);
	assert_non_null(strstr(r.err.details, "at line 3"));
	read_fini(&r);
}

static void an_unknown_method_has_its_own_status(void **state)
{
	struct read r = read_answer(
		"{\"id\": 9, \"error\": {\"code\": -32601, \"message\": "
		"\"no such\"}}",
		"/");

	(void)state;
	assert_int_equal(r.rc, HALIBUT_EMETHOD_NOT_FOUND);
	read_fini(&r);
}

static void streams_are_found_at_any_depth_in_document_order(void **state)
{
	struct read r = read_answer(
		"{\"id\": 9, \"result\": {\"$type\": \"A, B\", \"X\": [1, "
		"{\"$dataStream\": {\"text\": \"one\"}}], \"Y\": "
		"{\"$dataStream\": {\"base64\": \"AAE=\"}}}}",
		"/");

	(void)state;
	assert_int_equal(r.rc, HALIBUT_OK);
	assert_int_equal(r.answer.n_streams, 2);
	assert_int_equal(r.answer.streams[0].length, 3);
	assert_memory_equal(r.answer.streams[0].data, "one", 3);
	assert_int_equal(r.answer.streams[1].length, 2);
	assert_memory_equal(r.answer.streams[1].data, "\0\1", 2);
	read_fini(&r);
}

static void a_relative_path_is_in_the_directory_of_the_call(void **state)
{
	char directory[] = "/tmp/halibut-test-XXXXXX";
	char path[64];
	struct read r;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/x", directory);
	assert_non_null(f = fopen(path, "w"));
	fputs("12345", f);
	fclose(f);
	r = read_answer("{\"id\": 9, \"result\": {\"$dataStream\": "
	                "{\"path\": \"x\"}}}",
	                directory);
	assert_int_equal(r.rc, HALIBUT_OK);
	assert_int_equal(r.answer.streams[0].length, 5);
	assert_true(r.answer.streams[0].fd >= 0);
	read_fini(&r);
	unlink(path);
	rmdir(directory);
}

static void too_many_streams_are_an_error(void **state)
{
	const char *one = "{\"$dataStream\": {\"text\": \"\"}},";
	char *line = calloc(1, 400 * strlen(one));
	struct read r;

	(void)state;
	strcpy(line, "{\"id\": 9, \"result\": [");
	for (int i = 0; i < 300; i++)
		strcat(line, one);
	strcat(line, "0]}");
	r = read_answer(line, "/");
	assert_int_equal(r.rc, HALIBUT_EINVOCATION);
	assert_non_null(strstr(r.err.message, "256"));
	read_fini(&r);
	free(line);
}

static void base64_is_decoded_strictly(void **state)
{
	static const char *const bad[] = {"A",    "AA",   "AAA",  "A===",
	                                  "====", "AA=A", "A A=", "AAA\n",
	                                  "AA==AAAA"};
	uint8_t out[16];
	size_t n;

	(void)state;
	assert_true(hbt_base64_decode("", 0, out, &n));
	assert_int_equal(n, 0);
	assert_true(hbt_base64_decode("+/9hYg==", 8, out, &n));
	assert_int_equal(n, 4);
	assert_memory_equal(out, "\xfb\xff"
	                         "ab",
	                    4);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(hbt_base64_decode(bad[i], strlen(bad[i]), out,
		                                   &n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_one_line_with_its_surroundings),
		cmocka_unit_test(a_stream_is_named_by_its_file),
		cmocka_unit_test(a_request_over_the_limit_is_an_error),
		cmocka_unit_test(a_result_becomes_a_response),
		cmocka_unit_test(a_null_result_is_a_result),
		cmocka_unit_test(what_is_no_answer_to_the_call_is_told_apart),
		cmocka_unit_test(an_error_is_the_services_own),
		cmocka_unit_test(an_unknown_method_has_its_own_status),
		cmocka_unit_test(
			streams_are_found_at_any_depth_in_document_order),
		cmocka_unit_test(
			a_relative_path_is_in_the_directory_of_the_call),
		cmocka_unit_test(too_many_streams_are_an_error),
		cmocka_unit_test(base64_is_decoded_strictly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
