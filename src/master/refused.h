/*
 * Who was refused, and why: one entry an address, certificate and reason. The
 * oldest is forgotten when there are too many, since strangers choose how many
 * there are.
 */
#ifndef HBT_MASTER_REFUSED_H
#define HBT_MASTER_REFUSED_H

#include "ipc/rows.h"

struct hbt_refused;

struct hbt_refused *hbt_refused_new(void); /* NULL: no memory */
void hbt_refused_free(struct hbt_refused **r);

/* peer is "address:port" (the port does not count), thumbprint may be NULL. */
void hbt_refused_add(struct hbt_refused *r, const char *peer,
                     const char *thumbprint, const char *reason);
/* All that were ever added. */
uint64_t hbt_refused_total(const struct hbt_refused *r);

/* Rows of HBT_TABLE_REFUSED. */
void hbt_refused_fill(const struct hbt_refused *r, uint64_t after,
                      struct hbt_page *page, uint64_t *next);

#endif
