#include "base/alike.h"

#include <string.h>

#define MAX_LEN 256

size_t hbt_edits(const char *a, const char *b)
{
	size_t row[MAX_LEN], diagonal, above;
	size_t n = strlen(b);

	if (n >= MAX_LEN)
		return n;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			above = row[j];
			if (above + 1 < best)
				best = above + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = above;
			row[j] = best;
		}
	}
	return row[n];
}

size_t hbt_edits_of_a_slip(const char *written)
{
	return strlen(written) / 3 + 2;
}
