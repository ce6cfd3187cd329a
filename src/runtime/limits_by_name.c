/* The limits by the names they have in the specification. runtime 2.1 */
#include <stddef.h>
#include <strings.h>

#include "runtime/runtime.h"

enum kind { MS, COUNT, SWITCH, SIZE };

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
	LIMIT("PollingQueueWaitTimeout", MS, polling_queue_wait_timeout_ms),
	LIMIT("RetryListeningSleepInterval", MS,
              retry_listening_sleep_interval_ms),
	LIMIT("RetryCountLimit", COUNT, retry_count_limit),
	LIMIT("ConnectionErrorRetryTimeout", MS,
              connection_error_retry_timeout_ms),
	LIMIT("TcpClientConnectTimeout", MS, tcp_client_connect_timeout_ms),
	LIMIT("TcpClientSendTimeout", MS, tcp_client_send_timeout_ms),
	LIMIT("TcpClientReceiveTimeout", MS, tcp_client_receive_timeout_ms),
	LIMIT("TcpClientReceiveResponseTimeout", MS,
              tcp_client_receive_response_timeout_ms),
	LIMIT("TcpClientReceiveRequestTimeoutForPolling", MS,
              tcp_client_receive_request_timeout_for_polling_ms),
	LIMIT("TcpListeningNextRequestIdleTimeout", MS,
              tcp_listening_next_request_idle_timeout_ms),
	LIMIT("TcpClientPooledConnectionTimeout", MS,
              tcp_client_pooled_connection_timeout_ms),
	LIMIT("TcpClientHeartbeatSendTimeout", MS,
              tcp_client_heartbeat_send_timeout_ms),
	LIMIT("TcpClientHeartbeatReceiveTimeout", MS,
              tcp_client_heartbeat_receive_timeout_ms),
	LIMIT("TcpClientHeartbeatTimeoutShouldActuallyBeUsed", SWITCH,
              tcp_client_heartbeat_timeout_should_actually_be_used),
	LIMIT("TcpKeepAliveEnabled", SWITCH, tcp_keep_alive_enabled),
	LIMIT("TcpKeepAliveTime", MS, tcp_keep_alive_time_ms),
	LIMIT("TcpKeepAliveInterval", MS, tcp_keep_alive_interval_ms),
	LIMIT("TcpKeepAliveRetryCount", COUNT, tcp_keep_alive_retry_count),
	LIMIT("MaximumActiveTcpConnectionsPerPollingSubscription", COUNT,
              maximum_active_tcp_connections_per_polling_subscription),
	LIMIT("PollingReconnectMinimum", MS, polling_reconnect_min_ms),
	LIMIT("PollingReconnectMaximum", MS, polling_reconnect_max_ms),
	LIMIT("HandshakeTotalTimeout", MS, handshake_total_timeout_ms),
	LIMIT("MaximumMessageBytes", SIZE, max_message_bytes),
	LIMIT("MaximumStreamsPerMessage", SIZE, max_streams_per_message),
};

int hbt_limits_set(struct hbt_limits *limits, const char *name, int64_t value)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char *field = (char *)limits + names[i].offset;

		if (strcasecmp(names[i].name, name) != 0)
			continue;
		if (value < 0 || (names[i].kind == COUNT && value > 1000000) ||
		    (names[i].kind == SWITCH && value > 1))
			return HALIBUT_EINVAL;
		switch (names[i].kind) {
		case MS:
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
