/*
 * The dates of this node's certificates. Halibut compares thumbprints, so that
 * nothing fails by them here: they are worth a warning, for other tools.
 */
#ifndef HBT_MASTER_EXPIRY_H
#define HBT_MASTER_EXPIRY_H

#include <stdint.h>
#include <stdio.h>

#include "master/credentials.h"

#define HBT_EXPIRY_SOON_DAYS 30
#define HBT_EXPIRY_TEXT 128

/* What is to be said of such dates at such a time, all in Unix time: it has
 * ended, begins later, or ends within HBT_EXPIRY_SOON_DAYS. A date that is 0
 * is unknown. False: nothing. */
bool hbt_expiry_text(char text[HBT_EXPIRY_TEXT], int64_t not_before_ms,
                     int64_t not_after_ms, int64_t now_ms);

/* Of all certificates in c, which was loaded by cfg: a warning each in the
 * log, or a line each to out. */
void hbt_expiry_log(const struct hbt_credentials *c,
                    const struct hbt_config *cfg);
void hbt_expiry_print(const struct hbt_credentials *c,
                      const struct hbt_config *cfg, FILE *out);

#endif
