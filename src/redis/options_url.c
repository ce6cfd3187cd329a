/* redis://, rediss://, unix:// and the two for sentinels. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "redis/options_parse.h"

static const struct {
	const char *name;
	bool tls, path, sentinel;
} schemes[] = {
	{"redis", false, false, false},
	{"rediss", true, false, false},
	{"unix", false, true, false},
	{"redis+unix", false, true, false},
	{"redis+socket", false, true, false},
	{"redis+sentinel", false, false, true},
	{"rediss+sentinel", true, false, true},
};

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* In place. what: how an error calls it; the text itself may be secret. */
static int decode(char *s, const char *what, struct halibut_error *err)
{
	char *to = s;

	for (; *s != '\0'; s++) {
		int high, low;

		if (*s != '%') {
			*to++ = *s;
			continue;
		}
		high = hex(s[1]);
		low = high < 0 ? -1 : hex(s[2]);
		if (low < 0)
			return hbt_error_set(err, HALIBUT_EINVAL,
			                     "A %% in the %s of the URL is "
			                     "not followed by two hexadecimal "
			                     "digits; a %% itself is %%25",
			                     what);
		if (high == 0 && low == 0)
			return hbt_error_set(err, HALIBUT_EINVAL,
			                     "%%00 is not allowed in the %s "
			                     "of the URL",
			                     what);
		*to++ = (char)(high * 16 + low);
		s += 2;
	}
	*to = '\0';
	return HALIBUT_OK;
}

/* "user:password", ":password", or "password" as redis-cli has it. */
static int parse_user(struct hbt_redis_options *o, char *info,
                      struct halibut_error *err)
{
	char *colon = strchr(info, ':');
	char *password = colon != NULL ? colon + 1 : info;
	int rc = HALIBUT_OK;

	if (colon != NULL)
		*colon = '\0';
	if (colon != NULL && *info != '\0' &&
	    (rc = decode(info, "user", err)) == HALIBUT_OK)
		rc = hbt_redis_option_text(&o->user, info, err);
	if (rc == HALIBUT_OK && *password != '\0' &&
	    (rc = decode(password, "password", err)) == HALIBUT_OK)
		rc = hbt_redis_option_text(&o->password, password, err);
	return rc;
}

static int parse_hosts(struct hbt_redis_options *o, char *hosts,
                       bool quotable, struct halibut_error *err)
{
	char *host;
	int rc = HALIBUT_OK;

	/* redis:///2: the usual server. */
	if (*hosts == '\0')
		return hbt_redis_option_add_server(o, "localhost", true, err);
	while (rc == HALIBUT_OK && (host = strsep(&hosts, ",")) != NULL)
		if ((rc = decode(host, "host", err)) == HALIBUT_OK)
			rc = hbt_redis_option_add_server(o, host, quotable,
			                                 err);
	return rc;
}

static int parse_query(struct hbt_redis_options *o, char *query,
                       bool quotable, struct halibut_error *err)
{
	char *item, *value;
	int rc = HALIBUT_OK;

	while (rc == HALIBUT_OK && (item = strsep(&query, "&")) != NULL) {
		if (*item == '\0')
			continue;
		value = strchr(item, '=');
		if (value == NULL)
			value = item + strlen(item);
		else
			*value++ = '\0';
		if ((rc = decode(item, "query", err)) != HALIBUT_OK ||
		    (rc = decode(value, "query", err)) != HALIBUT_OK)
			break;
		/* An unencoded & in a password would leave its rest here. */
		if (strcasestr(item, "password") != NULL)
			quotable = false;
		rc = hbt_redis_option_set(o, item, value, quotable, err);
	}
	return rc;
}

/* "/database", or for sentinels "/name" and "/name/database". */
static int parse_path(struct hbt_redis_options *o, char *path, bool sentinel,
                      bool quotable, struct halibut_error *err)
{
	char *name = NULL;
	int rc;

	if (sentinel) {
		name = strsep(&path, "/");
		if (name == NULL || *name == '\0')
			return hbt_error_set(
				err, HALIBUT_EINVAL,
				"The name of the primary is missing, as in "
				"redis+sentinel://host:26379/mymaster");
		if ((rc = decode(name, "path", err)) != HALIBUT_OK)
			return rc;
		rc = hbt_redis_option_text(&o->sentinel, name, err);
		if (rc != HALIBUT_OK)
			return rc;
	}
	if (path == NULL || *path == '\0')
		return HALIBUT_OK;
	return hbt_redis_option_set(o, "db", path, quotable, err);
}

static int parse_server_url(struct hbt_redis_options *o, char *rest,
                            bool sentinel, bool quotable,
                            struct halibut_error *err)
{
	char *query = strchr(rest, '?');
	char *path, *at;
	int rc = HALIBUT_OK;

	if (query != NULL)
		*query++ = '\0';
	if ((path = strchr(rest, '/')) != NULL)
		*path++ = '\0';
	at = strrchr(rest, '@');
	/* A / or ? in a password ends the authority too early. */
	if (at == NULL && ((path != NULL && strchr(path, '@') != NULL) ||
	                   (query != NULL && strchr(query, '@') != NULL)))
		quotable = false;
	if (at != NULL) {
		*at = '\0';
		rc = parse_user(o, rest, err);
		rest = at + 1;
	}
	if (rc == HALIBUT_OK)
		rc = parse_hosts(o, rest, quotable, err);
	if (rc == HALIBUT_OK)
		rc = parse_path(o, path, sentinel, quotable, err);
	if (rc == HALIBUT_OK && query != NULL)
		rc = parse_query(o, query, quotable, err);
	if (rc == HALIBUT_EINVAL && !quotable)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "The URL is not understood; in a user or "
		                     "password / is written %%2F, ? is %%3F, "
		                     "# is %%23, and @ is %%40");
	return rc;
}

static int parse_path_url(struct hbt_redis_options *o, char *rest,
                          struct halibut_error *err)
{
	char *query = strchr(rest, '?');
	char *at, *slash = strchr(rest, '/');
	int rc = HALIBUT_OK;

	if (query != NULL)
		*query++ = '\0';
	at = strchr(rest, '@');
	if (at != NULL && slash != NULL && at < slash) {
		*at = '\0';
		rc = parse_user(o, rest, err);
		rest = at + 1;
	}
	if (rc == HALIBUT_OK)
		rc = decode(rest, "path", err);
	if (rc == HALIBUT_OK)
		rc = hbt_redis_option_add_path(o, rest, err);
	/* A ? in a password ends the path too early. */
	if (rc == HALIBUT_OK && query != NULL)
		rc = parse_query(o, query, strchr(query, '@') == NULL, err);
	return rc;
}

int hbt_redis_options_parse_url(struct hbt_redis_options *o, char *text,
                                struct halibut_error *err)
{
	char *rest = strchr(text, ':');
	char *fragment;

	*rest++ = '\0';
	if (strncmp(rest, "//", 2) == 0)
		rest += 2;
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		if (strcasecmp(schemes[i].name, text) != 0)
			continue;
		if (schemes[i].path)
			return parse_path_url(o, rest, err);
		if (schemes[i].tls)
			o->tls = true;
		/* A # in a password would be taken for the fragment. */
		fragment = strchr(rest, '#');
		return parse_server_url(o, rest, schemes[i].sentinel,
		                        fragment == NULL, err);
	}
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "'%.32s' is no scheme of a Redis URL; these are: "
	                     "redis, rediss, unix, redis+unix, "
	                     "redis+sentinel, rediss+sentinel",
	                     text);
}
