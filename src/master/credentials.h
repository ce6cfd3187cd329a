/* The node's certificate and key: read once, at start, by the master alone. */
#ifndef HBT_MASTER_CREDENTIALS_H
#define HBT_MASTER_CREDENTIALS_H

#include "master/config.h"
#include "net/tls.h"

struct hbt_credentials {
	char *certificate_pem, *key_pem;
	char thumbprint[HBT_THUMBPRINT_TEXT];
};

/* HALIBUT_EINVAL with a message that says what to do; fini in every case. */
int hbt_credentials_load(struct hbt_credentials *c,
                         const struct hbt_config *cfg,
                         struct halibut_error *err);
void hbt_credentials_fini(struct hbt_credentials *c); /* wipes the key */

#endif
