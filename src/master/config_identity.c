/*
 * The sections identity: further certificates of this node. Whoever dials us
 * does not say which one it expects, so that it takes an address of its own,
 * or a name; where we dial, the section says which one we show.
 */
#include "master/config_private.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "master/address.h"

int hbt_identity_check_listen(const char *text, struct halibut_error *err)
{
	struct hbt_listen_address a;

	return hbt_listen_parse(text, &a, err);
}

int hbt_identity_check_name(const char *text, struct halibut_error *err)
{
	const char *p = strncmp(text, "*.", 2) == 0 ? text + 2 : text;

	while (isalnum((unsigned char)*p) || *p == '-' || *p == '.' ||
	       *p == '_')
		p++;
	if (*p == '\0' && p > text && p[-1] != '.')
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "\"%s\" is no host name; write it as in "
	                     "\"gateway.example.com\" or \"*.example.com\"",
	                     text);
}

static int copy_path(struct hbt_config *cfg, cfg_t *sec, const char *name,
                     char **to)
{
	if (cfg_size(sec, name) == 0)
		return HALIBUT_OK;
	*to = hbt_config_path(cfg, cfg_getstr(sec, name));
	return *to != NULL ? HALIBUT_OK : HALIBUT_ENOMEM;
}

static int copy_list(cfg_t *sec, const char *name, struct hbt_strings *to)
{
	int rc = HALIBUT_OK;

	for (unsigned i = 0; rc == HALIBUT_OK && i < cfg_size(sec, name); i++)
		rc = hbt_strings_append(to, cfg_getnstr(sec, name, i));
	return rc;
}

static int copy_all(struct hbt_config *cfg, cfg_t *sec,
                    struct hbt_own_identity *one)
{
	int rc = copy_path(cfg, sec, "certificate", &one->certificate);

	if (rc == HALIBUT_OK)
		rc = copy_path(cfg, sec, "key", &one->key);
	if (rc == HALIBUT_OK && cfg_size(sec, "certificate_password") > 0 &&
	    (one->certificate_password =
	             strdup(cfg_getstr(sec, "certificate_password"))) == NULL)
		rc = HALIBUT_ENOMEM;
	if (rc == HALIBUT_OK)
		rc = copy_list(sec, "listen", &one->listen);
	if (rc == HALIBUT_OK)
		rc = copy_list(sec, "server_names", &one->server_names);
	if (rc == HALIBUT_OK)
		rc = copy_list(sec, "listen", &cfg->listen);
	if (rc == HALIBUT_OK && (one->name = strdup(cfg_title(sec))) == NULL)
		rc = HALIBUT_ENOMEM;
	return rc;
}

int hbt_identity_store(struct hbt_config *cfg, cfg_t *sec,
                       struct halibut_error *err)
{
	struct hbt_own_identity *one = &cfg->identities[cfg->n_identities++];

	if (cfg->n_identities > HBT_MAX_IDENTITIES)
		return hbt_error_set(err, HALIBUT_ELIMIT,
		                     "more than %d sections identity",
		                     HBT_MAX_IDENTITIES);
	if (copy_all(cfg, sec, one) != HALIBUT_OK)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	if (one->certificate == NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "identity \"%s\" needs "
		                     "certificate = \"FILE\"",
		                     one->name);
	return HALIBUT_OK;
}

static bool has(const struct hbt_config *cfg, const char *name)
{
	for (size_t i = 0; i < cfg->n_identities; i++)
		if (strcmp(cfg->identities[i].name, name) == 0)
			return true;
	return false;
}

static int check(const struct hbt_config *cfg, const char *name,
                 struct halibut_error *err)
{
	if (name == NULL || has(cfg, name))
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "there is no section identity \"%s\"", name);
}

int hbt_identities_finish(const struct hbt_config *cfg, int *line,
                          struct halibut_error *err)
{
	int rc = HALIBUT_OK;

	for (size_t i = 0; rc == HALIBUT_OK && i < cfg->n_routes; i++) {
		*line = cfg->routes[i].line;
		rc = check(cfg, cfg->routes[i].endpoint.identity, err);
	}
	*line = 0;
	for (size_t i = 0; rc == HALIBUT_OK && i < cfg->n_polls; i++) {
		rc = check(cfg, cfg->polls[i].server.identity, err);
		if (rc != HALIBUT_OK)
			hbt_error_prefix(err, "%s: poll \"%s\": ", cfg->path,
			                 cfg->polls[i].server.url);
	}
	return rc;
}

/* "PORT" or "ADDRESS:PORT" of the setting, and an address that was bound. */
static bool is_bound_at(const char *listen, const char *address)
{
	const char *port = strrchr(listen, ':');
	struct hbt_listen_address a;
	char text[HBT_ADDRESS_TEXT];

	if (hbt_listen_parse(listen, &a, NULL) != HALIBUT_OK)
		return false;
	if (a.any)
		return strcmp(strrchr(address, ':') + 1,
		              port != NULL ? port + 1 : listen) == 0;
	hbt_sock_format((struct sockaddr *)&a.sa, text);
	return strcmp(text, address) == 0;
}

const struct hbt_own_identity *
hbt_config_identity_at(const struct hbt_config *cfg, const char *listen,
                       const char *address)
{
	for (size_t i = 0; i < cfg->n_identities; i++) {
		const struct hbt_own_identity *one = &cfg->identities[i];

		for (size_t k = 0; k < one->listen.n; k++)
			if (listen != NULL
			            ? strcmp(one->listen.v[k], listen) == 0
			            : is_bound_at(one->listen.v[k], address))
				return one;
	}
	return NULL;
}

void hbt_identities_fini(struct hbt_config *cfg)
{
	for (size_t i = 0; i < cfg->n_identities; i++) {
		struct hbt_own_identity *one = &cfg->identities[i];

		free(one->name);
		free(one->certificate);
		free(one->key);
		free(one->certificate_password);
		hbt_strings_fini(&one->listen);
		hbt_strings_fini(&one->server_names);
	}
	free(cfg->identities);
}
