/* Field packing that several bodies share. Internal to src/ipc. */
#ifndef HBT_IPC_FIELDS_H
#define HBT_IPC_FIELDS_H

#include "base/buf.h"

/* Marks r as malformed; for values that its own readers cannot judge. */
void hbt_field_fail(struct hbt_rd *r);

/*
 * A cstr, malloced; NULL only when it is absent or r failed. Unlike
 * hbt_rd_strdup() a NUL byte or a lack of memory fails r, so that a string
 * is never mistaken for an absent one.
 */
char *hbt_field_cstr(struct hbt_rd *r);
/* The same, but being absent fails r. */
char *hbt_field_needed(struct hbt_rd *r);

#endif
