/* A row of a snapshot, read where it lies: nothing is copied. */
#ifndef HBT_STATUS_VIEW_H
#define HBT_STATUS_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "ipc/rows.h"

#define VIEW_MAX_FIELDS 32

struct view {
	enum hbt_table table;
	const struct hbt_field *fields;
	struct {
		bool absent;         /* a TEXT that is NULL */
		struct hbt_str text; /* TEXT */
		uint64_t number;     /* else; of I64 the same bits */
	} v[VIEW_MAX_FIELDS];
	struct hbt_worker_stats stats; /* of WORKERS */
};

/* The next row, as hbt_row_put() wrote it. False: r failed. */
bool view_next(struct hbt_rd *r, enum hbt_table table, struct view *out);

/* Index of a field, -1: there is none of that name. */
int view_field(enum hbt_table table, const char *name);

/* A text of the other process as JSON, in which bytes that are no UTF-8 became
 * question marks. New; NULL without memory. */
json_t *view_text(const char *text, size_t len);
/* A moment in milliseconds of Unix time as RFC 3339 text; null for 0. New. */
json_t *view_moment(int64_t ms);
/* The same of this moment. */
json_t *view_now(void);

/*
 * All fields by their names as a new object: texts or null, numbers, flags.
 * NAME_at becomes NAME_at, but as text. A number that may be absent
 * ("queued") is null when it is negative. Counters follow for WORKERS. NULL
 * without memory.
 */
json_t *view_json(const struct view *v);

/* Number or flag of a field, which there is. */
uint64_t view_number(const struct view *v, const char *field);
/* Is a text of it that one? */
bool view_is(const struct view *v, const char *field, const char *value);

#endif
