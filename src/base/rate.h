/*
 * So many a second, and at most so many at once. Zeroed is ready for use;
 * of a rate only the moment is kept from which on it has no debt.
 */
#ifndef HBT_BASE_RATE_H
#define HBT_BASE_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct hbt_rate {
	int64_t paid_us; /* of hbt_now_ms() * 1000 */
};

/* One more? Counted if so. per_second and burst are at least 1; the clock has
 * milliseconds, so that burst should be at least what one of them allows. */
bool hbt_rate_take(struct hbt_rate *r, int per_second, int burst,
                   int64_t now_ms);
/* In how many milliseconds the next one can be taken; 0: now. */
int64_t hbt_rate_wait_ms(const struct hbt_rate *r, int per_second, int burst,
                         int64_t now_ms);
/* Is it as good as new? Then it need not be remembered. */
bool hbt_rate_is_fresh(const struct hbt_rate *r, int64_t now_ms);

#endif
