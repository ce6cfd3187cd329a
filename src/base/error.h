/* Building struct halibut_error values; the public half is halibut/error.h. */
#ifndef HBT_BASE_ERROR_H
#define HBT_BASE_ERROR_H

#include <stdarg.h>
#include "halibut/error.h"

/*
 * Sets status and message, replacing what err held; details and type become
 * NULL, the connection state UNKNOWN. err may be NULL. Returns status, so
 * that a failing function can end with `return hbt_error_set(...)`. When
 * memory is short the message is a static one; clearing copes with that.
 */
int hbt_error_set(struct halibut_error *err, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts text in front of the message. No-op when err is NULL or OK. */
void hbt_error_prefix(struct halibut_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Deep copy into *to, which is cleared first. */
void hbt_error_copy(struct halibut_error *to, const struct halibut_error *from);

/* Moves: *to is cleared first, *from is zero afterwards. */
void hbt_error_move(struct halibut_error *to, struct halibut_error *from);

#endif
