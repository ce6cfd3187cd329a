#include "select.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/timespan.h"

#define SLICE_US 2000
#define RUN 4096 /* rows that are sorted at once */
#define MAX_FILTERS 16
#define MAX_HELD ((size_t)64 * 1024 * 1024)
#define ALWAYS_HELD ((size_t)64 * 1024) /* each may hold so much */

static size_t held; /* by all of them */

struct filter {
	int field;
	const char *pattern;
	bool without_port;
};

/* A row that passed the filters, in its snapshot. */
struct entry {
	const uint8_t *row;
	size_t len;
	struct hbt_str text; /* its key */
	uint64_t number;
	size_t index; /* as it came */
};

/* Entries that are sorted among themselves. */
struct run {
	size_t at, end;
};

struct selection {
	enum hbt_table table;
	uint64_t offset, limit, total, shown;
	int sort_field; /* -1: as they come */
	bool sort_text, sort_signed, descending;
	struct filter filters[MAX_FILTERS];
	size_t n_filters;

	struct snapshot *sources[4];
	size_t n_sources, source, page;
	struct hbt_rd rd; /* of the page */
	uint32_t left;    /* rows of it */

	struct entry *entries;
	size_t n_entries, room;
	struct run *runs;
	size_t n_runs, runs_room;
	size_t run_began;
	uint64_t merged; /* entries that the runs gave up so far */

	struct hbt_buf rows; /* those that are shown */
	size_t charged;
	bool done;
	struct hbt_rd next;
	uint64_t given;
};

size_t select_held_bytes(void)
{
	return held;
}

/* ---- Parameters ---- */

/* A field by its name, without the unit at its end, or by an alias. */
static int find_field(enum hbt_table table, const char *name,
                      const struct select_alias *aliases, bool *without_port)
{
	static const char *const ends[] = {"", "_ms", "_at", "_bytes"};
	char full[64];

	*without_port = false;
	for (const struct select_alias *a = aliases;
	     a != NULL && a->name != NULL; a++)
		if (strcmp(a->name, name) == 0) {
			*without_port = a->without_port;
			return view_field(table, a->field);
		}
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		int field;

		snprintf(full, sizeof(full), "%s%s", name, ends[i]);
		if ((field = view_field(table, full)) >= 0)
			return field;
	}
	return -1;
}

/* All names, for who used another one. */
static char *name_fields(enum hbt_table table, const char *what,
                         const char *name)
{
	const struct hbt_field *f = hbt_table_fields(table);
	char list[1024] = "", *text;
	size_t n = 0;

	for (; f->name != NULL && n < sizeof(list); f++)
		n += (size_t)snprintf(list + n, sizeof(list) - n, " %s",
		                      f->name);
	if (asprintf(&text, "There is no %s \"%.64s\" here; these can be "
	                    "used:%s.",
	             what, name, list) < 0)
		return NULL;
	return text;
}

static char *read_sort(struct selection *s, const struct query *q,
                       const struct select_alias *aliases)
{
	const char *name = query_get(q, "sort");
	const struct hbt_field *f;
	bool turned, without_port;

	if (name == NULL)
		return NULL;
	turned = *name == '-';
	s->sort_field = find_field(s->table, name + turned, aliases,
	                           &without_port);
	if (s->sort_field < 0)
		return name_fields(s->table, "column to sort by", name + turned);
	f = &hbt_table_fields(s->table)[s->sort_field];
	s->sort_text = f->kind == HBT_FIELD_TEXT;
	s->sort_signed = f->kind == HBT_FIELD_I64;
	/* Texts from A on, the largest numbers first. */
	s->descending = turned == s->sort_text;
	return NULL;
}

static bool is_in(const char *name, const char *const *list)
{
	for (; list != NULL && *list != NULL; list++)
		if (strcmp(*list, name) == 0)
			return true;
	return false;
}

static char *read_filters(struct selection *s, const struct query *q,
                          const struct select_alias *aliases,
                          const char *const *ignored)
{
	static const char *const own[] = {"sort", "offset", "limit", NULL};
	const struct evkeyval *p;

	TAILQ_FOREACH (p, &q->parameters, next) {
		struct filter *f = &s->filters[s->n_filters];

		if (is_in(p->key, own) || is_in(p->key, ignored))
			continue;
		if (s->n_filters == MAX_FILTERS)
			return strdup("That are too many filters.");
		f->field = find_field(s->table, p->key, aliases,
		                      &f->without_port);
		if (f->field < 0)
			return name_fields(s->table, "parameter", p->key);
		if ((f->pattern = strdup(p->value)) == NULL)
			return NULL;
		s->n_filters++;
	}
	return NULL;
}

char *select_new(struct selection **out, enum hbt_table table,
                 const struct query *q, const struct select_alias *aliases,
                 const char *const *ignored)
{
	struct selection *s = calloc(1, sizeof(*s));
	char *wrong = NULL;

	*out = NULL;
	if (s == NULL)
		return NULL;
	s->table = table;
	hbt_buf_init(&s->rows, MAX_HELD);
	s->sort_field = -1;
	s->limit = UINT64_MAX;
	if (q == NULL) {
		*out = s;
		return NULL;
	}
	if (!query_number(q, "offset", 0, SELECT_MAX_OFFSET, &s->offset))
		wrong = strdup("offset is no number, or too large.");
	else if (!query_number(q, "limit", SELECT_DEFAULT_LIMIT,
	                       SELECT_MAX_LIMIT, &s->limit))
		wrong = strdup("limit is no number, or over 10000.");
	else if ((wrong = read_sort(s, q, aliases)) == NULL)
		wrong = read_filters(s, q, aliases, ignored);
	if (wrong != NULL)
		select_free(&s);
	*out = s;
	return wrong;
}

static void drop_sources(struct selection *s)
{
	for (size_t i = 0; i < s->n_sources; i++)
		snapshot_unref(&s->sources[i]);
	s->n_sources = 0;
	free(s->entries);
	s->entries = NULL;
	free(s->runs);
	s->runs = NULL;
}

void select_free(struct selection **at)
{
	struct selection *s = *at;

	*at = NULL;
	if (s == NULL)
		return;
	drop_sources(s);
	for (size_t i = 0; i < s->n_filters; i++)
		free((char *)s->filters[i].pattern);
	held -= s->charged;
	hbt_buf_fini(&s->rows);
	free(s);
}

bool select_add(struct selection *s, struct snapshot *snapshot)
{
	if (s->n_sources == sizeof(s->sources) / sizeof(*s->sources))
		return false;
	snapshot->refs++;
	s->sources[s->n_sources++] = snapshot;
	return true;
}

/* ---- Filters ---- */

static bool passes(const struct filter *f, const struct view *v)
{
	const struct hbt_str *text = &v->v[f->field].text;
	char number[32];
	size_t len = text->len;

	switch (v->fields[f->field].kind) {
	case HBT_FIELD_TEXT:
		while (f->without_port && len > 0 && text->s[len - 1] != ':')
			len--;
		if (f->without_port)
			len = len > 0 ? len - 1 : text->len;
		return query_matches(f->pattern, text->s, len);
	case HBT_FIELD_BOOL:
		return query_matches(f->pattern,
		                     v->v[f->field].number ? "true" : "false",
		                     v->v[f->field].number ? 4 : 5);
	default:
		snprintf(number, sizeof(number), "%lld",
		         (long long)v->v[f->field].number);
		return query_matches(f->pattern, number, strlen(number));
	}
}

static bool passes_all(const struct selection *s, const struct view *v)
{
	for (size_t i = 0; i < s->n_filters; i++)
		if (!passes(&s->filters[i], v))
			return false;
	return true;
}

/* ---- Sorting: runs, and what is the least of their fronts ---- */

static int compare(const struct selection *s, const struct entry *a,
                   const struct entry *b)
{
	size_t n = a->text.len < b->text.len ? a->text.len : b->text.len;
	int order;

	if (s->sort_text) {
		order = memcmp(a->text.s, b->text.s, n);
		if (order == 0)
			order = (a->text.len > b->text.len) -
			        (a->text.len < b->text.len);
	} else if (s->sort_signed) {
		order = ((int64_t)a->number > (int64_t)b->number) -
		        ((int64_t)a->number < (int64_t)b->number);
	} else {
		order = (a->number > b->number) - (a->number < b->number);
	}
	if (s->descending)
		order = -order;
	/* Equal ones as they come, so that pages fit together. */
	return order != 0 ? order
	                  : (a->index > b->index) - (a->index < b->index);
}

static int compare_entries(const void *a, const void *b, void *arg)
{
	return compare(arg, a, b);
}

static bool close_run(struct selection *s)
{
	struct run *runs;

	if (s->run_began == s->n_entries)
		return true;
	if (s->n_runs == s->runs_room) {
		size_t room = s->runs_room == 0 ? 16 : s->runs_room * 2;

		if ((runs = realloc(s->runs, room * sizeof(*runs))) == NULL)
			return false;
		s->runs = runs;
		s->runs_room = room;
	}
	if (s->sort_field >= 0)
		qsort_r(s->entries + s->run_began, s->n_entries - s->run_began,
		        sizeof(*s->entries), compare_entries, s);
	s->runs[s->n_runs++] = (struct run){s->run_began, s->n_entries};
	s->run_began = s->n_entries;
	return true;
}

/* NULL: all are given up. Runs are in order, so without sorting the first
 * that is not empty has the next one. */
static const struct entry *least(struct selection *s)
{
	struct run *best = NULL;

	for (size_t i = 0; i < s->n_runs; i++) {
		struct run *run = &s->runs[i];

		if (run->at == run->end)
			continue;
		if (best == NULL ||
		    (s->sort_field >= 0 &&
		     compare(s, &s->entries[run->at], &s->entries[best->at]) <
		             0))
			best = run;
		if (s->sort_field < 0)
			break;
	}
	return best != NULL ? &s->entries[best->at++] : NULL;
}

/* ---- Slices ---- */

static bool keep(struct selection *s, const struct view *v, const uint8_t *row,
                 size_t len)
{
	struct entry *e;

	if (s->n_entries == s->room) {
		size_t room = s->room == 0 ? 256 : s->room * 2;

		e = realloc(s->entries, room * sizeof(*e));
		if (e == NULL)
			return false;
		s->entries = e;
		s->room = room;
	}
	e = &s->entries[s->n_entries];
	e->index = s->n_entries++;
	e->row = row;
	e->len = len;
	if (s->sort_field >= 0) {
		e->text = v->v[s->sort_field].text;
		e->number = v->v[s->sort_field].number;
	}
	s->total++;
	return s->n_entries - s->run_began < RUN || close_run(s);
}

/* The page to read from. False: there is none left. */
static bool find_page(struct selection *s)
{
	while (s->left == 0) {
		const struct snapshot *from;

		if (s->source == s->n_sources)
			return false;
		from = s->sources[s->source];
		if (s->page == from->n_pages) {
			s->source++;
			s->page = 0;
			continue;
		}
		s->rd = hbt_rd_from(from->pages[s->page].data,
		                    from->pages[s->page].len);
		s->left = from->pages[s->page++].n;
	}
	return true;
}

/* False: out of memory. */
static bool read_row(struct selection *s)
{
	const uint8_t *row = s->rd.p;
	struct view v;

	s->left--;
	if (!view_next(&s->rd, s->table, &v)) {
		s->left = 0; /* what is malformed ends its page */
		return true;
	}
	return !passes_all(s, &v) || keep(s, &v, row, (size_t)(s->rd.p - row));
}

static enum select_result end(struct selection *s)
{
	drop_sources(s);
	s->done = true;
	s->next = hbt_rd_from(s->rows.data, s->rows.len);
	return SELECT_DONE;
}

static enum select_result merge(struct selection *s, int64_t until_us)
{
	const struct entry *e;

	while (hbt_now_us() < until_us) {
		for (int i = 0; i < 64; i++) {
			if (s->shown == s->limit || (e = least(s)) == NULL)
				return end(s);
			if (s->merged++ < s->offset)
				continue;
			if (held + e->len > MAX_HELD &&
			    s->charged + e->len > ALWAYS_HELD)
				return SELECT_BUSY;
			if (hbt_buf_append(&s->rows, e->row, e->len) !=
			    HALIBUT_OK)
				return SELECT_NO_MEMORY;
			held += e->len;
			s->charged += e->len;
			s->shown++;
		}
	}
	return SELECT_MORE;
}

enum select_result select_slice(struct selection *s)
{
	int64_t until_us = hbt_now_us() + SLICE_US;

	if (s->done)
		return SELECT_DONE;
	while (find_page(s)) {
		for (int i = 0; i < 32 && s->left > 0; i++)
			if (!read_row(s))
				return SELECT_NO_MEMORY;
		if (hbt_now_us() >= until_us)
			return SELECT_MORE;
	}
	return close_run(s) ? merge(s, until_us) : SELECT_NO_MEMORY;
}

uint64_t select_total(const struct selection *s)
{
	return s->total;
}

uint64_t select_offset(const struct selection *s)
{
	return s->offset;
}

uint64_t select_limit(const struct selection *s)
{
	return s->limit;
}

uint64_t select_count(const struct selection *s)
{
	return s->shown;
}

bool select_next(struct selection *s, struct view *out)
{
	if (s->given == s->shown)
		return false;
	s->given++;
	return view_next(&s->next, s->table, out);
}
