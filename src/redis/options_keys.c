/*
 * The keys of a connection string, as StackExchange.Redis has them, and our
 * own for what it can only be told in code. redis-queue 15.2
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "redis/options_parse.h"

enum key_kind {
	KEY_TEXT,
	KEY_BOOL,
	KEY_DATABASE,
	KEY_MS,
	KEY_SECONDS,
	KEY_PROTOCOL,
	KEY_PROXY,
	KEY_IGNORED,
};

struct key {
	const char *name;
	enum key_kind kind;
	size_t offset;
};

#define AT(member) offsetof(struct hbt_redis_options, member)

static const struct key keys[] = {
	{"user", KEY_TEXT, AT(user)},
	{"username", KEY_TEXT, AT(user)},
	{"password", KEY_TEXT, AT(password)},
	{"serviceName", KEY_TEXT, AT(sentinel)},
	{"sentinelUser", KEY_TEXT, AT(sentinel_user)},
	{"sentinelPassword", KEY_TEXT, AT(sentinel_password)},
	{"ssl", KEY_BOOL, AT(tls)},
	{"tls", KEY_BOOL, AT(tls)},
	{"sslHost", KEY_TEXT, AT(tls_host)},
	{"tlsCaFile", KEY_TEXT, AT(tls_ca_file)},
	{"tlsCertificateFile", KEY_TEXT, AT(tls_certificate_file)},
	{"tlsKeyFile", KEY_TEXT, AT(tls_key_file)},
	{"tlsInsecure", KEY_BOOL, AT(tls_insecure)},
	{"defaultDatabase", KEY_DATABASE, AT(database)},
	{"db", KEY_DATABASE, AT(database)},
	{"channelPrefix", KEY_TEXT, AT(channel_prefix)},
	{"name", KEY_TEXT, AT(client_name)},
	{"connectTimeout", KEY_MS, AT(connect_timeout_ms)},
	{"syncTimeout", KEY_MS, AT(command_timeout_ms)},
	{"keepAlive", KEY_SECONDS, AT(keep_alive_ms)},
	{"protocol", KEY_PROTOCOL, 0},
	{"proxy", KEY_PROXY, 0},
	{"abortConnect", KEY_IGNORED, 0},
	{"allowAdmin", KEY_IGNORED, 0},
	{"asyncTimeout", KEY_IGNORED, 0},
	{"checkCertificateRevocation", KEY_IGNORED, 0},
	{"configChannel", KEY_IGNORED, 0},
	{"configCheckSeconds", KEY_IGNORED, 0},
	{"connectRetry", KEY_IGNORED, 0},
	{"highIntegrity", KEY_IGNORED, 0},
	{"highPriorityThreads", KEY_IGNORED, 0},
	{"preserveAsyncOrder", KEY_IGNORED, 0},
	{"resolveDns", KEY_IGNORED, 0},
	{"responseTimeout", KEY_IGNORED, 0},
	{"setlib", KEY_IGNORED, 0},
	{"sslProtocols", KEY_IGNORED, 0},
	{"tiebreaker", KEY_IGNORED, 0},
	{"tunnel", KEY_IGNORED, 0},
	{"version", KEY_IGNORED, 0},
	{"writeBuffer", KEY_IGNORED, 0},
};

/* Renaming these would take them from the queue; others it never sends. */
static const char *const needed_commands[] = {
	"AUTH", "DEL", "EXPIRE", "GET", "HEXISTS", "HMGET", "HMSET", "LPOP",
	"PEXPIRE", "PING", "PUBLISH", "RPUSH", "SELECT", "SET", "SUBSCRIBE",
	"UNLINK", "UNSUBSCRIBE",
};

static const struct key *find(const char *name)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strcasecmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

static bool is_secret(const struct key *k)
{
	return k->offset == AT(password) || k->offset == AT(sentinel_password);
}

int hbt_redis_option_text(char **to, const char *value,
                          struct halibut_error *err)
{
	char *copy = strdup(value);

	if (copy == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory");
	if (*to != NULL)
		explicit_bzero(*to, strlen(*to));
	free(*to);
	*to = copy;
	return HALIBUT_OK;
}

/* A decimal number from min to max, nothing around it. */
static bool number(const char *text, long min, long max, long *out)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*out = strtol(text, &end, 10);
	return errno == 0 && *end == '\0' && *out >= min && *out <= max;
}

static int wrong(const char *key, const char *value, bool quotable,
                 const char *expected, struct halibut_error *err)
{
	if (quotable)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "%s=%.64s: %s is expected", key, value,
		                     expected);
	return hbt_error_set(err, HALIBUT_EINVAL, "%s: %s is expected", key,
	                     expected);
}

static int set_bool(bool *to, const struct key *k, const char *value,
                    bool quotable, struct halibut_error *err)
{
	if (strcasecmp(value, "true") == 0 || strcasecmp(value, "yes") == 0 ||
	    strcmp(value, "1") == 0)
		*to = true;
	else if (strcasecmp(value, "false") == 0 ||
	         strcasecmp(value, "no") == 0 || strcmp(value, "0") == 0)
		*to = false;
	else
		return wrong(k->name, value, quotable, "true or false", err);
	return HALIBUT_OK;
}

static int set_proxy(const char *value, struct halibut_error *err)
{
	if (strcasecmp(value, "none") == 0)
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "proxy=: Twemproxy and Envoy cannot carry the "
	                     "queue, they lack publish/subscribe; name the "
	                     "Redis server itself");
}

/* $COMMAND=: operators disable dangerous commands so. */
static int set_renamed(const char *key, bool quotable,
                       struct halibut_error *err)
{
	size_t n = sizeof(needed_commands) / sizeof(needed_commands[0]);

	for (size_t i = 0; i < n; i++)
		if (strcasecmp(key + 1, needed_commands[i]) == 0)
			return hbt_error_set(
				err, HALIBUT_EINVAL,
				"$%s=: the queue needs this command under its "
				"own name; remove it here and the rename-command "
				"from the server's configuration",
				needed_commands[i]);
	(void)quotable;
	return HALIBUT_OK;
}

static int unknown(const char *key, bool quotable, struct halibut_error *err)
{
	if (quotable)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "'%.64s' is not a key of a Redis "
		                     "connection string",
		                     key);
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "What follows the password is not a key of a Redis "
	                     "connection string; a password that contains a "
	                     "comma must be given in a redis:// URL, with %%2C "
	                     "for the comma");
}

int hbt_redis_option_set(struct hbt_redis_options *o, const char *key,
                         const char *value, bool quotable,
                         struct halibut_error *err)
{
	const struct key *k = find(key);
	char *to = (char *)o + (k != NULL ? k->offset : 0);
	long n = 0;

	if (k == NULL && key[0] == '$')
		return set_renamed(key, quotable, err);
	if (k == NULL)
		return unknown(key, quotable, err);
	if (is_secret(k))
		quotable = false;
	switch (k->kind) {
	case KEY_TEXT:
		return hbt_redis_option_text((char **)(void *)to, value, err);
	case KEY_BOOL:
		return set_bool((bool *)to, k, value, quotable, err);
	case KEY_DATABASE:
		if (!number(value, 0, 1000000, &n))
			return wrong(k->name, value, quotable,
			             "a database number", err);
		o->database = (unsigned)n;
		return HALIBUT_OK;
	case KEY_MS:
		if (!number(value, 1, 86400000, &n))
			return wrong(k->name, value, quotable,
			             "a number of milliseconds, at least 1,",
			             err);
		*(int64_t *)(void *)to = n;
		return HALIBUT_OK;
	case KEY_SECONDS:
		/* The reference takes a negative one for its default. */
		if (value[0] == '-' && number(value + 1, 1, 86400, &n))
			return HALIBUT_OK;
		if (!number(value, 1, 86400, &n))
			return wrong(k->name, value, quotable,
			             "a number of seconds, at least 1,", err);
		*(int64_t *)(void *)to = n * 1000;
		return HALIBUT_OK;
	case KEY_PROTOCOL:
		/* RESP2 is spoken, and every server can. */
		if (strcasecmp(value, "resp2") != 0 &&
		    strcasecmp(value, "resp3") != 0 &&
		    strcmp(value, "2") != 0 && strcmp(value, "3") != 0)
			return wrong(k->name, value, quotable,
			             "resp2 or resp3", err);
		return HALIBUT_OK;
	case KEY_PROXY:
		return set_proxy(value, err);
	case KEY_IGNORED:
		break;
	}
	return HALIBUT_OK;
}

static int no_server(const char *text, bool quotable, const char *why,
                     struct halibut_error *err)
{
	if (quotable && strchr(text, '@') == NULL)
		return hbt_error_set(err, HALIBUT_EINVAL, "'%.128s': %s", text,
		                     why);
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "A server is not understood: %s", why);
}

static struct hbt_redis_server *grow(struct hbt_redis_options *o,
                                     struct halibut_error *err)
{
	struct hbt_redis_server *s;

	if (o->n_servers >= HBT_REDIS_MAX_SERVERS) {
		hbt_error_set(err, HALIBUT_EINVAL,
		              "More than %d Redis servers are given",
		              HBT_REDIS_MAX_SERVERS);
		return NULL;
	}
	s = reallocarray(o->servers, o->n_servers + 1, sizeof(*s));
	if (s == NULL) {
		hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory");
		return NULL;
	}
	o->servers = s;
	s += o->n_servers;
	memset(s, 0, sizeof(*s));
	return s;
}

int hbt_redis_option_add_path(struct hbt_redis_options *o, const char *path,
                              struct halibut_error *err)
{
	struct hbt_redis_server *s;

	if (path[0] != '/')
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "The path of a Unix socket begins with /, "
		                     "as in unix:///run/redis/redis.sock");
	if (strlen(path) > 107)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "'%.128s': the path of a Unix socket has "
		                     "at most 107 bytes",
		                     path);
	if ((s = grow(o, err)) == NULL)
		return err != NULL ? (int)err->status : HALIBUT_EINVAL;
	if ((s->unix_path = strdup(path)) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory");
	o->n_servers++;
	return HALIBUT_OK;
}

/* Letters of any script, digits, and what host names and IPv6 have. */
static bool host_ok(const char *host, size_t len)
{
	if (len == 0 || len > 253)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)host[i] <= ' ' || host[i] == 0x7f ||
		    strchr("@/\\?#[]<>\"'=!*", host[i]) != NULL)
			return false;
	return true;
}

int hbt_redis_option_add_server(struct hbt_redis_options *o, const char *text,
                                bool quotable, struct halibut_error *err)
{
	const char *host = text, *end, *port = NULL;
	struct hbt_redis_server *s;
	long n = 0;

	if (strchr(text, '@') != NULL)
		return no_server(text, false,
		                 "it contains @; user and password are given "
		                 "as user=…,password=…, or in a URL with %40 for "
		                 "an @ in the password",
		                 err);
	if (text[0] == '[') {
		host = text + 1;
		if ((end = strchr(host, ']')) == NULL)
			return no_server(text, quotable, "] is missing", err);
		if (end[1] == ':')
			port = end + 2;
		else if (end[1] != '\0')
			return no_server(text, quotable,
			                 "only :port may follow ]", err);
	} else {
		end = strchr(text, ':');
		if (end != NULL && strchr(end + 1, ':') != NULL)
			return no_server(text, quotable,
			                 "an IPv6 address is written in "
			                 "brackets, as in [::1]:6379",
			                 err);
		if (end != NULL)
			port = end + 1;
		else
			end = text + strlen(text);
	}
	if (!host_ok(host, (size_t)(end - host)))
		return no_server(text, quotable, "this is no host name", err);
	if (port != NULL && !number(port, 1, 65535, &n))
		return no_server(text, quotable,
		                 "a port is a number from 1 to 65535", err);
	if ((s = grow(o, err)) == NULL)
		return err != NULL ? (int)err->status : HALIBUT_EINVAL;
	if ((s->host = strndup(host, (size_t)(end - host))) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory");
	s->port = (uint16_t)n;
	o->n_servers++;
	return HALIBUT_OK;
}
