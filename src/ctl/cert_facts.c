/* What a certificate says, as text. */
#include "ctl/cert_facts.h"

#include <openssl/asn1.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static char *name_text(X509_NAME *name)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *text = NULL;
	long len;

	if (bio != NULL &&
	    X509_NAME_print_ex(bio, name, 0,
	                       XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
		len = BIO_get_mem_data(bio, &data);
		text = strndup(len > 0 ? data : "", len > 0 ? (size_t)len : 0);
	}
	BIO_free(bio);
	return text;
}

static void time_text(const ASN1_TIME *at, char text[32])
{
	struct tm tm;

	if (ASN1_TIME_to_tm(at, &tm) != 1 ||
	    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(text, 32, "unreadable");
}

static void key_text(X509 *cert, char text[64])
{
	EVP_PKEY *key = X509_get0_pubkey(cert);
	const char *kind = key != NULL ? EVP_PKEY_get0_type_name(key) : NULL;

	if (kind == NULL)
		snprintf(text, 64, "unreadable");
	else
		snprintf(text, 64, "%s %d bits", kind, EVP_PKEY_get_bits(key));
}

int hbt_ctl_cert_facts_read(struct hbt_ctl_cert_facts *facts, X509 *cert,
                            struct halibut_error *err)
{
	int days = 0, seconds = 0;

	memset(facts, 0, sizeof(*facts));
	hbt_thumbprint(cert, facts->thumbprint);
	facts->subject = name_text(X509_get_subject_name(cert));
	facts->issuer = name_text(X509_get_issuer_name(cert));
	if (facts->subject == NULL || facts->issuer == NULL) {
		hbt_ctl_cert_facts_fini(facts);
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	}
	time_text(X509_get0_notBefore(cert), facts->not_before);
	time_text(X509_get0_notAfter(cert), facts->not_after);
	if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)))
		facts->days_left = days == 0 && seconds < 0 ? -1 : days;
	if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notBefore(cert)))
		facts->not_yet_valid = days > 0 || seconds > 0;
	key_text(cert, facts->key);
	return HALIBUT_OK;
}

void hbt_ctl_cert_facts_fini(struct hbt_ctl_cert_facts *facts)
{
	free(facts->subject);
	free(facts->issuer);
	memset(facts, 0, sizeof(*facts));
}

json_t *hbt_ctl_cert_facts_json(const struct hbt_ctl_cert_facts *f)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "thumbprint",
	                 f->thumbprint, "subject", f->subject, "issuer",
	                 f->issuer, "notBefore", f->not_before, "notAfter",
	                 f->not_after, "key", f->key, "privateKey",
	                 f->private_key);
}
