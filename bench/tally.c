#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "tally.h"

#define MOST (INT64_C(1) << 28) /* calls of one run */

bool numbers_add(struct numbers *n, int64_t number)
{
	size_t cap = n->cap > 0 ? n->cap : 65536;

	if (number < 1 || number > MOST)
		return false;
	while (cap <= (size_t)number)
		cap *= 2;
	if (cap > n->cap) {
		if ((n->times = realloc(n->times, cap)) == NULL)
			die("out of memory");
		memset(n->times + n->cap, 0, cap - n->cap);
		n->cap = cap;
	}
	if (n->times[number] < UINT8_MAX)
		n->times[number]++;
	if (number > n->last)
		n->last = number;
	return true;
}

static void list(json_t *to, int64_t number)
{
	if (json_array_size(to) < TALLY_LISTED)
		json_array_append_new(to, json_integer(number));
}

json_t *numbers_json(const struct numbers *n)
{
	json_t *twice = json_array(), *missing = json_array();
	int64_t distinct = 0, total = 0;

	for (int64_t i = 1; i <= n->last; i++) {
		distinct += n->times[i] > 0;
		total += n->times[i];
		if (n->times[i] == 0)
			list(missing, i);
		else if (n->times[i] > 1)
			list(twice, i);
	}
	return json_pack("{sI sI sI so so}", "last", (json_int_t)n->last,
	                 "distinct", (json_int_t)distinct, "total",
	                 (json_int_t)total, "twice", twice, "missing", missing);
}

/* The same but for ports, numbers of requests and the like. */
static char *without_digits(const char *text)
{
	char *plain = strdup(text), *to = plain;

	if (plain == NULL)
		die("out of memory");
	for (const char *c = text; *c != '\0'; c++) {
		if (!isdigit((unsigned char)*c))
			*to++ = *c;
		else if (to == plain || to[-1] != '#')
			*to++ = '#';
	}
	*to = '\0';
	return plain;
}

void texts_add(struct texts *t, const char *text)
{
	char *plain = without_digits(text);
	size_t i = 0;

	while (i < t->n && strcmp(t->v[i].text, plain) != 0)
		i++;
	if (i == t->n && t->n < TALLY_TEXTS) {
		t->v[t->n++].text = plain;
		plain = NULL;
	}
	if (i < t->n)
		t->v[i].n++;
	else
		t->others++;
	free(plain);
}

json_t *texts_json(const struct texts *t)
{
	json_t *j = json_object();

	for (size_t i = 0; i < t->n; i++)
		json_object_set_new(j, t->v[i].text,
		                    json_integer((json_int_t)t->v[i].n));
	if (t->others > 0)
		json_object_set_new(j, "(others)",
		                    json_integer((json_int_t)t->others));
	return j;
}

void print_json(json_t *j)
{
	if (j == NULL || json_dumpf(j, stdout, JSON_COMPACT) != 0)
		die("out of memory");
	putchar('\n');
	fflush(stdout);
	json_decref(j);
}
