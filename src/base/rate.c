#include "base/rate.h"

#define SECOND_US 1000000

static int64_t interval_us(int per_second)
{
	return SECOND_US / per_second > 0 ? SECOND_US / per_second : 1;
}

/* How far the debt goes beyond what a burst may make. */
static int64_t excess_us(const struct hbt_rate *r, int per_second, int burst,
                         int64_t now_ms)
{
	return r->paid_us - now_ms * 1000 -
	       (burst - 1) * interval_us(per_second);
}

bool hbt_rate_take(struct hbt_rate *r, int per_second, int burst,
                   int64_t now_ms)
{
	if (excess_us(r, per_second, burst, now_ms) > 0)
		return false;
	if (r->paid_us < now_ms * 1000)
		r->paid_us = now_ms * 1000;
	r->paid_us += interval_us(per_second);
	return true;
}

int64_t hbt_rate_wait_ms(const struct hbt_rate *r, int per_second, int burst,
                         int64_t now_ms)
{
	int64_t us = excess_us(r, per_second, burst, now_ms);

	return us > 0 ? (us + 999) / 1000 : 0;
}

bool hbt_rate_is_fresh(const struct hbt_rate *r, int64_t now_ms)
{
	return r->paid_us <= now_ms * 1000;
}
