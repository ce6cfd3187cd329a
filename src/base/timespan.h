/* .NET TimeSpan texts and the monotonic clock. wire-protocol 7 */
#ifndef HBT_BASE_TIMESPAN_H
#define HBT_BASE_TIMESPAN_H

#include <stdint.h>

#define HBT_TIMESPAN_TEXT 32

/* Constant ("c") format: [-][d.]hh:mm:ss[.fffffff]. */
void hbt_timespan_format_ms(int64_t ms, char text[HBT_TIMESPAN_TEXT]);
/* HALIBUT_OK or HALIBUT_EINVAL. Accepts what the format above writes. */
int hbt_timespan_parse_ms(const char *text, int64_t *ms);

/* Monotonic milliseconds and microseconds since some fixed moment. */
int64_t hbt_now_ms(void);
int64_t hbt_now_us(void);

#endif
