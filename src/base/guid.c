/* GUIDs in the byte order that .NET puts on the wire. wire-protocol 11.2 */
#include "base/guid.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "halibut/error.h"

/* The wire byte behind each pair of hex digits, left to right. */
static const uint8_t wire_of_pair[16] = {3, 2, 1, 0,  5,  4,  7,  6,
                                         8, 9, 10, 11, 12, 13, 14, 15};

/* Does a hyphen stand in front of this pair in D format? */
static bool hyphen_before(int pair)
{
	return pair == 4 || pair == 6 || pair == 8 || pair == 10;
}

struct hbt_guid hbt_guid_new(void)
{
	struct hbt_guid g;
	size_t have = 0;

	while (have < sizeof(g.wire)) {
		ssize_t n = getrandom(g.wire + have, sizeof(g.wire) - have, 0);

		if (n > 0)
			have += (size_t)n;
		else if (n < 0 && errno != EINTR)
			abort(); /* a guessable id is worse than none */
	}
	g.wire[wire_of_pair[6]] = (g.wire[wire_of_pair[6]] & 0x0f) | 0x40;
	g.wire[wire_of_pair[8]] = (g.wire[wire_of_pair[8]] & 0x3f) | 0x80;
	return g;
}

void hbt_guid_format(const struct hbt_guid *g, char text[HBT_GUID_TEXT])
{
	static const char digits[] = "0123456789abcdef";
	char *p = text;

	for (int i = 0; i < 16; i++) {
		uint8_t byte = g->wire[wire_of_pair[i]];

		if (hyphen_before(i))
			*p++ = '-';
		*p++ = digits[byte >> 4];
		*p++ = digits[byte & 15];
	}
	*p = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int hbt_guid_parse(const char *text, struct hbt_guid *g)
{
	size_t len = strlen(text);
	struct hbt_guid out;

	if (len != 32 && len != HBT_GUID_TEXT - 1)
		return HALIBUT_EINVAL;
	for (int i = 0; i < 16; i++) {
		int high, low;

		if (len != 32 && hyphen_before(i) && *text++ != '-')
			return HALIBUT_EINVAL;
		high = hex_value(text[0]);
		low = high >= 0 ? hex_value(text[1]) : -1;
		if (low < 0)
			return HALIBUT_EINVAL;
		out.wire[wire_of_pair[i]] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	*g = out;
	return HALIBUT_OK;
}
