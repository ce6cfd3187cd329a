#include "master/credentials.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where a pair is, as the configuration has it. */
struct place {
	const char *certificate, *key, *password;
	const struct hbt_config *cfg;
};

static int explain_missing(const struct place *at, struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "there is no certificate %s; make one with "
	                     "`halibutctl cert new --name %s --out %s`, or "
	                     "set certificate in %s",
	                     at->certificate, at->cfg->node, at->certificate,
	                     at->cfg->path);
}

static void wipe(char **key)
{
	if (*key != NULL)
		explicit_bzero(*key, strlen(*key));
	free(*key);
	*key = NULL;
}

/* The key out of a file of its own; what else is in there is not used. */
static int load_key(const struct place *at, char **key,
                    struct halibut_error *err)
{
	wipe(key);
	return hbt_tls_load_key_file(at->key, at->password, key, err);
}

static int load(const struct place *at, char **cert, char **key,
                char *thumbprint, struct halibut_error *err)
{
	struct hbt_tls *tls = NULL;
	int rc;

	if (access(at->certificate, F_OK) != 0)
		return explain_missing(at, err);
	rc = hbt_tls_load_file(at->certificate, at->password, cert, key, err);
	if (rc == HALIBUT_OK && at->key != NULL)
		rc = load_key(at, key, err);
	if (rc == HALIBUT_OK && *key == NULL)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "%s has no private key; add it to the file, "
		                   "or set key to the file that has it",
		                   at->certificate);
	/* Only to see whether the workers will be able to use them. */
	if (rc == HALIBUT_OK &&
	    (rc = hbt_tls_new(&tls, *cert, *key, err)) != HALIBUT_OK)
		hbt_error_prefix(err, "certificate %s, key %s: ",
		                 at->certificate,
		                 at->key != NULL ? at->key : "in the same file");
	if (rc == HALIBUT_OK)
		memcpy(thumbprint, tls->thumbprint, HBT_THUMBPRINT_TEXT);
	hbt_tls_free(&tls);
	return rc;
}

static char *join_lines(const struct hbt_strings *list)
{
	size_t len = 1;
	char *text, *p;

	for (size_t i = 0; i < list->n; i++)
		len += strlen(list->v[i]) + 1;
	if ((text = p = calloc(1, len)) == NULL)
		return NULL;
	for (size_t i = 0; i < list->n; i++) {
		p = stpcpy(p, list->v[i]);
		if (i + 1 < list->n)
			p = stpcpy(p, "\n");
	}
	return text;
}

static int load_other(struct hbt_other_credentials *to,
                      const struct hbt_config *cfg,
                      const struct hbt_own_identity *one,
                      struct halibut_error *err)
{
	const struct place at = {one->certificate, one->key,
	                         one->certificate_password, cfg};
	struct hbt_identity_fields *f = &to->fields;
	int rc;

	if ((f->name = strdup(one->name)) == NULL ||
	    (f->server_names = join_lines(&one->server_names)) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	rc = load(&at, &f->certificate_pem, &f->key_pem, to->thumbprint, err);
	if (rc != HALIBUT_OK)
		hbt_error_prefix(err, "identity \"%s\": ", one->name);
	return rc;
}

int hbt_credentials_load(struct hbt_credentials *c,
                         const struct hbt_config *cfg,
                         struct halibut_error *err)
{
	const struct place at = {cfg->certificate, cfg->key,
	                         cfg->certificate_password, cfg};
	int rc;

	memset(c, 0, sizeof(*c));
	rc = load(&at, &c->certificate_pem, &c->key_pem, c->thumbprint, err);
	if (rc == HALIBUT_OK &&
	    (c->others = calloc(cfg->n_identities + 1, sizeof(*c->others))) ==
	            NULL)
		rc = hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	for (size_t i = 0; rc == HALIBUT_OK && i < cfg->n_identities; i++)
		rc = load_other(&c->others[c->n_others++], cfg,
		                &cfg->identities[i], err);
	return rc;
}

void hbt_credentials_fini(struct hbt_credentials *c)
{
	wipe(&c->key_pem);
	free(c->certificate_pem);
	for (size_t i = 0; i < c->n_others; i++) {
		struct hbt_identity_fields *f = &c->others[i].fields;

		free(f->name);
		free(f->certificate_pem);
		wipe(&f->key_pem);
		free(f->server_names);
	}
	free(c->others);
	memset(c, 0, sizeof(*c));
}
