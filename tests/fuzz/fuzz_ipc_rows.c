/*
 * A page of a table: the first byte says which. Rows that were accepted are
 * written and read back as the same.
 */
#include <stdlib.h>
#include <string.h>

#include "ipc/proto.h"
#include "ipc/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads rows until there are none, and writes them again. False: refused. */
static bool pass(enum hbt_table table, const uint8_t *data, size_t size,
                 struct hbt_wr *w)
{
	struct hbt_rd r = hbt_rd_from(data, size);
	union hbt_row row;

	while (r.status == HALIBUT_OK && r.left > 0) {
		hbt_row_get(&r, table, &row);
		hbt_row_put(w, table, &row);
		hbt_row_fini(table, &row);
	}
	return hbt_rd_finish(&r) == HALIBUT_OK;
}

static void read_a_page(const uint8_t *data, size_t size, enum hbt_table table)
{
	struct hbt_rd r = hbt_rd_from(data, size);
	union hbt_row row;
	uint64_t next;
	uint32_t n;

	if (!hbt_rows_begin(&r, &next, &n))
		return;
	while (n-- > 0 && r.status == HALIBUT_OK) {
		hbt_row_get(&r, table, &row);
		hbt_row_fini(table, &row);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hbt_wr once, twice;
	enum hbt_table table;

	if (size == 0)
		return 0;
	table = (enum hbt_table)(HBT_TABLE_NODE +
	                         data[0] % (HBT_TABLES - HBT_TABLE_NODE));
	read_a_page(data + 1, size - 1, table);
	hbt_wr_init(&once, HBT_IPC_MAX_BODY);
	hbt_wr_init(&twice, HBT_IPC_MAX_BODY);
	if (pass(table, data + 1, size - 1, &once)) {
		if (!pass(table, once.buf.data, once.buf.len, &twice) ||
		    once.buf.len != twice.buf.len ||
		    (once.buf.len > 0 &&
		     memcmp(once.buf.data, twice.buf.data, once.buf.len) != 0))
			abort();
	}
	hbt_wr_fini(&once);
	hbt_wr_fini(&twice);
	return 0;
}
