#include "ipc/counters.h"

#include <string.h>

#define TYPE_COUNTER HBT_COUNTER
#define TYPE_GAUGE HBT_GAUGE
#define ENTRY(of, type, name, unit, help)                                      \
	{TYPE_##type, #name, unit, help, offsetof(struct of, name)},
#define OF_WORKER(...) ENTRY(hbt_worker_stats, __VA_ARGS__)
#define OF_NODE(...) ENTRY(hbt_node_stats, __VA_ARGS__)
#define LAST {HBT_GAUGE, NULL, NULL, NULL, 0}

const struct hbt_counter hbt_worker_counters[] = {
	HBT_WORKER_COUNTERS(OF_WORKER) LAST};
const struct hbt_counter hbt_node_counters[] = {
	HBT_NODE_COUNTERS(OF_NODE) LAST};

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
