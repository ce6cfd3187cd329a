/*
 * How failures read: peer, reason, and what may help. runtime-behaviour 3.3
 * and 3.11
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include "base/timespan.h"
#include "net/conn_int.h"

enum {
	PEER_TEXT = 2200, /* a URL may have 2048 bytes */
};

/* "The server at URL (address)" or "The client at address". */
static void name_peer(const struct hbt_conn *c, char text[PEER_TEXT])
{
	if (c->dial != NULL && c->address[0] != '\0')
		snprintf(text, PEER_TEXT, "The server at %s (%s)", c->dial->url,
		         c->address);
	else if (c->dial != NULL)
		snprintf(text, PEER_TEXT, "The server at %s", c->dial->url);
	else
		snprintf(text, PEER_TEXT, "The %s at %s",
		         c->dialled ? "server" : "client", c->address);
}

void hbt_conn_hint(const struct hbt_conn *c, char text[HBT_HINT_TEXT])
{
	X509 *own = c->ssl == NULL ? NULL : SSL_get_certificate(c->ssl);
	char thumbprint[HBT_THUMBPRINT_TEXT];

	text[0] = '\0';
	if (!c->dialled || c->bytes_in > 0 || own == NULL)
		return;
	hbt_thumbprint(own, thumbprint);
	snprintf(text, HBT_HINT_TEXT,
	         ". It may not trust our certificate, which has the "
	         "thumbprint %s, or it was shut down",
	         thumbprint);
}

static bool is_setting_up(const struct hbt_conn *c)
{
	return c->state != CONN_OPEN;
}

static int broken_status(const struct hbt_conn *c)
{
	return is_setting_up(c) && c->dialled ? HALIBUT_ECONNECT
	       : c->io_errno == ETIMEDOUT     ? HALIBUT_ETIMEOUT
	                                      : HALIBUT_ECLOSED;
}

void conn_fail_broken(struct hbt_conn *c)
{
	const char *when = is_setting_up(c) ? " during the TLS handshake" : "";
	char peer[PEER_TEXT], why[HBT_HINT_TEXT];

	if (c->state == CONN_PROXY) {
		conn_fail_proxy(c, HALIBUT_ECONNECT, strerror(c->io_errno));
		return;
	}
	name_peer(c, peer);
	hbt_conn_hint(c, why);
	if (c->io_errno == ECONNRESET || c->io_errno == EPIPE)
		conn_fail(c, broken_status(c), "%s reset the connection%s%s",
		          peer, when, why);
	else
		conn_fail(c, broken_status(c),
		          "The connection with %c%s broke%s: %s",
		          peer[0] == 'T' ? 't' : peer[0], peer + 1, when,
		          strerror(c->io_errno));
}

static const char *tls_reason(const struct hbt_conn *c)
{
	const char *reason = ERR_reason_error_string(c->tls_error);

	return reason != NULL ? reason : "unknown error";
}

/* Who dialled us and then refuses expects somebody else, as a rule. */
static void hint_at_expectation(const struct hbt_conn *c,
                                char text[HBT_HINT_TEXT])
{
	X509 *own = c->ssl == NULL ? NULL : SSL_get_certificate(c->ssl);
	char thumbprint[HBT_THUMBPRINT_TEXT];

	if (c->dialled || own == NULL)
		return;
	hbt_thumbprint(own, thumbprint);
	snprintf(text, HBT_HINT_TEXT,
	         ". It may expect another certificate than ours, which has "
	         "the thumbprint %s",
	         thumbprint);
}

static bool is_alert(unsigned long error)
{
	return ERR_GET_LIB(error) == ERR_LIB_SSL &&
	       ERR_GET_REASON(error) > SSL_AD_REASON_OFFSET;
}

/* What a peer without TLS sent, in words; NULL for anything else. */
static const char *not_tls(const struct hbt_conn *c)
{
	if (ERR_GET_LIB(c->tls_error) != ERR_LIB_SSL)
		return NULL;
	switch (ERR_GET_REASON(c->tls_error)) {
	case SSL_R_HTTP_REQUEST:
	case SSL_R_HTTPS_PROXY_REQUEST:
		return "a plain HTTP request: https:// is needed here";
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_UNKNOWN_PROTOCOL:
	case SSL_R_PACKET_LENGTH_TOO_LONG:
	case SSL_R_BAD_RECORD_TYPE:
		return "something that is not TLS, or a version before 1.2";
	default:
		return NULL;
	}
}

static void fail_certificate(struct hbt_conn *c)
{
	const struct hbt_tls_check *check = &c->dial->check;
	char actual[HBT_THUMBPRINT_TEXT], subject[256] = "";
	BIO *bio = BIO_new(BIO_s_mem());

	hbt_thumbprint(check->refused, actual);
	if (bio != NULL &&
	    X509_NAME_print_ex(bio, X509_get_subject_name(check->refused), 0,
	                       XN_FLAG_ONELINE) >= 0)
		BIO_read(bio, subject, sizeof(subject) - 1);
	BIO_free(bio);
	ERR_clear_error();
	conn_fail(
		c, HALIBUT_ECERTIFICATE,
		"The server at %s presented an unexpected security "
		"certificate. We expected the server to present a "
		"certificate with the thumbprint '%s'. Instead, it presented "
		"a certificate with a thumbprint of '%s' and subject '%s'. "
		"The configured thumbprint may be wrong, the server's "
		"certificate may have been made anew, or somebody, perhaps a "
		"proxy, intercepts the connection. Compare the certificate on "
		"the server with what is configured here.",
		c->dial->url, check->thumbprint, actual, subject);
}

void conn_fail_tls(struct hbt_conn *c)
{
	char peer[PEER_TEXT], why[HBT_HINT_TEXT];

	name_peer(c, peer);
	hbt_conn_hint(c, why);
	if (is_alert(c->tls_error))
		conn_fail(c, HALIBUT_ETLS, "%s ended the TLS connection: %s%s",
		          peer, tls_reason(c), why);
	else
		conn_fail(c, HALIBUT_ETLS, "%s broke the TLS protocol: %s",
		          peer, tls_reason(c));
}

void conn_fail_handshake(struct hbt_conn *c)
{
	char peer[PEER_TEXT], why[HBT_HINT_TEXT];
	const char *what = not_tls(c);

	if (c->dial != NULL && c->dial->check.refused != NULL) {
		fail_certificate(c);
		return;
	}
	if (c->io_errno != 0) {
		conn_fail_broken(c);
		return;
	}
	name_peer(c, peer);
	hbt_conn_hint(c, why);
	if (c->at_eof)
		conn_fail(c, c->dialled ? HALIBUT_ECONNECT : HALIBUT_ECLOSED,
		          "%s closed the connection during the TLS "
		          "handshake%s",
		          peer, why);
	else if (what != NULL)
		conn_fail(c, HALIBUT_ETLS, "%s sent %s", peer, what);
	else if (is_alert(c->tls_error)) {
		hint_at_expectation(c, why);
		conn_fail(c, HALIBUT_ETLS, "%s refused the TLS handshake: %s%s",
		          peer, tls_reason(c), why);
	} else
		conn_fail(c, HALIBUT_ETLS, "TLS handshake with %c%s failed: %s",
		          peer[0] == 'T' ? 't' : peer[0], peer + 1,
		          tls_reason(c));
}

void conn_fail_deadline(struct hbt_conn *c, bool writing)
{
	char peer[PEER_TEXT], span[HBT_TIMESPAN_TEXT];

	name_peer(c, peer);
	if (c->state == CONN_HANDSHAKE) {
		hbt_timespan_format_ms(c->handshake_ms, span);
		conn_fail(c,
		          c->dialled ? HALIBUT_ECONNECT_TIMEOUT
		                     : HALIBUT_ETIMEOUT,
		          "%s did not complete the TLS handshake within %s",
		          peer, span);
	} else if (writing) {
		hbt_timespan_format_ms(c->write_ms, span);
		conn_fail(c, HALIBUT_ETIMEOUT,
		          "%s took nothing of what was sent for %s", peer,
		          span);
	} else {
		hbt_timespan_format_ms(c->read_ms, span);
		conn_fail(c, HALIBUT_ETIMEOUT,
		          "%s sent nothing for %s while waiting for %s", peer,
		          span, c->read_what);
	}
}

void conn_fail_connect_timeout(struct hbt_conn *c)
{
	char span[HBT_TIMESPAN_TEXT], text[128];

	hbt_timespan_format_ms(c->dial->connect_ms, span);
	snprintf(text, sizeof(text),
	         "The client was unable to establish the initial connection "
	         "within the timeout %s.",
	         span);
	if (c->dial->proxy_host != NULL)
		conn_fail_proxy(c, HALIBUT_ECONNECT_TIMEOUT, text);
	else
		conn_fail(c, HALIBUT_ECONNECT_TIMEOUT, "%s The endpoint is %s",
		          text, c->dial->url);
}

void conn_fail_connect(struct hbt_conn *c)
{
	int why = c->dial->was_refused ? ECONNREFUSED : c->dial->last_errno;
	char peer[PEER_TEXT];

	if (c->dial->proxy_host != NULL) {
		conn_fail_proxy(c, HALIBUT_ECONNECT, strerror(why));
		return;
	}
	name_peer(c, peer);
	if (why == ECONNREFUSED)
		conn_fail(c, HALIBUT_EREFUSED,
		          "%s refused the connection. The expected listening "
		          "service may not be running",
		          peer);
	else if (why == ETIMEDOUT)
		conn_fail_connect_timeout(c);
	else
		conn_fail(c, HALIBUT_ECONNECT, "%s cannot be reached: %s", peer,
		          strerror(why));
}

void conn_fail_lookup(struct hbt_conn *c, int eai)
{
	const struct conn_dial *d = c->dial;
	bool unknown = eai == EVUTIL_EAI_NONAME || eai == EVUTIL_EAI_NODATA;
	char text[600];

	if (d->proxy_host != NULL) {
		snprintf(text, sizeof(text), "its name cannot be resolved: %s",
		         evutil_gai_strerror(eai));
		conn_fail_proxy(c, HALIBUT_ECONNECT, text);
		return;
	}
	/* A name server that does not answer may do so the next time. */
	conn_fail(c, unknown ? HALIBUT_ERESOLVE : HALIBUT_ECONNECT,
	          "The host name '%s' of %s cannot be resolved: %s",
	          d->connect_host != NULL ? d->connect_host : d->host, d->url,
	          evutil_gai_strerror(eai));
}

void conn_fail_proxy(struct hbt_conn *c, int status, const char *why)
{
	const struct conn_dial *d = c->dial;

	conn_fail(c, status,
	          "The connection to %s through the proxy '%s' on port %u "
	          "failed: %s",
	          d->url, d->proxy_host, d->proxy_port, why);
}
