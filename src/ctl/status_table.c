/* The status document of a gateway as tables for a person. */
#include "ctl/status_table.h"

void hbt_ctl_print_status(const json_t *doc, FILE *f)
{
	json_dumpf(doc, f, JSON_INDENT(2));
	fputc('\n', f);
}
