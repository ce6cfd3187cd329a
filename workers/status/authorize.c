#include "authorize.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>
#include <strings.h>

static int fail(struct halibut_error *err, const char *what)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());
	int rc = hbt_error_set(err, HALIBUT_EINVAL, "%s: %s", what,
	                       why != NULL ? why : "it is unusable");

	ERR_clear_error();
	return rc;
}

static bool use_certificate(SSL_CTX *ctx, const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL)
	                         : NULL;
	bool good = cert != NULL && SSL_CTX_use_certificate(ctx, cert) == 1;

	X509_free(cert);
	/* The rest of the chain; its end is an error that is none. */
	while (good &&
	       (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
		good = SSL_CTX_add0_chain_cert(ctx, cert) == 1;
	ERR_clear_error();
	BIO_free(bio);
	return good;
}

static bool use_key(SSL_CTX *ctx, const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key =
		bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL)
			    : NULL;
	bool good = key != NULL && SSL_CTX_use_PrivateKey(ctx, key) == 1;

	EVP_PKEY_free(key);
	BIO_free(bio);
	return good;
}

/* The certificates in pem, each of them trusted by itself. */
static bool use_client_ca(SSL_CTX *ctx, const char *pem)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	BIO *bio = BIO_new_mem_buf(pem, -1);
	size_t n = 0;
	bool good = bio != NULL;
	X509 *cert;

	while (good &&
	       (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		good = X509_STORE_add_cert(store, cert) == 1 &&
		       SSL_CTX_add_client_CA(ctx, cert) == 1;
		X509_free(cert);
		n++;
	}
	ERR_clear_error();
	BIO_free(bio);
	X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
	SSL_CTX_set_verify(ctx,
	                   SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
	                   NULL);
	return good && n > 0;
}

int authorize_tls(SSL_CTX **out, const struct hbt_status_settings *s,
                  struct halibut_error *err)
{
	static const unsigned char context[] = "halibut status";
	SSL_CTX *ctx;

	*out = NULL;
	if (s->certificate_pem == NULL)
		return HALIBUT_OK;
	if ((ctx = SSL_CTX_new(TLS_server_method())) == NULL)
		return HALIBUT_ENOMEM;
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_session_id_context(ctx, context, sizeof(context) - 1);
	if (!use_certificate(ctx, s->certificate_pem)) {
		SSL_CTX_free(ctx);
		return fail(err, "status_certificate");
	}
	if (s->key_pem == NULL || !use_key(ctx, s->key_pem)) {
		SSL_CTX_free(ctx);
		return fail(err, "the key of status_certificate");
	}
	if (s->client_ca_pem != NULL &&
	    !use_client_ca(ctx, s->client_ca_pem)) {
		SSL_CTX_free(ctx);
		return fail(err, "status_client_ca");
	}
	*out = ctx;
	return HALIBUT_OK;
}

/* Digests, so that neither length nor content shows in the time. */
static bool same(const char *a, const char *b)
{
	unsigned char x[EVP_MAX_MD_SIZE], y[EVP_MAX_MD_SIZE];
	unsigned int n = 0, m = 0;

	if (EVP_Digest(a, strlen(a), x, &n, EVP_sha256(), NULL) != 1 ||
	    EVP_Digest(b, strlen(b), y, &m, EVP_sha256(), NULL) != 1)
		return false;
	return n == m && CRYPTO_memcmp(x, y, n) == 0;
}

bool authorize_token(const char *token, const char *header)
{
	static const char scheme[] = "Bearer";
	size_t n = sizeof(scheme) - 1;

	if (header == NULL || strncasecmp(header, scheme, n) != 0 ||
	    header[n] != ' ')
		return false;
	header += n;
	header += strspn(header, " ");
	return same(token, header);
}
