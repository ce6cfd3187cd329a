/*
 * Streams beside the message itself, as the original's sample stores them:
 * {GUID:base64,…}. redis-queue 3.4
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "store/private.h"

enum { PIECE = 48 * 1024 }; /* divisible by 3, and by 4 when encoded */

struct put {
	struct hbt_buf text;
	uint8_t rest[3]; /* what is not encoded yet */
	size_t n_rest;
};

static int too_large(struct hbt_saving *g, int rc, struct halibut_error *err)
{
	if (rc == HALIBUT_OK)
		return rc;
	if (rc != HALIBUT_ELIMIT)
		return hbt_error_set(err, rc, "Out of memory.");
	return hbt_error_set(err, rc,
	                     "The DataStreams of a message are too large to "
	                     "be queued beside it: the limit is %lld bytes. "
	                     "Another kind of DataStream store has room.",
	                     (long long)g->store->max_metadata_bytes);
}

static int put_open(struct hbt_saving *g, struct halibut_error *err)
{
	struct put *p = calloc(1, sizeof(*p));

	(void)err;
	if ((g->put = p) == NULL)
		return HALIBUT_ENOMEM;
	hbt_buf_init(&p->text, (size_t)g->store->max_metadata_bytes);
	return HALIBUT_OK;
}

static bool put_ready(struct hbt_saving *g)
{
	(void)g;
	return true;
}

static int put_begin(struct hbt_saving *g, size_t k, struct halibut_error *err)
{
	struct put *p = g->put;
	char guid[HBT_GUID_TEXT], head[64];
	int n;

	hbt_guid_format(&g->what.v[k].id, guid);
	n = snprintf(head, sizeof(head), "%c\"%s\":\"", k == 0 ? '{' : ',',
	             guid);
	/* Three quarters of what it will be: refused before it is sent. */
	if (g->what.v[k].length > g->store->max_metadata_bytes)
		return too_large(g, HALIBUT_ELIMIT, err);
	return too_large(g, hbt_buf_append(&p->text, head, (size_t)n), err);
}

static int encode(struct hbt_saving *g, const uint8_t *data, size_t len,
                  struct halibut_error *err)
{
	struct put *p = g->put;
	size_t n = (len + 2) / 3 * 4;
	uint8_t *out;

	if (n + 1 > p->text.max - p->text.len)
		return too_large(g, HALIBUT_ELIMIT, err);
	if ((out = hbt_buf_reserve(&p->text, n + 1)) == NULL)
		return too_large(g, HALIBUT_ENOMEM, err);
	EVP_EncodeBlock(out, data, (int)len);
	p->text.len += n;
	return HALIBUT_OK;
}

static ssize_t put_write(struct hbt_saving *g, const uint8_t *data, size_t len,
                         struct halibut_error *err)
{
	struct put *p = g->put;
	size_t n = 0;
	int rc;

	if (p->n_rest > 0 || len < 3) {
		while (p->n_rest < 3 && n < len)
			p->rest[p->n_rest++] = data[n++];
		if (p->n_rest < 3)
			return (ssize_t)n;
		p->n_rest = 0;
		rc = encode(g, p->rest, 3, err);
	} else {
		n = len < PIECE ? len / 3 * 3 : PIECE;
		rc = encode(g, data, n, err);
	}
	return rc == HALIBUT_OK ? (ssize_t)n : -rc;
}

static int put_end(struct hbt_saving *g, size_t k, struct halibut_error *err)
{
	struct put *p = g->put;
	int rc = HALIBUT_OK;

	(void)k;
	if (p->n_rest > 0)
		rc = encode(g, p->rest, p->n_rest, err);
	p->n_rest = 0;
	return rc == HALIBUT_OK
	               ? too_large(g, hbt_buf_append(&p->text, "\"", 1), err)
	               : rc;
}

static void put_close(struct hbt_saving *g, bool kept)
{
	struct put *p = g->put;

	(void)kept;
	hbt_buf_fini(&p->text);
	free(p);
}

static char *put_metadata(struct hbt_saving *g, size_t *len)
{
	struct put *p = g->put;

	p->text.max++; /* the last character is not what is too much */
	if (hbt_buf_append(&p->text, "}", 1) != HALIBUT_OK)
		return NULL;
	return (char *)hbt_buf_detach(&p->text, len);
}

struct get {
	size_t at; /* in the text */
	uint8_t piece[PIECE];
	size_t n, taken;
};

static int get_open(struct hbt_load *l, size_t k, struct halibut_error *err)
{
	(void)k;
	if ((l->get = calloc(1, sizeof(struct get))) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
	return HALIBUT_OK;
}

static ssize_t get_read(struct hbt_load *l, size_t k, void *buf, size_t cap,
                        struct halibut_error *err)
{
	const char *text = l->what.v[k].base64;
	struct get *g = l->get;
	size_t n;

	(void)err;
	if (g->taken == g->n) {
		n = strnlen(text + g->at, PIECE / 3 * 4);
		if (n == 0)
			return 0;
		/* It was checked when the metadata was read. */
		g->n = (size_t)EVP_DecodeBlock(
			g->piece, (const uint8_t *)text + g->at, (int)n);
		g->at += n;
		if (text[g->at] == '\0') /* what '=' stands for is no data */
			g->n -= (size_t)(text[g->at - 1] == '=') +
			        (size_t)(text[g->at - 2] == '=');
		g->taken = 0;
	}
	n = g->n - g->taken < cap ? g->n - g->taken : cap;
	memcpy(buf, g->piece + g->taken, n);
	g->taken += n;
	return (ssize_t)n;
}

static void get_close(struct hbt_load *l)
{
	free(l->get);
}

const struct hbt_store_ops hbt_store_metadata = {
	.kind = "metadata",
	HBT_STORE_PUT_AND_GET,
	.put_finish = hbt_saving_done,
	.put_metadata = put_metadata,
};
