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

/* Nothing but int64_t in it. */
#define N_TIMES (sizeof(struct hbt_redis_times) / sizeof(int64_t))

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
	for (size_t i = 0; i < N_TIMES; i++)
		hbt_wr_u64(w, (uint64_t)((const int64_t *)&s->times)[i]);
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
	for (size_t i = 0; i < N_TIMES; i++)
		((int64_t *)&s->times)[i] = (int64_t)hbt_rd_u64(r);
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

/* In place of what is there, unless nothing is said. */
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

static int resolve_texts(const struct hbt_queue_settings *s,
                         struct hbt_redis_settings *out)
{
	struct hbt_redis_options *o = &out->options;
	const struct {
		char **at;
		const char *text;
	} all[] = {
		{&o->user, s->user},
		{&o->password, s->password},
		{&o->sentinel_user, s->sentinel_user},
		{&o->sentinel_password, s->sentinel_password},
		{&o->channel_prefix, s->channel_prefix},
		{&o->tls_ca_file, s->tls_ca},
		{&o->tls_certificate_file, s->tls_certificate},
		{&o->tls_key_file, s->tls_key},
		{&out->key_prefix, s->key_prefix},
		{&out->streams, s->streams},
		{&out->streams_directory, s->streams_directory},
		{&out->streams_command, s->streams_command},
		{&out->node_id, s->node_id},
	};
	int rc = HALIBUT_OK;

	for (size_t i = 0; rc == HALIBUT_OK && i < sizeof(all) / sizeof(all[0]);
	     i++)
		rc = replace(all[i].at, all[i].text);
	return rc;
}

static int resolve_wrappers(const struct hbt_queue_settings *s,
                            struct hbt_redis_settings *out,
                            struct halibut_error *err)
{
	int rc = HALIBUT_OK;

	for (size_t i = 0; rc == HALIBUT_OK && i < s->n_wrappers; i++)
		rc = hbt_redis_settings_set(out, "wrapper", s->wrappers[i],
		                            err);
	return rc;
}

int hbt_queue_settings_resolve(const struct hbt_queue_settings *s,
                               struct hbt_redis_settings *out,
                               struct halibut_error *err)
{
	struct hbt_redis_options *o = &out->options;
	int rc;

	hbt_redis_settings_init(out);
	if (s->connect_timeout_ms > 0)
		o->connect_timeout_ms = s->connect_timeout_ms;
	if (s->command_timeout_ms > 0)
		o->command_timeout_ms = s->command_timeout_ms;
	if ((rc = hbt_redis_options_parse(o, s->url, err)) != HALIBUT_OK)
		return rc;
	if (s->database >= 0)
		o->database = (unsigned)s->database;
	if (s->tls_insecure)
		o->tls_insecure = true;
	out->pattern_responses = !s->own_response_pulses;
	out->streams_max_bytes = s->streams_max_bytes;
	out->times = s->times;
	if (resolve_texts(s, out) != HALIBUT_OK)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	if ((rc = resolve_wrappers(s, out, err)) != HALIBUT_OK)
		return rc;
	return hbt_redis_settings_check(out, err);
}
