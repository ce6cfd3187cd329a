/*
 * Inflating one message, in pieces as they come. States are lent to whoever
 * is in the middle of a message, and a few are kept: making one costs more
 * than a small message does. wire-protocol 6
 */
#ifndef HBT_WIRE_INFLATE_H
#define HBT_WIRE_INFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#include "base/error.h"

struct hbt_inflater {
	z_stream z;
	uint8_t *out;   /* the document so far */
	size_t len;
	size_t cap;
	size_t doc_len; /* as its first four bytes say; 0 before them */
};

/* NULL when memory is short. */
struct hbt_inflater *hbt_inflater_take(void);
/* Ready for anybody's next message. NULL allowed. */
void hbt_inflater_give(struct hbt_inflater **inf);

/*
 * Feeds up to len bytes. *used tells how many belonged to the message, *end
 * that it is complete: then out has a document of doc_len bytes. HALIBUT_OK;
 * HALIBUT_EPROTO, HALIBUT_ELIMIT (more than max_doc bytes), HALIBUT_ENOMEM
 * with a message.
 */
int hbt_inflater_feed(struct hbt_inflater *inf, size_t max_doc,
                      const uint8_t *in, size_t len, size_t *used, bool *end,
                      struct halibut_error *err);

#endif
