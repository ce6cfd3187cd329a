#include <string.h>

#include "halibut/error.h"
#include "wire/writer.h"

#define LINE(text)                                                             \
	{                                                                      \
		(text), sizeof(text) - 1                                       \
	}
const struct hbt_line hbt_line_preamble = LINE("MX\n\n");
const struct hbt_line hbt_line_hello = LINE("HELLO\n\n");
const struct hbt_line hbt_line_client = LINE("MX-CLIENT 1.0\r\n\r\n");
const struct hbt_line hbt_line_server = LINE("MX-SERVER 1.0\r\n\r\n");
const struct hbt_line hbt_line_next = LINE("NEXT\r\n");
const struct hbt_line hbt_line_proceed = LINE("PROCEED\r\n");
const struct hbt_line hbt_line_end = LINE("END\r\n");

int hbt_line_subscriber(struct hbt_buf *out, const char *uri)
{
	static const char before[] = "MX-SUBSCRIBER 1.0 ";
	static const char after[] = "\r\n\r\n";
	size_t n = strlen(uri);
	uint8_t *p;

	if (n == 0)
		return HALIBUT_EINVAL;
	for (size_t i = 0; i < n; i++)
		if (uri[i] < 0x21 || uri[i] > 0x7e)
			return HALIBUT_EINVAL;
	n += sizeof(before) - 1 + sizeof(after) - 1;
	if (n > out->max - out->len)
		return HALIBUT_ELIMIT;
	/* All or nothing, hence one reservation for the three parts. */
	if ((p = hbt_buf_reserve(out, n)) == NULL)
		return HALIBUT_ENOMEM;
	memcpy(p, before, sizeof(before) - 1);
	p += sizeof(before) - 1;
	memcpy(p, uri, strlen(uri));
	p += strlen(uri);
	memcpy(p, after, sizeof(after) - 1);
	out->len += n;
	return HALIBUT_OK;
}

static void put_le64(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

void hbt_section_head(const struct hbt_guid *id, int64_t length,
                      uint8_t out[24])
{
	memcpy(out, id->wire, sizeof(id->wire));
	put_le64(out + sizeof(id->wire), (uint64_t)length);
}

void hbt_section_tail(int64_t length, uint8_t out[8])
{
	put_le64(out, (uint64_t)length);
}
