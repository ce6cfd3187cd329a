/* Commands as bytes, the way Redis reads them; shared by counting. */
#ifndef HBT_REDIS_TEXT_H
#define HBT_REDIS_TEXT_H

#include <event2/buffer.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hbt_text {
	unsigned refs;
	unsigned commands; /* so many replies will come */
	size_t len, cap;
	char bytes[];
};

/* Redis refuses longer values, proto-max-bulk-len. */
#define HBT_REDIS_MAX_VALUE (512u << 20)

/*
 * Both append one command to *t, which is made when it is NULL. HALIBUT_OK,
 * HALIBUT_ENOMEM, HALIBUT_ELIMIT, or HALIBUT_EINVAL for a bad format; *t is
 * as it was then.
 */
int hbt_text_vadd(struct hbt_text **t, const char *format, va_list ap);
int hbt_text_add_argv(struct hbt_text **t, size_t argc,
                      const char *const *argv, const size_t *lens);
int hbt_text_add(struct hbt_text **t, const char *format, ...);

/* Appends the bytes to out: a copy of short ones, a reference to long ones.
 * False when memory is short. */
bool hbt_text_write(struct hbt_text *t, struct evbuffer *out);

/* The name of the command at *at, which becomes where the next one begins;
 * 0 is the first. False: there is none. */
bool hbt_text_command(const struct hbt_text *t, size_t *at, const char **name,
                      size_t *len);
/* Has it a command that Redis refuses when it is full? */
bool hbt_text_stores(const struct hbt_text *t);

void hbt_text_unref(struct hbt_text **t);

#endif
