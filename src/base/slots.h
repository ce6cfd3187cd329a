/*
 * A table of pointers whose places do not move: whoever walks through it in
 * steps goes on where it stopped, whatever came and went in between. What is
 * there all the time is met exactly once.
 */
#ifndef HBT_BASE_SLOTS_H
#define HBT_BASE_SLOTS_H

#include <stddef.h>
#include <stdint.h>

struct hbt_slots { /* zeroed: empty */
	uintptr_t *v;  /* a pointer; or odd: the next free place, and 1 */
	uint32_t n, cap; /* places that were ever used, and that there are */
	uint32_t free;   /* the first free one, and 1; 0: none */
	size_t used;
};

void hbt_slots_fini(struct hbt_slots *s);

/* *at is its place. item is at an even address. HALIBUT_ENOMEM. */
int hbt_slots_add(struct hbt_slots *s, void *item, uint32_t *at);
void hbt_slots_remove(struct hbt_slots *s, uint32_t at);

/*
 * The first item at *at or behind it; *at is the place behind that one. NULL
 * at the end, when *at is 0 again; and after many free places, when *at is
 * not: that was enough for one turn of the loop.
 */
void *hbt_slots_next(const struct hbt_slots *s, uint64_t *at);

#endif
