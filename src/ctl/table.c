/* A table of texts whose columns are as wide as what is in them. */
#include "ctl/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void hbt_ctl_table_init(struct hbt_ctl_table *t, const char *const *heads)
{
	memset(t, 0, sizeof(*t));
	t->heads = heads;
	while (heads[t->columns] != NULL)
		t->columns++;
	assert(t->columns <= HBT_CTL_COLUMNS);
}

void hbt_ctl_table_row(struct hbt_ctl_table *t)
{
	char *(*grown)[HBT_CTL_COLUMNS] =
		reallocarray(t->rows, t->n + 1, sizeof(*grown));

	t->failed |= grown == NULL;
	if (t->failed)
		return;
	t->rows = grown;
	memset(grown[t->n++], 0, sizeof(*grown));
}

void hbt_ctl_table_cell(struct hbt_ctl_table *t, size_t column,
                        const char *fmt, ...)
{
	char **cell;
	va_list ap;

	if (t->failed || t->n == 0)
		return;
	cell = &t->rows[t->n - 1][column];
	free(*cell);
	va_start(ap, fmt);
	if (vasprintf(cell, fmt, ap) < 0)
		*cell = NULL;
	va_end(ap);
}

/* Characters, not bytes: names may be in any language. */
static size_t width(const char *text)
{
	size_t n = 0;

	for (; text != NULL && *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void print_cell(FILE *f, const char *text, size_t columns, int right,
                       int last)
{
	size_t pad = columns - width(text);

	if (right)
		fprintf(f, "%*s", (int)pad, "");
	fputs(text != NULL ? text : "", f);
	if (!right && !last)
		fprintf(f, "%*s", (int)pad, "");
	fputs(last ? "\n" : "  ", f);
}

void hbt_ctl_table_print(const struct hbt_ctl_table *t, FILE *f)
{
	size_t widths[HBT_CTL_COLUMNS];

	for (size_t c = 0; c < t->columns; c++) {
		widths[c] = width(t->heads[c]) - (t->heads[c][0] == '>');
		for (size_t i = 0; i < t->n; i++)
			if (width(t->rows[i][c]) > widths[c])
				widths[c] = width(t->rows[i][c]);
	}
	for (size_t i = 0; i <= t->n; i++) {
		for (size_t c = 0; c < t->columns; c++) {
			int right = t->heads[c][0] == '>';
			const char *text = i == 0 ? t->heads[c] + right
			                          : t->rows[i - 1][c];

			print_cell(f, text, widths[c], right,
			           c + 1 == t->columns);
		}
	}
	if (t->failed)
		fputs("(memory is short: rows are missing)\n", f);
}

void hbt_ctl_table_fini(struct hbt_ctl_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		for (size_t c = 0; c < t->columns; c++)
			free(t->rows[i][c]);
	free(t->rows);
	memset(t, 0, sizeof(*t));
}
