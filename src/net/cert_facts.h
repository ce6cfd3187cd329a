/* What a certificate says of itself, for the status. */
#ifndef HBT_NET_CERT_FACTS_H
#define HBT_NET_CERT_FACTS_H

#include <openssl/x509.h>
#include <stdint.h>

struct hbt_cert_facts {
	const char *key_type; /* "RSA", "EC", …; NULL: unknown. Static */
	uint32_t key_bits;
	/* Unix time; 0: unreadable */
	int64_t not_before_ms, not_after_ms;
};

/* cert NULL: all is 0. Cheap: nothing is allocated. */
void hbt_cert_facts(X509 *cert, struct hbt_cert_facts *facts);
/* RFC 2253, UTF-8, malloced; NULL when memory is short. */
char *hbt_cert_subject(X509 *cert);

#endif
