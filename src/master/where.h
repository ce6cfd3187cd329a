/* Where a URL leads from here: for halibutctl ping. */
#ifndef HBT_MASTER_WHERE_H
#define HBT_MASTER_WHERE_H

#include <jansson.h>
#include "master/config.h"
#include "master/listen.h"
#include "master/own_certs.h"

/* What there is of this gateway; listeners may be NULL. */
struct hbt_where_self {
	const struct hbt_listeners *listeners;
	const struct hbt_own_certs *certs;
};

/*
 * {"file": of the configuration, "section", "title", "line": what in it names
 * the URL, "leads": "dial" | "queue" | "hosted" | "self" | "nowhere", "to",
 * "hint",
 * "thumbprints": [], "thumbprint_line", "proxy", "proxy_user",
 * "proxy_password": bool, "connect", "identity"}. What does not apply is null.
 * No secret is in it. NULL when memory is short.
 */
json_t *hbt_where(const struct hbt_config *cfg,
                  const struct hbt_where_self *self, const char *url);

#endif
