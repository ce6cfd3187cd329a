/*
 * Progress of DataStreams that wait in a store before they reach the service:
 * what the heart beats of the node that sends them say. redis-queue 3.4
 */
#ifndef HBT_RUNTIME_UPLOADS_H
#define HBT_RUNTIME_UPLOADS_H

#include "base/guid.h"
#include "runtime/streams.h"

struct hbt_upload;
struct hbt_uploads { /* zero: none */
	struct hbt_upload *all;
	size_t n;
};

/* From here on the streams themselves report nothing; whoever wants progress
 * of them hears it from u. HALIBUT_OK or HALIBUT_ENOMEM. */
int hbt_uploads_take(struct hbt_uploads *u, struct hbt_streams *set);
/* sent bytes of a stream have reached the service. */
void hbt_uploads_progress(struct hbt_uploads *u, const struct hbt_guid *stream,
                          int64_t sent);
/* The call is over: what has begun is complete for whoever watches. */
void hbt_uploads_end(struct hbt_uploads *u);

#endif
