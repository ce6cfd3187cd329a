/* A parcel: what was accepted is written and read back as the same. */
#include <stdlib.h>
#include <string.h>

#include "ipc/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hbt_rd r = hbt_rd_from(data, size);
	struct hbt_message *m = hbt_parcel_get(&r), *again;
	struct hbt_wr once, twice;

	if (m == NULL)
		return 0;
	hbt_wr_init(&once, HBT_IPC_MAX_BODY);
	hbt_wr_init(&twice, HBT_IPC_MAX_BODY);
	hbt_parcel_put(&once, m);
	r = hbt_rd_from(once.buf.data, once.buf.len);
	again = hbt_parcel_get(&r);
	if (again == NULL || hbt_rd_finish(&r) != 0)
		abort();
	hbt_parcel_put(&twice, again);
	if (once.buf.len != twice.buf.len ||
	    memcmp(once.buf.data, twice.buf.data, once.buf.len) != 0)
		abort();
	hbt_message_unref(&m);
	hbt_message_unref(&again);
	hbt_wr_fini(&once);
	hbt_wr_fini(&twice);
	return 0;
}
