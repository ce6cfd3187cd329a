/* Heart beats: "I am alive", and how far the DataStreams got.
 * redis-queue 3.5 */
#ifndef HBT_QUEUE_REDIS_BEAT_H
#define HBT_QUEUE_REDIS_BEAT_H

#include <stddef.h>
#include <stdint.h>
#include "base/guid.h"
#include "wire/message.h"

/* The JSON text, malloced: sent[i] bytes of streams[i] went to the service;
 * those still at 0 are left out. NULL when memory is short. */
char *hbt_beat_write(const struct hbt_stream_ref *streams, const int64_t *sent,
                     size_t n);

/*
 * Calls progress (may be NULL) for each stream in the text, which is read as
 * tolerantly as .NET does. HALIBUT_OK, or HALIBUT_EPROTO when it makes no
 * sense: a beat all the same.
 */
int hbt_beat_read(const char *json, size_t len,
                  void (*progress)(void *arg, const struct hbt_guid *stream,
                                   int64_t sent),
                  void *arg);

#endif
