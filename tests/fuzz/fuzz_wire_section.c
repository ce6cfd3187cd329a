/*
 * DataStream framing. The first byte is the number of streams that the
 * message announced, each with an id of 16 equal bytes; the second the size
 * of the pieces. Whole or in pieces it must come to the same.
 */
#include <stdlib.h>
#include <string.h>

#include "wire/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hbt_stream_ref refs[7];
	struct hbt_section whole, pieces;
	size_t whole_used, used, at = 0, step, n;
	int whole_rc, rc = HALIBUT_OK;

	if (size < 2)
		return 0;
	for (size_t i = 0; i < 7; i++)
		memset(refs[i].id.wire, (int)(i % 5), 16);
	n = data[0] & 7;
	step = data[1] > 0 ? data[1] : 1;
	data += 2;
	size -= 2;
	if (hbt_section_init(&whole, refs, n) != 0)
		return 0;
	whole_rc = hbt_section_scan(&whole, data, size, &whole_used, NULL);
	if (hbt_section_init(&pieces, refs, n) == 0) {
		while (rc == HALIBUT_OK && at < size &&
		       !hbt_section_finished(&pieces)) {
			rc = hbt_section_scan(&pieces, data + at,
			                      size - at < step ? size - at
			                                       : step,
			                      &used, NULL);
			at += used;
		}
		if (rc != whole_rc || at != whole_used ||
		    pieces.done != whole.done)
			abort();
	}
	hbt_section_fini(&pieces);
	hbt_section_fini(&whole);
	return 0;
}
