/* Certificates in files and at URLs. */
#ifndef HBT_CTL_CERT_FILE_H
#define HBT_CTL_CERT_FILE_H

#include <jansson.h>
#include <stdbool.h>
#include "base/error.h"
#include "net/tls.h"

struct hbt_ctl_cert_facts {
	char thumbprint[HBT_THUMBPRINT_TEXT];
	char *subject, *issuer; /* RFC 2253, e.g. CN=halibut */
	char not_before[32], not_after[32]; /* 2024-01-02T03:04:05Z */
	long days_left; /* negative once it has expired */
	bool not_yet_valid;
	char key[64];   /* "RSA 2048" */
	bool private_key; /* the file has it, too */
};

/* Each fails with a message; fini only after success. */
int hbt_ctl_cert_of_file(const char *path, const char *password_file,
                         struct hbt_ctl_cert_facts *facts,
                         struct halibut_error *err);
/* Asks whoever listens at url, showing no certificate. wire-protocol 14 */
int hbt_ctl_cert_of_url(const char *url, struct hbt_ctl_cert_facts *facts,
                        struct halibut_error *err);
void hbt_ctl_cert_facts_fini(struct hbt_ctl_cert_facts *facts);
/* All of them as an object. */
json_t *hbt_ctl_cert_facts_json(const struct hbt_ctl_cert_facts *f);
/* A TLS context needs a certificate, even if none is to be shown. */
int hbt_ctl_tls_of_nobody(struct hbt_tls **tls, struct halibut_error *err);

/*
 * The PEM texts of a file, malloced; *key is NULL when it has none, or (of an
 * identity) that is a mistake. free() and wipe in every case. What cannot be
 * read is HALIBUT_EINVAL: whoever named it made a mistake.
 */
int hbt_ctl_load_certificate(const char *path, const char *password_file,
                             char **cert, char **key,
                             struct halibut_error *err);
int hbt_ctl_load_identity(const char *path, const char *password_file,
                          char **cert, char **key, struct halibut_error *err);
/* Overwrites and frees; NULL is allowed. */
void hbt_ctl_wipe(char **secret);

/*
 * Writes cert and key as one PEM file with mode 0600. An existing file is
 * replaced, in one step, only with force.
 */
int hbt_ctl_write_secret(const char *path, bool force, const char *cert_pem,
                         const char *key_pem, struct halibut_error *err);
/* The same as PKCS#12. */
int hbt_ctl_write_pfx(const char *path, bool force, const char *name,
                      const char *cert_pem, const char *key_pem,
                      const char *password, struct halibut_error *err);

#endif
