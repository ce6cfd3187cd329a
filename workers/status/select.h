/*
 * The rows of snapshots that somebody wants: those that pass the filters,
 * sorted, from offset on as many as limit says. It is done in slices of some
 * milliseconds, and what remains in the end is a copy of the rows that are
 * shown: snapshots are held no longer than that.
 */
#ifndef HBT_STATUS_SELECT_H
#define HBT_STATUS_SELECT_H

#include "gather.h"
#include "query.h"
#include "view.h"

#define SELECT_DEFAULT_LIMIT 1024
#define SELECT_MAX_LIMIT 10000
#define SELECT_MAX_OFFSET 100000000

struct selection;

/* What a document calls a field beside its name, or a filter of its own. */
struct select_alias {
	const char *name;  /* of the parameter; the last one has none */
	const char *field;
	bool without_port; /* only what stands before the last colon counts */
};

/*
 * From the parameters sort, offset, limit, and filters by the names of fields
 * and aliases; those in ignored (up to a NULL) are somebody else's. *out is
 * NULL if something is wrong with them: a sentence says what (malloced), or is
 * NULL when memory is short. Without q all rows are wanted.
 */
char *select_new(struct selection **out, enum hbt_table table,
                 const struct query *q, const struct select_alias *aliases,
                 const char *const *ignored);
void select_free(struct selection **s);

/* Rows of another snapshot; of the same columns as table. Before the first
 * slice. False: out of memory. */
bool select_add(struct selection *s, struct snapshot *snapshot);

enum select_result {
	SELECT_MORE, /* call again in the next turn */
	SELECT_DONE,
	SELECT_NO_MEMORY,
	SELECT_BUSY, /* too much is held for slow readers already; what is
	              * small is never refused */
};
enum select_result select_slice(struct selection *s);

/* Once done. */
uint64_t select_total(const struct selection *s); /* that pass the filters */
uint64_t select_offset(const struct selection *s);
uint64_t select_limit(const struct selection *s);
uint64_t select_count(const struct selection *s); /* that are shown */
/* One after the other. False: that was the last one. */
bool select_next(struct selection *s, struct view *out);

/* What all selections hold of rows. */
size_t select_held_bytes(void);

#endif
