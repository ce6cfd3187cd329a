/* How long something took, in buckets that never change: an observation is a
 * few comparisons. */
#ifndef HBT_MASTER_HISTOGRAM_H
#define HBT_MASTER_HISTOGRAM_H

#include <stdint.h>

#define HBT_HISTOGRAM_N 18

/* Upper bounds, in microseconds. */
extern const uint64_t hbt_histogram_bounds[HBT_HISTOGRAM_N];

struct hbt_histogram {
	/* Of each bucket alone; the last: above all bounds. */
	uint64_t buckets[HBT_HISTOGRAM_N + 1];
	uint64_t count, sum_us;
};

void hbt_histogram_add(struct hbt_histogram *h, int64_t us);

#endif
