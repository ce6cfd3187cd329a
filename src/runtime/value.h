/* Values between programs and documents: JSON texts in, JSON texts out. */
#ifndef HBT_RUNTIME_VALUE_H
#define HBT_RUNTIME_VALUE_H

#include <bson/bson.h>
#include "runtime/streams.h"

/* Parses text and appends it under key, into an object slot. *refs: what
 * {"$dataStream": n} refers to. HALIBUT_EINVAL with a message. */
int hbt_value_append_json(bson_t *doc, const char *key, const char *text,
                          const struct hbt_streams *streams,
                          struct halibut_error *err);
/* A copy of the first element of a BSON document under key. */
int hbt_value_append_bson(bson_t *doc, const char *key, const uint8_t *from,
                          size_t len, struct halibut_error *err);
/* Malloced JSON text; NULL when memory is short. next_stream counts the
 * DataStreams before this value. */
char *hbt_value_to_json(const bson_iter_t *it, size_t *next_stream);

#endif
