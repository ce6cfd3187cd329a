/* Who may ask: by a token, by TLS with a certificate of one's own. */
#ifndef HBT_STATUS_AUTHORIZE_H
#define HBT_STATUS_AUTHORIZE_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/error.h"
#include "ipc/status_settings.h"

/*
 * What TCP addresses are served with: *out is NULL when that is not TLS. With
 * client_ca_pem a handshake succeeds only for who has a certificate that is in
 * there, or was signed by one that is.
 */
int authorize_tls(SSL_CTX **out, const struct hbt_status_settings *s,
                  struct halibut_error *err);

/* header: the value of Authorization, NULL if there is none. The time it
 * takes tells nothing about token. */
bool authorize_token(const char *token, const char *header);

#endif
