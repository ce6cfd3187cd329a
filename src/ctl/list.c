#include "ctl/list.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/ctl.h"

static bool is_number(const char *text)
{
	return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

int hbt_ctl_list_option(struct hbt_ctl_gateway *g,
                        struct hbt_ctl_target *target, const char *command,
                        int opt, char **argv)
{
	switch (opt) {
	case 's':
		hbt_ctl_target_add(target, "sort", optarg);
		return 0;
	case 'n':
	case 'o':
		if (!is_number(optarg))
			return hbt_ctl_misuse(command,
			                      "--%s is a number, not \"%s\"",
			                      opt == 'n' ? "limit" : "offset",
			                      optarg);
		hbt_ctl_target_add(target, opt == 'n' ? "limit" : "offset",
		                   optarg);
		return 0;
	case 'w':
		if (hbt_ctl_target_filter(target, optarg))
			return 0;
		return hbt_ctl_misuse(command,
		                      "--where is written FIELD=PATTERN, not "
		                      "\"%s\"",
		                      optarg);
	default:
		return hbt_ctl_gateway_option(g, command, opt, argv);
	}
}

static void set_span(struct hbt_ctl_table *t, size_t column, int64_t ms)
{
	char text[32];

	hbt_ctl_format_ms(ms > 0 ? ms : 0, text);
	hbt_ctl_table_cell(t, column, "%s", text);
}

static void set_cell(struct hbt_ctl_table *t, size_t column,
                     const struct hbt_ctl_column *c, const json_t *row,
                     int64_t now)
{
	const json_t *value = json_object_get(row, c->field);
	char text[32];

	if (json_is_null(value) && c->or_field != NULL)
		value = json_object_get(row, c->or_field);
	if (value == NULL || json_is_null(value))
		return;
	switch (c->kind) {
	case HBT_CELL_TEXT:
		hbt_ctl_table_cell(t, column, "%s",
		                   json_is_string(value)
		                           ? json_string_value(value)
		                           : json_is_true(value) ? "yes" : "no");
		break;
	case HBT_CELL_NUMBER:
		hbt_ctl_table_cell(t, column, "%" JSON_INTEGER_FORMAT,
		                   json_integer_value(value));
		break;
	case HBT_CELL_BYTES:
		hbt_ctl_format_bytes(json_integer_value(value), text);
		hbt_ctl_table_cell(t, column, "%s", text);
		break;
	case HBT_CELL_SPAN:
		if (json_integer_value(value) > 0)
			set_span(t, column, json_integer_value(value));
		else
			hbt_ctl_table_cell(t, column, "-");
		break;
	case HBT_CELL_SPAN_US:
		set_span(t, column, json_integer_value(value) / 1000);
		break;
	case HBT_CELL_AGO:
		set_span(t, column, now - hbt_ctl_moment(value));
		break;
	case HBT_CELL_ID:
		hbt_ctl_table_cell(
			t, column, "%" JSON_INTEGER_FORMAT "-%" JSON_INTEGER_FORMAT,
			json_integer_value(json_object_get(row, "worker")),
			json_integer_value(value));
		break;
	}
}

void hbt_ctl_list_fill(struct hbt_ctl_table *t,
                       const struct hbt_ctl_column *columns,
                       const json_t *rows, int64_t now)
{
	const char *heads[HBT_CTL_COLUMNS + 1];
	const json_t *row;
	size_t i, n = 0;

	for (; columns[n].head != NULL; n++)
		heads[n] = columns[n].head;
	heads[n] = NULL;
	hbt_ctl_table_init(t, heads);
	json_array_foreach(rows, i, row) {
		hbt_ctl_table_row(t);
		for (size_t c = 0; c < n; c++)
			set_cell(t, c, &columns[c], row, now);
	}
}

static void print_list(const json_t *doc, const struct hbt_ctl_list *list)
{
	const json_t *rows = json_object_get(doc, list->part), *row;
	struct hbt_ctl_table t;
	char name[64];
	json_int_t total;
	size_t i;

	if (json_array_size(rows) == 0)
		return;
	if (list->title != NULL)
		printf("%s\n", list->title);
	hbt_ctl_list_fill(&t, list->columns, rows,
	                  hbt_ctl_moment(json_object_get(doc, "now")));
	hbt_ctl_table_print(&t, stdout);
	hbt_ctl_table_fini(&t);
	if (list->remark != NULL)
		json_array_foreach(rows, i, row)
			list->remark(row, stdout);
	snprintf(name, sizeof(name), "total_%s", list->part);
	total = json_integer_value(json_object_get(doc, name));
	if (total > (json_int_t)json_array_size(rows))
		printf("(%zu of %" JSON_INTEGER_FORMAT
		       "; --limit, --offset and --where choose others)\n",
		       json_array_size(rows), total);
}

static int print_document(const json_t *doc, const struct hbt_ctl_list *lists,
                          size_t n, const char *nothing)
{
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		if (json_array_size(json_object_get(doc, lists[i].part)) == 0)
			continue;
		if (any)
			putchar('\n');
		any = true;
		print_list(doc, &lists[i]);
	}
	if (!any)
		puts(nothing);
	if (json_is_true(json_object_get(doc, "incomplete")))
		fputs("halibutctl: a worker did not tell its part in time: "
		      "rows are missing\n",
		      stderr);
	if (fflush(stdout) == 0)
		return HBT_EXIT_OK;
	fputs("halibutctl: standard output cannot be written\n", stderr);
	return HBT_EXIT_MACHINE;
}

int hbt_ctl_list_print(const struct hbt_ctl_gateway *g,
                       struct hbt_ctl_target *target,
                       const struct hbt_ctl_list *lists, size_t n,
                       const char *nothing)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	const char *text;
	json_t *doc = NULL;
	int code;

	text = hbt_ctl_target_text(target);
	if (text == NULL)
		hbt_error_set(&err, HALIBUT_ENOMEM, "out of memory");
	else
		doc = hbt_ctl_document(g, text, &err);
	if (doc == NULL)
		return hbt_ctl_gateway_failed(&err);
	if (g->json)
		return hbt_ctl_print_json(doc);
	code = print_document(doc, lists, n, nothing);
	json_decref(doc);
	return code;
}
