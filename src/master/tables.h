/* The master's own tables, as rows: ipc/rows.h. */
#ifndef HBT_MASTER_TABLES_H
#define HBT_MASTER_TABLES_H

#include "master/master.h"

/* For struct hbt_rows_env; master is a struct hbt_master. */
bool hbt_tables_fill(void *master, const struct hbt_rows_ask *ask,
                     struct hbt_page *page, uint64_t *next);
/* The connection worker of that index, if it is ready. */
struct hbt_link *hbt_tables_worker(void *master, uint32_t index);

/* The row of an endpoint: q, or when there is none, what is known of key in
 * Redis. The texts are in facts, and key's. */
void hbt_subscription_row(const struct hbt_master *m, struct hbt_queue *q,
                          const char *key,
                          struct hbt_subscription_facts *facts,
                          struct hbt_subscription_row *row);
/* The row of a process; the texts are static or w's. */
void hbt_worker_row(const struct hbt_worker *w, struct hbt_worker_row *row);

#endif
