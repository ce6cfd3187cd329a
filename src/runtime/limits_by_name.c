/* The limits by the names they have in the specification. runtime 2.1 */
#include <stddef.h>
#include <strings.h>

#include "runtime/runtime.h"

/* MS may be 0 for "not at all"; SPAN may not: it would fire at once. */
enum kind { MS, SPAN, COUNT, SWITCH, SIZE };

#define LONGEST_MS (INT64_C(100) * 365 * 24 * 3600 * 1000)

static const struct {
	const char *name;
	enum kind kind;
	size_t offset;
} names[] = {
#define LIMIT(name, kind, field)                                               \
	{                                                                      \
		name, kind, offsetof(struct hbt_limits, field)                 \
	}
	LIMIT("PollingRequestQueueTimeout", MS,
              polling_request_queue_timeout_ms),
	LIMIT("PollingQueueWaitTimeout", SPAN, polling_queue_wait_timeout_ms),
	LIMIT("RetryListeningSleepInterval", MS,
              retry_listening_sleep_interval_ms),
	LIMIT("RetryCountLimit", COUNT, retry_count_limit),
	LIMIT("ConnectionErrorRetryTimeout", MS,
              connection_error_retry_timeout_ms),
	LIMIT("TcpClientConnectTimeout", SPAN, tcp_client_connect_timeout_ms),
	LIMIT("TcpClientSendTimeout", SPAN, tcp_client_send_timeout_ms),
	LIMIT("TcpClientReceiveTimeout", SPAN, tcp_client_receive_timeout_ms),
	LIMIT("TcpClientReceiveResponseTimeout", SPAN,
              tcp_client_receive_response_timeout_ms),
	LIMIT("TcpClientReceiveRequestTimeoutForPolling", SPAN,
              tcp_client_receive_request_timeout_for_polling_ms),
	LIMIT("TcpListeningNextRequestIdleTimeout", SPAN,
              tcp_listening_next_request_idle_timeout_ms),
	LIMIT("TcpClientPooledConnectionTimeout", MS,
              tcp_client_pooled_connection_timeout_ms),
	LIMIT("TcpClientHeartbeatSendTimeout", SPAN,
              tcp_client_heartbeat_send_timeout_ms),
	LIMIT("TcpClientHeartbeatReceiveTimeout", SPAN,
              tcp_client_heartbeat_receive_timeout_ms),
	LIMIT("TcpClientHeartbeatTimeoutShouldActuallyBeUsed", SWITCH,
              tcp_client_heartbeat_timeout_should_actually_be_used),
	LIMIT("TcpKeepAliveEnabled", SWITCH, tcp_keep_alive_enabled),
	LIMIT("TcpKeepAliveTime", SPAN, tcp_keep_alive_time_ms),
	LIMIT("TcpKeepAliveInterval", SPAN, tcp_keep_alive_interval_ms),
	LIMIT("TcpKeepAliveRetryCount", COUNT, tcp_keep_alive_retry_count),
	LIMIT("MaximumActiveTcpConnectionsPerPollingSubscription", COUNT,
              maximum_active_tcp_connections_per_polling_subscription),
	LIMIT("PollingReconnectMinimum", SPAN, polling_reconnect_min_ms),
	LIMIT("PollingReconnectMaximum", SPAN, polling_reconnect_max_ms),
	LIMIT("HandshakeTotalTimeout", SPAN, handshake_total_timeout_ms),
	LIMIT("MaximumMessageBytes", SIZE, max_message_bytes),
	LIMIT("MaximumStreamsPerMessage", SIZE, max_streams_per_message),
};

static bool is_in_range(enum kind kind, int64_t value)
{
	switch (kind) {
	case MS:
		return value >= 0 && value <= LONGEST_MS;
	case SPAN:
		return value > 0 && value <= LONGEST_MS;
	case COUNT:
		return value >= 0 && value <= 1000000;
	case SWITCH:
		return value == 0 || value == 1;
	default:
		return value >= 0 && (uint64_t)value <= SIZE_MAX / 4;
	}
}

int hbt_limits_set(struct hbt_limits *limits, const char *name, int64_t value)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char *field = (char *)limits + names[i].offset;

		if (strcasecmp(names[i].name, name) != 0)
			continue;
		if (!is_in_range(names[i].kind, value))
			return HALIBUT_EINVAL;
		switch (names[i].kind) {
		case MS:
		case SPAN:
			*(int64_t *)(void *)field = value;
			break;
		case COUNT:
			*(int *)(void *)field = (int)value;
			break;
		case SWITCH:
			*(bool *)(void *)field = value != 0;
			break;
		case SIZE:
			*(size_t *)(void *)field = (size_t)value;
			break;
		}
		return HALIBUT_OK;
	}
	return HALIBUT_EINVAL;
}
