/*
 * What encloses a stored message: none, gzip, or a program, one after
 * another: stored = W1(W2(… Wn(BSON))). redis-queue 3.3
 */
#ifndef HBT_STORE_WRAP_H
#define HBT_STORE_WRAP_H

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct hbt_wrappers;
struct hbt_wrapping;

/*
 * list: "gzip" or "program COMMAND…", W1 first; COMMAND gets the argument
 * wrap or unwrap, bytes on its standard input, and gives bytes on its standard
 * output. n 0: nothing is done. max_bytes: what unwrapping may give at most.
 */
int hbt_wrappers_new(struct hbt_wrappers **out, struct event_base *base,
                     const char *const *list, size_t n, size_t max_bytes,
                     int64_t program_timeout_ms, struct halibut_error *err);
void hbt_wrappers_free(struct hbt_wrappers **w);
/* Wrapping and unwrapping end before they return: no program is among them. */
int hbt_wrappers_are_immediate(const struct hbt_wrappers *w);

/* From the loop; from inside for immediate ones, and when there is no memory
 * to begin with. data: malloced, the callee's; NULL with err. */
typedef void (*hbt_wrapped_fn)(void *arg, uint8_t *data, size_t len,
                               const struct halibut_error *err);
/* data: malloced; taken over. *out is NULL when it has ended already, and is
 * gone once done was called. */
void hbt_wrap(struct hbt_wrapping **out, struct hbt_wrappers *w,
              uint8_t *data, size_t len, hbt_wrapped_fn done, void *arg);
void hbt_unwrap(struct hbt_wrapping **out, struct hbt_wrappers *w,
                uint8_t *data, size_t len, hbt_wrapped_fn done, void *arg);
void hbt_wrapping_cancel(struct hbt_wrapping **w); /* NULL allowed */

#endif
