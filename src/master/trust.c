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

/* One more at the end, zeroed; NULL when there is no room. */
static struct hbt_trusted *append(struct hbt_trust *t)
{
	if ((t->n & (t->n - 1)) == 0) { /* full at each power of two */
		size_t cap = t->n == 0 ? 1 : t->n * 2;
		void *list = reallocarray(t->list, cap, sizeof(*t->list));

		if (list == NULL)
			return NULL;
		t->list = list;
	}
	return memset(&t->list[t->n++], 0, sizeof(*t->list));
}

static void parse_hex(const char *hex, uint8_t sha1[HBT_SHA1_LEN])
{
	for (size_t i = 0; i < HBT_SHA1_LEN; i++)
		sha1[i] = (uint8_t)(nibble(hex[2 * i]) << 4 |
		                    nibble(hex[2 * i + 1]));
}

int hbt_trust_add(struct hbt_trust *t, const char *text,
                  enum hbt_trust_source source, struct halibut_error *err)
{
	char hex[HBT_THUMBPRINT_TEXT];
	struct hbt_trusted *one;

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
	if ((one = append(t)) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	parse_hex(hex, one->sha1);
	one->sources = (uint8_t)source;
	return HALIBUT_OK;
}

static char *trim(char *text)
{
	char *end = text + strlen(text);

	while (end > text && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	while (isspace((unsigned char)*text))
		text++;
	return *text != '\0' ? text : NULL;
}

/* The thumbprint on the line, which may have spaces or colons between its
 * digits, and what is said of it; NULL: there is none. The line is cut up. */
static char *split(char *line, char **comment)
{
	char *hash = strchr(line, '#');

	*comment = NULL;
	if (hash != NULL) {
		*hash = '\0';
		*comment = trim(hash + 1);
	}
	return trim(line);
}

static int add_line(struct hbt_trust *t, char *line, int number,
                    enum hbt_trust_source source, struct halibut_error *err)
{
	char *comment;
	char *text = split(line, &comment);
	struct hbt_trusted *one;
	int rc;

	if (text == NULL)
		return HALIBUT_OK;
	if ((rc = hbt_trust_add(t, text, source, err)) != HALIBUT_OK)
		return rc;
	one = &t->list[t->n - 1];
	one->line = source == HBT_TRUST_FILE ? number : 0;
	if (comment != NULL && (one->comment = strdup(comment)) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	return HALIBUT_OK;
}

static int unreadable(const char *path, enum hbt_trust_source source,
                      struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_ESYSTEM,
	                     "%s: cannot be read: %s; %s", path,
	                     strerror(errno),
	                     source == HBT_TRUST_FILE
	                             ? "create it (one thumbprint a line) or "
	                               "change trust_file"
	                             : "let halibutd read it, or change "
	                               "trust_added_file");
}

int hbt_trust_add_file(struct hbt_trust *t, const char *path,
                       enum hbt_trust_source source,
                       struct halibut_error *err)
{
	FILE *f = fopen(path, "re");
	int rc = HALIBUT_OK, number = 0;
	char *line = NULL;
	size_t cap = 0;

	if (f == NULL && source == HBT_TRUST_ADDED && errno == ENOENT)
		return HALIBUT_OK;
	if (f == NULL)
		return unreadable(path, source, err);
	while (rc == HALIBUT_OK && getline(&line, &cap, f) != -1) {
		rc = add_line(t, line, ++number, source, err);
		if (rc != HALIBUT_OK)
			hbt_error_prefix(err, "%s:%d: ", path, number);
	}
	if (rc == HALIBUT_OK && ferror(f))
		rc = unreadable(path, source, err);
	free(line);
	fclose(f);
	return rc;
}

int hbt_trust_copy_others(struct hbt_trust *to, const struct hbt_trust *from,
                          enum hbt_trust_source source)
{
	for (size_t i = 0; i < from->n; i++) {
		const struct hbt_trusted *one = &from->list[i];
		uint8_t others = one->sources & (uint8_t)~source;
		struct hbt_trusted *copy;

		if (others == 0)
			continue;
		if ((copy = append(to)) == NULL)
			return HALIBUT_ENOMEM;
		*copy = *one;
		copy->sources = others;
		copy->comment = NULL;
		if (one->comment != NULL &&
		    (copy->comment = strdup(one->comment)) == NULL)
			return HALIBUT_ENOMEM;
	}
	return HALIBUT_OK;
}

/* Of the same thumbprint the configuration's is the first. */
static int compare(const void *a, const void *b)
{
	const struct hbt_trusted *x = a, *y = b;
	int order = memcmp(x->sha1, y->sha1, HBT_SHA1_LEN);

	return order != 0 ? order : x->sources - y->sources;
}

static void join(struct hbt_trusted *to, struct hbt_trusted *from)
{
	to->sources |= from->sources;
	if (to->line == 0)
		to->line = from->line;
	if (to->comment == NULL)
		to->comment = from->comment;
	else
		free(from->comment);
}

void hbt_trust_finish(struct hbt_trust *t)
{
	size_t kept = 0;

	if (t->n == 0)
		return;
	qsort(t->list, t->n, sizeof(*t->list), compare);
	for (size_t i = 0; i < t->n; i++) {
		struct hbt_trusted *one = &t->list[i];

		if (i > 0 && memcmp(one->sha1, t->list[kept - 1].sha1,
		                    HBT_SHA1_LEN) == 0)
			join(&t->list[kept - 1], one);
		else
			t->list[kept++] = *one;
	}
	t->n = kept;
}

void hbt_trust_fini(struct hbt_trust *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->list[i].comment);
	free(t->list);
	t->list = NULL;
	t->n = 0;
}

static int compare_key(const void *sha1, const void *one)
{
	return memcmp(sha1, ((const struct hbt_trusted *)one)->sha1,
	              HBT_SHA1_LEN);
}

const struct hbt_trusted *hbt_trust_find(const struct hbt_trust *t,
                                         const char *hex)
{
	uint8_t sha1[HBT_SHA1_LEN];

	if (t->n == 0 || !hbt_sha1_parse(hex, sha1))
		return NULL;
	return bsearch(sha1, t->list, t->n, sizeof(*t->list), compare_key);
}

bool hbt_sha1_parse(const char *hex, uint8_t sha1[HBT_SHA1_LEN])
{
	char digits[HBT_THUMBPRINT_TEXT];

	if (!hbt_thumbprint_parse(hex, digits))
		return false;
	parse_hex(digits, sha1);
	return true;
}

void hbt_sha1_format(const uint8_t sha1[HBT_SHA1_LEN], char hex[HBT_SHA1_TEXT])
{
	for (size_t i = 0; i < HBT_SHA1_LEN; i++)
		snprintf(hex + 2 * i, 3, "%02X", sha1[i]);
}
