#include "base/slots.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"

#define FIRST_CAP 16
#define MAX_STEPS 16384

void hbt_slots_fini(struct hbt_slots *s)
{
	free(s->v);
	*s = (struct hbt_slots){.v = NULL};
}

static int grow(struct hbt_slots *s)
{
	uint32_t cap = s->cap == 0 ? FIRST_CAP : s->cap * 2;
	uintptr_t *v;

	if (cap < s->cap || (v = realloc(s->v, cap * sizeof(*v))) == NULL)
		return HALIBUT_ENOMEM;
	s->v = v;
	s->cap = cap;
	return HALIBUT_OK;
}

int hbt_slots_add(struct hbt_slots *s, void *item, uint32_t *at)
{
	assert(item != NULL && ((uintptr_t)item & 1) == 0);
	if (s->free != 0) {
		*at = s->free - 1;
		s->free = (uint32_t)(s->v[*at] >> 1);
	} else {
		if (s->n == s->cap && grow(s) != HALIBUT_OK)
			return HALIBUT_ENOMEM;
		*at = s->n++;
	}
	s->v[*at] = (uintptr_t)item;
	s->used++;
	return HALIBUT_OK;
}

void hbt_slots_remove(struct hbt_slots *s, uint32_t at)
{
	assert(at < s->n && (s->v[at] & 1) == 0);
	s->v[at] = (uintptr_t)s->free << 1 | 1;
	s->free = at + 1;
	s->used--;
}

void *hbt_slots_next(const struct hbt_slots *s, uint64_t *at)
{
	for (int steps = 0; *at < s->n; steps++) {
		uintptr_t item;

		if (steps == MAX_STEPS)
			return NULL;
		item = s->v[(*at)++];
		if ((item & 1) == 0)
			return (void *)item;
	}
	*at = 0;
	return NULL;
}
