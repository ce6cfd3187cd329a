/* The master's own tables, as rows: ipc/rows.h. */
#ifndef HBT_MASTER_TABLES_H
#define HBT_MASTER_TABLES_H

#include "master/master.h"

/* For struct hbt_rows_env; master is a struct hbt_master. */
bool hbt_tables_fill(void *master, const struct hbt_rows_ask *ask,
                     struct hbt_page *page, uint64_t *next);
/* The connection worker of that index, if it is ready. */
struct hbt_link *hbt_tables_worker(void *master, uint32_t index);

#endif
