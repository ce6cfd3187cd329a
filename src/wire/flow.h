/*
 * How the bytes after a message, its DataStream section, flow through a
 * process: whoever sends pulls from a source, whoever receives pushes into a
 * sink, and both can say "not now". wire-protocol 11.2
 *
 * Both carry the raw section: id, length, data, length, stream after stream.
 */
#ifndef HBT_WIRE_FLOW_H
#define HBT_WIRE_FLOW_H

#include <sys/types.h>
#include "base/error.h"

struct hbt_source;
struct hbt_sink;

struct hbt_source_ops {
	/*
	 * Up to cap bytes: > 0; 0 at the end; -HALIBUT_EAGAIN: src->wake will
	 * be called when there is more; other negative status: failed, and
	 * err says how.
	 */
	ssize_t (*read)(struct hbt_source *src, void *buf, size_t cap,
	                struct halibut_error *err);
	void (*free)(struct hbt_source *src);
};

struct hbt_source {
	const struct hbt_source_ops *ops;
	void (*wake)(void *arg); /* set by whoever reads */
	void *wake_arg;
};

struct hbt_sink_ops {
	/*
	 * Takes 0..len bytes. After fewer than len, sink->wake will be called
	 * when there is room again. Negative status: failed for good; the
	 * rest of the section need not be offered any more.
	 */
	ssize_t (*write)(struct hbt_sink *sink, const void *data, size_t len,
	                 struct halibut_error *err);
	/*
	 * The section ended: why is NULL when it is complete. The sink is the
	 * callee's from here on, and may live on until it is drained.
	 */
	void (*end)(struct hbt_sink *sink, const struct halibut_error *why);
};

struct hbt_sink {
	const struct hbt_sink_ops *ops;
	void (*wake)(void *arg);
	void *wake_arg;
};

/* Takes everything and forgets it. One for all; never NULL. */
struct hbt_sink *hbt_discard_sink(void);

void hbt_source_free(struct hbt_source **src); /* NULL allowed */
void hbt_sink_end(struct hbt_sink **sink, const struct halibut_error *why);

#endif
