/* Command lines: see split.h. */
#include "base/split.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t\r\n"
#define SHELL_ONLY "|&;<>()$`"

struct splitter {
	const char *command;
	const char *p; /* what is not read yet */
	char *out;     /* where the next character of a word goes */
	struct halibut_error *err;
};

static int refuse_shell(struct splitter *s)
{
	return hbt_error_set(
		s->err, HALIBUT_EINVAL,
		"'%c' in the command \"%s\" needs a shell, and none is "
		"started: quote it, or write sh -c '...'",
		*s->p, s->command);
}

static int refuse_open(struct splitter *s, const char *what)
{
	return hbt_error_set(s->err, HALIBUT_EINVAL,
	                     "the command \"%s\" ends inside %s: close it",
	                     s->command, what);
}

/* s->p is behind the opening quote; it ends behind the closing one. */
static int read_single(struct splitter *s)
{
	const char *end = strchr(s->p, '\'');

	if (end == NULL)
		return refuse_open(s, "single quotes");
	memcpy(s->out, s->p, (size_t)(end - s->p));
	s->out += end - s->p;
	s->p = end + 1;
	return HALIBUT_OK;
}

static int read_double(struct splitter *s)
{
	for (; *s->p != '"'; s->p++) {
		if (*s->p == '\0')
			return refuse_open(s, "double quotes");
		if (*s->p == '$' || *s->p == '`')
			return refuse_shell(s);
		if (*s->p == '\\' && s->p[1] == '\n') {
			s->p++; /* a continued line */
			continue;
		}
		/* Before anything else a backslash is itself. */
		if (*s->p == '\\' && s->p[1] != '\0' &&
		    strchr("$`\"\\", s->p[1]) != NULL)
			s->p++;
		*s->out++ = *s->p;
	}
	s->p++;
	return HALIBUT_OK;
}

static int read_escaped(struct splitter *s)
{
	if (*s->p == '\0')
		return refuse_open(s, "a \\ escape");
	if (*s->p != '\n')
		*s->out++ = *s->p;
	s->p++;
	return HALIBUT_OK;
}

/* One word from its first character to its end, with its terminator. */
static int read_word(struct splitter *s)
{
	int rc = HALIBUT_OK;

	while (rc == HALIBUT_OK && *s->p != '\0' &&
	       strchr(BLANKS, *s->p) == NULL) {
		if (strchr(SHELL_ONLY, *s->p) != NULL)
			return refuse_shell(s);
		switch (*s->p) {
		case '\'':
			s->p++;
			rc = read_single(s);
			break;
		case '"':
			s->p++;
			rc = read_double(s);
			break;
		case '\\':
			s->p++;
			rc = read_escaped(s);
			break;
		default:
			*s->out++ = *s->p++;
		}
	}
	*s->out++ = '\0';
	return rc;
}

int hbt_split(const char *command, char ***argv, struct halibut_error *err)
{
	struct splitter s = {.command = command, .p = command, .err = err};
	size_t len = strlen(command);
	size_t max_words = len / 2 + 1; /* a character and a blank each */
	char **words;
	size_t n = 0;
	int rc = HALIBUT_OK;

	*argv = NULL;
	/* The array, then the words: never longer than the line itself. */
	words = malloc((max_words + 1) * sizeof(*words) + len + 1);
	if (words == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	s.out = (char *)(words + max_words + 1);
	for (;;) {
		s.p += strspn(s.p, BLANKS);
		if (s.p[0] == '\\' && s.p[1] == '\n') {
			s.p += 2; /* a continued line parts words, too */
			continue;
		}
		if (*s.p == '\0')
			break;
		words[n++] = s.out;
		if ((rc = read_word(&s)) != HALIBUT_OK)
			goto fail;
	}
	words[n] = NULL;
	if (n == 0 || words[0][0] == '\0') {
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "the command \"%s\" names no program",
		                   command);
		goto fail;
	}
	*argv = words;
	return HALIBUT_OK;
fail:
	free(words);
	return rc;
}
