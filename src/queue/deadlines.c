/* A pairing heap: see deadlines.h. */
#include "queue/deadlines.h"

#include <assert.h>
#include <stddef.h>

/* Joins two trees; the later root becomes the first child of the other. */
static struct hbt_deadline *join(struct hbt_deadline *a,
                                 struct hbt_deadline *b)
{
	if (b == NULL)
		return a;
	if (a == NULL)
		return b;
	if (b->at_ms < a->at_ms) {
		struct hbt_deadline *swap = a;

		a = b;
		b = swap;
	}
	b->prev = a;
	b->next = a->child;
	if (b->next != NULL)
		b->next->prev = b;
	a->child = b;
	a->next = NULL;
	a->prev = NULL;
	return a;
}

/* Joins the children of a removed node: in pairs, then all pairs. A loop each
 * way, since thousands may be siblings. */
static struct hbt_deadline *join_all(struct hbt_deadline *first)
{
	struct hbt_deadline *pairs = NULL;
	struct hbt_deadline *root = NULL;

	while (first != NULL) {
		struct hbt_deadline *a = first;
		struct hbt_deadline *b = a->next;

		first = b != NULL ? b->next : NULL;
		a->next = a->prev = NULL;
		if (b != NULL)
			b->next = b->prev = NULL;
		a = join(a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs != NULL) {
		struct hbt_deadline *a = pairs;

		pairs = a->next;
		a->next = NULL;
		root = join(root, a);
	}
	return root;
}

bool hbt_deadline_is_set(const struct hbt_deadlines *all,
                         const struct hbt_deadline *d)
{
	return all->soonest == d || d->prev != NULL;
}

void hbt_deadline_set(struct hbt_deadlines *all, struct hbt_deadline *d)
{
	assert(!hbt_deadline_is_set(all, d));
	d->child = d->next = d->prev = NULL;
	all->soonest = join(all->soonest, d);
}

void hbt_deadline_clear(struct hbt_deadlines *all, struct hbt_deadline *d)
{
	if (!hbt_deadline_is_set(all, d))
		return;
	if (d->prev == NULL) {
		all->soonest = join_all(d->child);
	} else {
		if (d->prev->child == d)
			d->prev->child = d->next;
		else
			d->prev->next = d->next;
		if (d->next != NULL)
			d->next->prev = d->prev;
		all->soonest = join(all->soonest, join_all(d->child));
	}
	d->child = d->next = d->prev = NULL;
}
