/* A growing byte buffer; sticky reader and writer of little-endian fields. */
#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

#include "halibut/error.h"

#define BUF_FIRST_SIZE 256

/* The length that stands for a NULL string; see hbt_wr_cstr(). */
#define ABSENT UINT32_MAX

void hbt_buf_init(struct hbt_buf *b, size_t max)
{
	*b = (struct hbt_buf){.max = max};
}

void hbt_buf_fini(struct hbt_buf *b)
{
	free(b->data);
	hbt_buf_init(b, b->max);
}

static int make_room(struct hbt_buf *b, size_t n)
{
	size_t cap = b->cap > 0 ? b->cap : BUF_FIRST_SIZE;
	uint8_t *data;

	if (b->len > b->max || n > b->max - b->len)
		return HALIBUT_ELIMIT;
	if (b->data != NULL && n <= b->cap - b->len)
		return HALIBUT_OK;
	while (cap - b->len < n && cap <= b->max / 2)
		cap *= 2;
	if (cap < b->len || cap - b->len < n || cap > b->max)
		cap = b->max;
	/* A maximum of 0 still yields a place for 0 bytes. */
	if ((data = realloc(b->data, cap > 0 ? cap : 1)) == NULL)
		return HALIBUT_ENOMEM;
	b->data = data;
	b->cap = cap > 0 ? cap : 1;
	return HALIBUT_OK;
}

uint8_t *hbt_buf_reserve(struct hbt_buf *b, size_t n)
{
	return make_room(b, n) == HALIBUT_OK ? b->data + b->len : NULL;
}

int hbt_buf_append(struct hbt_buf *b, const void *data, size_t n)
{
	int rc;

	if (n == 0)
		return HALIBUT_OK;
	if ((rc = make_room(b, n)) != HALIBUT_OK)
		return rc;
	memcpy(b->data + b->len, data, n);
	b->len += n;
	return HALIBUT_OK;
}

void hbt_buf_consume(struct hbt_buf *b, size_t n)
{
	if (n >= b->len) {
		hbt_buf_fini(b);
		return;
	}
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}

uint8_t *hbt_buf_detach(struct hbt_buf *b, size_t *len)
{
	uint8_t *data = b->data;

	*len = b->len;
	hbt_buf_init(b, b->max);
	return data;
}

struct hbt_rd hbt_rd_from(const void *data, size_t len)
{
	return (struct hbt_rd){.p = data, .left = len};
}

const uint8_t *hbt_rd_bytes(struct hbt_rd *r, size_t n)
{
	/* So that 0 bytes of an empty body are there, and not NULL. */
	static const uint8_t nothing[1];
	const uint8_t *p;

	if (r->status != HALIBUT_OK)
		return NULL;
	if (n > r->left) {
		r->status = HALIBUT_EPROTO;
		return NULL;
	}
	if (n == 0)
		return r->p != NULL ? r->p : nothing;
	p = r->p;
	r->p += n;
	r->left -= n;
	return p;
}

static uint64_t read_number(struct hbt_rd *r, size_t width)
{
	const uint8_t *p = hbt_rd_bytes(r, width);
	uint64_t v = 0;

	if (p == NULL)
		return 0;
	while (width-- > 0)
		v = v << 8 | p[width];
	return v;
}

uint8_t hbt_rd_u8(struct hbt_rd *r)
{
	return (uint8_t)read_number(r, 1);
}

uint16_t hbt_rd_u16(struct hbt_rd *r)
{
	return (uint16_t)read_number(r, 2);
}

uint32_t hbt_rd_u32(struct hbt_rd *r)
{
	return (uint32_t)read_number(r, 4);
}

uint64_t hbt_rd_u64(struct hbt_rd *r)
{
	return read_number(r, 8);
}

struct hbt_str hbt_rd_str(struct hbt_rd *r)
{
	uint32_t len = hbt_rd_u32(r);
	const uint8_t *p = hbt_rd_bytes(r, len);

	if (p == NULL)
		return (struct hbt_str){.s = ""};
	return (struct hbt_str){.s = (const char *)p, .len = len};
}

char *hbt_rd_strdup(struct hbt_rd *r)
{
	uint32_t len = hbt_rd_u32(r);
	const uint8_t *p;
	char *copy;

	if (r->status != HALIBUT_OK || len == ABSENT)
		return NULL;
	if ((p = hbt_rd_bytes(r, len)) == NULL || memchr(p, 0, len) != NULL)
		return NULL;
	if ((copy = malloc((size_t)len + 1)) == NULL) {
		r->status = HALIBUT_ENOMEM; /* or it would look absent */
		return NULL;
	}
	memcpy(copy, p, len);
	copy[len] = '\0';
	return copy;
}

int hbt_rd_finish(struct hbt_rd *r)
{
	if (r->status == HALIBUT_OK && r->left > 0)
		r->status = HALIBUT_EPROTO;
	return r->status;
}

void hbt_wr_init(struct hbt_wr *w, size_t max)
{
	hbt_buf_init(&w->buf, max);
	w->status = HALIBUT_OK;
}

void hbt_wr_fini(struct hbt_wr *w)
{
	hbt_buf_fini(&w->buf);
	w->status = HALIBUT_OK;
}

void hbt_wr_bytes(struct hbt_wr *w, const void *data, size_t n)
{
	if (w->status == HALIBUT_OK)
		w->status = hbt_buf_append(&w->buf, data, n);
}

static void write_number(struct hbt_wr *w, uint64_t v, size_t width)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < width; i++)
		bytes[i] = (uint8_t)(v >> (8 * i));
	hbt_wr_bytes(w, bytes, width);
}

void hbt_wr_u8(struct hbt_wr *w, uint8_t v)
{
	write_number(w, v, 1);
}

void hbt_wr_u16(struct hbt_wr *w, uint16_t v)
{
	write_number(w, v, 2);
}

void hbt_wr_u32(struct hbt_wr *w, uint32_t v)
{
	write_number(w, v, 4);
}

void hbt_wr_u64(struct hbt_wr *w, uint64_t v)
{
	write_number(w, v, 8);
}

void hbt_wr_str(struct hbt_wr *w, const char *s, size_t n)
{
	if (n >= ABSENT) {
		if (w->status == HALIBUT_OK)
			w->status = HALIBUT_ELIMIT;
		return;
	}
	hbt_wr_u32(w, (uint32_t)n);
	hbt_wr_bytes(w, s, n);
}

void hbt_wr_cstr(struct hbt_wr *w, const char *s)
{
	if (s == NULL)
		hbt_wr_u32(w, ABSENT);
	else
		hbt_wr_str(w, s, strlen(s));
}
