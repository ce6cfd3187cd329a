/* The settings outside sections, as one table. */
#include "master/config_private.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "master/address.h"
#include "master/config_units.h"
#include "master/logs.h"
#include "base/source.h"
#include "master/status_config.h"

#define SECOND ((uint64_t)1000)
#define MINUTE (60 * SECOND)
#define DAY (24 * 60 * MINUTE)
#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define TIB (1024 * 1024 * MIB)

static int check_node(const char *text, struct halibut_error *err)
{
	if (text[0] == '\0' || strlen(text) > 255)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "the name of a node has 1 to 255 "
		                     "characters");
	return HALIBUT_OK;
}

static int check_listen(const char *text, struct halibut_error *err)
{
	struct hbt_listen_address address;

	return hbt_listen_parse(text, &address, err);
}

static int check_network(const char *text, struct halibut_error *err)
{
	struct hbt_network network;

	return hbt_network_parse(text, &network, err);
}

static int check_thumbprint(const char *text, struct halibut_error *err)
{
	struct hbt_trust t = {NULL, 0};
	int rc = hbt_trust_add(&t, text, HBT_TRUST_SETTING, err);

	hbt_trust_fini(&t);
	return rc;
}

static int check_header(const char *text, struct halibut_error *err)
{
	const char *colon = strchr(text, ':');

	if (colon == NULL || colon == text || strpbrk(text, "\r\n") != NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "\"%s\" is no HTTP header; write it as in "
		                     "\"X-Frame-Options: DENY\"",
		                     text);
	return HALIBUT_OK;
}

static int check_log_format(const char *text, struct halibut_error *err)
{
	if (strcmp(text, "auto") == 0 || hbt_log_format_parse(text) >= 0)
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "\"%s\" is no format of a log; use auto, text, "
	                     "json or journal",
	                     text);
}

#define AT(field) offsetof(struct hbt_config, field)
#define TIME(name, field, min, max, preset)                                    \
	{name, HBT_SETTING_TIME, AT(field), min, max, preset, true, NULL}
#define COUNT(name, field, min, max, preset)                                   \
	{name, HBT_SETTING_COUNT, AT(field), min, max, preset, true, NULL}
#define SIZE(name, field, min, max, preset)                                    \
	{name, HBT_SETTING_SIZE, AT(field), min, max, preset, true, NULL}
#define SIZE64(name, field, min, max, preset)                                  \
	{name, HBT_SETTING_SIZE64, AT(field), min, max, preset, true, NULL}
#define FLAG(name, field, preset)                                              \
	{name, HBT_SETTING_FLAG, AT(field), 0, 0, preset, true, NULL}
#define PATH(name, field, preset)                                              \
	{name, HBT_SETTING_PATH, AT(field), 0, 0, preset, true, NULL}
#define TEXT(name, field, preset, check)                                       \
	{name, HBT_SETTING_TEXT, AT(field), 0, 0, preset, true, check}
#define LIST(name, field, check)                                               \
	{name, HBT_SETTING_LIST, AT(field), 0, 0, NULL, true, check}
/* A change needs a restart. */
#define FIXED(name, kind, field, preset, check)                                \
	{name, HBT_SETTING_##kind, AT(field), 0, 0, preset, false, check}

const struct hbt_setting hbt_config_table[] = {
	TEXT("node", node, NULL, check_node),
	LIST("listen", listen, check_listen),
	PATH("certificate", certificate, HBT_SYSCONFDIR "/node.pem"),
	PATH("key", key, NULL),
	TEXT("certificate_password", certificate_password, NULL, NULL),
	PATH("certificate_password_file", certificate_password_file, NULL),
	TIME("certificate_warning", certificate_warning_ms, 0, 3650 * DAY,
	     "30d"),
	LIST("trust", trust, check_thumbprint),
	PATH("trust_file", trust_file, NULL),
	PATH("trust_added_file", trust_added_file, HBT_STATEDIR "/trusted"),
	FLAG("serve_clients", serves_clients, "yes"),

	TEXT("user", user, NULL, NULL),
	TEXT("group", group, NULL, NULL),
	PATH("worker_directory", worker_directory, HBT_LIBEXECDIR),
	FIXED("sandbox", FLAG, sandbox, "yes", NULL),
	COUNT("workers", workers, 0, 256, "0"),
	TIME("worker_start_timeout", worker_start_timeout_ms, 100, DAY, "30s"),
	TIME("worker_ping_interval", worker_ping_interval_ms, 50, DAY, "5s"),
	TIME("worker_hang_timeout", worker_hang_timeout_ms, 100, DAY, "30s"),
	TIME("worker_restart_delay", worker_restart_delay_ms, 1, DAY, "100ms"),
	TIME("worker_restart_delay_max", worker_restart_delay_max_ms, 1, DAY,
	     "30s"),
	TIME("stop_delay", stop_delay_ms, 0, DAY, "0s"),
	TIME("stop_timeout", stop_timeout_ms, 0, DAY, "1min"),
	TIME("drain_spread", drain_spread_ms, 0, DAY, "10s"),

	FIXED("control_socket", PATH, control_socket,
	      HBT_RUNSTATEDIR "/control", NULL),
	FIXED("control_mode", MODE, control_mode, "0660", NULL),

	FIXED("status_listen", LIST, status_listen, NULL,
	      hbt_status_check_listen),
	FIXED("status_mode", MODE, status_mode, "0660", NULL),
	PATH("status_token_file", status_token_file, NULL),
	PATH("status_certificate", status_certificate, NULL),
	PATH("status_key", status_key, NULL),
	PATH("status_client_ca", status_client_ca, NULL),
	COUNT("status_max_connections", status_max_connections, 1, 10000,
	      "64"),
	TIME("status_timeout", status_timeout_ms, SECOND, 10 * MINUTE, "30s"),
	TIME("status_redis_grace", status_redis_grace_ms, 0, DAY, "30s"),

	PATH("spool_directory", spool_directory, "/var/tmp"),
	PATH("friendly_page", friendly_page, NULL),
	LIST("friendly_headers", friendly_headers, check_header),
	{"log_level", HBT_SETTING_LEVEL, AT(log_level), 0, 0, "info", true,
	 NULL},
	LIST("log_levels", log_levels, hbt_logs_check_level),
	FIXED("log_file", PATH, log_file, NULL, NULL),
	FIXED("audit_log", PATH, audit_log, NULL, NULL),
	FLAG("audit_calls", audit_calls, "no"),
	FIXED("log_format", TEXT, log_format, "auto", check_log_format),

	{"listen_backlog", HBT_SETTING_COUNT, AT(listen_backlog), 0, 1000000,
	 "0", false, NULL},
	TIME("slow_call_time", slow_call_time_ms, 0, DAY, "5s"),
	COUNT("max_connections", max_connections, 0, 10000000, "0"),
	COUNT("max_connections_per_source", max_connections_per_source, 0,
	      10000000, "0"),
	COUNT("max_connections_per_thumbprint", max_connections_per_thumbprint,
	      0, 10000000, "0"),
	COUNT("source_prefix_ipv4", source_prefix_ipv4, 1, 32, "32"),
	COUNT("source_prefix_ipv6", source_prefix_ipv6, 1, 128, "64"),
	LIST("unlimited_sources", unlimited_sources, check_network),
	COUNT("max_handshakes", max_handshakes, 0, 1000000, "0"),
	COUNT("max_handshakes_per_second", max_handshakes_per_second, 0,
	      1000000, "0"),
	COUNT("max_handshakes_per_source", max_handshakes_per_source, 0,
	      1000000, "0"),
	COUNT("max_handshakes_per_second_per_source",
	      max_handshakes_per_second_per_source, 0, 1000000, "0"),
	COUNT("max_waiting_requests", max_waiting_requests, 1, 100000000,
	      "100000"),
	COUNT("max_waiting_requests_per_endpoint",
	      max_waiting_requests_per_endpoint, 1, 100000000, "10000"),
	COUNT("max_waiting_requests_per_source",
	      max_waiting_requests_per_source, 0, 100000000, "0"),
	COUNT("max_waiting_requests_per_thumbprint",
	      max_waiting_requests_per_thumbprint, 0, 100000000, "0"),
	SIZE("max_waiting_bytes", max_waiting_bytes, KIB, TIB, "1GiB"),
	SIZE("max_waiting_bytes_per_endpoint", max_waiting_bytes_per_endpoint,
	     KIB, TIB, "256MiB"),
	SIZE("max_waiting_bytes_per_source", max_waiting_bytes_per_source, 0,
	     TIB, "0B"),
	SIZE("max_waiting_bytes_per_thumbprint",
	     max_waiting_bytes_per_thumbprint, 0, TIB, "0B"),

	TIME("polling_request_queue_timeout",
	     limits.polling_request_queue_timeout_ms, 1, 365 * DAY, NULL),
	TIME("polling_queue_wait_timeout",
	     limits.polling_queue_wait_timeout_ms, 1, DAY, NULL),
	TIME("retry_sleep_interval", limits.retry_listening_sleep_interval_ms,
	     0, DAY, NULL),
	COUNT("retry_count_limit", limits.retry_count_limit, 0, 1000, NULL),
	TIME("connection_error_retry_timeout",
	     limits.connection_error_retry_timeout_ms, 0, DAY, NULL),
	TIME("connect_timeout", limits.tcp_client_connect_timeout_ms, 1, DAY,
	     NULL),
	TIME("send_timeout", limits.tcp_client_send_timeout_ms, 1, DAY, NULL),
	TIME("receive_timeout", limits.tcp_client_receive_timeout_ms, 1, DAY,
	     NULL),
	TIME("receive_response_timeout",
	     limits.tcp_client_receive_response_timeout_ms, 1, 365 * DAY,
	     NULL),
	TIME("receive_request_timeout_for_polling",
	     limits.tcp_client_receive_request_timeout_for_polling_ms, 1, DAY,
	     NULL),
	TIME("next_request_idle_timeout",
	     limits.tcp_listening_next_request_idle_timeout_ms, 1, DAY, NULL),
	TIME("pooled_connection_timeout",
	     limits.tcp_client_pooled_connection_timeout_ms, 1, DAY, NULL),
	TIME("heartbeat_send_timeout",
	     limits.tcp_client_heartbeat_send_timeout_ms, 1, DAY, NULL),
	TIME("heartbeat_receive_timeout",
	     limits.tcp_client_heartbeat_receive_timeout_ms, 1, DAY, NULL),
	FLAG("heartbeat_timeout_used",
	     limits.tcp_client_heartbeat_timeout_should_actually_be_used, NULL),
	FLAG("keep_alive", limits.tcp_keep_alive_enabled, NULL),
	TIME("keep_alive_time", limits.tcp_keep_alive_time_ms, SECOND, DAY,
	     NULL),
	TIME("keep_alive_interval", limits.tcp_keep_alive_interval_ms, SECOND,
	     DAY, NULL),
	COUNT("keep_alive_retries", limits.tcp_keep_alive_retry_count, 1, 127,
	      NULL),
	COUNT("max_connections_per_subscription",
	      limits.maximum_active_tcp_connections_per_polling_subscription,
	      0, 1000000, NULL),
	TIME("polling_reconnect_min", limits.polling_reconnect_min_ms, 1, DAY,
	     NULL),
	TIME("polling_reconnect_max", limits.polling_reconnect_max_ms, 1, DAY,
	     NULL),
	TIME("handshake_timeout", limits.handshake_total_timeout_ms, 1, DAY,
	     NULL),
	SIZE("max_message_size", limits.max_message_bytes, KIB, 128 * MIB,
	     NULL),
	{"max_streams_per_message", HBT_SETTING_COUNTZ,
	 AT(limits.max_streams_per_message), 0, 1000000, NULL, true, NULL},
	SIZE64("spool_max_per_message",
	       limits.spool_max_bytes_a_stream_section, KIB, 1024 * TIB, NULL),
	SIZE64("spool_max_total", limits.spool_max_bytes_total, KIB,
	       1024 * TIB, NULL),
	SIZE64("spool_max_per_source", limits.spool_max_bytes_a_source, 0,
	       1024 * TIB, NULL),
	SIZE64("spool_max_per_thumbprint",
	       limits.spool_max_bytes_a_thumbprint, 0, 1024 * TIB, NULL),
	SIZE64("spool_max_per_subscription",
	       limits.spool_max_bytes_a_subscription, 0, 1024 * TIB, NULL),
	SIZE("spool_memory", limits.spool_memory_bytes, 0, TIB, NULL),
	{NULL, HBT_SETTING_TEXT, 0, 0, 0, NULL, false, NULL},
};

static int check_range(const struct hbt_setting *s, uint64_t value,
                       struct halibut_error *err)
{
	char min[32], max[32];

	if (value >= s->min && value <= s->max)
		return HALIBUT_OK;
	if (s->kind == HBT_SETTING_TIME) {
		hbt_format_duration((int64_t)s->min, min);
		hbt_format_duration((int64_t)s->max, max);
	} else if (s->kind == HBT_SETTING_COUNT ||
	           s->kind == HBT_SETTING_COUNTZ) {
		snprintf(min, sizeof(min), "%llu", (unsigned long long)s->min);
		snprintf(max, sizeof(max), "%llu", (unsigned long long)s->max);
	} else {
		hbt_format_size(s->min, min);
		hbt_format_size(s->max, max);
	}
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "that is out of range; %s to %s is allowed", min,
	                     max);
}

static int parse_mode(const char *text, unsigned *mode,
                      struct halibut_error *err)
{
	char *end;

	*mode = (unsigned)strtoul(text, &end, 8);
	if (*text < '0' || *text > '7' || *end != '\0' || *mode > 0777)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "\"%s\" is no file mode; write it in "
		                     "octal, as in 0660",
		                     text);
	return HALIBUT_OK;
}

/* Reads numbers and flags of all kinds; texts give 0. */
static int parse(const struct hbt_setting *s, const char *text,
                 uint64_t *value, struct halibut_error *err)
{
	int64_t ms;
	bool flag;
	unsigned mode;
	int rc = HALIBUT_OK;

	*value = 0;
	switch (s->kind) {
	case HBT_SETTING_TIME:
		rc = hbt_parse_duration(text, &ms, err);
		*value = (uint64_t)ms;
		break;
	case HBT_SETTING_SIZE:
	case HBT_SETTING_SIZE64:
		rc = hbt_parse_size(text, value, err);
		break;
	case HBT_SETTING_COUNT:
	case HBT_SETTING_COUNTZ:
		rc = hbt_parse_count(text, value, err);
		break;
	case HBT_SETTING_FLAG:
		rc = hbt_parse_flag(text, &flag, err);
		*value = flag;
		return rc;
	case HBT_SETTING_MODE:
		rc = parse_mode(text, &mode, err);
		*value = mode;
		return rc;
	case HBT_SETTING_LEVEL:
		if (hbt_log_level_parse(text) < 0)
			return hbt_error_set(err, HALIBUT_EINVAL,
			                     "\"%s\" is no log level; use "
			                     "error, warning, info or debug",
			                     text);
		*value = (uint64_t)hbt_log_level_parse(text);
		return HALIBUT_OK;
	default:
		return s->check != NULL ? s->check(text, err) : HALIBUT_OK;
	}
	return rc != HALIBUT_OK ? rc : check_range(s, *value, err);
}

int hbt_setting_check(const struct hbt_setting *s, const char *text,
                      struct halibut_error *err)
{
	uint64_t value;

	return parse(s, text, &value, err);
}

static int replace_text(char **at, char *text)
{
	if (text == NULL)
		return HALIBUT_ENOMEM;
	free(*at);
	*at = text;
	return HALIBUT_OK;
}

int hbt_strings_append(struct hbt_strings *list, const char *text)
{
	char **v = realloc(list->v, (list->n + 1) * sizeof(*v));

	if (v == NULL)
		return HALIBUT_ENOMEM;
	list->v = v;
	v[list->n] = strdup(text);
	if (v[list->n] == NULL)
		return HALIBUT_ENOMEM;
	list->n++;
	return HALIBUT_OK;
}

int hbt_setting_store(struct hbt_config *cfg, const struct hbt_setting *s,
                      const char *text)
{
	uint64_t value;

	if (parse(s, text, &value, NULL) != HALIBUT_OK)
		return HALIBUT_ENOMEM;
	switch (s->kind) {
	case HBT_SETTING_TEXT:
		return replace_text(HBT_FIELD(cfg, s, char *), strdup(text));
	case HBT_SETTING_PATH:
		return replace_text(HBT_FIELD(cfg, s, char *),
		                    hbt_config_path(cfg, text));
	case HBT_SETTING_LIST:
		return hbt_strings_append(HBT_FIELD(cfg, s, struct hbt_strings), text);
	case HBT_SETTING_TIME:
	case HBT_SETTING_SIZE64:
		*HBT_FIELD(cfg, s, int64_t) = (int64_t)value;
		break;
	case HBT_SETTING_SIZE:
	case HBT_SETTING_COUNTZ:
		*HBT_FIELD(cfg, s, size_t) = (size_t)value;
		break;
	case HBT_SETTING_FLAG:
		*HBT_FIELD(cfg, s, bool) = value != 0;
		break;
	case HBT_SETTING_COUNT:
	case HBT_SETTING_LEVEL:
		*HBT_FIELD(cfg, s, int) = (int)value;
		break;
	case HBT_SETTING_MODE:
		*HBT_FIELD(cfg, s, unsigned) = (unsigned)value;
		break;
	case HBT_SETTING_KIND_COUNT:
		break;
	}
	return HALIBUT_OK;
}

void hbt_strings_fini(struct hbt_strings *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->v[i]);
	free(list->v);
	*list = (struct hbt_strings){NULL, 0};
}

static int preset(struct hbt_config *cfg, const struct hbt_setting *table)
{
	int rc = HALIBUT_OK;

	for (const struct hbt_setting *s = table;
	     rc == HALIBUT_OK && s->name != NULL; s++)
		if (s->preset != NULL)
			rc = hbt_setting_store(cfg, s, s->preset);
	return rc;
}

int hbt_config_settings_preset(struct hbt_config *cfg)
{
	char host[256];
	int rc;

	hbt_limits_init(&cfg->limits);
	cfg->redis.database = -1;
	rc = preset(cfg, hbt_config_table);
	if (rc == HALIBUT_OK)
		rc = preset(cfg, hbt_redis_table);
	if (gethostname(host, sizeof(host)) != 0)
		strcpy(host, "localhost");
	host[sizeof(host) - 1] = '\0';
	return rc != HALIBUT_OK ? rc : replace_text(&cfg->node, strdup(host));
}

int hbt_config_settings_complete(struct hbt_config *cfg)
{
	return cfg->listen.n > 0 ? HALIBUT_OK
	                         : hbt_strings_append(&cfg->listen, "10943");
}

int hbt_config_settings_store(struct hbt_config *cfg,
                              const struct hbt_setting *table, cfg_t *parsed)
{
	int rc = HALIBUT_OK;

	for (const struct hbt_setting *s = table; s->name != NULL; s++) {
		unsigned n = cfg_size(parsed, s->name);

		/* In place of the list in the environment. */
		if (n > 0 && s->kind == HBT_SETTING_LIST)
			hbt_strings_fini(HBT_FIELD(cfg, s, struct hbt_strings));
		for (unsigned i = 0; rc == HALIBUT_OK && i < n; i++)
			rc = hbt_setting_store(
				cfg, s, cfg_getnstr(parsed, s->name, i));
	}
	return rc == HALIBUT_OK ? hbt_config_settings_complete(cfg) : rc;
}

static void fini(struct hbt_config *cfg, const struct hbt_setting *table)
{
	for (const struct hbt_setting *s = table; s->name != NULL; s++) {
		if (s->kind == HBT_SETTING_TEXT ||
		    s->kind == HBT_SETTING_PATH) {
			free(*HBT_FIELD(cfg, s, char *));
			*HBT_FIELD(cfg, s, char *) = NULL;
		} else if (s->kind == HBT_SETTING_LIST) {
			hbt_strings_fini(HBT_FIELD(cfg, s, struct hbt_strings));
		}
	}
}

void hbt_config_settings_fini(struct hbt_config *cfg)
{
	fini(cfg, hbt_config_table);
	fini(cfg, hbt_redis_table);
}
