/*
 * The dates of this node's certificates. Halibut compares thumbprints, so that
 * nothing fails by them there: they are worth a warning, for other tools.
 * Clients of the status, and Redis, do mind.
 */
#ifndef HBT_MASTER_EXPIRY_H
#define HBT_MASTER_EXPIRY_H

#include <stdint.h>
#include <stdio.h>

#include "master/own_certs.h"

#define HBT_EXPIRY_TEXT 128

enum hbt_expiry {
	HBT_EXPIRY_NONE, /* nothing is to be said */
	HBT_EXPIRY_SOON,
	HBT_EXPIRY_LATER, /* it is not valid yet */
	HBT_EXPIRY_ENDED,
};

/* What is to be said of such dates at such a time, in Unix time: it has ended,
 * begins later, or ends within soon_ms. A date that is 0 is unknown. */
enum hbt_expiry hbt_expiry_text(char text[HBT_EXPIRY_TEXT],
                                const struct hbt_cert_facts *facts,
                                int64_t now_ms, int64_t soon_ms);

/*
 * A warning in the log for each of which something is to be said, once a day,
 * and when it becomes another. unix_ms is what the clock says, now_ms what
 * hbt_now_ms() does. May be called at any time.
 */
void hbt_expiry_tick(struct hbt_own_certs *certs, int64_t now_ms,
                     int64_t unix_ms);
/* The same, a line each to out. */
void hbt_expiry_print(const struct hbt_own_certs *certs, FILE *out);

#endif
