/* The queues of all endpoints, by key. */
#include "queue/switchboard.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/slots.h"
#include "base/timespan.h"
#include "base/uri.h"

enum {
	TRIM_AT_ONCE = 1000, /* places, or more: */
	TRIM_CALLS = 60,     /* so many see all places there are */
};

struct place {
	struct hbt_queue *queue;
	int64_t used_ms; /* when it was asked for, or seen in use */
	uint32_t slot;
	UT_hash_handle hh;
};

struct hbt_switchboard {
	hbt_queue_factory factory;
	void *arg;
	struct place *places;
	struct hbt_slots slots; /* of places: for walks in steps */
	uint64_t trim_at;       /* where the next slice of trimming begins */
	bool closing; /* makes no queues any more */
};

static struct hbt_queue *make_memory_queue(void *arg, const char *key)
{
	return hbt_memory_queue_new(arg, key);
}

struct hbt_switchboard *hbt_switchboard_new(struct event_base *base,
                                            hbt_queue_factory factory,
                                            void *arg)
{
	struct hbt_switchboard *sb = calloc(1, sizeof(*sb));

	if (sb == NULL)
		return NULL;
	sb->factory = factory != NULL ? factory : make_memory_queue;
	sb->arg = factory != NULL ? arg : base;
	return sb;
}

static void remove_place(struct hbt_switchboard *sb, struct place *place)
{
	struct hbt_queue *queue = place->queue;

	HASH_DEL(sb->places, place);
	hbt_slots_remove(&sb->slots, place->slot);
	free(place);
	hbt_queue_free(&queue);
}

void hbt_switchboard_free(struct hbt_switchboard **sbp)
{
	struct hbt_switchboard *sb = *sbp;

	if (sb == NULL)
		return;
	sb->closing = true;
	while (sb->places != NULL)
		remove_place(sb, sb->places);
	hbt_slots_fini(&sb->slots);
	free(sb);
	*sbp = NULL;
}

static struct place *add_place(struct hbt_switchboard *sb, const char *key)
{
	struct place *place = calloc(1, sizeof(*place));

	if (place == NULL)
		return NULL;
	if (hbt_slots_add(&sb->slots, place, &place->slot) != HALIBUT_OK) {
		free(place);
		return NULL;
	}
	if ((place->queue = sb->factory(sb->arg, key)) == NULL) {
		hbt_slots_remove(&sb->slots, place->slot);
		free(place);
		return NULL;
	}
	HASH_ADD_KEYPTR(hh, sb->places, place->queue->key,
	                strlen(place->queue->key), place);
	if (place->hh.tbl == NULL) { /* no memory for it */
		hbt_slots_remove(&sb->slots, place->slot);
		hbt_queue_free(&place->queue);
		free(place);
		return NULL;
	}
	return place;
}

static bool has_queue(const char *key)
{
	return strncmp(key, "poll://", 7) == 0 ||
	       strncmp(key, "queue://", 8) == 0;
}

struct hbt_queue *hbt_switchboard_queue(struct hbt_switchboard *sb,
                                        const char *uri)
{
	/* The path counts: a .NET caller has dropped it before it sent its
	 * request, a subscriber has not. wire-protocol 4.3 */
	char *key = hbt_uri_key(uri, true);
	struct place *place = NULL;

	if (key == NULL)
		return NULL;
	if (has_queue(key) && !sb->closing) {
		HASH_FIND_STR(sb->places, key, place);
		if (place == NULL)
			place = add_place(sb, key);
	}
	free(key);
	if (place == NULL)
		return NULL;
	place->used_ms = hbt_now_ms();
	return place->queue;
}

void hbt_switchboard_each(struct hbt_switchboard *sb,
                          void (*fn)(void *arg, struct hbt_queue *q),
                          void *arg)
{
	for (struct place *p = sb->places; p != NULL; p = p->hh.next)
		fn(arg, p->queue);
}

struct hbt_queue *hbt_switchboard_next(const struct hbt_switchboard *sb,
                                       uint64_t *at)
{
	struct place *place = hbt_slots_next(&sb->slots, at);

	return place != NULL ? place->queue : NULL;
}

struct hbt_queue *hbt_switchboard_find(const struct hbt_switchboard *sb,
                                       const char *key)
{
	struct place *place;

	HASH_FIND_STR(sb->places, key, place);
	return place != NULL ? place->queue : NULL;
}

static bool in_use(struct hbt_queue *q)
{
	struct hbt_queue_counts n;

	q->ops->counts(q, &n);
	return q->users > 0 || n.waiting > 0 || n.taken > 0 || n.takers > 0;
}

void hbt_switchboard_trim(struct hbt_switchboard *sb, int64_t ms)
{
	int64_t now = hbt_now_ms();
	uint64_t n = sb->slots.n / TRIM_CALLS + 1, end;

	end = sb->trim_at + (n > TRIM_AT_ONCE ? n : TRIM_AT_ONCE);
	while (sb->trim_at < end) {
		struct place *place =
			hbt_slots_next(&sb->slots, &sb->trim_at);

		if (place == NULL && sb->trim_at == 0)
			return;
		if (place == NULL)
			continue; /* many free places */
		if (in_use(place->queue))
			place->used_ms = now;
		else if (now - place->used_ms >= ms)
			remove_place(sb, place);
	}
}
