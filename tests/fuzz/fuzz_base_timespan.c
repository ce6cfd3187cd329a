/* A time span: what was accepted is written and read back as the same. */
#include <stdlib.h>
#include <string.h>

#include "base/timespan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[64] = "", again[HBT_TIMESPAN_TEXT];
	int64_t ms, ms_again;

	if (size > sizeof(text) - 1)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	if (hbt_timespan_parse_ms(text, &ms) != 0)
		return 0;
	hbt_timespan_format_ms(ms, again);
	if (hbt_timespan_parse_ms(again, &ms_again) != 0 || ms_again != ms)
		abort();
	return 0;
}
