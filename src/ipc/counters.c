#include "ipc/counters.h"

#include <string.h>

#define TYPE_COUNTER HBT_COUNTER
#define TYPE_GAUGE HBT_GAUGE
#define ENTRY(type, name, unit, help)                                          \
	{TYPE_##type, #name, unit, help,                                       \
	 offsetof(struct hbt_worker_stats, name)},

const struct hbt_counter hbt_worker_counters[] = {
	HBT_WORKER_COUNTERS(ENTRY) {HBT_GAUGE, NULL, NULL, NULL, 0},
};

uint64_t hbt_counter_of(const struct hbt_counter *c, const void *stats)
{
	uint64_t value;

	memcpy(&value, (const uint8_t *)stats + c->offset, sizeof(value));
	return value;
}

void hbt_worker_stats_put(struct hbt_wr *w, const struct hbt_worker_stats *s)
{
	for (const struct hbt_counter *c = hbt_worker_counters; c->name != NULL;
	     c++)
		hbt_wr_u64(w, hbt_counter_of(c, s));
}

void hbt_worker_stats_get(struct hbt_rd *r, struct hbt_worker_stats *s)
{
	memset(s, 0, sizeof(*s));
	for (const struct hbt_counter *c = hbt_worker_counters; c->name != NULL;
	     c++) {
		uint64_t value = hbt_rd_u64(r);

		memcpy((uint8_t *)s + c->offset, &value, sizeof(value));
	}
}
