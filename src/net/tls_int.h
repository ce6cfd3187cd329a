/* What tls.c, cert.c and conn.c share about OpenSSL. */
#ifndef HBT_NET_TLS_INT_H
#define HBT_NET_TLS_INT_H

#include <openssl/ssl.h>
#include "net/tls.h"

/*
 * What a connection wants its peer's certificate to be. Hung on the SSL with
 * SSL_set_app_data() before the handshake; without it any will do.
 */
struct hbt_tls_check {
	/* 40 upper-case hex digits, some with commas between; NULL for any. */
	const char *thumbprint;
	X509 *refused; /* the one that was presented instead; to be freed */
};

void hbt_tls_free_names(struct hbt_tls *tls); /* tls_names.c */

/* The newest error of OpenSSL's queue in words, which is emptied. Static. */
const char *hbt_openssl_reason(void);

/* A pem_password_cb: password is a string, or NULL to fail at once. */
int hbt_pem_password(char *out, int size, int rwflag, void *password);

/* Wipes and frees; NULL is allowed. Clears *text. */
void hbt_secret_free(char **text);

#endif
