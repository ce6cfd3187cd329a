#include "base/unix_time.h"

#include <time.h>

#include "base/timespan.h"

int64_t hbt_unix_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t hbt_unix_ms_of(int64_t then_ms)
{
	return then_ms == 0 ? 0 : hbt_unix_ms() - (hbt_now_ms() - then_ms);
}
