#include "master/own_certs.h"

#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "master/expiry.h"

const char *hbt_cert_use_name(enum hbt_cert_use use)
{
	static const char *const names[] = {
		[HBT_CERT_NODE] = "node",
		[HBT_CERT_IDENTITY] = "identity",
		[HBT_CERT_STATUS] = "status",
		[HBT_CERT_REDIS] = "redis",
	};

	return names[use];
}

static int add(struct hbt_own_certs *certs, enum hbt_cert_use use,
               const char *identity, const char *file, const char *pem)
{
	struct hbt_own_cert *one = &certs->v[certs->n];
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL)
	                         : NULL;

	BIO_free(bio);
	if (cert == NULL)
		return HALIBUT_OK; /* none of ours could be used so */
	certs->n++;
	one->use = use;
	hbt_thumbprint(cert, one->thumbprint);
	hbt_cert_facts(cert, &one->facts);
	one->subject = hbt_cert_subject(cert);
	X509_free(cert);
	one->file = strdup(file);
	if (identity != NULL)
		one->identity = strdup(identity);
	return one->file != NULL && one->subject != NULL &&
	                       (identity == NULL || one->identity != NULL)
	               ? HALIBUT_OK
	               : HALIBUT_ENOMEM;
}

static int add_file(struct hbt_own_certs *certs, enum hbt_cert_use use,
                    const char *file)
{
	char *pem = NULL, *key = NULL;
	int rc = HALIBUT_OK;

	if (file == NULL)
		return HALIBUT_OK;
	if (hbt_tls_load_file(file, NULL, &pem, &key, NULL) == HALIBUT_OK)
		rc = add(certs, use, NULL, file, pem);
	if (key != NULL)
		explicit_bzero(key, strlen(key));
	free(key);
	free(pem);
	return rc;
}

int hbt_own_certs_read(struct hbt_own_certs *certs,
                       const struct hbt_credentials *c,
                       const struct hbt_config *cfg)
{
	int rc;

	*certs = (struct hbt_own_certs){
		.v = calloc(c->n_others + 3, sizeof(*certs->v)),
		.warning_ms = cfg->certificate_warning_ms,
	};
	if (certs->v == NULL)
		return HALIBUT_ENOMEM;
	rc = add(certs, HBT_CERT_NODE, NULL, cfg->certificate,
	         c->certificate_pem);
	for (size_t i = 0; rc == HALIBUT_OK && i < c->n_others; i++)
		rc = add(certs, HBT_CERT_IDENTITY, c->others[i].fields.name,
		         cfg->identities[i].certificate,
		         c->others[i].fields.certificate_pem);
	if (rc == HALIBUT_OK)
		rc = add_file(certs, HBT_CERT_STATUS, cfg->status_certificate);
	if (rc == HALIBUT_OK && cfg->shares)
		rc = add_file(certs, HBT_CERT_REDIS,
		              cfg->redis.tls_certificate);
	return rc;
}

void hbt_own_certs_fini(struct hbt_own_certs *certs)
{
	for (size_t i = 0; i < certs->n; i++) {
		free(certs->v[i].identity);
		free(certs->v[i].file);
		free(certs->v[i].subject);
	}
	free(certs->v);
	*certs = (struct hbt_own_certs){.v = NULL};
}

static void set_text(json_t *o, const char *name, const char *value)
{
	json_object_set_new(o, name,
	                    value != NULL ? json_string(value) : json_null());
}

static void set_date(json_t *o, const char *name, int64_t ms)
{
	time_t at = (time_t)(ms / 1000);
	char text[32];
	struct tm tm;

	if (ms == 0 || gmtime_r(&at, &tm) == NULL ||
	    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		text[0] = '\0';
	set_text(o, name, text[0] != '\0' ? text : NULL);
}

json_t *hbt_own_certs_list(const struct hbt_own_certs *certs)
{
	int64_t now_ms = (int64_t)time(NULL) * 1000;
	json_t *list = json_array();

	for (size_t i = 0; i < certs->n; i++) {
		const struct hbt_own_cert *one = &certs->v[i];
		char warning[HBT_EXPIRY_TEXT];
		json_t *o = json_object();

		set_text(o, "thumbprint", one->thumbprint);
		set_text(o, "use", hbt_cert_use_name(one->use));
		set_text(o, "identity", one->identity);
		set_text(o, "subject", one->subject);
		set_text(o, "key_type", one->facts.key_type);
		json_object_set_new(o, "key_bits",
		                    json_integer(one->facts.key_bits));
		set_date(o, "not_before", one->facts.not_before_ms);
		set_date(o, "not_after", one->facts.not_after_ms);
		set_text(o, "warning",
		         hbt_expiry_text(warning, &one->facts, now_ms,
		                         certs->warning_ms)
		                 ? warning
		                 : NULL);
		json_array_append_new(list, o);
	}
	return list;
}
