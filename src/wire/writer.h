/* The writing half of the wire: fixed lines and framing. wire-protocol 4 */
#ifndef HBT_WIRE_WRITER_H
#define HBT_WIRE_WRITER_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/guid.h"

struct hbt_line {
	const char *bytes;
	size_t len;
};
extern const struct hbt_line hbt_line_preamble; /* MX LF LF */
extern const struct hbt_line hbt_line_hello;    /* discovery: 14 */
extern const struct hbt_line hbt_line_client;   /* with its empty line */
extern const struct hbt_line hbt_line_server;
extern const struct hbt_line hbt_line_next;
extern const struct hbt_line hbt_line_proceed;
extern const struct hbt_line hbt_line_end;

/* MX-SUBSCRIBER 1.0 <uri>, both lines. HALIBUT_EINVAL when uri has a byte
 * outside 0x21..0x7e. */
int hbt_line_subscriber(struct hbt_buf *out, const char *uri);

/* 16 + 8 bytes before, 8 bytes after a DataStream's data. 11.2 */
void hbt_section_head(const struct hbt_guid *id, int64_t length,
                      uint8_t out[24]);
void hbt_section_tail(int64_t length, uint8_t out[8]);

/*
 * The friendly page as one malloced block. headers: "Name: Value" lines,
 * NULL-terminated array or NULL. page NULL: the default one. 3.2
 */
char *hbt_friendly_page(const char *page, const char *const *headers,
                        size_t *len);

#endif
