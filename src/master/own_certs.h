/*
 * The certificates of this node: what it shows to peers, to clients of its
 * status and to Redis. For the status, and for who minds their dates.
 */
#ifndef HBT_MASTER_OWN_CERTS_H
#define HBT_MASTER_OWN_CERTS_H

#include <jansson.h>
#include "master/credentials.h"
#include "net/cert_facts.h"

enum hbt_cert_use {
	HBT_CERT_NODE,
	HBT_CERT_IDENTITY,
	HBT_CERT_STATUS, /* status_certificate */
	HBT_CERT_REDIS,  /* tls_certificate of the section redis */
};

struct hbt_own_cert {
	enum hbt_cert_use use;
	char *identity; /* HBT_CERT_IDENTITY: its name */
	char *file, *subject;
	char thumbprint[HBT_THUMBPRINT_TEXT];
	struct hbt_cert_facts facts;
	/* What was said of its dates last, and when: expiry.h. */
	int told;
	int64_t told_ms;
};

struct hbt_own_certs {
	struct hbt_own_cert *v;
	size_t n;
	int64_t warning_ms; /* so long before the end it is worth a warning */
};

/*
 * c was loaded by cfg; the other two kinds are read here, and left out when
 * they cannot be: who uses them says so. HALIBUT_ENOMEM; fini in every case.
 */
int hbt_own_certs_read(struct hbt_own_certs *certs,
                       const struct hbt_credentials *c,
                       const struct hbt_config *cfg);
void hbt_own_certs_fini(struct hbt_own_certs *certs);

/* "node", "identity", "status", "redis" */
const char *hbt_cert_use_name(enum hbt_cert_use use);

/* For the status: an object each. */
json_t *hbt_own_certs_list(const struct hbt_own_certs *certs);

#endif
