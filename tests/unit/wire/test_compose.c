/* Documents that we build, and what both ends read in documents. */
#include "vectors.h"

#include <stdlib.h>
#include <string.h>

#include "wire/compose.h"

static struct hbt_limits limits;

static struct hbt_guid activity(void)
{
	struct hbt_guid g;

	assert_int_equal(
		hbt_guid_parse("00112233-4455-6677-8899-aabbccddeeff", &g), 0);
	return g;
}

static void assert_vector(int n, bson_t *doc)
{
	struct bytes want = spec_vector(n, "bson");

	assert_bytes_equal(bson_get_data(doc), doc->len, want.data, want.len);
	free(want.data);
	bson_destroy(doc);
}

/* The request of vectors 9 and 10. */
static int say_hello(const char *destination, bson_t *doc)
{
	struct hbt_guid g = activity();
	char *id = hbt_request_id("IEchoService", "SayHello", 1, &g);
	bson_t *params = BCON_NEW("0", "World");
	struct hbt_request_parts parts = {
		.id = id,
		.activity_id = g,
		.destination = destination,
		.thumbprint = "36F35047CE8B000CF4C671819A2DD1AFCDE3403D",
		.limits = &limits,
		.service = "IEchoService",
		.method = "SayHello",
		.params = params,
	};
	int rc = hbt_compose_request(&parts, doc);

	free(id);
	bson_destroy(params);
	return rc;
}

static void a_request_without_endpoint_is_vector_9(void **state)
{
	bson_t doc;

	(void)state;
	assert_int_equal(say_hello(NULL, &doc), HALIBUT_OK);
	assert_vector(9, &doc);
}

static void a_request_with_endpoint_is_vector_10(void **state)
{
	bson_t doc;

	(void)state;
	assert_int_equal(say_hello("HTTPS://LocalHost:10933/path?x", &doc),
	                 HALIBUT_OK);
	assert_vector(10, &doc);
}

static void a_destination_that_is_not_absolute_is_refused(void **state)
{
	bson_t doc;

	(void)state;
	assert_int_equal(say_hello("not-absolute", &doc), HALIBUT_EINVAL);
	bson_destroy(&doc);
}

static void a_web_socket_endpoint_says_so_and_keeps_its_path(void **state)
{
	struct hbt_envelope env;
	bson_iter_t it, found;
	bson_t doc;

	(void)state;
	assert_int_equal(say_hello("wss://host:8433/Halibut", &doc), 0);
	assert_int_equal(
		hbt_envelope_read(bson_get_data(&doc), doc.len, 8, &env, NULL),
		HALIBUT_OK);
	assert_string_equal(env.destination, "wss://host:8433/Halibut");
	hbt_envelope_fini(&env);
	bson_iter_init(&it, &doc);
	assert_true(bson_iter_find_descendant(
		&it, "Message.endpoint.IsWebSocketEndpoint", &found));
	assert_true(bson_iter_bool(&found));
	bson_destroy(&doc);
}

static void responses_are_vectors_2_to_7(void **state)
{
	static const int vectors[] = {2, 3, 4, 5, 6, 7};
	static const char long_id[] = "IEchoService::SayHelloAsync[1] / "
				      "00112233-4455-6677-8899-aabbccddeeff";

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		int n = vectors[i];
		struct bytes b = spec_vector(n, "bson");
		bson_iter_t it;
		bson_t result = BSON_INITIALIZER, doc;
		bool found;

		assert_int_equal(
			hbt_response_outcome(b.data, b.len, &it, &found, NULL),
			0);
		assert_true(found);
		bson_append_iter(&result, "any", -1, &it);
		assert_int_equal(hbt_compose_response(n == 4 ? long_id : "r1",
		                                      n == 2 ? NULL : &result,
		                                      &doc),
		                 HALIBUT_OK);
		assert_vector(n, &doc);
		bson_destroy(&result);
		free(b.data);
	}
}

static void an_unknown_service_is_vector_8(void **state)
{
	struct halibut_error err = {0};
	bson_t doc;

	(void)state;
	hbt_error_set(&err, HALIBUT_ESERVICE_NOT_FOUND,
	              "Service not found: IFoo");
	assert_int_equal(hbt_compose_error("r1", &err, &doc), HALIBUT_OK);
	assert_vector(8, &doc);
	halibut_error_clear(&err);
}

/* Composes err and reads it back as a client does. */
static int there_and_back(struct halibut_error *err, struct halibut_error *out)
{
	bson_iter_t it;
	bool found;
	bson_t doc;
	int rc;

	assert_int_equal(hbt_compose_error("r1", err, &doc), HALIBUT_OK);
	halibut_error_clear(err);
	rc = hbt_response_outcome(bson_get_data(&doc), doc.len, &it, &found,
	                          out);
	assert_false(found);
	bson_destroy(&doc);
	assert_int_equal(rc, out->status);
	return rc;
}

static void every_class_of_errors_comes_back_as_itself(void **state)
{
	static const int same[] = {
		HALIBUT_ESERVICE_NOT_FOUND,    HALIBUT_EMETHOD_NOT_FOUND,
		HALIBUT_EAMBIGUOUS_METHOD,     HALIBUT_ENO_MATCHING,
		HALIBUT_EINVOCATION,           HALIBUT_EREMOTE,
		HALIBUT_ECONNECTING_CANCELLED, HALIBUT_ETRANSFERRING_CANCELLED,
	};
	struct halibut_error err = {0}, out = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		hbt_error_set(&err, same[i], "It went wrong");
		assert_int_equal(there_and_back(&err, &out), same[i]);
		assert_int_equal(
			strncmp(out.message,
		                "It went wrong\n\nServer exception: \n", 34),
			0);
		halibut_error_clear(&out);
	}
}

static void every_other_status_is_a_generic_error_to_the_caller(void **state)
{
	struct halibut_error err = {0}, out = {0};

	(void)state;
	for (int status = HALIBUT_ENOMEM; status < HALIBUT_EREMOTE; status++) {
		if (status == HALIBUT_ECONNECTING_CANCELLED ||
		    status == HALIBUT_ETRANSFERRING_CANCELLED)
			continue;
		hbt_error_set(&err, status, "It went wrong");
		assert_int_equal(there_and_back(&err, &out), HALIBUT_EREMOTE);
		assert_string_equal(out.type, "Halibut.HalibutClientException");
		halibut_error_clear(&out);
	}
}

static void network_failures_are_recognised_by_the_caller(void **state)
{
	static const struct {
		int status;
		const char *phrase;
	} cases[] = {
		{HALIBUT_ETIMEOUT, "Unable to read data from the transport "
	                           "connection: Operation timed out."},
		{HALIBUT_ECLOSED, "System.IO.EndOfStreamException"},
		{HALIBUT_ECONNECT_TIMEOUT,
	         "System.Net.Sockets.SocketException (110): Connection timed "
	         "out"},
		{HALIBUT_EREFUSED, "A connection attempt failed because the "
	                           "connected party did not properly respond"},
		{HALIBUT_EPROTO,
	         "An existing connection was forcibly closed by "
	         "the remote host."},
	};
	struct halibut_error err = {0}, out = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		hbt_error_set(&err, cases[i].status, "It went wrong");
		there_and_back(&err, &out);
		assert_non_null(strstr(out.details, cases[i].phrase));
		assert_int_equal(halibut_error_is_network(&out), HALIBUT_YES);
		halibut_error_clear(&out);
	}
	hbt_error_set(&err, HALIBUT_ENOT_COLLECTED, "Nobody came");
	there_and_back(&err, &out);
	assert_int_equal(halibut_error_is_network(&out), HALIBUT_UNKNOWN);
	halibut_error_clear(&out);
}

static void details_of_a_handler_get_the_text_that_marks_them(void **state)
{
	struct halibut_error err = {0}, out = {0};

	(void)state;
	hbt_error_set(&err, HALIBUT_EINVOCATION, "Boom");
	err.details = strdup("at line 5");
	assert_int_equal(there_and_back(&err, &out), HALIBUT_EINVOCATION);
	assert_null(out.type);
	assert_non_null(strstr(out.details, "at line 5"));
	halibut_error_clear(&out);
}

static void an_error_passed_on_does_not_grow(void **state)
{
	struct halibut_error err = {0}, once = {0}, twice = {0};

	(void)state;
	hbt_error_set(&err, HALIBUT_EINVOCATION, "Boom");
	err.details = strdup("System.Reflection.TargetInvocationException: "
	                     "Exception has been thrown by the target of an "
	                     "invocation. and more");
	there_and_back(&err, &once);
	hbt_error_copy(&err, &once);
	there_and_back(&err, &twice);
	assert_string_equal(once.message, twice.message);
	assert_string_equal(once.details, twice.details);
	halibut_error_clear(&once);
	halibut_error_clear(&twice);
}

/* The status of an error with these three texts, each of which may be NULL. */
static int mapped(const char *message, const char *details, const char *type)
{
	struct halibut_error out = {0};
	bson_t doc = BSON_INITIALIZER, m, e;
	bson_iter_t it;
	bool found;
	int rc;

	bson_append_document_begin(&doc, "Message", -1, &m);
	bson_append_utf8(&m, "id", -1, "1", -1);
	bson_append_document_begin(&m, "error", -1, &e);
	if (message != NULL)
		bson_append_utf8(&e, "message", -1, message, -1);
	if (details != NULL)
		bson_append_utf8(&e, "details", -1, details, -1);
	else
		bson_append_null(&e, "details", -1);
	if (type != NULL)
		bson_append_utf8(&e, "HalibutErrorType", -1, type, -1);
	bson_append_document_end(&m, &e);
	bson_append_document_end(&doc, &m);
	rc = hbt_response_outcome(bson_get_data(&doc), doc.len, &it, &found,
	                          &out);
	halibut_error_clear(&out);
	bson_destroy(&doc);
	return rc;
}

static void errors_are_mapped_by_the_first_rule_that_applies(void **state)
{
	static const char target[] =
		"System.Reflection.TargetInvocationException: Exception has "
		"been thrown by the target of an invocation. more";

	(void)state;
	assert_int_equal(mapped("Service not found: X", target,
	                        "Halibut.Exceptions."
	                        "MethodNotFoundHalibutClientException"),
	                 HALIBUT_EMETHOD_NOT_FOUND);
	assert_int_equal(mapped("Service not found: X", target, NULL),
	                 HALIBUT_ESERVICE_NOT_FOUND);
	assert_int_equal(mapped("Service A::B not found", NULL, NULL),
	                 HALIBUT_EMETHOD_NOT_FOUND);
	assert_int_equal(mapped("x",
	                        "System.Reflection."
	                        "AmbiguousMatchException: y",
	                        NULL),
	                 HALIBUT_EAMBIGUOUS_METHOD);
	assert_int_equal(mapped("x", target, NULL), HALIBUT_EINVOCATION);
	assert_int_equal(mapped("x", target, ""), HALIBUT_EINVOCATION);
	assert_int_equal(mapped("x", target, "No.Such.Type"),
	                 HALIBUT_EINVOCATION);
	assert_int_equal(mapped("x", "y", "Halibut.HalibutClientException"),
	                 HALIBUT_EREMOTE);
	assert_int_equal(mapped("x", NULL, NULL), HALIBUT_EREMOTE);
	assert_int_equal(mapped(NULL, NULL, NULL), HALIBUT_EREMOTE);
	assert_int_equal(mapped("Service ", NULL, NULL), HALIBUT_EREMOTE);
}

static void a_recorded_error_with_unknown_elements_is_understood(void **state)
{
	struct bytes b = spec_vector(12, "bson");
	struct halibut_error out = {0};
	bson_iter_t it;
	bool found;

	(void)state;
	assert_int_equal(hbt_response_outcome(b.data, b.len, &it, &found, &out),
	                 HALIBUT_EMETHOD_NOT_FOUND);
	halibut_error_clear(&out);
	free(b.data);
}

static void a_null_message_is_no_response(void **state)
{
	struct bytes b = spec_vector(1, "bson");
	struct halibut_error out = {0};
	bson_iter_t it;
	bool found;

	(void)state;
	assert_int_equal(hbt_response_outcome(b.data, b.len, &it, &found, &out),
	                 HALIBUT_ENO_RESPONSE);
	assert_string_equal(out.message,
	                    "No response was received from the endpoint within "
	                    "the allowed time.");
	halibut_error_clear(&out);
	free(b.data);
}

static void params_are_found_or_empty(void **state)
{
	struct bytes b = spec_vector(11, "bson");
	bson_t *other, params;

	(void)state;
	assert_int_equal(hbt_request_params(b.data, b.len, &params), 0);
	assert_int_equal(bson_count_keys(&params), 16);
	free(b.data);
	other = BCON_NEW("Message", "{", "PARAMS", BCON_NULL, "}");
	assert_int_equal(
		hbt_request_params(bson_get_data(other), other->len, &params),
		HALIBUT_OK);
	assert_int_equal(bson_count_keys(&params), 0);
	bson_destroy(other);
	other = BCON_NEW("Message", "{", "params", "text", "}");
	assert_int_equal(
		hbt_request_params(bson_get_data(other), other->len, &params),
		HALIBUT_EPROTO);
	assert_int_equal(bson_count_keys(&params), 0);
	bson_destroy(other);
	assert_int_equal(hbt_request_params((const uint8_t *)"x", 1, &params),
	                 HALIBUT_EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_without_endpoint_is_vector_9),
		cmocka_unit_test(a_request_with_endpoint_is_vector_10),
		cmocka_unit_test(a_destination_that_is_not_absolute_is_refused),
		cmocka_unit_test(
			a_web_socket_endpoint_says_so_and_keeps_its_path),
		cmocka_unit_test(responses_are_vectors_2_to_7),
		cmocka_unit_test(an_unknown_service_is_vector_8),
		cmocka_unit_test(every_class_of_errors_comes_back_as_itself),
		cmocka_unit_test(
			every_other_status_is_a_generic_error_to_the_caller),
		cmocka_unit_test(network_failures_are_recognised_by_the_caller),
		cmocka_unit_test(
			details_of_a_handler_get_the_text_that_marks_them),
		cmocka_unit_test(an_error_passed_on_does_not_grow),
		cmocka_unit_test(
			errors_are_mapped_by_the_first_rule_that_applies),
		cmocka_unit_test(
			a_recorded_error_with_unknown_elements_is_understood),
		cmocka_unit_test(a_null_message_is_no_response),
		cmocka_unit_test(params_are_found_or_empty),
	};

	hbt_limits_init(&limits);
	/* As vector 10 has them. */
	limits.polling_request_queue_timeout_ms = 120000;
	limits.retry_listening_sleep_interval_ms = 1000;
	limits.retry_count_limit = 5;
	limits.connection_error_retry_timeout_ms = 300000;
	limits.tcp_client_connect_timeout_ms = 60000;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
