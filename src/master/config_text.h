#pragma once
/*
 * The text of a configuration file, made ready for libConfuse, which counts
 * the line of a comment more than once and takes the end of the file for the
 * end of a section.
 */

/* What begins somewhere and has no end. */
struct hbt_config_open {
	int line;         /* where it begins, from 1; 0: everything has one */
	const char *what; /* as in "this brace" */
};

/* Makes comments of text blank, so that lines are counted right, and changes
 * nothing else. Finds the innermost brace, quote or comment without an end. */
void hbt_config_blank_comments(char *text, struct hbt_config_open *open);
