#include "refusals.h"

#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#include "base/log_limit.h"
#include "net/sock.h"

static void tell(const char *peer, const char *address, const char *reason,
                 const char *remedy)
{
	const char *colon = strrchr(peer, ':');
	char key[HBT_LOG_KEY];

	snprintf(key, sizeof(key), "status %.*s %s",
	         colon != NULL ? (int)(colon - peer) : (int)strlen(peer), peer,
	         reason);
	log_limited(key, HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "status_refused", .peer = peer,
	                      .endpoint = address, .reason = reason,
	                      .remedy = remedy),
	            "%s does not get the status at %s: %s; %s", peer, address,
	            reason, remedy);
}

void refusal_token(struct evhttp_connection *evcon, const char *header,
                   const char *address)
{
	char peer[HBT_ADDRESS_TEXT];
	char *host = NULL;
	ev_uint16_t port = 0;

	evhttp_connection_get_peer(evcon, &host, &port);
	if (host == NULL)
		host = "?";
	snprintf(peer, sizeof(peer),
	         strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host,
	         (unsigned)port);
	tell(peer, address,
	     header == NULL ? "it shows no token" : "it shows a wrong token",
	     "it has to send \"Authorization: Bearer TOKEN\" with the token of "
	     "status_token_file");
}

static const char *remedy_of(int reason)
{
	switch (reason) {
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
	case SSL_R_CERTIFICATE_VERIFY_FAILED:
		return "its certificate, or the one that signed it, has to be "
		       "in status_client_ca";
	case SSL_R_HTTP_REQUEST:
	case SSL_R_WRONG_VERSION_NUMBER:
		return "with status_certificate it has to ask by https://";
	default:
		/* Alerts are what it says itself. */
		return reason > SSL_AD_REASON_OFFSET
		               ? "it does not accept us: it has to trust the "
		                 "certificate of status_certificate, which "
		                 "has to be for the name that it asks for"
		               : "it has to speak TLS 1.2 or later";
	}
}

static const char *reason_text(unsigned long error)
{
	const char *text = ERR_reason_error_string(error);

	return text != NULL ? text : "the TLS handshake failed";
}

void refusal_tls(struct bufferevent *bev, const char *peer,
                 const char *address)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);
	unsigned long error = bufferevent_get_openssl_error(bev);
	char reason[160];

	if (ssl == NULL || error == 0 || SSL_is_init_finished(ssl) ||
	    BIO_number_read(SSL_get_rbio(ssl)) == 0)
		return;
	snprintf(reason, sizeof(reason), "TLS: %s", reason_text(error));
	tell(peer, address, reason, remedy_of(ERR_GET_REASON(error)));
}

void refusal_full(unsigned max_connections, const char *address)
{
	char key[HBT_LOG_KEY], reason[64];

	snprintf(key, sizeof(key), "status full %s", address);
	snprintf(reason, sizeof(reason), "status_max_connections = %u",
	         max_connections);
	log_limited(key, HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "status_full", .endpoint = address,
	                      .reason = reason,
	                      .remedy = "end those that are not needed, or set "
	                                "status_max_connections higher"),
	            "the status at %s has as many connections as it may (%s): "
	            "others wait; end those that are not needed, or set "
	            "status_max_connections higher",
	            address, reason);
}
