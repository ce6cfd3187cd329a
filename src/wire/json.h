/*
 * JSON texts for arguments and results, for people and service programs.
 *
 * JSON -> BSON: true, false, null, strings; whole numbers as int64, others as
 * double; arrays and objects as they are (so {"$type": "…", "X": 1} works,
 * keys keep their order); and these one-key objects:
 *   {"$int32": 5}                     int32
 *   {"$double": "NaN"|"Infinity"|"-Infinity"|number}
 *   {"$guid": "00112233-…"}           binary subtype 4, .NET byte order
 *   {"$date": "2024-01-02T03:04:05.678Z" | milliseconds}
 *   {"$bytes": "<base64>"}            { $type: System.Byte[], $value: … } when
 *                                     it stands in an object slot (top level),
 *                                     plain binary subtype 0 inside objects
 *   {"$dataStream": N}                the Nth DataStream of the call, from 0;
 *                                     a "length" beside it is ignored
 * BSON -> JSON is the inverse; { $type: Byte[], $value } becomes $bytes,
 * { $type: X, $values: [...] } stays as it is. int32 and int64 both become
 * plain numbers. wire-protocol 7, 8
 */
#ifndef HBT_WIRE_JSON_H
#define HBT_WIRE_JSON_H

#include <bson/bson.h>
#include <jansson.h>
#include "base/error.h"
#include "wire/message.h"

/*
 * Appends value under key. object_slot: true for elements of params and for
 * the result. streams: what $dataStream refers to, each may be used once.
 * HALIBUT_EINVAL with a message that has the path of the bad value.
 */
int hbt_json_append_bson(bson_t *doc, const char *key, const json_t *value,
                         bool object_slot, const struct hbt_stream_ref *streams,
                         size_t n_streams, struct halibut_error *err);

/*
 * stream_json gives what stands for the DataStream with that index in
 * document order (a new reference), or NULL for the default
 * {"$dataStream": index, "length": n}. Indices start at *next_stream, which
 * is advanced.
 */
typedef json_t *(*hbt_json_stream_fn)(void *arg, size_t index,
                                      const struct hbt_stream_ref *ref);
int hbt_json_from_bson(const bson_iter_t *value, json_t **out,
                       size_t *next_stream, hbt_json_stream_fn stream_json,
                       void *arg, struct halibut_error *err);

#endif
