/* The status document of a gateway as tables for a person. */
#ifndef HBT_CTL_STATUS_TABLE_H
#define HBT_CTL_STATUS_TABLE_H

#include <jansson.h>
#include <stdio.h>

/* Whatever the document lacks is left out; it need not be of our version. */
void hbt_ctl_print_status(const json_t *doc, FILE *f);

#endif
