/* A table of texts whose columns are as wide as what is in them. */
#include "ctl/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/ctl.h"

void hbt_ctl_table_init(struct hbt_ctl_table *t, const char *const *heads)
{
	memset(t, 0, sizeof(*t));
	for (; heads[t->columns] != NULL; t->columns++) {
		assert(t->columns < HBT_CTL_COLUMNS);
		t->heads[t->columns] = heads[t->columns];
	}
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

/* Narrower than this a column says nothing any more. */
#define LEAST_WIDTH 6

static void measure(const struct hbt_ctl_table *t,
                    size_t widths[HBT_CTL_COLUMNS])
{
	for (size_t c = 0; c < t->columns; c++) {
		widths[c] = width(t->heads[c]) - (t->heads[c][0] == '>');
		for (size_t i = 0; i < t->n; i++)
			if (width(t->rows[i][c]) > widths[c])
				widths[c] = width(t->rows[i][c]);
	}
}

static size_t total_width(const struct hbt_ctl_table *t,
                          const size_t widths[HBT_CTL_COLUMNS])
{
	size_t total = 0, n = 0;

	for (size_t c = 0; c < t->columns; c++) {
		total += widths[c];
		n += widths[c] > 0;
	}
	return total + (n > 0 ? (n - 1) * 2 : 0);
}

/*
 * Columns of which nothing is known go, and then the widest texts give as long
 * as they have something to give. A number that is cut would be another one.
 */
static void shrink(const struct hbt_ctl_table *t,
                   size_t widths[HBT_CTL_COLUMNS], size_t columns)
{
	size_t i, widest;

	for (size_t c = 0; c < t->columns; c++) {
		for (i = 0; i < t->n && t->rows[i][c] == NULL; i++)
			;
		if (i == t->n && t->n > 0)
			widths[c] = 0;
	}
	while (total_width(t, widths) > columns) {
		widest = t->columns;
		for (size_t c = 0; c < t->columns; c++)
			if (t->heads[c][0] != '>' && widths[c] > LEAST_WIDTH &&
			    (widest == t->columns ||
			     widths[c] > widths[widest]))
				widest = c;
		if (widest == t->columns)
			return;
		widths[widest]--;
	}
}

/* text in exactly columns characters; one that is cut ends with an ellipsis. */
static void put_cell(FILE *f, const char *text, size_t columns, int right)
{
	size_t w = width(text), n = 0;

	if (right && w < columns)
		fprintf(f, "%*s", (int)(columns - w), "");
	if (w <= columns) {
		fputs(text != NULL ? text : "", f);
	} else {
		while (n + 1 < columns) {
			do
				fputc(*text++, f);
			while (((unsigned char)*text & 0xc0) == 0x80);
			n++;
		}
		fputs("\xe2\x80\xa6", f);
	}
	if (!right && w < columns)
		fprintf(f, "%*s", (int)(columns - w), "");
}

/* Without the spaces at its end, and no longer than columns characters. */
static void finish_line(char *line, size_t columns)
{
	size_t len = strlen(line), n = 0;

	for (size_t i = 0; columns > 0 && i < len; i++) {
		if (((unsigned char)line[i] & 0xc0) == 0x80 || n++ < columns)
			continue;
		line[i] = '\0';
		len = i;
	}
	while (len > 0 && line[len - 1] == ' ')
		line[--len] = '\0';
}

static void put_row(const struct hbt_ctl_table *t,
                    const size_t widths[HBT_CTL_COLUMNS], size_t row, FILE *f)
{
	const char *gap = "";

	for (size_t c = 0; c < t->columns; c++) {
		int right = t->heads[c][0] == '>';

		if (widths[c] == 0)
			continue;
		fputs(gap, f);
		put_cell(f,
		         row == 0 ? t->heads[c] + right : t->rows[row - 1][c],
		         widths[c], right);
		gap = "  ";
	}
}

void hbt_ctl_table_lines(const struct hbt_ctl_table *t, size_t columns,
                         void (*put)(void *arg, const char *line), void *arg)
{
	size_t widths[HBT_CTL_COLUMNS];

	measure(t, widths);
	if (columns > 0)
		shrink(t, widths, columns);
	for (size_t i = 0; i <= t->n; i++) {
		char *line = NULL;
		size_t len;
		FILE *f = open_memstream(&line, &len);

		if (f == NULL)
			return;
		put_row(t, widths, i, f);
		if (fclose(f) == 0) {
			finish_line(line, columns);
			put(arg, line);
		}
		free(line);
	}
}

static void print_line(void *arg, const char *line)
{
	fprintf(arg, "%s\n", line);
}

void hbt_ctl_table_print(const struct hbt_ctl_table *t, FILE *f)
{
	hbt_ctl_table_lines(t, hbt_ctl_terminal_columns(f), print_line, f);
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
