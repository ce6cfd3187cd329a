/* The section redis: the queue that several nodes share. */
#include "master/config_private.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "master/config_secret.h"
#include "master/config_units.h"

#define SECOND ((uint64_t)1000)
#define MINUTE (60 * SECOND)
#define DAY (24 * 60 * MINUTE)
#define KIB ((uint64_t)1024)
#define TIB (1024 * 1024 * 1024 * KIB)

static int check_url(const char *text, struct halibut_error *err)
{
	struct hbt_redis_options o;
	int rc;

	hbt_redis_options_init(&o);
	rc = hbt_redis_options_parse(&o, text, err);
	hbt_redis_options_fini(&o);
	return rc;
}

static int check_filled(const char *text, struct halibut_error *err)
{
	if (text[0] != '\0')
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "is empty; leave the setting out, or give it a "
	                     "value");
}

static int check_streams(const char *text, struct halibut_error *err)
{
	if (strcmp(text, "redis") == 0 || strcmp(text, "directory") == 0 ||
	    strcmp(text, "metadata") == 0 || strcmp(text, "program") == 0)
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "\"%s\" is no store of DataStreams; use redis, "
	                     "directory, metadata or program",
	                     text);
}

static int check_wrapper(const char *text, struct halibut_error *err)
{
	if (strcmp(text, "gzip") == 0 ||
	    (strncmp(text, "program ", 8) == 0 &&
	     text[8 + strspn(text + 8, " ")] != '\0'))
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "\"%s\" is no wrapper of messages; use \"gzip\" or "
	                     "\"program COMMAND\"",
	                     text);
}

static int check_pulses(const char *text, struct halibut_error *err)
{
	if (strcmp(text, "auto") == 0 || strcmp(text, "each") == 0)
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "\"%s\" is not possible here; use auto or each",
	                     text);
}

static int check_pattern(const char *text, struct halibut_error *err)
{
	if (strncasecmp(text, "poll://", 7) == 0 ||
	    strncasecmp(text, "queue://", 8) == 0 || strcmp(text, "*") == 0)
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "\"%s\" is no pattern of endpoints; write it as in "
	                     "\"poll://test-*/\"",
	                     text);
}

#define AT(field) offsetof(struct hbt_config, field)
#define TEXT(name, field, preset, check)                                       \
	{name, HBT_SETTING_TEXT, AT(field), 0, 0, preset, false, check}
#define PATH(name, field)                                                      \
	{name, HBT_SETTING_PATH, AT(field), 0, 0, NULL, false, check_filled}
#define TIME(name, field, min, max, preset)                                    \
	{name, HBT_SETTING_TIME, AT(field), min, max, preset, false, NULL}
/* One of the times by which the nodes of a queue understand each other. */
#define NODE_TIME(name, preset)                                                \
	{#name, HBT_SETTING_TIME, AT(redis.times.name##_ms), 10, 7 * DAY,      \
	 preset, false, NULL}
#define LIST(name, field, check)                                               \
	{name, HBT_SETTING_LIST, AT(field), 0, 0, NULL, false, check}

const struct hbt_setting hbt_redis_table[] = {
	TEXT("url", redis.url, NULL, check_url),
	TEXT("key_prefix", redis.key_prefix, NULL, check_filled),
	TEXT("user", redis.user, NULL, check_filled),
	PATH("password_file", password_file),
	{"database", HBT_SETTING_COUNT, AT(redis.database), 0, 1000000, NULL,
	 false, NULL},
	TEXT("channel_prefix", redis.channel_prefix, NULL, check_filled),
	TEXT("sentinel_user", redis.sentinel_user, NULL, check_filled),
	PATH("sentinel_password_file", sentinel_password_file),
	PATH("tls_ca", redis.tls_ca),
	PATH("tls_certificate", redis.tls_certificate),
	PATH("tls_key", redis.tls_key),
	{"tls_insecure", HBT_SETTING_FLAG, AT(redis.tls_insecure), 0, 0, "no",
	 false, NULL},
	TIME("connect_timeout", redis.connect_timeout_ms, 100, MINUTE, "5s"),
	TIME("command_timeout", redis.command_timeout_ms, 100, MINUTE, "5s"),
	TEXT("streams", redis.streams, "redis", check_streams),
	PATH("streams_directory", redis.streams_directory),
	TEXT("streams_command", redis.streams_command, NULL, check_filled),
	{"streams_max", HBT_SETTING_SIZE64, AT(redis.streams_max_bytes), KIB,
	 1024 * TIB, "1GiB", false, NULL},
	LIST("wrappers", wrappers, check_wrapper),
	TEXT("response_pulses", response_pulses, "auto", check_pulses),
	LIST("memory_endpoints", memory_endpoints, check_pattern),
	NODE_TIME(heartbeat_delay, "7s"),
	NODE_TIME(heartbeat_interval, "15s"),
	NODE_TIME(sender_gone, "90s"),
	NODE_TIME(receiver_gone, "60s"),
	NODE_TIME(sweep, "15s"),
	NODE_TIME(retry_window, "30s"),
	NODE_TIME(request_ttl_surcharge, "120s"),
	NODE_TIME(list_ttl, "1d"),
	NODE_TIME(response_ttl, "20min"),
	NODE_TIME(cancel_marker_ttl, "15min"),
	NODE_TIME(data_loss_check, "60s"),
	NODE_TIME(data_loss_ttl, "8h"),
	NODE_TIME(data_loss_wait, "30s"),
	{NULL, HBT_SETTING_TEXT, 0, 0, 0, NULL, false, NULL},
};
#define N_SETTINGS (sizeof(hbt_redis_table) / sizeof(hbt_redis_table[0]) - 1)

cfg_opt_t *hbt_redis_opts(void)
{
	static const cfg_opt_t end = CFG_END();
	static cfg_opt_t opts[N_SETTINGS + 1];

	for (size_t i = 0; i < N_SETTINGS; i++) {
		const struct hbt_setting *s = &hbt_redis_table[i];
		cfg_opt_t text = CFG_STR(s->name, NULL, CFGF_NODEFAULT);
		cfg_opt_t list = CFG_STR_LIST(s->name, NULL, CFGF_NODEFAULT);

		opts[i] = s->kind == HBT_SETTING_LIST ? list : text;
	}
	opts[N_SETTINGS] = end;
	return opts;
}

static int validate(cfg_t *section, cfg_opt_t *opt)
{
	return hbt_config_validate(hbt_redis_table, section, opt);
}

void hbt_redis_validate(cfg_t *parser)
{
	char path[64];

	for (size_t i = 0; i < N_SETTINGS; i++) {
		snprintf(path, sizeof(path), "redis|%s",
		         hbt_redis_table[i].name);
		cfg_set_validate_func(parser, path, validate);
	}
}

struct hbt_queue_settings hbt_config_queue(const struct hbt_config *cfg)
{
	struct hbt_queue_settings s = cfg->redis;

	s.wrappers = cfg->wrappers.v;
	s.n_wrappers = cfg->wrappers.n;
	s.own_response_pulses = strcmp(cfg->response_pulses, "each") == 0;
	s.max_waiting_requests = cfg->max_waiting_requests;
	s.max_waiting_requests_per_endpoint =
		cfg->max_waiting_requests_per_endpoint;
	s.max_waiting_bytes = cfg->max_waiting_bytes;
	s.max_waiting_bytes_per_endpoint = cfg->max_waiting_bytes_per_endpoint;
	return s;
}

/* As the queue worker will find it. */
static int check_together(const struct hbt_config *cfg,
                          struct halibut_error *err)
{
	struct hbt_queue_settings s = hbt_config_queue(cfg);
	struct hbt_redis_settings resolved;
	int rc = hbt_queue_settings_resolve(&s, &resolved, err);

	hbt_redis_settings_fini(&resolved);
	if (rc != HALIBUT_OK)
		hbt_error_prefix(err, "section redis: ");
	return rc;
}

/* A URL with a password makes the configuration a secret. */
static int check_url_password(const struct hbt_config *cfg, bool is_in_file,
                              struct halibut_error *err)
{
	struct hbt_redis_options o;
	int rc;

	hbt_redis_options_init(&o);
	rc = hbt_redis_options_parse(&o, cfg->redis.url, err);
	if (rc == HALIBUT_OK && o.password != NULL &&
	    cfg->redis.password != NULL)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "redis has a password in its url and a "
		                   "password_file; remove one of them");
	if (rc == HALIBUT_OK &&
	    (o.password != NULL || o.sentinel_password != NULL) &&
	    is_in_file &&
	    hbt_secret_check(cfg->path, err) != HALIBUT_OK) {
		hbt_error_prefix(err, "redis: ");
		rc = HALIBUT_EINVAL;
	}
	hbt_redis_options_fini(&o);
	return rc;
}

/* "POLL://Test-*" becomes what it is compared with: "poll://test-*" and "/". */
static int finish_pattern(char **pattern)
{
	const char *host = strstr(*pattern, "://");
	char *text;

	if (host == NULL)
		return HALIBUT_OK;
	if (asprintf(&text, "%s%s", *pattern,
	             strchr(host + 3, '/') == NULL ? "/" : "") < 0)
		return HALIBUT_ENOMEM;
	for (char *p = text; *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
	free(*pattern);
	*pattern = text;
	return HALIBUT_OK;
}

static int missing(const char *what, const char *example,
                   struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "section redis needs %s = \"%s\"", what,
	                     example);
}

static int check_whole(const struct hbt_config *cfg, struct halibut_error *err)
{
	const struct hbt_queue_settings *s = &cfg->redis;

	if (s->url == NULL)
		return missing("url", "redis://HOST:6379", err);
	if (s->key_prefix == NULL)
		return missing("key_prefix", "THE SAME ON ALL NODES", err);
	if (strcmp(s->streams, "directory") == 0 &&
	    s->streams_directory == NULL)
		return missing("streams_directory", "/a/directory/of/all/nodes",
		               err);
	if (strcmp(s->streams, "program") == 0 && s->streams_command == NULL)
		return missing("streams_command", "/path/of/a/program", err);
	return HALIBUT_OK;
}

/* With what the environment said already, which alone makes it a section. */
int hbt_redis_store(struct hbt_config *cfg, cfg_t *parsed, int *line,
                    struct halibut_error *err)
{
	unsigned n = cfg_size(parsed, "redis");
	cfg_t *section = n > 0 ? cfg_getnsec(parsed, "redis", n - 1) : NULL;
	int rc = HALIBUT_OK;

	*line = section != NULL ? hbt_section_line(section) : 0;
	if (n > 1)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "redis is there twice; a node has one "
		                     "queue, remove a section");
	cfg->shares = section != NULL || cfg->redis.url != NULL;
	if (!cfg->shares)
		return HALIBUT_OK;
	if (section != NULL)
		rc = hbt_config_settings_store(cfg, hbt_redis_table, section);
	for (size_t i = 0; rc == HALIBUT_OK && i < cfg->memory_endpoints.n; i++)
		rc = finish_pattern(&cfg->memory_endpoints.v[i]);
	if (rc != HALIBUT_OK)
		return hbt_error_set(err, rc, "out of memory");
	if ((rc = check_whole(cfg, err)) != HALIBUT_OK ||
	    (rc = hbt_secret_load(cfg->password_file, &cfg->redis.password,
	                          err)) != HALIBUT_OK ||
	    (rc = hbt_secret_load(cfg->sentinel_password_file,
	                          &cfg->redis.sentinel_password, err)) !=
	            HALIBUT_OK)
		return rc;
	rc = check_together(cfg, err);
	if (rc == HALIBUT_OK)
		rc = check_url_password(
			cfg, section != NULL && cfg_size(section, "url") > 0,
			err);
	return rc;
}
