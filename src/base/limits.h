/*
 * The timeouts and limits of a runtime, by the names they have in the
 * specification: runtime-behaviour 2.1. Milliseconds and bytes.
 */
#ifndef HBT_BASE_LIMITS_H
#define HBT_BASE_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* TLS handshakes that one event loop works on at the same time. */
#define HBT_HANDSHAKES_A_LOOP 64

struct hbt_limits {
	int64_t polling_request_queue_timeout_ms;
	int64_t polling_queue_wait_timeout_ms;
	int64_t retry_listening_sleep_interval_ms;
	int retry_count_limit;
	int64_t connection_error_retry_timeout_ms;
	int64_t tcp_client_connect_timeout_ms;
	int64_t tcp_client_send_timeout_ms;
	int64_t tcp_client_receive_timeout_ms;
	int64_t tcp_client_receive_response_timeout_ms;
	int64_t tcp_client_receive_request_timeout_for_polling_ms;
	int64_t tcp_listening_next_request_idle_timeout_ms;
	int64_t tcp_client_pooled_connection_timeout_ms;
	int64_t tcp_client_heartbeat_send_timeout_ms;
	int64_t tcp_client_heartbeat_receive_timeout_ms;
	bool tcp_client_heartbeat_timeout_should_actually_be_used;
	bool tcp_keep_alive_enabled;
	int64_t tcp_keep_alive_time_ms;
	int64_t tcp_keep_alive_interval_ms;
	int tcp_keep_alive_retry_count;
	int maximum_active_tcp_connections_per_polling_subscription; /* 0: none */
	int64_t polling_reconnect_min_ms;  /* 5 s */
	int64_t polling_reconnect_max_ms;  /* 2 min */

	/* Ours. */
	int64_t handshake_total_timeout_ms; /* accept to identification */
	int max_handshakes; /* of accepted connections, at work; 0: any */
	int max_handshakes_per_second; /* that begin; 0: any */
	size_t max_message_bytes;  /* inflated BSON; ELIMIT above */
	size_t max_streams_per_message;
	int64_t spool_max_bytes_a_stream_section; /* waits before a taker */
	int64_t spool_max_bytes_total;            /* of a process */
	/* Of a process, from or to one; 0: any. */
	int64_t spool_max_bytes_a_source;
	int64_t spool_max_bytes_a_thumbprint;
	int64_t spool_max_bytes_a_subscription;
	size_t spool_memory_bytes; /* up to here in a memfd, then a file */
};

/* The original's recommended values, no-delay on. */
void hbt_limits_init(struct hbt_limits *limits);

/* How long a pooled connection may be idle: runtime-behaviour 2.2. */
int64_t hbt_limits_safe_pool_age_ms(const struct hbt_limits *limits);

#endif
