/* One call from the command line: what was asked for, and what came of it. */
#ifndef HBT_CTL_CALL_H
#define HBT_CTL_CALL_H

#include <event2/event.h>
#include <jansson.h>
#include "ctl/args.h"
#include "ctl/landing.h"
#include "ctl/progress.h"

struct hbt_ctl_call {
	const char *endpoint, *service, *method;
	const char *thumbprint; /* expected of the endpoint; NULL: not given */
	struct hbt_ctl_args args;
	int64_t timeout_ms; /* of the whole call; 0: the protocol's limits */

	/* Through a gateway. */
	const char *socket;

	/* Direct. */
	const char *certificate; /* path; NULL: through a gateway */
	const char *password_file;
	const char *listen; /* ADDRESS:PORT */
	const char **trust;
	size_t n_trust;
	const char *proxy;   /* HOST:PORT */
	const char *proxy_user, *proxy_password_file;
	const char *connect; /* HOST:PORT */

	struct hbt_ctl_progress progress;
	struct hbt_ctl_landing landing;
	json_t *result;            /* NULL unless it succeeded */
	struct halibut_error err;  /* status OK: it succeeded */
	bool no_gateway;           /* err is about the control socket */
	int64_t elapsed_ms;
};

/* Both make the call and fill in the outcome. */
void hbt_ctl_call_direct(struct hbt_ctl_call *c);
void hbt_ctl_call_gateway(struct hbt_ctl_call *c);

/* Prints the outcome for a person or (json) as one object, and returns the
 * exit code. raw: a text without quotes. */
int hbt_ctl_call_print(const struct hbt_ctl_call *c, bool json, bool raw);

/* What ends a call early: --timeout, or the first SIGINT or SIGTERM. The
 * second signal ends the program. */
struct hbt_ctl_patience {
	void (*give_up)(void *arg);
	void *arg;
	struct event *timer, *interrupt, *terminate;
	bool timed_out, interrupted;
};
int hbt_ctl_patience_init(struct hbt_ctl_patience *p, struct event_base *base,
                          int64_t timeout_ms, void (*give_up)(void *arg),
                          void *arg);
void hbt_ctl_patience_fini(struct hbt_ctl_patience *p);
/* Says in the error of a cancelled call why it was cancelled. */
void hbt_ctl_patience_explain(const struct hbt_ctl_patience *p,
                              struct hbt_ctl_call *c);

#endif
