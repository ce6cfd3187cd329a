/* Where a URL leads from here: for halibutctl ping. */
#ifndef HBT_MASTER_WHERE_H
#define HBT_MASTER_WHERE_H

#include <jansson.h>
#include "master/config.h"

/*
 * {"file": of the configuration, "section", "title", "line": what in it names
 * the URL, "leads": "dial" | "queue" | "hosted" | "nowhere", "to", "hint",
 * "thumbprints": [], "thumbprint_line", "proxy", "proxy_user",
 * "proxy_password": bool, "connect", "identity"}. What does not apply is null.
 * No secret is in it. NULL when memory is short.
 */
json_t *hbt_where(const struct hbt_config *cfg, const char *url);

#endif
