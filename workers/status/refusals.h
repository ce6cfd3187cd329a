/* What is logged of those who do not see the status: a line a minute for each
 * source and reason. address is where they came to. */
#ifndef HBT_STATUS_REFUSALS_H
#define HBT_STATUS_REFUSALS_H

#include <event2/bufferevent_ssl.h>
#include <event2/http.h>
#include <openssl/ssl.h>

/* It has not shown the token; header as for authorize_token(). */
void refusal_token(struct evhttp_connection *evcon, const char *header,
                   const char *address);

/*
 * A connection that is over: why, if its handshake failed. Who comes and goes
 * without a word, as balancers do to see whether we are there, is not refused.
 * peer is "address:port". bev is one of TLS.
 */
void refusal_tls(struct bufferevent *bev, const char *peer,
                 const char *address);

/* As many are connected as may be; others wait. */
void refusal_full(unsigned max_connections, const char *address);

#endif
