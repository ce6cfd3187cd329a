/* How alike two names are: for "did you mean". */
#ifndef HBT_BASE_ALIKE_H
#define HBT_BASE_ALIKE_H

#include <stddef.h>

/* So many characters have to be changed, added or taken away to make b of a.
 * A b of 256 bytes or more is like nothing: its length. */
size_t hbt_edits(const char *a, const char *b);

/* What one who wrote this may still have meant has fewer than so many. */
size_t hbt_edits_of_a_slip(const char *written);

#endif
