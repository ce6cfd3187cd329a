#include "master/past_calls.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

/* Of each kind. Failures come in floods, which would wash the slow ones away. */
#define MOST_FAILED 200
#define MOST_SLOW 100
#define MAX_TEXT 512

struct entry {
	uint64_t serial;
	struct hbt_past_call_row row;
	TAILQ_ENTRY(entry) link;
};

struct hbt_past_calls {
	TAILQ_HEAD(entries, entry) all; /* the youngest first */
	size_t n_failed, n_slow; /* n_slow: that did not fail */
	uint64_t last_serial;
};

struct hbt_past_calls *hbt_past_calls_new(void)
{
	struct hbt_past_calls *past = calloc(1, sizeof(*past));

	if (past != NULL)
		TAILQ_INIT(&past->all);
	return past;
}

static bool has_failed(const struct entry *e)
{
	return e->row.error != NULL;
}

static void drop(struct hbt_past_calls *past, struct entry *e)
{
	TAILQ_REMOVE(&past->all, e, link);
	if (has_failed(e))
		past->n_failed--;
	else
		past->n_slow--;
	hbt_row_fini(HBT_TABLE_PAST_CALLS, &e->row);
	free(e);
}

void hbt_past_calls_free(struct hbt_past_calls **at)
{
	struct hbt_past_calls *past = *at;

	*at = NULL;
	if (past == NULL)
		return;
	while (!TAILQ_EMPTY(&past->all))
		drop(past, TAILQ_FIRST(&past->all));
	free(past);
}

static void drop_oldest(struct hbt_past_calls *past, bool failed)
{
	struct entry *e;

	TAILQ_FOREACH_REVERSE (e, &past->all, entries, link)
		if (has_failed(e) == failed)
			break;
	if (e != NULL)
		drop(past, e);
}

/* Each text becomes the row's own. */
static void own_texts(struct hbt_past_call_row *row)
{
	const struct hbt_field *f = hbt_table_fields(HBT_TABLE_PAST_CALLS);

	for (; f->name != NULL; f++) {
		char **at = (char **)(void *)((char *)row + f->offset);

		if (f->kind == HBT_FIELD_TEXT && *at != NULL)
			*at = strndup(*at, MAX_TEXT);
	}
}

void hbt_past_calls_add(struct hbt_past_calls *past,
                        const struct hbt_past_call_row *row)
{
	struct entry *e = calloc(1, sizeof(*e));
	bool failed = row->error != NULL;

	if (e == NULL)
		return;
	e->row = *row;
	own_texts(&e->row);
	if (failed && e->row.error == NULL) { /* it would pass for slow */
		hbt_row_fini(HBT_TABLE_PAST_CALLS, &e->row);
		free(e);
		return;
	}
	if (failed && past->n_failed == MOST_FAILED)
		drop_oldest(past, true);
	if (!failed && past->n_slow == MOST_SLOW)
		drop_oldest(past, false);
	e->serial = ++past->last_serial;
	TAILQ_INSERT_HEAD(&past->all, e, link);
	if (failed)
		past->n_failed++;
	else
		past->n_slow++;
}

void hbt_past_calls_fill(const struct hbt_past_calls *past, uint64_t after,
                         struct hbt_page *page, uint64_t *next)
{
	const struct entry *e;

	*next = 0;
	TAILQ_FOREACH (e, &past->all, link) {
		if (after != 0 && e->serial >= after)
			continue;
		if (!hbt_page_has_room(page))
			return;
		hbt_page_add(page, &e->row);
		*next = e->serial;
	}
	*next = 0;
}
