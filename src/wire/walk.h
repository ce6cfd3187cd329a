/*
 * A checked walk over BSON that trusts no byte of it. libbson's iterators
 * are for documents that this walk has accepted: it checks all lengths and
 * terminators, and has no opinion on "$", "." or UTF-8. wire-protocol 7
 */
#ifndef HBT_WIRE_WALK_H
#define HBT_WIRE_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/message.h"

/* Containers inside one another, the root included: 7. */
#define HBT_BSON_MAX_DEPTH 64

enum hbt_bson_type {
	HBT_BSON_DOUBLE = 0x01,
	HBT_BSON_STRING = 0x02,
	HBT_BSON_DOCUMENT = 0x03,
	HBT_BSON_ARRAY = 0x04,
	HBT_BSON_BINARY = 0x05,
	HBT_BSON_UNDEFINED = 0x06,
	HBT_BSON_OID = 0x07,
	HBT_BSON_BOOL = 0x08,
	HBT_BSON_DATE = 0x09,
	HBT_BSON_NULL = 0x0a,
	HBT_BSON_REGEX = 0x0b,
	HBT_BSON_DBPOINTER = 0x0c,
	HBT_BSON_CODE = 0x0d,
	HBT_BSON_SYMBOL = 0x0e,
	HBT_BSON_CODE_SCOPE = 0x0f,
	HBT_BSON_INT32 = 0x10,
	HBT_BSON_TIMESTAMP = 0x11,
	HBT_BSON_INT64 = 0x12,
};

struct hbt_elem {
	uint8_t type;
	const char *key;      /* terminated, inside the document */
	const uint8_t *value; /* as in the document, with its length fields */
	size_t len;
};

struct hbt_walk {
	const uint8_t *p, *end;
};

/* False unless doc is framed as a document of exactly len bytes. */
bool hbt_walk_begin(struct hbt_walk *w, const uint8_t *doc, size_t len);

/* 1 and an element, 0 at the end, -1 when the document is broken. */
int hbt_walk_next(struct hbt_walk *w, struct hbt_elem *e);

/* Is the value a document or an array, whose bytes are value and len? */
bool hbt_elem_is_container(const struct hbt_elem *e);

/* The text of a string element, without its terminator; false for others. */
bool hbt_elem_text(const struct hbt_elem *e, const char **text, size_t *len);

/* Does text name type, perhaps followed by ", " and assembly details? 8.2 */
bool hbt_type_is(const char *text, size_t len, const char *type);

/* Is this element a DataStream by its shape? 11.3 */
bool hbt_elem_stream(const struct hbt_elem *e, struct hbt_stream_ref *ref);

uint32_t hbt_le32(const uint8_t *p);
uint64_t hbt_le64(const uint8_t *p);

#endif
