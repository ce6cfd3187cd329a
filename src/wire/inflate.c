#include <limits.h>
#include <stdlib.h>

#include "wire/inflate.h"
#include "wire/walk.h"

enum {
	/*
	 * Up to here the reference ignores bytes after the document: 6. It
	 * is the most that a state which is kept may hold as well.
	 */
	SLACK = 64 * 1024,
	FIRST_CAP = 8 * 1024,
	SPARES = 2, /* states that are kept while nobody needs them */
};

static struct hbt_inflater *spare[SPARES];
static int n_spare;

struct hbt_inflater *hbt_inflater_take(void)
{
	struct hbt_inflater *inf;

	if (n_spare > 0)
		return spare[--n_spare];
	if ((inf = calloc(1, sizeof(*inf))) == NULL)
		return NULL;
	if (inflateInit2(&inf->z, -MAX_WBITS) != Z_OK) {
		free(inf);
		return NULL;
	}
	return inf;
}

void hbt_inflater_give(struct hbt_inflater **inf_p)
{
	struct hbt_inflater *inf = *inf_p;

	*inf_p = NULL;
	if (inf == NULL)
		return;
	if (n_spare == SPARES || inflateReset(&inf->z) != Z_OK) {
		inflateEnd(&inf->z);
		free(inf->out);
		free(inf);
		return;
	}
	if (inf->cap > SLACK + 1) {
		free(inf->out);
		inf->out = NULL;
		inf->cap = 0;
	}
	inf->len = inf->doc_len = 0;
	spare[n_spare++] = inf;
}

static int broken(struct halibut_error *err, const char *what)
{
	return hbt_error_set(err, HALIBUT_EPROTO,
	                     "The peer sent a message that cannot be read: %s.",
	                     what);
}

/* The most that may come out: more is an error, seen in one byte more. */
static size_t largest(const struct hbt_inflater *inf)
{
	return inf->doc_len > SLACK ? inf->doc_len : SLACK;
}

/*
 * Room for more output. The document's own length is a claim, so memory
 * grows with what really comes out.
 */
static int grow(struct hbt_inflater *inf, struct halibut_error *err)
{
	size_t cap = inf->cap > 0 ? inf->cap * 2 : FIRST_CAP;
	uint8_t *p;

	if (cap > largest(inf) + 1)
		cap = largest(inf) + 1;
	if (cap == inf->cap)
		return broken(err, "more than its document came out of it");
	if ((p = realloc(inf->out, cap)) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
	inf->out = p;
	inf->cap = cap;
	return HALIBUT_OK;
}

/* Looks at the length in front of the document once it is there. */
static int check_length(struct hbt_inflater *inf, size_t max_doc,
                        struct halibut_error *err)
{
	uint32_t n;

	if (inf->doc_len != 0 || inf->len < 4)
		return HALIBUT_OK;
	n = hbt_le32(inf->out);
	if (n < 5 || n > INT32_MAX)
		return broken(err, "what came out of it is no document");
	if (n > max_doc)
		return hbt_error_set(
			err, HALIBUT_ELIMIT,
			"The peer sent a message of %lu bytes; the "
			"limit here is %zu bytes, its setting is "
			"the largest message size.",
			(unsigned long)n, max_doc);
	inf->doc_len = n;
	return HALIBUT_OK;
}

static int check_end(const struct hbt_inflater *inf, struct halibut_error *err)
{
	if (inf->doc_len == 0 || inf->len < inf->doc_len)
		return broken(err, "it ends before its document does");
	if (inf->len > largest(inf))
		return broken(err, "more than its document came out of it");
	return HALIBUT_OK;
}

int hbt_inflater_feed(struct hbt_inflater *inf, size_t max_doc,
                      const uint8_t *in, size_t len, size_t *used, bool *end,
                      struct halibut_error *err)
{
	z_stream *z = &inf->z;
	size_t room;
	int zrc, rc;

	*used = 0;
	*end = false;
	if (len > UINT_MAX)
		len = UINT_MAX;
	z->next_in = (Bytef *)in; /* zlib does not write to it */
	z->avail_in = (uInt)len;
	do {
		if (inf->len == inf->cap && (rc = grow(inf, err)) != 0)
			return rc;
		room = inf->cap - inf->len;
		z->next_out = inf->out + inf->len;
		z->avail_out = room < UINT_MAX ? (uInt)room : UINT_MAX;
		room = z->avail_out;
		zrc = inflate(z, Z_NO_FLUSH);
		inf->len += room - z->avail_out;
		*used = len - z->avail_in;
		if (zrc == Z_MEM_ERROR)
			return hbt_error_set(err, HALIBUT_ENOMEM,
			                     "Out of memory.");
		if (zrc != Z_OK && zrc != Z_STREAM_END && zrc != Z_BUF_ERROR)
			return broken(err, z->msg != NULL
			                           ? z->msg
			                           : "it is no DEFLATE stream");
		if ((rc = check_length(inf, max_doc, err)) != 0)
			return rc;
		/* A full buffer may hide output that zlib still has. */
	} while (zrc != Z_STREAM_END && z->avail_out == 0);
	if (zrc == Z_STREAM_END) {
		*end = true;
		return check_end(inf, err);
	}
	return HALIBUT_OK;
}
