/* The node's certificates and keys: read by the master alone, at the start and
 * at a reload. */
#ifndef HBT_MASTER_CREDENTIALS_H
#define HBT_MASTER_CREDENTIALS_H

#include "master/config.h"
#include "net/tls.h"

/* Of a section identity. */
struct hbt_other_credentials {
	struct hbt_identity_fields fields; /* as workers get it */
	char thumbprint[HBT_THUMBPRINT_TEXT];
};

struct hbt_credentials {
	char *certificate_pem, *key_pem;
	char thumbprint[HBT_THUMBPRINT_TEXT];
	struct hbt_other_credentials *others; /* in the order of cfg */
	size_t n_others;
};

/* HALIBUT_EINVAL with a message that says what to do; fini in every case. */
int hbt_credentials_load(struct hbt_credentials *c,
                         const struct hbt_config *cfg,
                         struct halibut_error *err);
void hbt_credentials_fini(struct hbt_credentials *c); /* wipes the keys */

#endif
