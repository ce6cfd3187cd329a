#include "queue/redis_setup.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define STREAMS_MAX_BYTES ((int64_t)1 << 30)
#define METADATA_MAX_BYTES ((int64_t)16 << 20)
#define PROGRAM_TIMEOUT_MS 60000

void hbt_redis_settings_init(struct hbt_redis_settings *s)
{
	memset(s, 0, sizeof(*s));
	hbt_redis_options_init(&s->options);
	s->pattern_responses = true;
	hbt_redis_times_init(&s->times);
}

void hbt_redis_settings_fini(struct hbt_redis_settings *s)
{
	hbt_redis_options_fini(&s->options);
	free(s->key_prefix);
	free(s->node_id);
	free(s->streams);
	free(s->streams_directory);
	free(s->streams_command);
	for (size_t i = 0; i < s->n_wrappers; i++)
		free(s->wrappers[i]);
	free(s->wrappers);
	memset(s, 0, sizeof(*s));
}

static int set_text(char **to, const char *value)
{
	char *copy = strdup(value);

	if (copy == NULL)
		return HALIBUT_ENOMEM;
	if (*to != NULL)
		OPENSSL_cleanse(*to, strlen(*to));
	free(*to);
	*to = copy;
	return HALIBUT_OK;
}

static int set_switch(bool *to, const char *value)
{
	if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
		return HALIBUT_EINVAL;
	*to = value[0] == '1';
	return HALIBUT_OK;
}

static int set_bytes(int64_t *to, const char *value)
{
	char *end;
	long long n = strtoll(value, &end, 10);

	if (end == value || *end != '\0' || n < 0)
		return HALIBUT_EINVAL;
	*to = n;
	return HALIBUT_OK;
}

static int add_wrapper(struct hbt_redis_settings *s, const char *value)
{
	char **more = realloc(s->wrappers,
	                      (s->n_wrappers + 1) * sizeof(*more));

	if (more == NULL)
		return HALIBUT_ENOMEM;
	s->wrappers = more;
	if ((more[s->n_wrappers] = strdup(value)) == NULL)
		return HALIBUT_ENOMEM;
	s->n_wrappers++;
	return HALIBUT_OK;
}

static int set_pulses(bool *pattern, const char *value)
{
	if (strcmp(value, "auto") != 0 && strcmp(value, "each") != 0)
		return HALIBUT_EINVAL;
	*pattern = value[0] == 'a';
	return HALIBUT_OK;
}

/* Settings that are a text. */
static char **text_setting(struct hbt_redis_settings *s, const char *name)
{
	const struct {
		const char *name;
		char **to;
	} all[] = {
		{"key_prefix", &s->key_prefix},
		{"user", &s->options.user},
		{"password", &s->options.password},
		{"tls_ca", &s->options.tls_ca_file},
		{"tls_certificate", &s->options.tls_certificate_file},
		{"tls_key", &s->options.tls_key_file},
		{"channel_prefix", &s->options.channel_prefix},
		{"node", &s->options.client_name},
		{"streams", &s->streams},
		{"streams_directory", &s->streams_directory},
		{"streams_command", &s->streams_command},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(all[i].name, name) == 0)
			return all[i].to;
	return NULL;
}

int hbt_redis_settings_set(struct hbt_redis_settings *s, const char *name,
                           const char *value, struct halibut_error *err)
{
	char **text = text_setting(s, name);
	int rc;

	if (strcmp(name, "url") == 0)
		return hbt_redis_options_parse(&s->options, value, err);
	if (text != NULL)
		rc = set_text(text, value);
	else if (strcmp(name, "tls_insecure") == 0)
		rc = set_switch(&s->options.tls_insecure, value);
	else if (strcmp(name, "streams_max") == 0)
		rc = set_bytes(&s->streams_max_bytes, value);
	else if (strcmp(name, "wrapper") == 0)
		rc = add_wrapper(s, value);
	else if (strcmp(name, "response_pulses") == 0)
		rc = set_pulses(&s->pattern_responses, value);
	else
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "there is no Redis setting \"%s\"", name);
	if (rc == HALIBUT_EINVAL)
		return hbt_error_set(err, rc,
		                     "\"%s\" is no value for the Redis setting "
		                     "%s",
		                     value, name);
	return rc != 0 ? hbt_error_set(err, rc, "out of memory") : 0;
}

static int check_streams(const struct hbt_redis_settings *s,
                         struct halibut_error *err)
{
	const char *kind = s->streams;

	if (kind == NULL || strcmp(kind, "redis") == 0 ||
	    strcmp(kind, "metadata") == 0)
		return HALIBUT_OK;
	if (strcmp(kind, "directory") == 0) {
		if (s->streams_directory != NULL)
			return HALIBUT_OK;
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "streams = directory needs "
		                     "streams_directory: one that all nodes "
		                     "share");
	}
	if (strcmp(kind, "program") == 0) {
		if (s->streams_command != NULL)
			return HALIBUT_OK;
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "streams = program needs "
		                     "streams_command");
	}
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "streams is \"%s\"; it is one of redis, "
	                     "directory, program and metadata",
	                     kind);
}

/* A node that is alive must not look as if it were not. */
static int check_times(const struct hbt_redis_times *t,
                       struct halibut_error *err)
{
	int64_t silence = t->heartbeat_delay_ms > t->heartbeat_interval_ms
	                          ? t->heartbeat_delay_ms
	                          : t->heartbeat_interval_ms;

	if (t->sender_gone_ms <= silence || t->receiver_gone_ms <= silence)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "sender_gone and receiver_gone must be "
		                     "longer than heartbeat_delay and "
		                     "heartbeat_interval, or nodes that are "
		                     "alive look dead");
	if (t->data_loss_ttl_ms <= t->data_loss_check_ms)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "data_loss_ttl must be longer than "
		                     "data_loss_check, or data looks lost that "
		                     "is not");
	return HALIBUT_OK;
}

int hbt_redis_settings_check(const struct hbt_redis_settings *s,
                             struct halibut_error *err)
{
	const struct hbt_redis_options *o = &s->options;

	if (o->n_servers == 0)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "the Redis server's url is missing, e.g. "
		                     "redis://127.0.0.1:6379");
	if (s->key_prefix == NULL || s->key_prefix[0] == '\0')
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "key_prefix is missing: the same name on "
		                     "all nodes that belong together");
	if ((o->tls_key_file != NULL) != (o->tls_certificate_file != NULL))
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "tls_certificate and tls_key are needed "
		                     "together");
	return check_streams(s, err) != 0 ? HALIBUT_EINVAL
	                                  : check_times(&s->times, err);
}

static int make_store(struct hbt_redis_setup *setup, struct event_base *base,
                      const struct hbt_redis_settings *s,
                      struct halibut_error *err)
{
	int64_t max = s->streams_max_bytes;
	struct hbt_store_config config = {
		.kind = s->streams != NULL ? s->streams : "redis",
		.key_prefix = s->key_prefix,
		.directory = s->streams_directory,
		.command = s->streams_command,
		.max_total_bytes = max > 0 ? max : STREAMS_MAX_BYTES,
		.max_metadata_bytes = max > 0 ? max : METADATA_MAX_BYTES,
		.program_timeout_ms = PROGRAM_TIMEOUT_MS,
		.retry_window_ms = s->times.retry_window_ms,
	};

	return hbt_store_new(&setup->store, base, setup->redis, &config, err);
}

static int make_node(struct hbt_redis_setup *setup, struct event_base *base,
                     const struct hbt_redis_settings *s,
                     const struct hbt_limits *limits)
{
	struct hbt_redis_node_config config = {
		.key_prefix = s->key_prefix,
		.node_id = s->node_id,
		.redis = setup->redis,
		.store = setup->store,
		.wrappers = setup->wrappers,
		.limits = limits,
		.times = s->times,
		.pattern_responses = s->pattern_responses,
	};

	return hbt_redis_node_new(&setup->node, base, &config);
}

int hbt_redis_setup_new(struct hbt_redis_setup **out, struct event_base *base,
                        struct evdns_base *dns,
                        const struct hbt_redis_settings *s,
                        const struct hbt_limits *limits,
                        struct halibut_error *err)
{
	struct hbt_redis_setup *setup;
	int rc = hbt_redis_settings_check(s, err);

	*out = NULL;
	if (rc != 0)
		return rc;
	if ((setup = calloc(1, sizeof(*setup))) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	rc = hbt_redis_new(&setup->redis, base, dns, &s->options, err);
	if (rc == 0)
		rc = make_store(setup, base, s, err);
	if (rc == 0)
		rc = hbt_wrappers_new(&setup->wrappers, base,
		                      (const char *const *)s->wrappers,
		                      s->n_wrappers, limits->max_message_bytes,
		                      PROGRAM_TIMEOUT_MS, err);
	if (rc == 0 && (rc = make_node(setup, base, s, limits)) != 0)
		hbt_error_set(err, rc, "out of memory");
	if (rc != 0) {
		hbt_redis_setup_free(&setup);
		return rc;
	}
	*out = setup;
	return 0;
}

void hbt_redis_setup_free(struct hbt_redis_setup **setupp)
{
	struct hbt_redis_setup *setup = *setupp;

	if (setup == NULL)
		return;
	hbt_redis_node_free(&setup->node);
	hbt_wrappers_free(&setup->wrappers);
	hbt_store_free(&setup->store);
	hbt_redis_free(&setup->redis);
	free(setup);
	*setupp = NULL;
}
