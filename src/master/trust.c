#include "master/trust.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "net/tls.h"

/* Far more than anybody has; keeps a wrong file from filling the memory. */
#define MAX_TRUSTED 1000000

static uint8_t nibble(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : c - 'A' + 10);
}

int hbt_trust_add(struct hbt_trust *t, const char *text,
                  struct halibut_error *err)
{
	char hex[HBT_THUMBPRINT_TEXT];

	if (!hbt_thumbprint_parse(text, hex))
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "\"%.80s\" is no thumbprint; it is the "
		                     "SHA-1 of a certificate, 40 hexadecimal "
		                     "digits, as `halibutctl cert show` prints "
		                     "it",
		                     text);
	if (t->n == MAX_TRUSTED)
		return hbt_error_set(err, HALIBUT_ELIMIT,
		                     "more than %d trusted thumbprints",
		                     MAX_TRUSTED);
	if ((t->n & (t->n - 1)) == 0) { /* full at each power of two */
		size_t cap = t->n == 0 ? 1 : t->n * 2;
		void *list = realloc(t->list, cap * sizeof(*t->list));

		if (list == NULL)
			return hbt_error_set(err, HALIBUT_ENOMEM,
			                     "out of memory");
		t->list = list;
	}
	for (size_t i = 0; i < HBT_SHA1_LEN; i++)
		t->list[t->n][i] = (uint8_t)(nibble(hex[2 * i]) << 4 |
		                             nibble(hex[2 * i + 1]));
	t->n++;
	return HALIBUT_OK;
}

/* The thumbprint on the line, which may have spaces or colons between its
 * digits; NULL when there is none. */
static char *strip(char *line)
{
	char *end = strchr(line, '#');

	if (end == NULL)
		end = line + strlen(line);
	while (end > line && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	while (isspace((unsigned char)*line))
		line++;
	return *line != '\0' ? line : NULL;
}

int hbt_trust_add_file(struct hbt_trust *t, const char *path,
                       struct halibut_error *err)
{
	FILE *f = fopen(path, "re");
	char *line = NULL, *text;
	size_t cap = 0;
	int rc = HALIBUT_OK, number = 0;

	if (f == NULL)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "%s: cannot be read: %s; create it (one "
		                     "thumbprint a line) or change trust_file",
		                     path, strerror(errno));
	while (rc == HALIBUT_OK && getline(&line, &cap, f) != -1) {
		number++;
		text = strip(line);
		if (text == NULL)
			continue;
		rc = hbt_trust_add(t, text, err);
		if (rc != HALIBUT_OK)
			hbt_error_prefix(err, "%s:%d: ", path, number);
	}
	if (rc == HALIBUT_OK && ferror(f))
		rc = hbt_error_set(err, HALIBUT_ESYSTEM, "%s: %s", path,
		                   strerror(errno));
	free(line);
	fclose(f);
	return rc;
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, HBT_SHA1_LEN);
}

void hbt_trust_finish(struct hbt_trust *t)
{
	size_t kept = 0;

	if (t->n == 0)
		return;
	qsort(t->list, t->n, sizeof(*t->list), compare);
	for (size_t i = 0; i < t->n; i++)
		if (i == 0 || compare(t->list[i], t->list[kept - 1]) != 0)
			memmove(t->list[kept++], t->list[i], HBT_SHA1_LEN);
	t->n = kept;
}

void hbt_trust_fini(struct hbt_trust *t)
{
	free(t->list);
	t->list = NULL;
	t->n = 0;
}
