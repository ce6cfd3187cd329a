/*
 * What clients of the status ask for, and the rows that it is chosen from:
 * a byte for the table, the target up to a NUL, rows.
 */
#include <stdlib.h>
#include <string.h>

#include "select.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct snapshot *make(enum hbt_table table, const uint8_t *data,
                             size_t len)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	uint8_t *copy = malloc(len + 1);

	memcpy(copy, data, len);
	s->refs = 1;
	s->table = table;
	s->pages = calloc(1, sizeof(*s->pages));
	s->pages[s->n_pages++] = (struct snapshot_page){copy, len, 64};
	return s;
}

static void choose(struct selection *s, struct snapshot *snapshot)
{
	uint64_t n = 0;
	struct view v;

	if (!select_add(s, snapshot))
		abort();
	while (select_slice(s) == SELECT_MORE)
		;
	while (select_next(s, &v)) {
		json_t *o = view_json(&v);

		if (o == NULL)
			abort();
		json_decref(o);
		n++;
	}
	if (n != select_count(s) || n > select_total(s))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size > 1 ? memchr(data + 1, '\0', size - 1) : NULL;
	struct snapshot *snapshot;
	enum hbt_table table;
	struct selection *s;
	struct query q;

	if (end == NULL)
		return 0;
	table = (enum hbt_table)(data[0] % (HBT_TABLES - 1) + 1);
	end++;
	if (query_parse(&q, (const char *)data + 1) == NULL) {
		char *wrong = select_new(&s, table, &q, NULL, NULL);

		if ((wrong == NULL) == (s == NULL))
			abort();
		free(wrong);
		snapshot = make(table, end, size - (size_t)(end - data));
		if (s != NULL)
			choose(s, snapshot);
		select_free(&s);
		snapshot_unref(&snapshot);
	}
	query_fini(&q);
	if (select_held_bytes() != 0)
		abort();
	return 0;
}
