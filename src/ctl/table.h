/* A table of texts whose columns are as wide as what is in them. */
#ifndef HBT_CTL_TABLE_H
#define HBT_CTL_TABLE_H

#include <stddef.h>
#include <stdio.h>

#define HBT_CTL_COLUMNS 12

struct hbt_ctl_table {
	/* A '>' in front of one aligns its column to the right. */
	const char *heads[HBT_CTL_COLUMNS];
	char *(*rows)[HBT_CTL_COLUMNS];
	size_t n;
	size_t columns;
	int failed; /* memory was short: a row is missing */
};

/* heads ends with NULL; the texts are borrowed. */
void hbt_ctl_table_init(struct hbt_ctl_table *t, const char *const *heads);
/* Begins a row; its cells are empty until they are set. */
void hbt_ctl_table_row(struct hbt_ctl_table *t);
/* Sets a cell of the last row. */
void hbt_ctl_table_cell(struct hbt_ctl_table *t, size_t column,
                        const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* In a terminal empty columns are left out, and texts are cut until a row
 * fits in. */
void hbt_ctl_table_print(const struct hbt_ctl_table *t, FILE *f);
/* The same as lines of at most columns characters, 0: of any length. put is
 * given each, head first, without its end. */
void hbt_ctl_table_lines(const struct hbt_ctl_table *t, size_t columns,
                         void (*put)(void *arg, const char *line), void *arg);
void hbt_ctl_table_fini(struct hbt_ctl_table *t);

#endif
