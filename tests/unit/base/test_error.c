/* Status texts, building errors, and the classifiers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static void every_status_has_its_own_name_and_text(void **state)
{
	(void)state;
	for (int i = 0; i < HALIBUT_STATUS_COUNT; i++) {
		assert_non_null(halibut_strerror(i));
		for (int k = 0; k < i; k++) {
			assert_string_not_equal(halibut_status_name(i),
			                        halibut_status_name(k));
			assert_string_not_equal(halibut_strerror(i),
			                        halibut_strerror(k));
		}
	}
}

static void a_number_that_is_no_status_has_a_text_too(void **state)
{
	(void)state;
	assert_string_equal(halibut_strerror(-1), "unknown status");
	assert_string_equal(halibut_strerror(HALIBUT_STATUS_COUNT),
	                    "unknown status");
	assert_string_equal(halibut_status_name(-1), "UNKNOWN");
}

static void setting_returns_the_status_and_formats_the_message(void **state)
{
	struct halibut_error err = {0};

	(void)state;
	assert_int_equal(hbt_error_set(&err, HALIBUT_EREFUSED, "%s:%d refused",
	                               "host", 10933),
	                 HALIBUT_EREFUSED);
	assert_int_equal(err.status, HALIBUT_EREFUSED);
	assert_string_equal(err.message, "host:10933 refused");
	halibut_error_clear(&err);
	assert_null(err.message);
	assert_int_equal(err.status, HALIBUT_OK);
}

static void setting_replaces_what_was_there(void **state)
{
	struct halibut_error err = {
		.status = HALIBUT_EREMOTE,
		.connection_state = HALIBUT_CONNECTION_CONNECTING,
		.message = strdup("old"),
		.details = strdup("stack"),
		.type = strdup("Type"),
	};

	(void)state;
	hbt_error_set(&err, HALIBUT_EPROTO, "after %s", err.message);
	assert_string_equal(err.message, "after old");
	assert_null(err.details);
	assert_null(err.type);
	assert_int_equal(err.connection_state, HALIBUT_CONNECTION_UNKNOWN);
	halibut_error_clear(&err);
}

static void nobody_has_to_pass_an_error(void **state)
{
	(void)state;
	assert_int_equal(hbt_error_set(NULL, HALIBUT_ETLS, "x"), HALIBUT_ETLS);
	hbt_error_prefix(NULL, "x");
	halibut_error_clear(NULL);
}

static void a_prefix_stands_in_front_of_the_message(void **state)
{
	struct halibut_error err = {0};

	(void)state;
	hbt_error_prefix(&err, "nothing yet: ");
	assert_null(err.message);
	hbt_error_set(&err, HALIBUT_ETLS, "handshake failed");
	hbt_error_prefix(&err, "https://%s/: ", "host");
	assert_string_equal(err.message, "https://host/: handshake failed");
	halibut_error_clear(&err);
}

static void a_copy_shares_no_memory(void **state)
{
	struct halibut_error a = {
		.status = HALIBUT_EINVOCATION,
		.connection_state = HALIBUT_CONNECTION_CONNECTING,
		.message = strdup("m"),
		.details = strdup("d"),
		.type = strdup("t"),
	};
	struct halibut_error b = {0};

	(void)state;
	hbt_error_set(&b, HALIBUT_EPROTO, "goes away");
	hbt_error_copy(&b, &a);
	halibut_error_clear(&a);
	assert_int_equal(b.status, HALIBUT_EINVOCATION);
	assert_int_equal(b.connection_state, HALIBUT_CONNECTION_CONNECTING);
	assert_string_equal(b.message, "m");
	assert_string_equal(b.details, "d");
	assert_string_equal(b.type, "t");
	halibut_error_clear(&b);
}

static void copying_onto_itself_changes_nothing(void **state)
{
	struct halibut_error a = {0};

	(void)state;
	hbt_error_set(&a, HALIBUT_EPROTO, "m");
	hbt_error_copy(&a, &a);
	hbt_error_move(&a, &a);
	assert_string_equal(a.message, "m");
	halibut_error_clear(&a);
}

static void a_move_leaves_nothing_behind(void **state)
{
	struct halibut_error a = {0}, b = {0};

	(void)state;
	hbt_error_set(&b, HALIBUT_EPROTO, "goes away");
	hbt_error_set(&a, HALIBUT_ETIMEOUT, "late");
	hbt_error_move(&b, &a);
	assert_int_equal(a.status, HALIBUT_OK);
	assert_null(a.message);
	assert_int_equal(b.status, HALIBUT_ETIMEOUT);
	assert_string_equal(b.message, "late");
	halibut_error_clear(&b);
}

static enum halibut_answer network(int status, const char *details)
{
	struct halibut_error err = {
		.status = (enum halibut_status)status,
		.message = (char *)(uintptr_t) "m",
		.details = (char *)(uintptr_t)details,
	};

	return halibut_error_is_network(&err);
}

static enum halibut_answer retryable(int status, const char *type,
                                     const char *message)
{
	struct halibut_error err = {
		.status = (enum halibut_status)status,
		.message = (char *)(uintptr_t)message,
		.type = (char *)(uintptr_t)type,
	};

	return halibut_error_is_retryable(&err);
}

static void a_failed_connection_is_a_network_error(void **state)
{
	(void)state;
	assert_int_equal(network(HALIBUT_EREFUSED, NULL), HALIBUT_YES);
	assert_int_equal(network(HALIBUT_ERESOLVE, NULL), HALIBUT_YES);
	assert_int_equal(network(HALIBUT_ECONNECT, NULL), HALIBUT_YES);
	assert_int_equal(network(HALIBUT_ECONNECT_TIMEOUT, NULL), HALIBUT_YES);
	assert_int_equal(network(HALIBUT_EUNTRUSTED, NULL), HALIBUT_YES);
	assert_int_equal(network(HALIBUT_ETIMEOUT, NULL), HALIBUT_YES);
	assert_int_equal(network(HALIBUT_ECLOSED, NULL), HALIBUT_YES);
	assert_int_equal(network(HALIBUT_EPROTO, NULL), HALIBUT_YES);
}

static void an_answer_of_the_service_is_no_network_error(void **state)
{
	(void)state;
	assert_int_equal(network(HALIBUT_ESERVICE_NOT_FOUND, NULL), HALIBUT_NO);
	assert_int_equal(network(HALIBUT_EMETHOD_NOT_FOUND, NULL), HALIBUT_NO);
	assert_int_equal(network(HALIBUT_EAMBIGUOUS_METHOD, NULL), HALIBUT_NO);
	assert_int_equal(network(HALIBUT_ENO_MATCHING, NULL), HALIBUT_NO);
	assert_int_equal(network(HALIBUT_EINVOCATION,
	                         "System.IO.EndOfStreamException"),
	                 HALIBUT_NO);
}

static void a_wrong_certificate_is_no_network_error(void **state)
{
	(void)state;
	assert_int_equal(network(HALIBUT_ECERTIFICATE, NULL), HALIBUT_NO);
	assert_int_equal(retryable(HALIBUT_ECERTIFICATE, NULL, "m"),
	                 HALIBUT_NO);
}

static void an_uncollected_request_is_unknown(void **state)
{
	(void)state;
	assert_int_equal(network(HALIBUT_ENOT_COLLECTED, NULL),
	                 HALIBUT_UNKNOWN);
	assert_int_equal(retryable(HALIBUT_ENOT_COLLECTED, NULL, "m"),
	                 HALIBUT_UNKNOWN);
}

static void a_remote_error_is_classified_by_its_text(void **state)
{
	(void)state;
	assert_int_equal(network(HALIBUT_EREMOTE, NULL), HALIBUT_UNKNOWN);
	assert_int_equal(network(HALIBUT_EREMOTE, "at X()\n---> "
	                         "System.IO.EndOfStreamException: gone"),
	                 HALIBUT_YES);
	assert_int_equal(network(HALIBUT_EREMOTE, "Unable to write data to the "
	                         "transport connection: Operation timed out."),
	                 HALIBUT_YES);
}

static void a_missing_file_outweighs_a_network_phrase(void **state)
{
	(void)state;
	assert_int_equal(network(HALIBUT_EREMOTE,
	                         "System.IO.FileNotFoundException "
	                         "System.IO.EndOfStreamException"),
	                 HALIBUT_NO);
}

static void a_network_error_may_be_retried(void **state)
{
	(void)state;
	assert_int_equal(retryable(HALIBUT_EREFUSED, NULL, "m"), HALIBUT_YES);
}

static void a_queue_that_lost_its_data_may_be_retried(void **state)
{
	(void)state;
	assert_int_equal(
		retryable(HALIBUT_EREMOTE,
	                  "Halibut.Queue.Redis.Exceptions."
	                  "RedisDataLossHalibutClientException",
	                  "m"),
		HALIBUT_YES);
	assert_int_equal(
		retryable(HALIBUT_EREMOTE, NULL,
	                  "The node processing the request did not send a "
	                  "heartbeat for long enough, and so the node is now "
	                  "assumed to be offline."),
		HALIBUT_YES);
	assert_int_equal(retryable(HALIBUT_EREMOTE, NULL, "no"),
	                 HALIBUT_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_status_has_its_own_name_and_text),
		cmocka_unit_test(a_number_that_is_no_status_has_a_text_too),
		cmocka_unit_test(
			setting_returns_the_status_and_formats_the_message),
		cmocka_unit_test(setting_replaces_what_was_there),
		cmocka_unit_test(nobody_has_to_pass_an_error),
		cmocka_unit_test(a_prefix_stands_in_front_of_the_message),
		cmocka_unit_test(a_copy_shares_no_memory),
		cmocka_unit_test(copying_onto_itself_changes_nothing),
		cmocka_unit_test(a_move_leaves_nothing_behind),
		cmocka_unit_test(a_failed_connection_is_a_network_error),
		cmocka_unit_test(an_answer_of_the_service_is_no_network_error),
		cmocka_unit_test(a_wrong_certificate_is_no_network_error),
		cmocka_unit_test(an_uncollected_request_is_unknown),
		cmocka_unit_test(a_remote_error_is_classified_by_its_text),
		cmocka_unit_test(a_missing_file_outweighs_a_network_phrase),
		cmocka_unit_test(a_network_error_may_be_retried),
		cmocka_unit_test(a_queue_that_lost_its_data_may_be_retried),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
