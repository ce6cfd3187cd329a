/* TLS to a Redis server: whom we trust, and what we show. */
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include "redis/link_int.h"

static void reason(char buf[256])
{
	unsigned long e = ERR_peek_last_error();

	buf[0] = '\0';
	if (e != 0)
		ERR_error_string_n(e, buf, 256);
	else
		strcpy(buf, "no reason given");
	ERR_clear_error();
}

static int bad_file(const char *key, const char *file,
                    struct halibut_error *err)
{
	char why[256];

	reason(why);
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "%s '%s' cannot be used: %s; a PEM file that this "
	                     "process may read is expected",
	                     key, file, why);
}

static int load_files(SSL_CTX *ctx, const struct hbt_redis_options *o,
                      struct halibut_error *err)
{
	if (o->tls_ca_file != NULL) {
		if (SSL_CTX_load_verify_locations(ctx, o->tls_ca_file, NULL) !=
		    1)
			return bad_file("tlsCaFile", o->tls_ca_file, err);
	} else {
		SSL_CTX_set_default_verify_paths(ctx);
	}
	if (o->tls_certificate_file == NULL)
		return HALIBUT_OK;
	if (SSL_CTX_use_certificate_chain_file(ctx, o->tls_certificate_file) !=
	    1)
		return bad_file("tlsCertificateFile", o->tls_certificate_file,
		                err);
	if (SSL_CTX_use_PrivateKey_file(ctx, o->tls_key_file,
	                                SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(ctx) != 1)
		return bad_file("tlsKeyFile", o->tls_key_file, err);
	return HALIBUT_OK;
}

int hbt_link_tls_new(SSL_CTX **out, const struct hbt_redis_options *o,
                     struct halibut_error *err)
{
	SSL_CTX *ctx;
	int rc;

	*out = NULL;
	if (!o->tls)
		return HALIBUT_OK;
	ERR_clear_error();
	if ((ctx = SSL_CTX_new(TLS_client_method())) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM,
		                     "TLS for Redis cannot be set up");
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	/* Redis closes without a word. */
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(ctx,
	                   o->tls_insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
	                   NULL);
	if ((rc = load_files(ctx, o, err)) != HALIBUT_OK) {
		SSL_CTX_free(ctx);
		return rc;
	}
	*out = ctx;
	return HALIBUT_OK;
}

static bool is_numeric(const char *host)
{
	unsigned char address[16];

	return evutil_inet_pton(AF_INET, host, address) == 1 ||
	       evutil_inet_pton(AF_INET6, host, address) == 1;
}

static const char *tls_name(const struct hbt_link *l)
{
	const char *name = l->config.options->tls_host;

	return name != NULL ? name : l->host;
}

static bool set_name(const struct hbt_link *l, SSL *ssl)
{
	const char *name = tls_name(l);
	bool verify = !l->config.options->tls_insecure;

	if (name == NULL) /* a Unix socket */
		return true;
	if (is_numeric(name))
		return !verify ||
		       X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl),
		                                     name) == 1;
	return SSL_set_tlsext_host_name(ssl, name) == 1 &&
	       (!verify || SSL_set1_host(ssl, name) == 1);
}

struct bufferevent *link_tls_start(struct hbt_link *l, int fd)
{
	SSL *ssl = SSL_new(l->config.tls);
	struct bufferevent *bev;

	if (ssl == NULL)
		return NULL;
	if (!set_name(l, ssl)) {
		SSL_free(ssl);
		return NULL;
	}
	bev = bufferevent_openssl_socket_new(l->config.base, fd, ssl,
	                                     BUFFEREVENT_SSL_CONNECTING,
	                                     BEV_OPT_CLOSE_ON_FREE);
	if (bev == NULL) {
		SSL_free(ssl);
		return NULL;
	}
	bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	return bev;
}

/* By the names of halibutd.conf(5), and of connection strings. */
static const char *what_helps(long verified)
{
	switch (verified) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return "renew it, or set the clock of this machine right";
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return "use a name that is in it, in the url or as sslHost";
	default:
		return "set tls_ca (tlsCaFile) to the CA that issued it";
	}
}

/* The certificate did not pass; or the other side did not like ours. */
void link_tls_failed(struct hbt_link *l)
{
	SSL *ssl = bufferevent_openssl_get_ssl(l->bev);
	long verified = SSL_get_verify_result(ssl);
	unsigned long e = 0, next;
	char why[256] = "the server closed the connection";
	const char *name = tls_name(l);

	while ((next = bufferevent_get_openssl_error(l->bev)) != 0)
		e = next;
	ERR_clear_error();
	if (!l->config.options->tls_insecure && verified != X509_V_OK) {
		link_fail(l, HALIBUT_ESYSTEM,
		          "the server's certificate was not accepted: %s "
		          "(name '%s'); %s",
		          X509_verify_cert_error_string(verified),
		          name != NULL ? name : "", what_helps(verified));
		return;
	}
	if (e != 0)
		ERR_error_string_n(e, why, sizeof(why));
	if (ERR_GET_REASON(e) == SSL_R_WRONG_VERSION_NUMBER)
		link_fail(l, HALIBUT_ESYSTEM,
		          "TLS failed: %s; does the server expect TLS on this "
		          "port (tls-port)?",
		          why);
	else
		link_fail(l, HALIBUT_ESYSTEM,
		          "TLS failed: %s; if the server asks for a client "
		          "certificate (tls-auth-clients), set "
		          "tlsCertificateFile and tlsKeyFile",
		          why);
}
