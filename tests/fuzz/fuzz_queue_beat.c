/* Heart beats of another node. */
#include <stdlib.h>

#include "queue/redis_beat.h"
#include "queue/redis_names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void progress(void *arg, const struct hbt_guid *stream, int64_t sent)
{
	(void)arg;
	(void)stream;
	if (sent < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hbt_guid g;

	hbt_beat_read((const char *)data, size, progress, NULL);
	hbt_redis_guid_read((const char *)data, size, &g);
	return 0;
}
