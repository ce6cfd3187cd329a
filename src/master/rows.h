/*
 * Who asks for rows gets them: the status worker asks, and the master answers
 * for its own tables, or passes the question on to the connection worker that
 * has the answer. See ipc/rows.h.
 */
#ifndef HBT_MASTER_ROWS_H
#define HBT_MASTER_ROWS_H

#include "ipc/rows.h"
#include "master/link.h"

struct hbt_rows;

struct hbt_rows_env {
	/* The connection worker of that index, if it can be asked; else
	 * NULL. */
	struct hbt_link *(*worker)(void *arg, uint32_t index);
	/*
	 * Rows of a table of the master's own, from after on, as many as fit
	 * the page; *next is where to go on, 0 at the end. False: there is no
	 * such table.
	 */
	bool (*fill)(void *arg, const struct hbt_rows_ask *ask,
	             struct hbt_page *page, uint64_t *next);
	void *arg;
};

/* env is copied. NULL: no memory. */
struct hbt_rows *hbt_rows_new(const struct hbt_rows_env *env);
void hbt_rows_free(struct hbt_rows **rows);

/*
 * ROWS_ASK of the status worker, or ROWS of a connection worker. Exactly one
 * ROWS follows each question, whatever dies in between, but its asker.
 * HALIBUT_EPROTO when the link may not say that.
 */
int hbt_rows_message(struct hbt_rows *rows, struct hbt_link *link,
                     struct hbt_ipc_msg *msg);

/* Its channel is lost: what it was asked is answered in its name, what it
 * asked is forgotten. */
void hbt_rows_link_gone(struct hbt_rows *rows, struct hbt_link *link);

#endif
