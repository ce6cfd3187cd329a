#include "ipc/queue_settings.h"

#include <stdlib.h>
#include <string.h>

#include "ipc/fields.h"

/* The texts, in the order in which they travel. */
static const size_t texts[] = {
	offsetof(struct hbt_queue_settings, url),
	offsetof(struct hbt_queue_settings, user),
	offsetof(struct hbt_queue_settings, sentinel_user),
	offsetof(struct hbt_queue_settings, key_prefix),
	offsetof(struct hbt_queue_settings, channel_prefix),
	offsetof(struct hbt_queue_settings, tls_ca),
	offsetof(struct hbt_queue_settings, tls_certificate),
	offsetof(struct hbt_queue_settings, tls_key),
	offsetof(struct hbt_queue_settings, streams),
	offsetof(struct hbt_queue_settings, streams_directory),
	offsetof(struct hbt_queue_settings, streams_command),
	offsetof(struct hbt_queue_settings, node_id),
	offsetof(struct hbt_queue_settings, password),
	offsetof(struct hbt_queue_settings, sentinel_password),
};
#define N_TEXTS (sizeof(texts) / sizeof(texts[0]))

static char **text_at(struct hbt_queue_settings *s, size_t i)
{
	return (char **)(void *)((char *)s + texts[i]);
}

void hbt_queue_settings_put(struct hbt_wr *w,
                            const struct hbt_queue_settings *s)
{
	for (size_t i = 0; i < N_TEXTS; i++)
		hbt_wr_cstr(w, *(char *const *)(const void *)((const char *)s +
		                                              texts[i]));
	hbt_wr_u32(w, (uint32_t)s->database);
	hbt_wr_u8(w, s->tls_insecure);
	hbt_wr_u64(w, (uint64_t)s->connect_timeout_ms);
	hbt_wr_u64(w, (uint64_t)s->command_timeout_ms);
	hbt_wr_u64(w, (uint64_t)s->streams_max_bytes);
	hbt_wr_u8(w, s->own_response_pulses);
	hbt_wr_u32(w, (uint32_t)s->max_waiting_requests);
	hbt_wr_u32(w, (uint32_t)s->max_waiting_requests_per_endpoint);
	hbt_wr_u64(w, s->max_waiting_bytes);
	hbt_wr_u64(w, s->max_waiting_bytes_per_endpoint);
	hbt_wr_u32(w, (uint32_t)s->n_wrappers);
	for (size_t i = 0; i < s->n_wrappers; i++)
		hbt_wr_cstr(w, s->wrappers[i]);
}

void hbt_queue_settings_get(struct hbt_rd *r, struct hbt_queue_settings *s)
{
	uint32_t n;

	memset(s, 0, sizeof(*s));
	for (size_t i = 0; i < N_TEXTS; i++)
		*text_at(s, i) = hbt_field_cstr(r);
	s->database = (int)hbt_rd_u32(r);
	s->tls_insecure = hbt_rd_u8(r) != 0;
	s->connect_timeout_ms = (int64_t)hbt_rd_u64(r);
	s->command_timeout_ms = (int64_t)hbt_rd_u64(r);
	s->streams_max_bytes = (int64_t)hbt_rd_u64(r);
	s->own_response_pulses = hbt_rd_u8(r) != 0;
	s->max_waiting_requests = (int)hbt_rd_u32(r);
	s->max_waiting_requests_per_endpoint = (int)hbt_rd_u32(r);
	s->max_waiting_bytes = (size_t)hbt_rd_u64(r);
	s->max_waiting_bytes_per_endpoint = (size_t)hbt_rd_u64(r);
	n = hbt_rd_u32(r);
	/* Each takes more than a byte, so n is no way to bloat us. */
	if (n <= r->left)
		s->wrappers = calloc(n + 1, sizeof(*s->wrappers));
	if (s->wrappers == NULL)
		hbt_field_fail(r);
	while (r->status == HALIBUT_OK && s->n_wrappers < n)
		s->wrappers[s->n_wrappers++] = hbt_field_needed(r);
	if (r->status == HALIBUT_OK && (s->url == NULL || s->streams == NULL ||
	                                s->key_prefix == NULL))
		hbt_field_fail(r);
}

/* The URL may have a password in it as well. */
static void wipe(char *text)
{
	if (text != NULL)
		explicit_bzero(text, strlen(text));
}

void hbt_queue_settings_fini(struct hbt_queue_settings *s)
{
	wipe(s->url);
	wipe(s->password);
	wipe(s->sentinel_password);
	for (size_t i = 0; i < N_TEXTS; i++)
		free(*text_at(s, i));
	for (size_t i = 0; i < s->n_wrappers; i++)
		free(s->wrappers[i]);
	free(s->wrappers);
	memset(s, 0, sizeof(*s));
}

static int replace(char **at, const char *text)
{
	char *copy;

	if (text == NULL)
		return HALIBUT_OK;
	if ((copy = strdup(text)) == NULL)
		return HALIBUT_ENOMEM;
	wipe(*at);
	free(*at);
	*at = copy;
	return HALIBUT_OK;
}

int hbt_queue_settings_redis(const struct hbt_queue_settings *s,
                             struct hbt_redis_options *o,
                             struct halibut_error *err)
{
	int rc;

	hbt_redis_options_init(o);
	o->connect_timeout_ms = s->connect_timeout_ms;
	o->command_timeout_ms = s->command_timeout_ms;
	if ((rc = hbt_redis_options_parse(o, s->url, err)) != HALIBUT_OK)
		return rc;
	if (s->database >= 0)
		o->database = (unsigned)s->database;
	if (s->tls_insecure)
		o->tls_insecure = true;
	if (replace(&o->user, s->user) != HALIBUT_OK ||
	    replace(&o->password, s->password) != HALIBUT_OK ||
	    replace(&o->sentinel_user, s->sentinel_user) != HALIBUT_OK ||
	    replace(&o->sentinel_password, s->sentinel_password) !=
	            HALIBUT_OK ||
	    replace(&o->channel_prefix, s->channel_prefix) != HALIBUT_OK ||
	    replace(&o->tls_ca_file, s->tls_ca) != HALIBUT_OK ||
	    replace(&o->tls_certificate_file, s->tls_certificate) !=
	            HALIBUT_OK ||
	    replace(&o->tls_key_file, s->tls_key) != HALIBUT_OK)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	return HALIBUT_OK;
}

void hbt_queue_settings_store(const struct hbt_queue_settings *s,
                              struct hbt_store_config *config)
{
	*config = (struct hbt_store_config){
		.kind = s->streams,
		.key_prefix = s->key_prefix,
		.directory = s->streams_directory,
		.command = s->streams_command,
		.max_total_bytes = s->streams_max_bytes,
		.max_metadata_bytes = s->streams_max_bytes,
		.program_timeout_ms = 60000,
	};
}
