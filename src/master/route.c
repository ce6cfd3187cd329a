#include "master/route.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/uri.h"
#include "master/config_units.h"
#include "master/route_names.h"

static int out_of_memory(struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
}

static bool same_service(const char *a, const char *b)
{
	return strcasecmp(a, b) == 0;
}

static bool hosts(const struct hbt_config *cfg, const char *service)
{
	for (size_t i = 0; service != NULL && i < cfg->n_programs; i++)
		if (same_service(cfg->programs[i].service, service))
			return true;
	return false;
}

char *hbt_route_expand(const char *target, const char *label, size_t len)
{
	static const char mark[] = "{label}";
	const size_t mark_len = sizeof(mark) - 1;
	size_t n = 0;
	char *text, *p;
	const char *at;

	for (at = target; (at = strstr(at, mark)) != NULL; at += mark_len)
		n++;
	text = malloc(strlen(target) + n * len + 1);
	if (text == NULL)
		return NULL;
	for (p = text; (at = strstr(target, mark)) != NULL;
	     target = at + mark_len) {
		memcpy(p, target, (size_t)(at - target));
		p += at - target;
		memcpy(p, label, len);
		p += len;
	}
	strcpy(p, target);
	return text;
}

/* The host part of a pattern: letters, digits, '-', '_', '.', and ':' of
 * IPv6. A star may only be the first label. */
static bool valid_host(const char *host)
{
	if (strncmp(host, "*.", 2) == 0)
		host += 2;
	if (*host == '\0' || *host == '.')
		return false;
	for (; *host != '\0'; host++)
		if (!isalnum((unsigned char)*host) &&
		    strchr("-_.:", *host) == NULL)
			return false;
	return true;
}

static int split_pattern(struct hbt_route *r, const char *pattern,
                         struct halibut_error *err)
{
	struct hbt_uri uri;
	bool bare_v6 = pattern[0] == '[' && strchr(pattern, ']') != NULL &&
	               strchr(pattern, ']')[1] == '\0';
	int rc;

	if (strstr(pattern, "://") != NULL) {
		rc = hbt_uri_parse(pattern, &uri);
		if (rc == HALIBUT_OK) {
			r->port = uri.port;
			r->host = uri.host;
			uri.host = NULL;
			hbt_uri_fini(&uri);
		}
		return rc;
	}
	if (bare_v6 || strchr(pattern, ':') == NULL) {
		rc = hbt_parse_host_port(pattern, 1, &r->host, &r->port, err);
		r->port = 0;
		return rc;
	}
	return hbt_parse_host_port(pattern, 0, &r->host, &r->port, err);
}

static int set_host(struct hbt_route *r, const char *pattern,
                    struct halibut_error *err)
{
	int rc = split_pattern(r, pattern, err);

	if (rc == HALIBUT_ENOMEM)
		return rc;
	if (rc != HALIBUT_OK || !valid_host(r->host))
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "route \"%s\": that is no pattern; write "
		                     "a host, host:port, or \"*.\" and a "
		                     "suffix, as in \"*.poll.example.com\"",
		                     pattern);
	for (char *p = r->host; *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
	r->wildcard = r->host[0] == '*';
	if (r->wildcard)
		memmove(r->host, r->host + 1, strlen(r->host));
	return HALIBUT_OK;
}

int hbt_route_init(struct hbt_route *r, const char *pattern, const char *target,
                   struct halibut_error *err)
{
	int rc;

	r->pattern = strdup(pattern);
	r->target = strdup(target);
	if (r->pattern == NULL || r->target == NULL)
		return out_of_memory(err);
	rc = set_host(r, pattern, err);
	if (rc != HALIBUT_OK)
		return rc;
	if (!r->wildcard && strstr(target, "{label}") != NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "route \"%s\": {label} stands for what * "
		                     "stands for, but there is no *; write "
		                     "\"*.%s\", or a name in place of {label}",
		                     pattern, pattern);
	if (strcmp(target, "hosted") == 0)
		r->kind = HBT_ROUTE_HOSTED;
	else if (strncasecmp(target, "https:", 6) == 0)
		r->kind = HBT_ROUTE_DIAL;
	else
		r->kind = HBT_ROUTE_QUEUE;
	return HALIBUT_OK;
}

void hbt_route_fini(struct hbt_route *r)
{
	free(r->pattern);
	free(r->host);
	free(r->target);
	hbt_endpoint_fields_fini(&r->endpoint);
	memset(r, 0, sizeof(*r));
}

/* The most specific first: no star, the longer name, a port. */
static int by_weight(const void *a, const void *b)
{
	const struct hbt_route *x = a, *y = b;
	size_t nx = strlen(x->host), ny = strlen(y->host);
	int order;

	if (x->wildcard != y->wildcard)
		return x->wildcard ? 1 : -1;
	if (nx != ny)
		return nx > ny ? -1 : 1;
	order = strcmp(x->host, y->host);
	if (order != 0)
		return order;
	return (y->port > x->port) - (y->port < x->port);
}

static int dup_or_null(char **to, const char *from)
{
	if (from == NULL)
		return HALIBUT_OK;
	free(*to);
	*to = strdup(from);
	return *to != NULL ? HALIBUT_OK : HALIBUT_ENOMEM;
}

/* Deep copy of all but the url into zeroed fields. */
static int copy_fields(struct hbt_endpoint_fields *to,
                       const struct hbt_endpoint_fields *from)
{
	to->proxy_port = from->proxy_port;
	to->connect_port = from->connect_port;
	if (dup_or_null(&to->thumbprint, from->thumbprint) != HALIBUT_OK ||
	    dup_or_null(&to->proxy_host, from->proxy_host) != HALIBUT_OK ||
	    dup_or_null(&to->proxy_user, from->proxy_user) != HALIBUT_OK ||
	    dup_or_null(&to->proxy_password, from->proxy_password) !=
	            HALIBUT_OK ||
	    dup_or_null(&to->connect_host, from->connect_host) != HALIBUT_OK ||
	    dup_or_null(&to->identity, from->identity) != HALIBUT_OK)
		return HALIBUT_ENOMEM;
	return HALIBUT_OK;
}

/* The route that a plain URL matches without a star, or NULL. */
static const struct hbt_route *described(const struct hbt_route *routes,
                                         size_t n, const char *url)
{
	const struct hbt_route *found = NULL;
	struct hbt_uri uri;

	if (hbt_uri_parse(url, &uri) != HALIBUT_OK)
		return NULL;
	for (size_t i = 0; found == NULL && i < n; i++)
		if (!routes[i].wildcard && routes[i].kind == HBT_ROUTE_DIAL &&
		    routes[i].port == uri.port &&
		    strcmp(routes[i].host, uri.host) == 0)
			found = &routes[i];
	hbt_uri_fini(&uri);
	return found;
}

static int complete(struct hbt_route *r, const struct hbt_route *routes,
                    size_t n, struct halibut_error *err)
{
	const struct hbt_route *other;

	r->thumbprint_line = r->line;
	if (r->kind != HBT_ROUTE_DIAL || r->endpoint.thumbprint != NULL)
		return HALIBUT_OK;
	other = described(routes, n, r->target);
	if (other == NULL || other->endpoint.thumbprint == NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "route \"%s\" to %s needs thumbprint = "
		                     "\"THUMBPRINT OF ITS CERTIFICATE\", or a "
		                     "section endpoint \"%s\" that has one",
		                     r->pattern, r->target, r->target);
	r->thumbprint_line = other->line;
	return copy_fields(&r->endpoint, &other->endpoint) == HALIBUT_OK
	               ? HALIBUT_OK
	               : out_of_memory(err);
}

int hbt_routes_finish(struct hbt_route *routes, size_t n, int *line,
                      struct halibut_error *err)
{
	int rc = HALIBUT_OK;

	if (n > 1)
		qsort(routes, n, sizeof(*routes), by_weight);
	for (size_t i = 0; rc == HALIBUT_OK && i < n; i++) {
		*line = routes[i].line;
		rc = complete(&routes[i], routes, n, err);
		if (i == 0 || by_weight(&routes[i - 1], &routes[i]) != 0)
			continue;
		if (routes[i - 1].line > *line)
			*line = routes[i - 1].line;
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "two routes for \"%s\"; remove one of them",
		                   routes[i].pattern);
	}
	return rc;
}

/* What the star stands for: one label. NULL when the host does not match. */
static const char *match_label(const struct hbt_route *r, const char *host,
                               size_t *len)
{
	size_t n = strlen(host), suffix = strlen(r->host);

	if (n <= suffix || strcmp(host + n - suffix, r->host) != 0)
		return NULL;
	*len = n - suffix;
	return memchr(host, '.', *len) == NULL ? host : NULL;
}

const struct hbt_route *hbt_route_find(const struct hbt_config *cfg,
                                       const struct hbt_uri *uri,
                                       const char **label, size_t *len)
{
	for (size_t i = 0; i < cfg->n_routes; i++) {
		const struct hbt_route *r = &cfg->routes[i];

		*label = "";
		*len = 0;
		if (r->port != 0 && r->port != uri->port)
			continue;
		if (r->wildcard)
			*label = match_label(r, uri->host, len);
		else if (strcmp(r->host, uri->host) != 0)
			*label = NULL;
		if (*label != NULL)
			return r;
	}
	return NULL;
}

static int decide_dial(const struct hbt_endpoint_fields *fields,
                       const char *url, const char *expected,
                       struct hbt_decision *d, struct halibut_error *err)
{
	struct hbt_uri uri;

	d->kind = HBT_ROUTE_DIAL;
	if (hbt_uri_parse(url, &uri) != HALIBUT_OK)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "\"%s\" is no URL of a service", url);
	d->endpoint.url = hbt_uri_format(&uri);
	hbt_uri_fini(&uri);
	if (d->endpoint.url == NULL ||
	    (fields != NULL &&
	     copy_fields(&d->endpoint, fields) != HALIBUT_OK) ||
	    dup_or_null(&d->endpoint.thumbprint, expected) != HALIBUT_OK)
		return out_of_memory(err);
	return HALIBUT_OK;
}

static int no_route(const struct hbt_route_query *q, const char *why,
                    struct halibut_error *err)
{
	hbt_error_set(
		err, HALIBUT_ENO_ROUTE, "%s asked for %s.%s at %s, but %s",
		q->asker != NULL ? q->asker : "somebody",
		q->service != NULL ? q->service : "a service",
		q->method != NULL ? q->method : "a method",
		q->destination != NULL ? q->destination : "no destination",
		why);
	if (err != NULL)
		err->connection_state = HALIBUT_CONNECTION_CONNECTING;
	return HALIBUT_ENO_ROUTE;
}

static int decide_hosted(const struct hbt_config *cfg,
                         const struct hbt_route_query *q, const char *why,
                         struct hbt_decision *d, struct halibut_error *err)
{
	if (!hosts(cfg, q->service))
		return no_route(q, why, err);
	d->kind = HBT_ROUTE_HOSTED;
	return HALIBUT_OK;
}

static int follow(const struct hbt_config *cfg, const struct hbt_route *r,
                  const char *label, size_t len,
                  const struct hbt_route_query *q, struct hbt_decision *d,
                  struct halibut_error *err)
{
	char *target;
	int rc = HALIBUT_OK;

	if (r->kind == HBT_ROUTE_HOSTED)
		return decide_hosted(cfg, q,
		                     "its route says \"hosted\" and no section "
		                     "service of that name is configured here",
		                     d, err);
	target = hbt_route_expand(r->target, label, len);
	if (target == NULL)
		return out_of_memory(err);
	d->kind = r->kind;
	if (r->kind == HBT_ROUTE_DIAL)
		rc = decide_dial(&r->endpoint, target, q->expected_thumbprint,
		                 d, err);
	else
		d->uri = target;
	if (r->kind == HBT_ROUTE_DIAL)
		free(target);
	return rc;
}

/* Asked for at the control socket. */
static int no_such_host(const struct hbt_config *cfg,
                        const struct hbt_route_query *q,
                        const struct hbt_uri *uri, struct halibut_error *err)
{
	char why[HBT_ROUTE_HINT + 512], hint[HBT_ROUTE_HINT], here[256] = "";

	hbt_route_hint(hint, cfg, uri);
	if (hosts(cfg, q->service))
		snprintf(here, sizeof(here),
		         ". The gateway itself hosts a service of that name: "
		         "https://localhost/ reaches that");
	snprintf(why, sizeof(why),
	         "no route or endpoint names that host%s%s To reach it, add "
	         "a section endpoint or route to halibutd.conf, or give its "
	         "thumbprint (--thumbprint)%s",
	         hint, strchr(hint, '?') != NULL ? "" : ".", here);
	return no_route(q, why, err);
}

/* A destination that is neither poll:// nor queue://. */
static int decide_host(const struct hbt_config *cfg,
                       const struct hbt_route_query *q,
                       const struct hbt_uri *uri, struct hbt_decision *d,
                       struct halibut_error *err)
{
	const char *label;
	size_t len;
	const struct hbt_route *r = hbt_route_find(cfg, uri, &label, &len);

	if (r != NULL)
		return follow(cfg, r, label, len, q, d, err);
	if (q->origin == HBT_ORIGIN_CONTROL && q->expected_thumbprint != NULL &&
	    strcmp(uri->scheme, "https") == 0)
		return decide_dial(NULL, q->destination, q->expected_thumbprint,
		                   d, err);
	d->by_default = cfg->n_routes > 0 && !hbt_route_is_own(cfg, uri);
	if (q->origin == HBT_ORIGIN_CONTROL && d->by_default)
		return no_such_host(cfg, q, uri, err);
	return decide_hosted(cfg, q,
	                     "no route names that host and no such service is "
	                     "hosted here; add a section route or service to "
	                     "halibutd.conf",
	                     d, err);
}

int hbt_route_decide(const struct hbt_config *cfg,
                     const struct hbt_route_query *q, struct hbt_decision *d,
                     struct halibut_error *err)
{
	struct hbt_uri uri;
	int rc;

	memset(d, 0, sizeof(*d));
	if (q->origin == HBT_ORIGIN_POLLED)
		return decide_hosted(cfg, q,
		                     "what a polled server asks is served "
		                     "here, and no section service of that "
		                     "name is configured",
		                     d, err);
	if (q->destination == NULL)
		return decide_hosted(cfg, q,
		                     "no such service is hosted here; add a "
		                     "section service to halibutd.conf",
		                     d, err);
	rc = hbt_uri_parse(q->destination, &uri);
	if (rc == HALIBUT_ENOMEM)
		return out_of_memory(err);
	if (rc != HALIBUT_OK)
		return no_route(q, "that destination is no URI", err);
	if (strcmp(uri.scheme, "poll") != 0 && strcmp(uri.scheme, "queue") != 0)
		rc = decide_host(cfg, q, &uri, d, err);
	else if ((d->uri = strdup(q->destination)) == NULL)
		rc = out_of_memory(err);
	else
		d->kind = HBT_ROUTE_QUEUE;
	hbt_uri_fini(&uri);
	if (rc != HALIBUT_OK)
		hbt_decision_fini(d);
	return rc;
}

void hbt_decision_fini(struct hbt_decision *d)
{
	free(d->uri);
	hbt_endpoint_fields_fini(&d->endpoint);
	memset(d, 0, sizeof(*d));
}
