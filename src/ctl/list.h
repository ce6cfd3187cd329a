/* Rows of a document as a table, and the options that choose them. */
#ifndef HBT_CTL_LIST_H
#define HBT_CTL_LIST_H

#include "ctl/document.h"
#include "ctl/table.h"

enum hbt_ctl_cell {
	HBT_CELL_TEXT,
	HBT_CELL_NUMBER,
	HBT_CELL_BYTES,
	HBT_CELL_SPAN, /* milliseconds */
	HBT_CELL_SPAN_US, /* microseconds */
	HBT_CELL_AGO,  /* a moment */
	HBT_CELL_ID,   /* "WORKER-ID" of a connection */
};

struct hbt_ctl_column {
	const char *head; /* as for a table; the last column has none */
	enum hbt_ctl_cell kind;
	const char *field;
	const char *or_field; /* of texts: when the first is null */
};

/* cmd_lists.c */
extern const struct hbt_ctl_column hbt_ctl_connection_columns[];
extern const struct hbt_ctl_column hbt_ctl_subscription_columns[];
extern const struct hbt_ctl_column hbt_ctl_call_columns[];
extern const struct hbt_ctl_column hbt_ctl_refused_columns[];

/* A list that a document has. */
struct hbt_ctl_list {
	const char *part; /* the array's name */
	const char *title; /* above it, if there is more than one; or NULL */
	const struct hbt_ctl_column *columns;
	/* What is to be said of a row below the table; or NULL. */
	void (*remark)(const json_t *row, FILE *f);
};

#define HBT_CTL_LIST_OPTIONS                                                   \
	HBT_CTL_GATEWAY_OPTIONS, {"sort", required_argument, NULL, 's'},       \
		{"limit", required_argument, NULL, 'n'},                       \
		{"offset", required_argument, NULL, 'o'},                      \
	{                                                                      \
		"where", required_argument, NULL, 'w'                          \
	}

#define HBT_CTL_LIST_HELP                                                      \
	"  --sort FIELD    texts from A on, the largest numbers first; -FIELD\n" \
	"                  turns that around\n"                                \
	"  --where FIELD=PATTERN\n"                                            \
	"                  only these rows; * stands for anything. May be\n"   \
	"                  repeated. FIELDs are those of --json\n"             \
	"  --limit N       so many rows at most (1024)\n"                      \
	"  --offset N      from the Nth on, from 0\n"                          \
	"  --timeout TIME  how long to wait for an answer (10s)\n"             \
	"  --json          the document as the gateway gives it\n"             \
	HBT_CTL_GATEWAY_HELP

/* Reads one of the options into target, or into g. 0, or an exit code. */
int hbt_ctl_list_option(struct hbt_ctl_gateway *g,
                        struct hbt_ctl_target *target, const char *command,
                        int opt, char **argv);
/*
 * Asks for the document and prints the lists that it has; nothing says what
 * it means that all of them are empty. Returns the exit code.
 */
int hbt_ctl_list_print(const struct hbt_ctl_gateway *g,
                       struct hbt_ctl_target *target,
                       const struct hbt_ctl_list *lists, size_t n,
                       const char *nothing);

/* One list of a document, for who has it. now: for HBT_CELL_AGO. */
void hbt_ctl_list_fill(struct hbt_ctl_table *t,
                       const struct hbt_ctl_column *columns,
                       const json_t *rows, int64_t now);

#endif
