/* The inside of a halibut_runtime, for the files of the public functions. */
#ifndef HBT_RUNTIME_RUNTIME_H
#define HBT_RUNTIME_RUNTIME_H

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <sys/queue.h>

#include "halibut/halibut.h"
#include "queue/redis_setup.h"
#include "queue/switchboard.h"
#include "runtime/accepted.h"
#include "runtime/dialler.h"
#include "runtime/poller.h"
#include "runtime/trust_set.h"

struct hbt_listener {
	struct evconnlistener *lev;
	struct event *again; /* accepts again after a failure */
	LIST_ENTRY(hbt_listener) link;
};

struct halibut_polling {
	struct halibut_runtime *rt;
	struct hbt_poller **pollers;
	unsigned n;
	LIST_ENTRY(halibut_polling) link;
};

struct hbt_service_method; /* service.c */

struct halibut_runtime {
	struct event_base *base;
	bool owns_base;
	struct evdns_base *dns;
	struct hbt_limits limits;
	struct hbt_tls *tls;
	struct hbt_exchange_env env;
	struct hbt_trust_set *trust;
	struct hbt_switchboard *switchboard;
	struct hbt_redis_setup *redis; /* NULL: queues are in memory */
	struct hbt_dialler *dialler;
	struct hbt_service_method *methods;
	char *friendly_page;
	halibut_unauthorised_fn unauthorised;
	void *unauthorised_arg;
	unsigned calls_made; /* for the ids of requests */
	LIST_HEAD(, hbt_listener) listeners;
	struct hbt_accepted_list accepted;
	LIST_HEAD(, halibut_polling) pollings;
	LIST_HEAD(, halibut_queue_serving) queue_servings;
	bool ending; /* halibut_runtime_free() is at work */
	LIST_HEAD(, halibut_call) calls;       /* all there are */
	LIST_HEAD(, halibut_request) requests; /* not answered */
};

struct halibut_endpoint {
	struct hbt_endpoint e;
};

/* Sets the limit with that name of the specification: limits_by_name.c. */
int hbt_limits_set(struct hbt_limits *limits, const char *name, int64_t value);

/* listen.c */
void hbt_listeners_free(struct halibut_runtime *rt);
void hbt_drop_untrusted(struct halibut_runtime *rt);

/* service.c: requests that come in over a connection end there. */
extern const struct hbt_inlet_ops hbt_service_inlet_ops; /* arg: runtime */
void hbt_services_free(struct halibut_runtime *rt);

/* call.c: ends those under way, and takes the runtime away from all. */
void hbt_calls_end(struct halibut_runtime *rt);

#endif
