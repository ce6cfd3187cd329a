/* What a browser sees that comes to our port. wire-protocol 3.2 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/writer.h"

static const char default_page[] =
	"<html><body><p>Hello!</p></body></html>";

char *hbt_friendly_page(const char *page, const char *const *headers,
                        size_t *len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, len);
	int broken;

	if (f == NULL)
		return NULL;
	if (page == NULL)
		page = default_page;
	fprintf(f,
	        "HTTP/1.0 200 OK\r\n"
	        "Content-Type: text/html; charset=utf-8\r\n"
	        "Content-Length: %zu\r\n",
	        strlen(page));
	while (headers != NULL && *headers != NULL)
		fprintf(f, "%s\r\n", *headers++);
	fprintf(f, "\r\n%s\r\n\r\n", page);
	broken = ferror(f);
	if (fclose(f) != 0 || broken) {
		free(text);
		return NULL;
	}
	return text;
}
