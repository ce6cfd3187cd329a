/* Certificates, keys, thumbprints and the TLS contexts. wire-protocol 2.2 */
#ifndef HBT_NET_TLS_H
#define HBT_NET_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include "base/error.h"

#define HBT_THUMBPRINT_TEXT 41

struct hbt_tls {
	SSL_CTX *server;
	SSL_CTX *client;           /* with our certificate */
	SSL_CTX *client_anonymous; /* without: discovery */
	char thumbprint[HBT_THUMBPRINT_TEXT]; /* ours */
	struct hbt_tls_name *names; /* who is shown another one; tls_names.c */
};

/*
 * From PEM text: certificate (chain) and private key, in one text or two.
 * key may be NULL when cert contains it. The strings stay the caller's.
 * HALIBUT_EINVAL with a message (which part, what is wrong with it).
 */
int hbt_tls_new(struct hbt_tls **out, const char *cert_pem,
                const char *key_pem, struct halibut_error *err);
void hbt_tls_free(struct hbt_tls **tls);

/* Upper-case hex SHA-1 of the DER form. */
void hbt_thumbprint(X509 *cert, char text[HBT_THUMBPRINT_TEXT]);

/*
 * Normalises: spaces and colons dropped, upper case; false unless 40 hex
 * digits remain.
 */
bool hbt_thumbprint_parse(const char *text, char out[HBT_THUMBPRINT_TEXT]);

/*
 * Several of them, with commas between: any of these is right. Malloced, in the
 * same form; NULL with HALIBUT_EINVAL when one is none, HALIBUT_ENOMEM.
 */
int hbt_thumbprints_parse(const char *text, char **out);
/* Is it in such a list? */
bool hbt_thumbprints_have(const char *list, const char *thumbprint);

/*
 * Whoever dials tls by a server name (SNI) that pattern fits, a host or
 * "*.suffix", is shown the certificate of other instead, which must live as
 * long. The first one that fits counts. HALIBUT_ENOMEM.
 */
int hbt_tls_add_name(struct hbt_tls *tls, const char *pattern,
                     struct hbt_tls *other);
/* All that were added for other, which may be freed then. */
void hbt_tls_remove_names(struct hbt_tls *tls, const struct hbt_tls *other);

/*
 * A self-signed certificate as .NET makes them: RSA of bits, SHA-256,
 * CN=name, valid from yesterday for days. Both PEM texts are malloced.
 */
int hbt_tls_self_signed(const char *name, int bits, int days, char **cert_pem,
                        char **key_pem, struct halibut_error *err);

/*
 * Reads a PEM file, or a PKCS#12 file (password may be NULL), into PEM
 * texts, malloced; *key_pem NULL when there is none.
 */
int hbt_tls_load_file(const char *path, const char *password, char **cert_pem,
                      char **key_pem, struct halibut_error *err);
/* Only the key, of a file that need not have a certificate. */
int hbt_tls_load_key_file(const char *path, const char *password,
                          char **key_pem, struct halibut_error *err);

#endif
