/* The inside of a DataStream, for stream.c and streams.c. */
#ifndef HBT_RUNTIME_STREAM_PRIVATE_H
#define HBT_RUNTIME_STREAM_PRIVATE_H

#include "base/buf.h"
#include "runtime/streams.h"

enum stream_kind {
	STREAM_MEMORY,
	STREAM_FD,
	STREAM_CALLBACK,
	STREAM_INCOMING, /* memory, or fd once it has grown */
};

struct halibut_stream {
	enum stream_kind kind;
	struct hbt_guid id;
	int64_t length;
	int64_t at; /* read so far */
	struct hbt_buf memory;
	int fd;
	halibut_stream_read_fn read;
	void *read_arg;
	halibut_progress_fn progress;
	void *progress_arg;
	int percent; /* reported last; -1: nothing yet */
	bool in_use; /* given to a call or reply */
};

struct halibut_stream *hbt_stream_incoming(const struct hbt_guid *id,
                                           int64_t length);
/* Appends to an incoming stream. HALIBUT_ESYSTEM, HALIBUT_ENOMEM. */
int hbt_stream_receive(struct halibut_stream *s, const uint8_t *data,
                       size_t len, struct halibut_error *err);
/* Does its source give more than was declared? 11.4 */
bool hbt_stream_has_more(struct halibut_stream *s);
void hbt_stream_progress(struct halibut_stream *s, int64_t done);

#endif
