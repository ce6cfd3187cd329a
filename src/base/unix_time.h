/* The clock on the wall, for what people read; never for deadlines. */
#ifndef HBT_BASE_UNIX_TIME_H
#define HBT_BASE_UNIX_TIME_H

#include <stdint.h>

/* Milliseconds since 1970. */
int64_t hbt_unix_ms(void);
/* When was the moment that hbt_now_ms() gave? 0 stays 0: never. */
int64_t hbt_unix_ms_of(int64_t then_ms);

#endif
