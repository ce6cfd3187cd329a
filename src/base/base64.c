#include "base/base64.h"

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

bool hbt_base64_decode(const char *text, size_t len, uint8_t *out,
                       size_t *out_len)
{
	size_t pad = 0;
	uint32_t bits = 0;
	size_t n = 0;

	*out_len = 0;
	if (len % 4 != 0)
		return false;
	while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < len - pad; i++) {
		int v = value_of(text[i]);

		if (v < 0)
			return false;
		bits = bits << 6 | (uint32_t)v;
		if (i % 4 > 0)
			out[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	*out_len = n;
	return true;
}
