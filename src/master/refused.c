#include "master/refused.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "base/error.h"
#include "base/slots.h"
#include "base/unix_time.h"
#include "base/hash.h"

#define MAX_ENTRIES 1000
#define MAX_TEXT 512 /* of each of the three */

struct entry {
	uint32_t slot;
	uint64_t count;
	int64_t first_at, last_at;
	const char *thumbprint, *reason; /* in key; thumbprint may be NULL */
	TAILQ_ENTRY(entry) link;
	UT_hash_handle hh;
	char key[]; /* address, thumbprint and reason, each terminated */
};

struct hbt_refused {
	struct entry *by_key;
	TAILQ_HEAD(, entry) by_age; /* refused last: at the end */
	struct hbt_slots slots;
	uint64_t total;
};

struct hbt_refused *hbt_refused_new(void)
{
	struct hbt_refused *r = calloc(1, sizeof(*r));

	if (r != NULL)
		TAILQ_INIT(&r->by_age);
	return r;
}

static void entry_free(struct hbt_refused *r, struct entry *e)
{
	HASH_DEL(r->by_key, e);
	TAILQ_REMOVE(&r->by_age, e, link);
	hbt_slots_remove(&r->slots, e->slot);
	free(e);
}

void hbt_refused_free(struct hbt_refused **at)
{
	struct hbt_refused *r = *at;

	*at = NULL;
	if (r == NULL)
		return;
	while (!TAILQ_EMPTY(&r->by_age))
		entry_free(r, TAILQ_FIRST(&r->by_age));
	hbt_slots_fini(&r->slots);
	free(r);
}

/* The address without its port, and IPv6 without brackets. */
static void address_of(const char *peer, char *address, size_t size)
{
	const char *colon = strrchr(peer, ':');
	size_t len = colon != NULL ? (size_t)(colon - peer) : strlen(peer);

	if (len > 2 && peer[0] == '[' && peer[len - 1] == ']') {
		peer++;
		len -= 2;
	}
	if (len >= size)
		len = size - 1;
	memcpy(address, peer, len);
	address[len] = '\0';
}

/* Texts name the peer, with its port; without one they are the same again. */
static void strip_port(const char *reason, const char *peer,
                       const char *address, char *out, size_t size)
{
	size_t peer_len = strlen(peer), address_len = strlen(address), n = 0;

	while (*reason != '\0' && n + 1 < size) {
		if (peer_len > 0 && n + address_len < size &&
		    strncmp(reason, peer, peer_len) == 0) {
			memcpy(out + n, address, address_len);
			n += address_len;
			reason += peer_len;
		} else {
			out[n++] = *reason++;
		}
	}
	out[n] = '\0';
}

static size_t put(char *key, size_t at, const char *text)
{
	size_t len = strlen(text) + 1;

	memcpy(key + at, text, len);
	return at + len;
}

static struct entry *entry_new(struct hbt_refused *r, const char *key,
                               size_t len, bool has_thumbprint)
{
	struct entry *e = calloc(1, sizeof(*e) + len);
	const char *thumbprint;

	if (e == NULL || hbt_slots_add(&r->slots, e, &e->slot) != HALIBUT_OK) {
		free(e);
		return NULL;
	}
	memcpy(e->key, key, len);
	thumbprint = e->key + strlen(e->key) + 1;
	e->thumbprint = has_thumbprint ? thumbprint : NULL;
	e->reason = thumbprint + strlen(thumbprint) + 1;
	HASH_ADD_KEYPTR(hh, r->by_key, e->key, len, e);
	if (e->hh.tbl == NULL) {
		hbt_slots_remove(&r->slots, e->slot);
		free(e);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&r->by_age, e, link);
	e->first_at = hbt_unix_ms();
	return e;
}

void hbt_refused_add(struct hbt_refused *r, const char *peer,
                     const char *thumbprint, const char *reason)
{
	char address[128], text[MAX_TEXT], key[128 + 128 + MAX_TEXT];
	char print[128] = "";
	struct entry *e;
	size_t len;

	r->total++;
	address_of(peer, address, sizeof(address));
	strip_port(reason, peer, address, text, sizeof(text));
	if (thumbprint != NULL)
		strncat(print, thumbprint, sizeof(print) - 1);
	len = put(key, put(key, put(key, 0, address), print), text);
	HASH_FIND(hh, r->by_key, key, len, e);
	if (e == NULL) {
		if (r->slots.used >= MAX_ENTRIES)
			entry_free(r, TAILQ_FIRST(&r->by_age));
		if ((e = entry_new(r, key, len, thumbprint != NULL)) == NULL)
			return;
	}
	e->count++;
	e->last_at = hbt_unix_ms();
	TAILQ_REMOVE(&r->by_age, e, link);
	TAILQ_INSERT_TAIL(&r->by_age, e, link);
}

uint64_t hbt_refused_total(const struct hbt_refused *r)
{
	return r->total;
}

void hbt_refused_fill(const struct hbt_refused *r, uint64_t after,
                      struct hbt_page *page, uint64_t *next)
{
	const struct entry *e;

	while (hbt_page_has_room(page) &&
	       (e = hbt_slots_next(&r->slots, &after)) != NULL) {
		const struct hbt_refused_row row = {
			.address = e->key,
			.thumbprint = e->thumbprint,
			.reason = e->reason,
			.count = e->count,
			.first_at = e->first_at,
			.last_at = e->last_at,
		};

		hbt_page_add(page, &row);
	}
	*next = after;
}
