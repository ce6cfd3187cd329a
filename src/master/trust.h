/* The list of trusted thumbprints as the workers get it. */
#ifndef HBT_MASTER_TRUST_H
#define HBT_MASTER_TRUST_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

#define HBT_SHA1_LEN 20

struct hbt_trust {
	uint8_t (*list)[HBT_SHA1_LEN]; /* sorted, each once */
	size_t n;
};

/* Adds one. HALIBUT_EINVAL (no thumbprint), HALIBUT_ELIMIT, HALIBUT_ENOMEM. */
int hbt_trust_add(struct hbt_trust *t, const char *text,
                  struct halibut_error *err);
/*
 * Adds those of a file: one a line; what follows a # is a comment. The
 * message begins with "FILE:LINE: ".
 */
int hbt_trust_add_file(struct hbt_trust *t, const char *path,
                       struct halibut_error *err);
/* Sorts and drops repetitions; to be called after the last one was added. */
void hbt_trust_finish(struct hbt_trust *t);
void hbt_trust_fini(struct hbt_trust *t);

#endif
