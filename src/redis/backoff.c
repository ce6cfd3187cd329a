/* How long to wait before the next attempt to connect. */
#include "redis/backoff.h"

#include <event2/util.h>

/* 0 to max, both included. */
static int64_t random_up_to(int64_t max)
{
	uint64_t n;

	if (max <= 0)
		return 0;
	evutil_secure_rng_get_bytes(&n, sizeof(n));
	return (int64_t)(n % ((uint64_t)max + 1));
}

int64_t hbt_backoff_next(struct hbt_backoff *b)
{
	int64_t half;

	if (b->ceiling_ms == 0) {
		b->ceiling_ms = b->min_ms > 0 ? b->min_ms : 1;
		return random_up_to(b->min_ms);
	}
	b->ceiling_ms += b->ceiling_ms * 6 / 10 + 1;
	if (b->ceiling_ms > b->max_ms)
		b->ceiling_ms = b->max_ms > 0 ? b->max_ms : 1;
	half = b->ceiling_ms / 2;
	return half + random_up_to(b->ceiling_ms - half);
}

void hbt_backoff_reset(struct hbt_backoff *b)
{
	b->ceiling_ms = 0;
}
