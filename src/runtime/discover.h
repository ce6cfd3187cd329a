/* Discovery: which certificate does an acceptor have? wire-protocol 14 */
#ifndef HBT_RUNTIME_DISCOVER_H
#define HBT_RUNTIME_DISCOVER_H

#include "net/conn.h"

/*
 * Connects to url without a certificate of ours and hands over the
 * acceptor's; the caller X509_free()s it. Runs the loop until then. tls is
 * only for its anonymous context. HALIBUT_EINVAL for a bad URL or inside a
 * callback of the loop, HALIBUT_ECONNECTING_CANCELLED when somebody ended the
 * loop, or how the connection failed, with a message.
 */
int hbt_discover(struct event_base *base, struct evdns_base *dns,
                 struct hbt_tls *tls, const struct hbt_limits *limits,
                 const char *url, X509 **cert, struct halibut_error *err);

#endif
