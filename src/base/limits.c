/* The defaults of all timeouts and limits. runtime-behaviour 2.1 and 2.2 */
#include "base/limits.h"

#define SECONDS(n) ((int64_t)(n)*1000)
#define MINUTES(n) ((int64_t)(n)*60 * 1000)
#define KIB(n) ((int64_t)(n)*1024)
#define MIB(n) ((int64_t)(n)*1024 * 1024)

/* How much earlier than the service the client drops a pooled connection. */
#define POOL_MARGIN_MS SECONDS(10)

void hbt_limits_init(struct hbt_limits *limits)
{
	*limits = (struct hbt_limits){
		.polling_request_queue_timeout_ms = MINUTES(2),
		.polling_queue_wait_timeout_ms = SECONDS(30),
		.retry_listening_sleep_interval_ms = SECONDS(1),
		.retry_count_limit = 5,
		.connection_error_retry_timeout_ms = MINUTES(5),
		.tcp_client_connect_timeout_ms = SECONDS(60),
		.tcp_client_send_timeout_ms = MINUTES(1),
		.tcp_client_receive_timeout_ms = MINUTES(1),
		.tcp_client_receive_response_timeout_ms = MINUTES(5),
		/* The peer's polling queue wait timeout and 30 s. */
		.tcp_client_receive_request_timeout_for_polling_ms =
			SECONDS(60),
		.tcp_listening_next_request_idle_timeout_ms = MINUTES(10),
		.tcp_client_pooled_connection_timeout_ms = MINUTES(9),
		.tcp_client_heartbeat_send_timeout_ms = SECONDS(60),
		.tcp_client_heartbeat_receive_timeout_ms = SECONDS(60),
		.tcp_client_heartbeat_timeout_should_actually_be_used = true,
		.tcp_keep_alive_enabled = true,
		.tcp_keep_alive_time_ms = SECONDS(15),
		.tcp_keep_alive_interval_ms = SECONDS(5),
		.tcp_keep_alive_retry_count = 10,
		.maximum_active_tcp_connections_per_polling_subscription = 0,
		.polling_reconnect_min_ms = SECONDS(5),
		.polling_reconnect_max_ms = MINUTES(2),

		.handshake_total_timeout_ms = SECONDS(60),
		.max_handshakes = HBT_HANDSHAKES_A_LOOP,
		.max_message_bytes = (size_t)MIB(128),
		.max_streams_per_message = 4096,
		.spool_max_bytes_a_stream_section = MIB(64),
		.spool_max_bytes_total = MIB(1024),
		.spool_memory_bytes = (size_t)KIB(256),
	};
}

int64_t hbt_limits_safe_pool_age_ms(const struct hbt_limits *limits)
{
	int64_t pooled = limits->tcp_client_pooled_connection_timeout_ms;
	int64_t idle = limits->tcp_listening_next_request_idle_timeout_ms;

	if (pooled < idle)
		return pooled;
	return idle > POOL_MARGIN_MS ? idle - POOL_MARGIN_MS : idle;
}
