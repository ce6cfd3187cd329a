/*
 * Calls that are over and that somebody may ask for: the last slow ones and
 * the last that failed. Never with their parameters.
 */
#ifndef HBT_MASTER_PAST_CALLS_H
#define HBT_MASTER_PAST_CALLS_H

#include "ipc/rows.h"

struct hbt_past_calls;

struct hbt_past_calls *hbt_past_calls_new(void); /* NULL: no memory */
void hbt_past_calls_free(struct hbt_past_calls **past);

/* Its texts are copied. Without memory it is forgotten at once. */
void hbt_past_calls_add(struct hbt_past_calls *past,
                        const struct hbt_past_call_row *row);

/* Rows of HBT_TABLE_PAST_CALLS, the youngest first. */
void hbt_past_calls_fill(const struct hbt_past_calls *past, uint64_t after,
                         struct hbt_page *page, uint64_t *next);

#endif
