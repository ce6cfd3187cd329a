#include "net/cert_facts.h"

#include <openssl/asn1.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *type_of(const EVP_PKEY *key)
{
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA:
		return "RSA";
	case EVP_PKEY_RSA_PSS:
		return "RSA-PSS";
	case EVP_PKEY_EC:
		return "EC";
	case EVP_PKEY_ED25519:
		return "Ed25519";
	case EVP_PKEY_ED448:
		return "Ed448";
	default:
		return NULL;
	}
}

static int64_t unix_ms(const ASN1_TIME *at)
{
	struct tm tm;

	return ASN1_TIME_to_tm(at, &tm) == 1 ? (int64_t)timegm(&tm) * 1000 : 0;
}

void hbt_cert_facts(X509 *cert, struct hbt_cert_facts *facts)
{
	EVP_PKEY *key;

	memset(facts, 0, sizeof(*facts));
	if (cert == NULL)
		return;
	if ((key = X509_get0_pubkey(cert)) != NULL) {
		facts->key_type = type_of(key);
		facts->key_bits = (uint32_t)EVP_PKEY_get_bits(key);
	}
	facts->not_before_ms = unix_ms(X509_get0_notBefore(cert));
	facts->not_after_ms = unix_ms(X509_get0_notAfter(cert));
}

char *hbt_cert_subject(X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *text = NULL;
	long len;

	if (bio != NULL &&
	    X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0,
	                       XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
		len = BIO_get_mem_data(bio, &data);
		text = strndup(len > 0 ? data : "", len > 0 ? (size_t)len : 0);
	}
	BIO_free(bio);
	return text;
}
