/* Bytes from a peer. The first one chooses what is expected, and first. */
#include <stdlib.h>

#include "wire/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is expected after an event: enough to follow whole conversations. */
static enum hbt_expect after(enum hbt_event_type type, bool dialler)
{
	switch (type) {
	case HBT_EVENT_PREAMBLE:
		return HBT_EXPECT_IDENTITY;
	case HBT_EVENT_IDENTITY:
	case HBT_EVENT_NEXT:
	case HBT_EVENT_PROCEED:
		return HBT_EXPECT_MESSAGE;
	case HBT_EVENT_SECTION_END:
		return dialler ? HBT_EXPECT_NEXT_OR_END : HBT_EXPECT_PROCEED;
	default:
		return HBT_EXPECT_NOTHING;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hbt_limits limits;
	struct hbt_reader *r;
	struct hbt_event ev;
	bool dialler;

	hbt_limits_init(&limits);
	limits.max_message_bytes = 1 << 18;
	if (size == 0 || (r = hbt_reader_new(&limits)) == NULL)
		return 0;
	/* 0x10: who sends; 0x20: in pieces of one byte. */
	dialler = (data[0] & 0x10) == 0;
	hbt_reader_expect(r, (enum hbt_expect)((data[0] & 0x0f) %
	                                       (HBT_EXPECT_MESSAGE + 1)));
	for (size_t step = data[0] & 0x20 ? 1 : size, at = 1; at < size;) {
		size_t len = size - at < step ? size - at : step, had = len;
		const uint8_t *p = data + at;

		hbt_reader_next(r, &p, &len, &ev);
		at += had - len;
		if (ev.type == HBT_EVENT_MORE && len > 0)
			break; /* nothing is expected */
		if (ev.type == HBT_EVENT_ERROR)
			break;
		if (ev.type == HBT_EVENT_MESSAGE)
			hbt_message_unref(&ev.message);
		else if (ev.type != HBT_EVENT_MORE &&
		         ev.type != HBT_EVENT_SECTION)
			hbt_reader_expect(r, after(ev.type, dialler));
	}
	hbt_reader_eof(r, &ev);
	hbt_reader_free(&r);
	return 0;
}
