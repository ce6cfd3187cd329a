/* Where a request goes: design "Routes". Knows no channels. */
#ifndef HBT_MASTER_ROUTE_H
#define HBT_MASTER_ROUTE_H

#include "base/error.h"
#include "base/uri.h"
#include "master/config.h"

/*
 * Reads a pattern ("host", "host:port", "*.suffix" or a URL) and a checked
 * target into a zeroed route. HALIBUT_EINVAL or HALIBUT_ENOMEM; fini anyway.
 */
int hbt_route_init(struct hbt_route *r, const char *pattern, const char *target,
                   struct halibut_error *err);
void hbt_route_fini(struct hbt_route *r);

/*
 * Sorts, the most specific first, completes routes to endpoints that are
 * described elsewhere, and refuses two of the same pattern; *line is then
 * that of the second.
 */
int hbt_routes_finish(struct hbt_route *routes, size_t n, int *line,
                      struct halibut_error *err);

/* target with {label} replaced; malloced, or NULL. */
char *hbt_route_expand(const char *target, const char *label, size_t len);

/* What is asked. NULL where it is not known. */
struct hbt_route_query {
	enum hbt_call_origin origin;
	const char *destination; /* URI */
	const char *service, *method;
	const char *expected_thumbprint; /* of the destination; control only */
	const char *asker;               /* address or name, for messages */
};

/* The route for a destination that is neither poll:// nor queue://, and what its
 * star stands for, inside uri; NULL: there is none. */
const struct hbt_route *hbt_route_find(const struct hbt_config *cfg,
                                       const struct hbt_uri *uri,
                                       const char **label, size_t *len);

struct hbt_decision {
	enum hbt_route_kind kind;
	bool by_default; /* hosted here, for no route names the host, though
	                  * there are some, and it is no name of ours */
	char *uri;                           /* HBT_ROUTE_QUEUE */
	struct hbt_endpoint_fields endpoint; /* HBT_ROUTE_DIAL */
};

/*
 * Decides. What no route names is hosted here, if the service is: a client may
 * know the gateway by any name. Not so, where there are routes, for who asks at
 * the control socket: he has connected to nobody by that name, and would take
 * the answer of this gateway for that of the host that he mistyped. HALIBUT_ENO_ROUTE with a message that says who asked for what and
 * which setting would make it work; HALIBUT_ENOMEM.
 */
int hbt_route_decide(const struct hbt_config *cfg,
                     const struct hbt_route_query *q, struct hbt_decision *d,
                     struct halibut_error *err);
void hbt_decision_fini(struct hbt_decision *d);

#endif
