/* .NET TimeSpan texts and the monotonic clock. wire-protocol 7 */
#include "base/timespan.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "halibut/error.h"

/* TimeSpan counts ticks of 100 ns in an int64: 10675199.02:48:05.4775807. */
#define MAX_DAYS 10675199

void hbt_timespan_format_ms(int64_t ms, char text[HBT_TIMESPAN_TEXT])
{
	/* Unsigned, for INT64_MIN has no positive counterpart. */
	uint64_t left = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
	unsigned fraction = (unsigned)(left % 1000);
	unsigned seconds = (unsigned)(left / 1000 % 60);
	unsigned minutes = (unsigned)(left / 60000 % 60);
	unsigned hours = (unsigned)(left / 3600000 % 24);
	uint64_t days = left / 86400000;
	char day_text[24] = "", fraction_text[12] = "";

	if (days > 0)
		snprintf(day_text, sizeof(day_text), "%" PRIu64 ".", days);
	if (fraction > 0)
		snprintf(fraction_text, sizeof(fraction_text), ".%03u0000",
		         fraction);
	snprintf(text, HBT_TIMESPAN_TEXT, "%s%s%02u:%02u:%02u%s",
	         ms < 0 ? "-" : "", day_text, hours, minutes, seconds,
	         fraction_text);
}

/* Reads digits into *v; false unless there are min to max of them. */
static bool read_digits(const char **p, int min, int max, uint64_t *v)
{
	int n = 0;

	for (*v = 0; **p >= '0' && **p <= '9'; n++, (*p)++) {
		if (n == max)
			return false;
		*v = *v * 10 + (uint64_t)(**p - '0');
	}
	return n >= min;
}

int hbt_timespan_parse_ms(const char *text, int64_t *ms)
{
	const char *p = text;
	bool negative = *p == '-';
	uint64_t days = 0, hours, minutes, seconds, fraction = 0;
	uint64_t total;

	if (negative)
		p++;
	if (!read_digits(&p, 1, 8, &hours))
		return HALIBUT_EINVAL;
	if (*p == '.') {
		days = hours;
		p++;
		if (!read_digits(&p, 2, 2, &hours))
			return HALIBUT_EINVAL;
	}
	if (*p++ != ':' || !read_digits(&p, 2, 2, &minutes) || *p++ != ':' ||
	    !read_digits(&p, 2, 2, &seconds))
		return HALIBUT_EINVAL;
	if (*p == '.') {
		p++;
		/* Exactly the seven digits that the format writes. */
		if (!read_digits(&p, 7, 7, &fraction))
			return HALIBUT_EINVAL;
	}
	if (*p != '\0' || days > MAX_DAYS || hours > 23 || minutes > 59 ||
	    seconds > 59)
		return HALIBUT_EINVAL;
	total = (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000 +
	        fraction / 10000;
	*ms = negative ? -(int64_t)total : (int64_t)total;
	return HALIBUT_OK;
}

int64_t hbt_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t hbt_now_ms(void)
{
	return hbt_now_us() / 1000;
}
