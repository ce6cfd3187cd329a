#pragma once
/*
 * The text of a configuration file, made ready for libConfuse, which counts
 * the line of a comment more than once, takes the end of the file for the end
 * of a section, and knows of a section only the line of its end.
 */
#include <stddef.h>

/* What begins somewhere and has no end. */
struct hbt_config_open {
	int line;         /* where it begins, from 1; 0: everything has one */
	const char *what; /* as in "this brace" */
};

/* Where the outermost braces begin and end, in the order of the text. */
struct hbt_config_spans {
	struct hbt_config_span {
		int begin, end;
	} *v;
	size_t n, cap;
};
void hbt_config_spans_fini(struct hbt_config_spans *spans);
/* The line where what ends in that line begins; that itself if it is not
 * known. */
int hbt_config_begin(const struct hbt_config_spans *spans, int end);

/*
 * Makes comments of text blank, so that lines are counted right, and changes
 * nothing else. Finds the innermost brace, quote or comment without an end, and
 * adds to spans (short of memory, not all of them).
 */
void hbt_config_blank_comments(char *text, struct hbt_config_open *open,
                               struct hbt_config_spans *spans);
