#include "master/where.h"

#include <stdlib.h>
#include <string.h>
#include "base/uri.h"
#include "master/route.h"
#include "master/route_names.h"

static void set_text(json_t *o, const char *name, const char *value)
{
	json_object_set_new(o, name,
	                    value != NULL ? json_string(value) : json_null());
}

static void set_line(json_t *o, const char *name, int line)
{
	json_object_set_new(o, name,
	                    line > 0 ? json_integer(line) : json_null());
}

static void set_host(json_t *o, const char *name, const char *host,
                     uint16_t port)
{
	bool v6 = host != NULL && strchr(host, ':') != NULL;

	json_object_set_new(o, name,
	                    host != NULL ? json_sprintf("%s%s%s:%u",
	                                                v6 ? "[" : "", host,
	                                                v6 ? "]" : "", port)
	                                 : json_null());
}

static json_t *thumbprint_list(const char *joined)
{
	json_t *list = json_array();
	size_t len;

	for (; joined != NULL && *joined != '\0'; joined += len) {
		joined += strspn(joined, ",");
		len = strcspn(joined, ",");
		json_array_append_new(list, json_stringn(joined, len));
	}
	return list;
}

static void describe(json_t *o, const char *section, const char *title,
                     int line, const char *leads, const char *to)
{
	set_text(o, "section", section);
	set_text(o, "title", title);
	set_line(o, "line", line);
	set_text(o, "leads", leads);
	set_text(o, "to", to);
}

static void describe_dialling(json_t *o, const struct hbt_endpoint_fields *e,
                              int line)
{
	json_object_set_new(o, "thumbprints", thumbprint_list(e->thumbprint));
	set_line(o, "thumbprint_line", line);
	set_host(o, "proxy", e->proxy_host, e->proxy_port);
	set_text(o, "proxy_user", e->proxy_user);
	json_object_set_new(o, "proxy_password",
	                    json_boolean(e->proxy_password != NULL));
	set_host(o, "connect", e->connect_host, e->connect_port);
	set_text(o, "identity", e->identity);
}

static void add_route(json_t *o, const struct hbt_route *r, const char *label,
                      size_t len)
{
	static const char *const leads[] = {
		[HBT_ROUTE_QUEUE] = "queue",
		[HBT_ROUTE_DIAL] = "dial",
		[HBT_ROUTE_HOSTED] = "hosted",
	};
	bool endpoint = strcmp(r->pattern, r->target) == 0;
	char *to = hbt_route_expand(r->target, label, len);

	describe(o, endpoint ? "endpoint" : "route", r->pattern, r->line,
	         leads[r->kind], r->kind == HBT_ROUTE_HOSTED ? NULL : to);
	if (r->kind == HBT_ROUTE_DIAL)
		describe_dialling(o, &r->endpoint, r->thumbprint_line);
	free(to);
}

/* A server that this gateway polls; no calls go there. */
static const struct hbt_poll *find_poll(const struct hbt_config *cfg,
                                        const struct hbt_uri *uri)
{
	const struct hbt_poll *found = NULL;

	for (size_t i = 0; found == NULL && i < cfg->n_polls; i++) {
		struct hbt_uri server;

		if (hbt_uri_parse(cfg->polls[i].server.url, &server) !=
		    HALIBUT_OK)
			continue;
		if (server.port == uri->port &&
		    strcmp(server.host, uri->host) == 0)
			found = &cfg->polls[i];
		hbt_uri_fini(&server);
	}
	return found;
}

static bool listens(const struct hbt_listeners *l, uint16_t port)
{
	size_t n = l != NULL ? hbt_listeners_count(l) : 0;

	for (size_t i = 0; i < n; i++) {
		const char *colon = strrchr(hbt_listeners_address(l, i), ':');

		if (colon != NULL && strtoul(colon + 1, NULL, 10) == port)
			return true;
	}
	return false;
}

/* Any of its certificates may be shown there. */
static void add_self(json_t *o, const struct hbt_where_self *self)
{
	json_t *list = json_array();

	for (size_t i = 0; i < self->certs->n; i++)
		if (self->certs->v[i].use == HBT_CERT_NODE ||
		    self->certs->v[i].use == HBT_CERT_IDENTITY)
			json_array_append_new(
				list, json_string(
					      self->certs->v[i].thumbprint));
	describe(o, NULL, NULL, 0, "self", NULL);
	json_object_set_new(o, "thumbprints", list);
}

static void add_nowhere(json_t *o, const struct hbt_config *cfg,
                        const struct hbt_uri *uri)
{
	char hint[HBT_ROUTE_HINT];

	hbt_route_hint(hint, cfg, uri);
	describe(o, NULL, NULL, 0, "nowhere", NULL);
	set_text(o, "hint", hint[0] != '\0' ? hint : NULL);
}

json_t *hbt_where(const struct hbt_config *cfg,
                  const struct hbt_where_self *self, const char *url)
{
	const struct hbt_route *r;
	const struct hbt_poll *poll;
	json_t *o = json_object();
	const char *label;
	struct hbt_uri uri;
	size_t len;

	set_text(o, "file", cfg->path);
	set_text(o, "hint", NULL);
	if (hbt_uri_parse(url, &uri) != HALIBUT_OK) {
		describe(o, NULL, NULL, 0, "nowhere", NULL);
		return o;
	}
	r = hbt_route_find(cfg, &uri, &label, &len);
	if (r != NULL) {
		add_route(o, r, label, len);
	} else if ((poll = find_poll(cfg, &uri)) != NULL) {
		describe(o, "poll", poll->server.url, 0, "dial",
		         poll->server.url);
		describe_dialling(o, &poll->server, 0);
	} else if (listens(self->listeners, uri.port) &&
	           hbt_route_is_own_name(cfg, uri.host)) {
		add_self(o, self);
	} else {
		add_nowhere(o, cfg, &uri);
	}
	hbt_uri_fini(&uri);
	return o;
}
