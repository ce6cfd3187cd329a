#include "master/route_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "base/alike.h"
#include "master/config_units.h"

#define SHOWN 5 /* of the names that there are */

/* What of the name that was asked for is to be compared with the route's. */
static const char *part_for(const struct hbt_route *r, const char *host)
{
	const char *dot = strchr(host, '.');

	return r->wildcard && dot != NULL ? dot : host;
}

static const struct hbt_route *most_alike(const struct hbt_config *cfg,
                                          const char *host)
{
	const struct hbt_route *best = NULL;
	size_t least = hbt_edits_of_a_slip(host);

	if (strlen(host) > 255) /* no name of DNS */
		return NULL;
	for (size_t i = 0; i < cfg->n_routes; i++) {
		const struct hbt_route *r = &cfg->routes[i];
		size_t edits = hbt_edits(part_for(r, host), r->host);

		if (edits < least) {
			least = edits;
			best = r;
		}
	}
	return best;
}

static size_t append(char text[HBT_ROUTE_HINT], size_t at, const char *joint,
                     const char *name)
{
	int n;

	if (at >= HBT_ROUTE_HINT)
		return at;
	n = snprintf(text + at, HBT_ROUTE_HINT - at, "%s%.80s", joint, name);
	return at + (size_t)(n > 0 ? n : 0);
}

static void list_names(char text[HBT_ROUTE_HINT], const struct hbt_config *cfg)
{
	size_t at = 0;
	char more[48];

	for (size_t i = 0; i < cfg->n_routes && i < SHOWN; i++)
		at = append(text, at, i == 0 ? "; named are " : ", ",
		            cfg->routes[i].pattern);
	if (cfg->n_routes > SHOWN) {
		snprintf(more, sizeof(more), " and %zu more",
		         cfg->n_routes - SHOWN);
		append(text, at, more, "");
	}
}

void hbt_route_hint(char text[HBT_ROUTE_HINT], const struct hbt_config *cfg,
                    const struct hbt_uri *asked)
{
	const struct hbt_route *r = most_alike(cfg, asked->host);

	text[0] = '\0';
	if (r == NULL)
		list_names(text, cfg);
	else
		append(text, append(text, 0, "; did you mean ", r->pattern),
		       "?", "");
}

static bool listens_on(const struct hbt_config *cfg, const char *host)
{
	bool found = false;

	for (size_t i = 0; !found && i < cfg->listen.n; i++) {
		char *own = NULL;
		uint16_t port;

		if (hbt_parse_host_port(cfg->listen.v[i], 1, &own, &port,
		                        NULL) == HALIBUT_OK)
			found = strcasecmp(own, host) == 0;
		free(own);
	}
	return found;
}

bool hbt_route_is_own_name(const struct hbt_config *cfg, const char *host)
{
	char machine[256] = "";

	gethostname(machine, sizeof(machine) - 1);
	return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
	       strncmp(host, "127.", 4) == 0 ||
	       strcasecmp(host, machine) == 0 ||
	       strcasecmp(host, cfg->node) == 0 || listens_on(cfg, host);
}

bool hbt_route_is_own(const struct hbt_config *cfg, const struct hbt_uri *uri)
{
	if (!hbt_route_is_own_name(cfg, uri->host))
		return false;
	if (uri->port == hbt_uri_default_port("https"))
		return true;
	for (size_t i = 0; i < cfg->n_routes; i++)
		if (!cfg->routes[i].wildcard &&
		    strcmp(cfg->routes[i].host, uri->host) == 0)
			return false;
	return true;
}
