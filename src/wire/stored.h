/*
 * Messages as they lie in a Redis queue: plain BSON, without the $type that
 * the wire has in front, and every other member untouched. redis-queue 3.2
 */
#ifndef HBT_WIRE_STORED_H
#define HBT_WIRE_STORED_H

#include "wire/message.h"

/* The document to store for m, malloced, at most max bytes. HALIBUT_EPROTO,
 * HALIBUT_ELIMIT or HALIBUT_ENOMEM, err says which. */
int hbt_stored_from_message(const struct hbt_message *m, size_t max,
                            uint8_t **bson, size_t *len,
                            struct halibut_error *err);

/*
 * The message of a stored document: as on the wire, with the $type of kind in
 * front (one that is there already is checked and kept). Elements may be in
 * any order, names match as hbt_envelope_read() does. HALIBUT_EPROTO with
 * what is wrong.
 */
int hbt_stored_to_message(struct hbt_deflater *d, const uint8_t *bson,
                          size_t len, enum hbt_message_kind kind,
                          size_t max_streams, struct hbt_message **out,
                          struct halibut_error *err);

/*
 * The same document with another id, malloced: of a response to id by somebody
 * who could not read the request. HALIBUT_EPROTO when it has none, or
 * HALIBUT_ENOMEM.
 */
int hbt_stored_set_id(const uint8_t *bson, size_t len, const char *id,
                      uint8_t **out, size_t *out_len,
                      struct halibut_error *err);

#endif
