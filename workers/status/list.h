/*
 * A document that is rows of tables: some of NODE in front, then an array a
 * part. /connz and the like are made of these, in lists.c.
 */
#ifndef HBT_STATUS_LIST_H
#define HBT_STATUS_LIST_H

#include "request.h"
#include "select.h"

#define LIST_PARTS 2

/* An array of a document. */
struct list_part {
	const char *name; /* NULL: there is no such part */
	enum hbt_table table;
	enum hbt_table and_table; /* of the same columns; 0: none */
	const struct select_alias *aliases;
	const char *const *ignored; /* as select_new() has them */
	/* More members. False: this row is left out. May be NULL. */
	bool (*decorate)(json_t *o, const struct view *v);
};

struct list {
	struct list_part parts[LIST_PARTS];
	bool whole; /* all rows, and all that NODE has; no parameters */
};

/* For a document's check(): the list that it is. rq->state is this file's. */
bool list_check(struct request *rq, const struct list *list);
/* Its other members. */
bool list_open(struct request *rq);
enum request_piece list_more(struct request *rq, struct evbuffer *out);
void list_close(struct request *rq);

/* The document at path_, of NODE and of tables_ (bits). */
#define LIST_DOCUMENT(path_, check_, tables_, summary_)                        \
	{                                                                      \
		.path = (path_), .summary = (summary_), .check = (check_),     \
		.tables = REQUEST_TABLE(HBT_TABLE_NODE) | (tables_),           \
		.open = list_open, .more = list_more, .close = list_close,     \
	}

#endif
