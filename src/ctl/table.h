/* A table of texts whose columns are as wide as what is in them. */
#ifndef HBT_CTL_TABLE_H
#define HBT_CTL_TABLE_H

#include <stddef.h>
#include <stdio.h>

#define HBT_CTL_COLUMNS 9

struct hbt_ctl_table {
	const char *const *heads; /* ends with NULL; a '>' in front of one
	                           * aligns its column to the right */
	char *(*rows)[HBT_CTL_COLUMNS];
	size_t n;
	size_t columns;
	int failed; /* memory was short: a row is missing */
};

void hbt_ctl_table_init(struct hbt_ctl_table *t, const char *const *heads);
/* Begins a row; its cells are empty until they are set. */
void hbt_ctl_table_row(struct hbt_ctl_table *t);
/* Sets a cell of the last row. */
void hbt_ctl_table_cell(struct hbt_ctl_table *t, size_t column,
                        const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void hbt_ctl_table_print(const struct hbt_ctl_table *t, FILE *f);
void hbt_ctl_table_fini(struct hbt_ctl_table *t);

#endif
