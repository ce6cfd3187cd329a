/* The recommended values, and the safe age of a pooled connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/limits.h"

static void the_defaults_are_the_recommended_set(void **state)
{
	struct hbt_limits l;

	(void)state;
	hbt_limits_init(&l);
	assert_int_equal(l.polling_request_queue_timeout_ms, 120000);
	assert_int_equal(l.polling_queue_wait_timeout_ms, 30000);
	assert_int_equal(l.retry_count_limit, 5);
	assert_int_equal(l.connection_error_retry_timeout_ms, 300000);
	assert_int_equal(l.tcp_client_connect_timeout_ms, 60000);
	assert_int_equal(l.tcp_client_send_timeout_ms, 60000);
	assert_int_equal(l.tcp_client_receive_timeout_ms, 60000);
	assert_int_equal(l.tcp_client_receive_response_timeout_ms, 300000);
	assert_int_equal(l.tcp_client_receive_request_timeout_for_polling_ms,
	                 60000);
	assert_int_equal(l.tcp_listening_next_request_idle_timeout_ms, 600000);
	assert_true(l.tcp_client_heartbeat_timeout_should_actually_be_used);
	assert_true(l.tcp_keep_alive_enabled);
	assert_int_equal(l.max_message_bytes, 134217728);
	assert_int_equal(l.spool_max_bytes_total, 1073741824);
	assert_int_equal(l.spool_max_bytes_a_source, 0);
	assert_int_equal(l.spool_max_bytes_a_thumbprint, 0);
	assert_int_equal(l.spool_max_bytes_a_subscription, 0);
}

static void a_pool_age_below_the_idle_limit_is_kept(void **state)
{
	struct hbt_limits l;

	(void)state;
	hbt_limits_init(&l);
	assert_int_equal(hbt_limits_safe_pool_age_ms(&l), 540000);
}

static void a_pool_age_at_the_idle_limit_keeps_ten_seconds_off(void **state)
{
	struct hbt_limits l;

	(void)state;
	hbt_limits_init(&l);
	l.tcp_client_pooled_connection_timeout_ms = 600000;
	assert_int_equal(hbt_limits_safe_pool_age_ms(&l), 590000);
}

static void an_idle_limit_below_ten_seconds_is_the_pool_age(void **state)
{
	struct hbt_limits l;

	(void)state;
	hbt_limits_init(&l);
	l.tcp_listening_next_request_idle_timeout_ms = 10000;
	assert_int_equal(hbt_limits_safe_pool_age_ms(&l), 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_defaults_are_the_recommended_set),
		cmocka_unit_test(a_pool_age_below_the_idle_limit_is_kept),
		cmocka_unit_test(
			a_pool_age_at_the_idle_limit_keeps_ten_seconds_off),
		cmocka_unit_test(
			an_idle_limit_below_ten_seconds_is_the_pool_age),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
