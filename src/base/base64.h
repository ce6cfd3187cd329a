/* Base64 of RFC 4648, decoded strictly. */
#ifndef HBT_BASE_BASE64_H
#define HBT_BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * out has room for len / 4 * 3 bytes. False for anything but the standard
 * alphabet in groups of four, with padding.
 */
bool hbt_base64_decode(const char *text, size_t len, uint8_t *out,
                       size_t *out_len);

#endif
