/*
 * A URI: what was accepted is a fixed point of parsing and formatting. Only
 * undoing escapes can make new ones, and is done once, as .NET does.
 */
#include <stdlib.h>
#include <string.h>

#include "base/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = calloc(1, size + 1), *once, *twice;
	struct hbt_uri uri;

	if (text == NULL)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	if (hbt_uri_parse(text, &uri) == 0) {
		once = hbt_uri_format(&uri);
		hbt_uri_fini(&uri);
		/* The form that is sent may be longer than what came. */
		if (once != NULL && hbt_uri_parse(once, &uri) == 0) {
			twice = hbt_uri_format(&uri);
			if (twice == NULL || (strchr(text, '%') == NULL &&
			                      strcmp(once, twice) != 0))
				abort();
			free(twice);
			hbt_uri_fini(&uri);
		}
		free(once);
	}
	free(hbt_uri_key(text, true));
	free(hbt_uri_key(text, false));
	free(text);
	return 0;
}
