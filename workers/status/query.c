#include "query.h"

#include <ctype.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>

/* A percent sign and two digits, of no NUL: what the parser decodes. */
static const char *check_escapes(const char *text)
{
	for (; (text = strchr(text, '%')) != NULL; text += 3) {
		if (!isxdigit((unsigned char)text[1]) ||
		    !isxdigit((unsigned char)text[2]))
			return "A percent sign in the query is no escape.";
		if (text[1] == '0' && text[2] == '0')
			return "The query has a NUL byte.";
	}
	return NULL;
}

static const char *parse_parameters(struct query *q, const char *text)
{
	const char *wrong = check_escapes(text);
	const struct evkeyval *p, *other;
	size_t n = 1;

	for (const char *c = text; *c != '\0'; c++)
		n += *c == '&';
	if (wrong != NULL)
		return wrong;
	if (n > QUERY_MAX_PARAMETERS)
		return "The query has too many parameters.";
	if (evhttp_parse_query_str(text, &q->parameters) != 0)
		return "The query cannot be read; it is NAME=VALUE, with & "
		       "between several.";
	TAILQ_FOREACH (p, &q->parameters, next)
		for (other = TAILQ_NEXT(p, next); other != NULL;
		     other = TAILQ_NEXT(other, next))
			if (strcmp(p->key, other->key) == 0)
				return "The query has a parameter twice.";
	return NULL;
}

const char *query_parse(struct query *q, const char *text)
{
	size_t len = strcspn(text, "?");

	memset(q, 0, sizeof(*q));
	TAILQ_INIT(&q->parameters);
	if (strlen(text) > QUERY_MAX_TEXT)
		return "The query is too long.";
	if (text[0] != '/' || len >= sizeof(q->path))
		return "There is no such document; / lists them.";
	memcpy(q->path, text, len);
	if (len > 1 && q->path[len - 1] == '/')
		q->path[len - 1] = '\0';
	return text[len] == '?' && text[len + 1] != '\0'
	               ? parse_parameters(q, text + len + 1)
	               : NULL;
}

void query_fini(struct query *q)
{
	evhttp_clear_headers(&q->parameters);
}

const char *query_get(const struct query *q, const char *name)
{
	const struct evkeyval *p;

	TAILQ_FOREACH (p, &q->parameters, next)
		if (strcmp(p->key, name) == 0)
			return p->value;
	return NULL;
}

bool query_number(const struct query *q, const char *name, uint64_t preset,
                  uint64_t max, uint64_t *out)
{
	const char *text = query_get(q, name);

	*out = preset;
	if (text == NULL)
		return true;
	if (*text == '\0' || strlen(text) > 15 ||
	    text[strspn(text, "0123456789")] != '\0')
		return false;
	*out = strtoull(text, NULL, 10);
	return *out <= max;
}

static bool same_letter(char a, char b)
{
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

bool query_matches(const char *pattern, const char *text, size_t len)
{
	const char *end = text + len, *star = NULL, *from = NULL;

	while (text < end) {
		if (*pattern == '*') {
			star = pattern++;
			from = text;
		} else if (*pattern != '\0' && same_letter(*pattern, *text)) {
			pattern++;
			text++;
		} else if (star != NULL) { /* the star takes one more */
			pattern = star + 1;
			text = ++from;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}
