#include "master/histogram.h"

const uint64_t hbt_histogram_bounds[HBT_HISTOGRAM_N] = {
	250,     500,     1000,    2500,     5000,     10000,
	25000,   50000,   100000,  250000,   500000,   1000000,
	2500000, 5000000, 10000000, 30000000, 60000000, 300000000,
};

void hbt_histogram_add(struct hbt_histogram *h, int64_t us)
{
	uint64_t value = us > 0 ? (uint64_t)us : 0;
	int i = 0;

	while (i < HBT_HISTOGRAM_N && value > hbt_histogram_bounds[i])
		i++;
	h->buckets[i]++;
	h->count++;
	h->sum_us += value;
}
