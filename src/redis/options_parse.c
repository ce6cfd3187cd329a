/*
 * Connection strings, and which of the two forms a text has. Nothing that may
 * be a password, or a part of one, is ever quoted. redis-queue 15.2
 */
#include "redis/options_parse.h"

#include <stdlib.h>
#include <string.h>

static char *trim(char *s)
{
	size_t len;

	s += strspn(s, " \t\r\n");
	len = strlen(s);
	while (len > 0 && strchr(" \t\r\n", s[len - 1]) != NULL)
		s[--len] = '\0';
	return s;
}

static int parse_item(struct hbt_redis_options *o, char *item, bool *quotable,
                      struct halibut_error *err)
{
	char *equals = strchr(item, '=');
	char *key;

	if (*item == '\0')
		return HALIBUT_OK;
	/* As StackExchange.Redis writes a Unix socket. */
	if (item[0] == '!' && equals == NULL)
		return hbt_redis_option_add_path(o, item + 1, err);
	/* The rest of a password would be shown, and asked for in the DNS. */
	if (equals == NULL && !*quotable && strchr(item, ':') == NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "A server without a port follows the "
		                     "password; name servers first, and give a "
		                     "password that contains a comma in a "
		                     "redis:// URL, with %%2C for the comma");
	if (equals == NULL || equals == item)
		return hbt_redis_option_add_server(o, item, *quotable, err);
	*equals = '\0';
	key = trim(item);
	/* user:pa=ss@host is a URL without its beginning. */
	if (strchr(key, '@') != NULL || strchr(key, ':') != NULL)
		*quotable = false;
	if (strcasestr(key, "password") != NULL)
		*quotable = false;
	return hbt_redis_option_set(o, key, trim(equals + 1), *quotable, err);
}

static int parse_string(struct hbt_redis_options *o, char *text,
                        struct halibut_error *err)
{
	bool quotable = true;
	char *item, *rest = text;
	int rc = HALIBUT_OK;

	while (rc == HALIBUT_OK && (item = strsep(&rest, ",")) != NULL)
		rc = parse_item(o, trim(item), &quotable, err);
	return rc;
}

static bool starts(const char *text, const char *scheme)
{
	return strncasecmp(text, scheme, strlen(scheme)) == 0;
}

static bool is_url(const char *text)
{
	const char *colon = strstr(text, "://");

	return (colon != NULL && strcspn(text, ",=@") > (size_t)(colon - text)) ||
	       starts(text, "unix:");
}

/* The port that was not given depends on keys which may come later. */
static void default_ports(struct hbt_redis_options *o, bool url)
{
	for (size_t i = 0; i < o->n_servers; i++) {
		struct hbt_redis_server *s = &o->servers[i];

		if (s->host == NULL || s->port != 0)
			continue;
		if (o->sentinel != NULL)
			s->port = 26379;
		else
			s->port = o->tls && !url ? 6380 : 6379;
	}
}

static int check_whole(struct hbt_redis_options *o, struct halibut_error *err)
{
	if (o->n_servers == 0)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "No Redis server is named; for instance "
		                     "redis://localhost:6379");
	if ((o->tls_certificate_file == NULL) != (o->tls_key_file == NULL))
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "tlsCertificateFile and tlsKeyFile are "
		                     "given together or not at all");
	if (o->user != NULL && o->password == NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "User '%.64s' has no password", o->user);
	if (o->tls)
		return HALIBUT_OK;
	if (o->tls_ca_file != NULL || o->tls_certificate_file != NULL ||
	    o->tls_insecure)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "TLS files are given, but TLS is off; "
		                     "write rediss:// or ssl=true");
	return HALIBUT_OK;
}

int hbt_redis_options_parse(struct hbt_redis_options *o, const char *text,
                            struct halibut_error *err)
{
	size_t len = strlen(text);
	char *copy, *start;
	bool url;
	int rc;

	if (len > HBT_REDIS_MAX_TEXT)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "The Redis address is longer than %d bytes",
		                     HBT_REDIS_MAX_TEXT);
	if ((copy = strdup(text)) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory");
	start = trim(copy);
	url = is_url(start);
	if (url)
		rc = hbt_redis_options_parse_url(o, start, err);
	else
		rc = parse_string(o, start, err);
	if (rc == HALIBUT_OK) {
		default_ports(o, url);
		rc = check_whole(o, err);
	}
	explicit_bzero(copy, len);
	free(copy);
	return rc;
}
