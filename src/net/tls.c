/*
 * The TLS contexts. Identity is the thumbprint alone: chains, names and
 * dates are never looked at. wire-protocol 2.2, 16
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include "net/tls.h"
#include "net/tls_int.h"

/*
 * TLS 1.2 suites. Forward secrecy first; plain RSA at the end is for peers
 * on Windows versions of long ago. No DHE: its groups are the server's choice.
 */
static const char ciphers[] =
	"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:"
	"RSA+AESGCM:RSA+AES:"
	"!aNULL:!eNULL:!PSK:!SRP:!DSS:!AESCCM:@SECLEVEL=0";

/* All three are strong; with AES instructions the first is the fastest. */
static const char suites[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
			     "TLS_CHACHA20_POLY1305_SHA256";

/*
 * In place of all verification. Inside the handshake, so that a server with
 * the wrong certificate does not even see ours.
 */
static int check_thumbprint(X509_STORE_CTX *store, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(
		store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct hbt_tls_check *check = SSL_get_app_data(ssl);
	X509 *cert = X509_STORE_CTX_get0_cert(store);
	char thumbprint[HBT_THUMBPRINT_TEXT];

	(void)arg;
	X509_STORE_CTX_set_error(store, X509_V_OK);
	if (check == NULL || check->thumbprint == NULL)
		return 1;
	hbt_thumbprint(cert, thumbprint);
	if (hbt_thumbprints_have(check->thumbprint, thumbprint))
		return 1;
	if (check->refused == NULL && X509_up_ref(cert) == 1)
		check->refused = cert;
	X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
}

static SSL_CTX *new_context(const SSL_METHOD *method)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (ctx == NULL)
		return NULL;
	/*
	 * Level 0 because keys and signatures of peers may be old (SHA-1,
	 * short RSA), and so may our own certificate be.
	 */
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
	                                 SSL_OP_NO_RENEGOTIATION |
	                                 SSL_OP_IGNORE_UNEXPECTED_EOF |
	                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
	/* No resumption: trust is asked anew for every connection. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY |
	                              SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, check_thumbprint, NULL);
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_cipher_list(ctx, ciphers) != 1 ||
	    SSL_CTX_set_ciphersuites(ctx, suites) != 1) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

static X509 *read_cert(BIO *bio)
{
	return PEM_read_bio_X509(bio, NULL, hbt_pem_password, NULL);
}

/* The first certificate is ours, what follows is sent along. */
static int use_certs(SSL_CTX *ctx, const char *pem, char *thumbprint,
                     struct halibut_error *err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = NULL;
	int rc;

	if (bio == NULL || (cert = read_cert(bio)) == NULL) {
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "The certificate cannot be read: %s",
		                   hbt_openssl_reason());
		goto out;
	}
	hbt_thumbprint(cert, thumbprint);
	if (SSL_CTX_use_certificate(ctx, cert) != 1) {
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "The certificate %s cannot be used: %s",
		                   thumbprint, hbt_openssl_reason());
		goto out;
	}
	X509_free(cert);
	while ((cert = read_cert(bio)) != NULL) {
		if (SSL_CTX_add0_chain_cert(ctx, cert) != 1) {
			rc = hbt_error_set(err, HALIBUT_EINVAL,
			                   "A certificate behind %s cannot be "
			                   "used: %s",
			                   thumbprint, hbt_openssl_reason());
			goto out;
		}
	}
	rc = HALIBUT_OK;
out:
	ERR_clear_error(); /* the end of the text is an error to OpenSSL */
	X509_free(cert);
	BIO_free(bio);
	return rc;
}

static int use_key(SSL_CTX *ctx, const char *pem, const char *thumbprint,
                   struct halibut_error *err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = NULL;
	int rc = HALIBUT_OK;

	if (bio != NULL)
		key = PEM_read_bio_PrivateKey(bio, NULL, hbt_pem_password,
		                              NULL);
	if (key == NULL)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "The private key of certificate %s cannot "
		                   "be read (it must not be encrypted): %s",
		                   thumbprint, hbt_openssl_reason());
	else if (SSL_CTX_use_PrivateKey(ctx, key) != 1 ||
	         SSL_CTX_check_private_key(ctx) != 1)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "The private key does not belong to the "
		                   "certificate %s: %s",
		                   thumbprint, hbt_openssl_reason());
	EVP_PKEY_free(key);
	BIO_free(bio);
	return rc;
}

static int identify(SSL_CTX *ctx, const char *cert_pem, const char *key_pem,
                    char *thumbprint, struct halibut_error *err)
{
	int rc = use_certs(ctx, cert_pem, thumbprint, err);

	return rc != 0 ? rc : use_key(ctx, key_pem, thumbprint, err);
}

int hbt_tls_new(struct hbt_tls **out, const char *cert_pem, const char *key_pem,
                struct halibut_error *err)
{
	struct hbt_tls *tls;
	int rc;

	*out = NULL;
	ERR_clear_error();
	if (key_pem == NULL)
		key_pem = cert_pem;
	if ((tls = calloc(1, sizeof(*tls))) == NULL ||
	    (tls->server = new_context(TLS_server_method())) == NULL ||
	    (tls->client = new_context(TLS_client_method())) == NULL ||
	    (tls->client_anonymous = new_context(TLS_client_method())) ==
	            NULL) {
		rc = hbt_error_set(err, HALIBUT_ENOMEM,
		                   "TLS cannot be set up: %s",
		                   hbt_openssl_reason());
		goto out;
	}
	if ((rc = identify(tls->server, cert_pem, key_pem, tls->thumbprint,
	                   err)) != 0 ||
	    (rc = identify(tls->client, cert_pem, key_pem, tls->thumbprint,
	                   err)) != 0)
		goto out;
	SSL_CTX_set_app_data(tls->server, tls); /* for conn.c */
	SSL_CTX_set_app_data(tls->client, tls);
	*out = tls;
	tls = NULL;
out:
	hbt_tls_free(&tls);
	return rc;
}

void hbt_tls_free(struct hbt_tls **tls)
{
	if (*tls == NULL)
		return;
	hbt_tls_free_names(*tls);
	SSL_CTX_free((*tls)->server);
	SSL_CTX_free((*tls)->client);
	SSL_CTX_free((*tls)->client_anonymous);
	free(*tls);
	*tls = NULL;
}
