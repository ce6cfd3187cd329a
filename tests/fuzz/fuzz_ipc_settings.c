/*
 * The bodies with fields: the first byte says which. What was accepted is
 * written and read back as the same.
 */
#include <stdlib.h>
#include <string.h>

#include "ipc/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads one body of the kind and writes it again. False: refused. */
static bool pass(uint8_t kind, const uint8_t *data, size_t size,
                 struct hbt_wr *w)
{
	struct hbt_rd r = hbt_rd_from(data, size);
	struct halibut_error error = {.status = HALIBUT_OK};
	struct hbt_endpoint_fields endpoint;
	struct hbt_settings settings;
	struct hbt_worker_stats stats;
	struct hbt_program program;
	struct hbt_poll poll;

	switch (kind % 6) {
	case 0:
		hbt_settings_get(&r, &settings);
		hbt_settings_put(w, &settings);
		hbt_settings_fini(&settings);
		break;
	case 1:
		hbt_endpoint_fields_get(&r, &endpoint);
		hbt_endpoint_fields_put(w, &endpoint);
		hbt_endpoint_fields_fini(&endpoint);
		break;
	case 2:
		hbt_poll_get(&r, &poll);
		hbt_poll_put(w, &poll);
		hbt_poll_fini(&poll);
		break;
	case 3:
		hbt_program_get(&r, &program);
		hbt_program_put(w, &program);
		hbt_program_fini(&program);
		break;
	case 4:
		hbt_ipc_error_get(&r, &error);
		hbt_ipc_error_put(w, &error);
		halibut_error_clear(&error);
		break;
	default:
		hbt_worker_stats_get(&r, &stats);
		hbt_worker_stats_put(w, &stats);
		break;
	}
	return hbt_rd_finish(&r) == HALIBUT_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hbt_wr once, twice;

	if (size == 0)
		return 0;
	hbt_wr_init(&once, HBT_IPC_MAX_BODY);
	hbt_wr_init(&twice, HBT_IPC_MAX_BODY);
	if (pass(data[0], data + 1, size - 1, &once)) {
		if (!pass(data[0], once.buf.data, once.buf.len, &twice) ||
		    once.buf.len != twice.buf.len ||
		    memcmp(once.buf.data, twice.buf.data, once.buf.len) != 0)
			abort();
	}
	hbt_wr_fini(&once);
	hbt_wr_fini(&twice);
	return 0;
}
