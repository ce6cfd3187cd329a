/* A growing byte buffer with a largest size that is fixed when it is made. */
#ifndef HBT_BASE_BUF_H
#define HBT_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct hbt_buf {
	uint8_t *data; /* NULL while cap is 0 */
	size_t len;
	size_t cap;
	size_t max;
};

void hbt_buf_init(struct hbt_buf *b, size_t max);
void hbt_buf_fini(struct hbt_buf *b); /* frees; keeps max; usable again */

/*
 * Makes room for n more bytes and returns where they go (then add to len),
 * or NULL: HALIBUT_ELIMIT if max would be passed, else out of memory.
 */
uint8_t *hbt_buf_reserve(struct hbt_buf *b, size_t n);

/* HALIBUT_OK, HALIBUT_ELIMIT or HALIBUT_ENOMEM; appends all or nothing. */
int hbt_buf_append(struct hbt_buf *b, const void *data, size_t n);

/* Removes n bytes from the front; frees the memory when none is left. */
void hbt_buf_consume(struct hbt_buf *b, size_t n);

/* Gives the memory to the caller (free it); the buffer is empty afterwards. */
uint8_t *hbt_buf_detach(struct hbt_buf *b, size_t *len);

/* Sticky reader and writer of little-endian fields, for IPC bodies. */
struct hbt_rd {
	const uint8_t *p;
	size_t left;
	int status; /* 0, or HALIBUT_EPROTO once it came up short */
};
struct hbt_str {
	const char *s; /* not terminated; "" when empty */
	size_t len;
};
struct hbt_rd hbt_rd_from(const void *data, size_t len);
uint8_t hbt_rd_u8(struct hbt_rd *r);
uint16_t hbt_rd_u16(struct hbt_rd *r);
uint32_t hbt_rd_u32(struct hbt_rd *r);
uint64_t hbt_rd_u64(struct hbt_rd *r);
/* n raw bytes, or NULL. */
const uint8_t *hbt_rd_bytes(struct hbt_rd *r, size_t n);
/* u32 length and bytes. */
struct hbt_str hbt_rd_str(struct hbt_rd *r);
/* The same, as a terminated copy to free; NULL when absent (see put_cstr),
 * when it contains a NUL byte, or when r failed. */
char *hbt_rd_strdup(struct hbt_rd *r);
/* HALIBUT_OK only if nothing failed and nothing is left. */
int hbt_rd_finish(struct hbt_rd *r);

/* Writer: a failure sticks in status, which is checked once at the end. */
struct hbt_wr {
	struct hbt_buf buf;
	int status;
};
void hbt_wr_init(struct hbt_wr *w, size_t max);
void hbt_wr_fini(struct hbt_wr *w);
void hbt_wr_u8(struct hbt_wr *w, uint8_t v);
void hbt_wr_u16(struct hbt_wr *w, uint16_t v);
void hbt_wr_u32(struct hbt_wr *w, uint32_t v);
void hbt_wr_u64(struct hbt_wr *w, uint64_t v);
void hbt_wr_bytes(struct hbt_wr *w, const void *data, size_t n);
void hbt_wr_str(struct hbt_wr *w, const char *s, size_t n);
/* NULL is written as length 0xffffffff and read back as NULL. */
void hbt_wr_cstr(struct hbt_wr *w, const char *s);

#endif
