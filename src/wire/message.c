#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "wire/inflate.h"
#include "wire/message.h"

enum {
	STORED_HEAD = 5, /* of a stored block: RFC 1951 3.2.4 */
};

struct hbt_message *hbt_message_new(struct hbt_envelope *env, uint8_t *deflated,
                                    size_t len)
{
	struct hbt_message *m = calloc(1, sizeof(*m));

	if (m == NULL) {
		hbt_envelope_fini(env);
		free(deflated);
		return NULL;
	}
	m->refs = 1;
	m->env = *env;
	memset(env, 0, sizeof(*env));
	m->deflated = deflated;
	m->deflated_len = len;
	return m;
}

struct hbt_message *hbt_message_ref(struct hbt_message *m)
{
	m->refs++;
	return m;
}

void hbt_message_unref(struct hbt_message **m_p)
{
	struct hbt_message *m = *m_p;

	*m_p = NULL;
	if (m == NULL)
		return;
	assert(m->refs > 0);
	if (--m->refs > 0)
		return;
	hbt_envelope_fini(&m->env);
	free(m->deflated);
	free(m);
}

void hbt_message_shed(struct hbt_message *m)
{
	if (m == NULL || m->refs > 1)
		return;
	free(m->deflated);
	m->deflated = NULL;
	m->deflated_len = 0;
}

struct hbt_message *hbt_message_null(void)
{
	/* {"Message": null}, as .NET compresses it: 5.4. */
	static uint8_t deflated[] = {0xe3, 0x63, 0x60, 0x60, 0xe0, 0xf2,
	                             0x4d, 0x2d, 0x2e, 0x4e, 0x4c, 0x4f,
	                             0x65, 0x60, 0x00, 0x00};
	/* The reference that it starts with is never given back. */
	static struct hbt_message null = {
		.refs = 1,
		.env = {.kind = HBT_MESSAGE_NULL, .queue_timeout_ms = -1},
		.deflated = deflated,
		.deflated_len = sizeof(deflated),
	};

	return hbt_message_ref(&null);
}

struct hbt_deflater {
	z_stream z;
};

struct hbt_deflater *hbt_deflater_new(void)
{
	struct hbt_deflater *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	if (deflateInit2(&d->z, 6, Z_DEFLATED, -MAX_WBITS, 8,
	                 Z_DEFAULT_STRATEGY) != Z_OK) {
		free(d);
		return NULL;
	}
	return d;
}

void hbt_deflater_free(struct hbt_deflater **d_p)
{
	struct hbt_deflater *d = *d_p;

	*d_p = NULL;
	if (d == NULL)
		return;
	deflateEnd(&d->z);
	free(d);
}

struct hbt_deflater *hbt_deflater_shared(void)
{
	static struct hbt_deflater *shared;

	if (shared == NULL)
		shared = hbt_deflater_new();
	return shared;
}

/*
 * One stored block. What goes into one packet anyway does not travel faster for
 * being shorter, and each of the four processes that make or read a small
 * message would spend more time on its codes than on all the rest of it.
 */
static int store(const uint8_t *in, size_t len, uint8_t **out, size_t *out_len)
{
	uint8_t *buf = malloc(STORED_HEAD + len);

	if (buf == NULL)
		return HALIBUT_ENOMEM;
	buf[0] = 1; /* the last block; stored */
	buf[1] = (uint8_t)len;
	buf[2] = (uint8_t)(len >> 8);
	buf[3] = (uint8_t)~buf[1];
	buf[4] = (uint8_t)~buf[2];
	memcpy(buf + STORED_HEAD, in, len);
	*out = buf;
	*out_len = STORED_HEAD + len;
	return HALIBUT_OK;
}

int hbt_deflate(struct hbt_deflater *d, const uint8_t *in, size_t len,
                uint8_t **out, size_t *out_len)
{
	size_t bound;
	uint8_t *buf, *fit;

	/* A BSON document has an int32 for its length. */
	assert(len <= INT32_MAX);
	*out = NULL;
	*out_len = 0;
	if (len <= HBT_STORED_MAX)
		return store(in, len, out, out_len);
	if (deflateReset(&d->z) != Z_OK)
		return HALIBUT_ENOMEM;
	bound = deflateBound(&d->z, (uLong)len);
	if ((buf = malloc(bound)) == NULL)
		return HALIBUT_ENOMEM;
	d->z.next_in = (Bytef *)in; /* zlib does not write to it */
	d->z.avail_in = (uInt)len;
	d->z.next_out = buf;
	d->z.avail_out = (uInt)bound;
	if (deflate(&d->z, Z_FINISH) != Z_STREAM_END) {
		free(buf);
		return HALIBUT_ENOMEM;
	}
	*out_len = bound - d->z.avail_out;
	/* Messages wait in queues: they should not hold what they lack. */
	fit = realloc(buf, *out_len);
	*out = fit != NULL ? fit : buf;
	return HALIBUT_OK;
}

int hbt_inflate(const uint8_t *in, size_t len, size_t max, uint8_t **out,
                size_t *out_len)
{
	struct hbt_inflater *inf;
	size_t used;
	bool end;
	int rc;

	*out = NULL;
	*out_len = 0;
	if ((inf = hbt_inflater_take()) == NULL)
		return HALIBUT_ENOMEM;
	rc = hbt_inflater_feed(inf, max, in, len, &used, &end, NULL);
	if (rc == HALIBUT_OK && (!end || used != len))
		rc = HALIBUT_EPROTO;
	if (rc == HALIBUT_OK) {
		if ((*out = malloc(inf->doc_len)) != NULL) {
			memcpy(*out, inf->out, inf->doc_len);
			*out_len = inf->doc_len;
		} else {
			rc = HALIBUT_ENOMEM;
		}
	}
	hbt_inflater_give(&inf);
	return rc;
}

int hbt_message_from_bson(struct hbt_deflater *d, const uint8_t *bson,
                          size_t len, struct hbt_message **out,
                          struct halibut_error *err)
{
	struct hbt_envelope env;
	uint8_t *deflated;
	size_t deflated_len;
	int rc;

	*out = NULL;
	rc = hbt_envelope_read(bson, len, SIZE_MAX, &env, err);
	if (rc != HALIBUT_OK)
		return rc;
	if (hbt_deflate(d, bson, len, &deflated, &deflated_len) != 0) {
		hbt_envelope_fini(&env);
		goto no_memory;
	}
	if ((*out = hbt_message_new(&env, deflated, deflated_len)) == NULL)
		goto no_memory;
	return HALIBUT_OK;
no_memory:
	return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
}

int hbt_message_to_bson(const struct hbt_message *m, size_t max, uint8_t **bson,
                        size_t *len)
{
	return hbt_inflate(m->deflated, m->deflated_len, max, bson, len);
}
