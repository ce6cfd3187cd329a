/* The documents of a gateway: what its status pages say, by name. */
#ifndef HBT_CTL_DOCUMENT_H
#define HBT_CTL_DOCUMENT_H

#include <event2/buffer.h>
#include "ctl/options.h"

/*
 * Asks for a document, such as "/connz?limit=5"; it is of this moment. NULL,
 * and err says why: HALIBUT_EREMOTE when the gateway has none, or a parameter
 * is wrong, HALIBUT_EWORKER when its status worker does not run.
 */
json_t *hbt_ctl_document(const struct hbt_ctl_gateway *g, const char *target,
                         struct halibut_error *err);

/* The same whatever *status, that of HTTP, is. */
json_t *hbt_ctl_document_of(const struct hbt_ctl_gateway *g, const char *target,
                            unsigned *status, struct halibut_error *err);

/* A target that is put together: a path, and parameters that are encoded. */
struct hbt_ctl_target {
	struct evbuffer *text;
	bool has_parameters, failed;
};
void hbt_ctl_target_init(struct hbt_ctl_target *t, const char *path);
void hbt_ctl_target_add(struct hbt_ctl_target *t, const char *name,
                        const char *value);
/* FIELD=PATTERN; false: it is not. */
bool hbt_ctl_target_filter(struct hbt_ctl_target *t, const char *text);
/* The text, valid until fini; NULL when memory is short. */
const char *hbt_ctl_target_text(struct hbt_ctl_target *t);
void hbt_ctl_target_fini(struct hbt_ctl_target *t);

/* "2026-11-28T13:25:28.123Z" in milliseconds of Unix time; 0: it is none. */
int64_t hbt_ctl_moment(const json_t *value);

#endif
