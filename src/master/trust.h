/* Whom the gateway trusts, and who said so. */
#ifndef HBT_MASTER_TRUST_H
#define HBT_MASTER_TRUST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

#define HBT_SHA1_LEN 20
#define HBT_SHA1_TEXT 41

enum hbt_trust_source {
	HBT_TRUST_SETTING = 1, /* the setting trust */
	HBT_TRUST_FILE = 2,    /* trust_file */
	HBT_TRUST_ADDED = 4,   /* trust_added_file: by hand */
};

struct hbt_trusted {
	uint8_t sha1[HBT_SHA1_LEN];
	uint8_t sources; /* enum hbt_trust_source, one or more */
	int line;        /* in trust_file; 0: it is not in there */
	char *comment;   /* what stands behind it in a file; NULL: nothing */
};

struct hbt_trust {
	struct hbt_trusted *list; /* sorted by SHA-1, each once */
	size_t n;
};

/* Adds one. HALIBUT_EINVAL (no thumbprint), HALIBUT_ELIMIT, HALIBUT_ENOMEM. */
int hbt_trust_add(struct hbt_trust *t, const char *text,
                  enum hbt_trust_source source, struct halibut_error *err);
/*
 * Adds those of a file: one a line; what follows a # is a comment. The
 * message begins with "FILE:LINE: ". Of HBT_TRUST_ADDED there need not be
 * a file.
 */
int hbt_trust_add_file(struct hbt_trust *t, const char *path,
                       enum hbt_trust_source source,
                       struct halibut_error *err);
/* Copies those of other sources than source. HALIBUT_ENOMEM. */
int hbt_trust_copy_others(struct hbt_trust *to, const struct hbt_trust *from,
                          enum hbt_trust_source source);
/* Sorts and joins repetitions; to be called after the last one was added. */
void hbt_trust_finish(struct hbt_trust *t);
void hbt_trust_fini(struct hbt_trust *t);

/* 40 hexadecimal digits; NULL: it is not trusted. */
const struct hbt_trusted *hbt_trust_find(const struct hbt_trust *t,
                                         const char *hex);
/* 40 hexadecimal digits, or false. */
bool hbt_sha1_parse(const char *hex, uint8_t sha1[HBT_SHA1_LEN]);
/* Upper case. */
void hbt_sha1_format(const uint8_t sha1[HBT_SHA1_LEN],
                     char hex[HBT_SHA1_TEXT]);

#endif
