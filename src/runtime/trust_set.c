#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "net/tls.h"
#include "runtime/trust_set.h"

struct entry {
	char thumbprint[HBT_THUMBPRINT_TEXT];
	UT_hash_handle hh;
};

struct hbt_trust_set {
	struct entry *entries;
};

struct hbt_trust_set *hbt_trust_set_new(void)
{
	return calloc(1, sizeof(struct hbt_trust_set));
}

void hbt_trust_set_free(struct hbt_trust_set **tp)
{
	struct entry *e, *next;

	if (*tp == NULL)
		return;
	HASH_ITER (hh, (*tp)->entries, e, next) {
		HASH_DEL((*tp)->entries, e);
		free(e);
	}
	free(*tp);
	*tp = NULL;
}

static struct entry *find(const struct hbt_trust_set *t, const char *thumbprint)
{
	char text[HBT_THUMBPRINT_TEXT];
	struct entry *e = NULL;

	if (hbt_thumbprint_parse(thumbprint, text))
		HASH_FIND_STR(t->entries, text, e);
	return e;
}

int hbt_trust_set_add(struct hbt_trust_set *t, const char *thumbprint)
{
	char text[HBT_THUMBPRINT_TEXT];
	struct entry *e;

	if (!hbt_thumbprint_parse(thumbprint, text))
		return HALIBUT_EINVAL;
	if (find(t, text) != NULL)
		return HALIBUT_OK;
	if ((e = calloc(1, sizeof(*e))) == NULL)
		return HALIBUT_ENOMEM;
	memcpy(e->thumbprint, text, sizeof(text));
	HASH_ADD_STR(t->entries, thumbprint, e);
	if (e->hh.tbl == NULL) {
		free(e);
		return HALIBUT_ENOMEM;
	}
	return HALIBUT_OK;
}

void hbt_trust_set_remove(struct hbt_trust_set *t, const char *thumbprint)
{
	struct entry *e = find(t, thumbprint);

	if (e == NULL)
		return;
	HASH_DEL(t->entries, e);
	free(e);
}

bool hbt_trust_set_has(const struct hbt_trust_set *t, const char *thumbprint)
{
	return find(t, thumbprint) != NULL;
}

size_t hbt_trust_set_count(const struct hbt_trust_set *t)
{
	return HASH_COUNT(t->entries);
}
