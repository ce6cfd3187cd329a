/* Options: their defaults, copies, end, and how they are shown. */
#include "redis/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void hbt_redis_options_init(struct hbt_redis_options *o)
{
	*o = (struct hbt_redis_options){
		.connect_timeout_ms = 5000,
		.command_timeout_ms = 5000,
		.keep_alive_ms = 60000,
		.reconnect_min_ms = 250,
		.reconnect_max_ms = 10000,
	};
}

static void wipe(char **secret)
{
	if (*secret != NULL)
		explicit_bzero(*secret, strlen(*secret));
	free(*secret);
	*secret = NULL;
}

void hbt_redis_options_fini(struct hbt_redis_options *o)
{
	for (size_t i = 0; i < o->n_servers; i++) {
		free(o->servers[i].host);
		free(o->servers[i].unix_path);
	}
	free(o->servers);
	free(o->sentinel);
	free(o->sentinel_user);
	wipe(&o->sentinel_password);
	free(o->user);
	wipe(&o->password);
	free(o->tls_host);
	free(o->tls_ca_file);
	free(o->tls_certificate_file);
	free(o->tls_key_file);
	free(o->channel_prefix);
	free(o->client_name);
	memset(o, 0, sizeof(*o));
}

static bool copy(char **to, const char *from)
{
	*to = from != NULL ? strdup(from) : NULL;
	return from == NULL || *to != NULL;
}

static bool copy_servers(struct hbt_redis_options *to,
                         const struct hbt_redis_options *from)
{
	if (from->n_servers == 0)
		return true;
	to->servers = calloc(from->n_servers, sizeof(*to->servers));
	if (to->servers == NULL)
		return false;
	to->n_servers = from->n_servers;
	for (size_t i = 0; i < from->n_servers; i++) {
		to->servers[i].port = from->servers[i].port;
		if (!copy(&to->servers[i].host, from->servers[i].host) ||
		    !copy(&to->servers[i].unix_path,
		          from->servers[i].unix_path))
			return false;
	}
	return true;
}

static const size_t texts[] = {
	offsetof(struct hbt_redis_options, sentinel),
	offsetof(struct hbt_redis_options, sentinel_user),
	offsetof(struct hbt_redis_options, sentinel_password),
	offsetof(struct hbt_redis_options, user),
	offsetof(struct hbt_redis_options, password),
	offsetof(struct hbt_redis_options, tls_host),
	offsetof(struct hbt_redis_options, tls_ca_file),
	offsetof(struct hbt_redis_options, tls_certificate_file),
	offsetof(struct hbt_redis_options, tls_key_file),
	offsetof(struct hbt_redis_options, channel_prefix),
	offsetof(struct hbt_redis_options, client_name),
};
#define N_TEXTS (sizeof(texts) / sizeof(texts[0]))

static char **text_at(struct hbt_redis_options *o, size_t i)
{
	return (char **)(void *)((char *)o + texts[i]);
}

int hbt_redis_options_copy(struct hbt_redis_options *to,
                           const struct hbt_redis_options *from)
{
	struct hbt_redis_options source = *from;
	bool ok = true;

	*to = source;
	to->servers = NULL;
	to->n_servers = 0;
	for (size_t i = 0; i < N_TEXTS; i++)
		*text_at(to, i) = NULL;
	for (size_t i = 0; i < N_TEXTS; i++)
		ok = ok && copy(text_at(to, i), *text_at(&source, i));
	if (ok && copy_servers(to, from))
		return HALIBUT_OK;
	hbt_redis_options_fini(to);
	return HALIBUT_ENOMEM;
}

/* snprintf() that goes on where the last one ended, and stops at cap. */
__attribute__((format(printf, 4, 5))) static void
add(char *buf, size_t cap, size_t *len, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (*len >= cap)
		return;
	va_start(ap, fmt);
	n = vsnprintf(buf + *len, cap - *len, fmt, ap);
	va_end(ap);
	if (n > 0)
		*len += (size_t)n;
}

void hbt_redis_options_describe(const struct hbt_redis_options *o, char *buf,
                                size_t cap)
{
	size_t len = 0;

	if (cap == 0)
		return;
	buf[0] = '\0';
	if (o->sentinel != NULL)
		add(buf, cap, &len, "primary '%s' of the sentinel%s ",
		    o->sentinel, o->n_servers == 1 ? "" : "s");
	for (size_t i = 0; i < o->n_servers; i++) {
		const struct hbt_redis_server *s = &o->servers[i];

		if (i > 0)
			add(buf, cap, &len, ", ");
		if (s->unix_path != NULL)
			add(buf, cap, &len, "%s", s->unix_path);
		else if (strchr(s->host, ':') != NULL)
			add(buf, cap, &len, "[%s]:%u", s->host, s->port);
		else
			add(buf, cap, &len, "%s:%u", s->host, s->port);
	}
	if (o->n_servers == 0)
		add(buf, cap, &len, "no server");
	if (o->tls)
		add(buf, cap, &len, " (TLS%s)",
		    o->tls_insecure ? ", certificate not verified" : "");
	if (o->database != 0)
		add(buf, cap, &len, ", database %u", o->database);
	if (o->user != NULL)
		add(buf, cap, &len, ", user '%s'", o->user);
}
