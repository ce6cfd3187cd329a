/* What a certificate says, as text. */
#ifndef HBT_CTL_CERT_FACTS_H
#define HBT_CTL_CERT_FACTS_H

#include "ctl/cert_file.h"

/* HALIBUT_ENOMEM only; facts needs no fini then. */
int hbt_ctl_cert_facts_read(struct hbt_ctl_cert_facts *facts, X509 *cert,
                            struct halibut_error *err);

#endif
