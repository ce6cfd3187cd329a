#include "master/credentials.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int explain_missing(const struct hbt_config *cfg,
                           struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "there is no certificate %s; make one with "
	                     "`halibutctl cert new --name %s --out %s`, or "
	                     "set certificate in %s",
	                     cfg->certificate, cfg->node, cfg->certificate,
	                     cfg->path);
}

/* The key out of a file of its own; what else is in there is not used. */
static int load_key(struct hbt_credentials *c, const struct hbt_config *cfg,
                    struct halibut_error *err)
{
	char *cert = NULL;
	int rc;

	if (c->key_pem != NULL)
		explicit_bzero(c->key_pem, strlen(c->key_pem));
	free(c->key_pem);
	c->key_pem = NULL;
	rc = hbt_tls_load_file(cfg->key, cfg->certificate_password, &cert,
	                       &c->key_pem, err);
	free(cert);
	return rc;
}

int hbt_credentials_load(struct hbt_credentials *c,
                         const struct hbt_config *cfg,
                         struct halibut_error *err)
{
	struct hbt_tls *tls = NULL;
	int rc;

	memset(c, 0, sizeof(*c));
	if (access(cfg->certificate, F_OK) != 0)
		return explain_missing(cfg, err);
	rc = hbt_tls_load_file(cfg->certificate, cfg->certificate_password,
	                       &c->certificate_pem, &c->key_pem, err);
	if (rc == HALIBUT_OK && cfg->key != NULL)
		rc = load_key(c, cfg, err);
	if (rc == HALIBUT_OK && c->key_pem == NULL)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "%s has no private key; add it to the file, "
		                   "or set key to the file that has it",
		                   cfg->certificate);
	/* Only to see whether the workers will be able to use them. */
	if (rc == HALIBUT_OK)
		rc = hbt_tls_new(&tls, c->certificate_pem, c->key_pem, err);
	if (rc == HALIBUT_OK)
		memcpy(c->thumbprint, tls->thumbprint, sizeof(c->thumbprint));
	hbt_tls_free(&tls);
	return rc;
}

void hbt_credentials_fini(struct hbt_credentials *c)
{
	if (c->key_pem != NULL)
		explicit_bzero(c->key_pem, strlen(c->key_pem));
	free(c->key_pem);
	free(c->certificate_pem);
	memset(c, 0, sizeof(*c));
}
