/* Can that peer be reached? Step by step, with a verdict for each. */
#ifndef HBT_CTL_PING_H
#define HBT_CTL_PING_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

enum hbt_ctl_verdict {
	HBT_VERDICT_OK,
	HBT_VERDICT_NOTE, /* it works, but somebody should know */
	HBT_VERDICT_FAILED,
	HBT_VERDICT_SKIPPED, /* not tried; or the step before failed */
};

struct hbt_ctl_step {
	const char *name;
	enum hbt_ctl_verdict verdict;
	char *text;   /* what happened */
	char *remedy; /* what to do about it; NULL: nothing */
	int64_t ms;   /* how long it took; -1: it does not take time */
};

#define HBT_CTL_STEPS 8

struct hbt_ctl_ping {
	const char *url;
	/* Expected: 40 digits, or several with commas; NULL: it is not known. */
	const char *thumbprint;
	const char *certificate, *password_file; /* who we are; NULL: nobody */
	const char *connect, *proxy;             /* HOST:PORT; NULL: none */
	const char *proxy_user, *proxy_password_file;
	const char *socket; /* of the gateway */
	int64_t timeout_ms; /* for each step that waits for somebody */

	struct hbt_ctl_step steps[HBT_CTL_STEPS];
	size_t n;
	/* By hbt_ctl_ping_where(), into facts or malloced. */
	const char *target; /* dialled instead of url; NULL: not */
	bool is_self;       /* it is that gateway */
	char *configured, *against; /* its thumbprint, and where it stands */

	json_t *facts;  /* an object: what was found, for --json */
	int exit_code;  /* by the step that failed */
	bool no_gateway; /* to ask */
};

/* Asks the gateway, if one answers, how it would dial the URL, which is then
 * done likewise, but for what was given already. */
void hbt_ctl_ping_where(struct hbt_ctl_ping *p);
/* A listening service, or a server that can be polled: dials it. HALIBUT_OK
 * when there are verdicts, or a mistake in what was asked for. */
int hbt_ctl_ping_dial(struct hbt_ctl_ping *p, struct halibut_error *err);
/* A polling service, or a queue: asks the gateway what it knows of it. */
int hbt_ctl_ping_poll(struct hbt_ctl_ping *p, struct halibut_error *err);
void hbt_ctl_ping_fini(struct hbt_ctl_ping *p);

/*
 * Adds a step. remedy may be NULL; code (an enum hbt_ctl_exit) counts when it
 * FAILED. For SKIPPED text says why.
 */
void hbt_ctl_ping_step(struct hbt_ctl_ping *p, const char *name,
                       enum hbt_ctl_verdict verdict, int code, int64_t ms,
                       const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 7, 8)));

/* Prints the verdicts for a person, or as one object. */
void hbt_ctl_ping_print(const struct hbt_ctl_ping *p);
json_t *hbt_ctl_ping_json(const struct hbt_ctl_ping *p);

#endif
