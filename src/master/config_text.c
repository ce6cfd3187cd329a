#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "master/config_text.h"

#define MAX_DEPTH 8 /* deeper than any configuration that is right */

struct scan {
	char *at;
	int line;
	int braces[MAX_DEPTH]; /* the lines of those that are open */
	int depth;
	struct hbt_config_spans *spans;
};

static void add_span(struct hbt_config_spans *spans, int begin, int end)
{
	size_t cap = spans->cap > 0 ? spans->cap * 2 : 32;
	struct hbt_config_span *more;

	if (spans->n == spans->cap) {
		more = reallocarray(spans->v, cap, sizeof(*more));
		if (more == NULL)
			return;
		spans->v = more;
		spans->cap = cap;
	}
	spans->v[spans->n++] = (struct hbt_config_span){begin, end};
}

void hbt_config_spans_fini(struct hbt_config_spans *spans)
{
	free(spans->v);
	*spans = (struct hbt_config_spans){.v = NULL};
}

int hbt_config_begin(const struct hbt_config_spans *spans, int end)
{
	size_t low = 0, high = spans->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (spans->v[middle].end < end)
			low = middle + 1;
		else
			high = middle;
	}
	return low < spans->n && spans->v[low].end == end
	               ? spans->v[low].begin
	               : end;
}

static void step(struct scan *s)
{
	s->line += *s->at++ == '\n';
}

static void blank(struct scan *s)
{
	if (*s->at != '\n')
		*s->at = ' ';
	step(s);
}

static void blank_line(struct scan *s)
{
	while (*s->at != '\0' && *s->at != '\n')
		blank(s);
}

/* True if it has an end. */
static bool blank_block(struct scan *s)
{
	blank(s);
	blank(s);
	while (*s->at != '\0' && strncmp(s->at, "*/", 2) != 0)
		blank(s);
	if (*s->at == '\0')
		return false;
	blank(s);
	blank(s);
	return true;
}

/* The value of an environment variable can be used in double quotes and
 * without any; whatever stands in its braces is no part of our syntax. */
static bool skip_variable(struct scan *s)
{
	if (strncmp(s->at, "${", 2) != 0 || strchr(s->at, '}') == NULL)
		return false;
	while (*s->at != '}')
		step(s);
	step(s);
	return true;
}

static bool skip_quoted(struct scan *s)
{
	const char quote = *s->at;

	step(s);
	while (*s->at != '\0' && *s->at != quote) {
		if (quote == '"' && skip_variable(s))
			continue;
		if (*s->at == '\\' && s->at[1] != '\0')
			step(s);
		step(s);
	}
	if (*s->at == '\0')
		return false;
	step(s);
	return true;
}

/* A word without quotes. Slashes and stars in it are a part of it, as in
 * https://host. */
static void skip_word(struct scan *s)
{
	while (*s->at != '\0' && strchr(" \t\r\n#\"'={}()+,", *s->at) == NULL)
		step(s);
}

static void count_brace(struct scan *s)
{
	if (*s->at == '{' && s->depth++ < MAX_DEPTH)
		s->braces[s->depth - 1] = s->line;
	else if (*s->at == '}' && s->depth > 0 && --s->depth == 0)
		add_span(s->spans, s->braces[0], s->line);
	step(s);
}

/* One piece of the text; what it is if it has no end, else NULL. */
static const char *next(struct scan *s)
{
	if (*s->at == '#' || strncmp(s->at, "//", 2) == 0)
		blank_line(s);
	else if (strncmp(s->at, "/*", 2) == 0)
		return blank_block(s) ? NULL : "comment";
	else if (*s->at == '"' || *s->at == '\'')
		return skip_quoted(s) ? NULL : "quote";
	else if (*s->at == '{' || *s->at == '}')
		count_brace(s);
	else if (strchr(" \t\r\n=()+,", *s->at) != NULL)
		step(s);
	else if (!skip_variable(s))
		skip_word(s);
	return NULL;
}

void hbt_config_blank_comments(char *text, struct hbt_config_open *open,
                               struct hbt_config_spans *spans)
{
	struct scan s = {.at = text, .line = 1, .spans = spans};
	int line;

	open->line = 0;
	open->what = NULL;
	while (*s.at != '\0' && open->what == NULL) {
		line = s.line;
		open->what = next(&s);
		if (open->what != NULL)
			open->line = line;
	}
	if (open->what == NULL && s.depth > 0) {
		open->what = "brace";
		open->line = s.braces[(s.depth < MAX_DEPTH ? s.depth
		                                           : MAX_DEPTH) -
		                      1];
	}
}
