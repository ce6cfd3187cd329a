/*
 * What became of calls that have numbers: how often each was executed, which
 * failed, and with which words.
 */
#ifndef HBT_BENCH_TALLY_H
#define HBT_BENCH_TALLY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How often each number came, from 1 on. */
struct numbers {
	uint8_t *times; /* 255: that often, or more often */
	size_t cap;
	int64_t last; /* the highest that came */
};
/* False if it is none that a call can have. */
bool numbers_add(struct numbers *n, int64_t number);
/*
 * {"last", "distinct", "total", "twice": [those that came more than once],
 * "missing": [those below last that did not]}; of each list the first
 * TALLY_LISTED.
 */
json_t *numbers_json(const struct numbers *n);

#define TALLY_TEXTS 32
#define TALLY_LISTED 10000 /* numbers of a list */

/* Texts and how often each came; a row of digits counts as "#". */
struct texts {
	struct {
		char *text;
		uint64_t n;
	} v[TALLY_TEXTS];
	size_t n;
	uint64_t others; /* that found no place */
};
void texts_add(struct texts *t, const char *text);
/* {text: count} */
json_t *texts_json(const struct texts *t);

/* One line on standard output. Gives j back. */
void print_json(json_t *j);

#endif
