/* Where the DataStreams of a result go: files, standard output, nowhere. */
#ifndef HBT_CTL_LANDING_H
#define HBT_CTL_LANDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct hbt_ctl_landed {
	int64_t length;
	char *path; /* NULL: it went to standard output or nowhere */
	bool printed; /* it went to standard output */
};

struct hbt_ctl_landing {
	/* Set by the caller. */
	const char *file; /* for the first one; NULL: none */
	const char *directory; /* for all: stream-0, stream-1, … */
	bool to_stdout;   /* the first one, if it has no file */

	struct hbt_ctl_landed *landed;
	size_t n;
	/* The one that arrives now. */
	int fd; /* -1: discarded */
	char *path, *temporary;
};

/*
 * A DataStream begins, its bytes come, it ends. A file appears under its name
 * only when it is complete; a name that is a device or a pipe is written to
 * as it is. HALIBUT_ESYSTEM, HALIBUT_ENOMEM.
 */
int hbt_ctl_landing_begin(struct hbt_ctl_landing *l, int64_t length,
                          struct halibut_error *err);
int hbt_ctl_landing_data(struct hbt_ctl_landing *l, const void *data,
                         size_t len, struct halibut_error *err);
int hbt_ctl_landing_end(struct hbt_ctl_landing *l, struct halibut_error *err);

/* Removes what is incomplete. */
void hbt_ctl_landing_fini(struct hbt_ctl_landing *l);

#endif
