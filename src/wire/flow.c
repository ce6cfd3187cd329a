#include <stddef.h>

#include "wire/flow.h"

void hbt_source_free(struct hbt_source **src_p)
{
	struct hbt_source *src = *src_p;

	*src_p = NULL;
	if (src != NULL)
		src->ops->free(src);
}

void hbt_sink_end(struct hbt_sink **sink_p, const struct halibut_error *why)
{
	struct hbt_sink *sink = *sink_p;

	*sink_p = NULL;
	if (sink != NULL)
		sink->ops->end(sink, why);
}

static ssize_t discard_write(struct hbt_sink *sink, const void *data,
                             size_t len, struct halibut_error *err)
{
	(void)sink;
	(void)data;
	(void)err;
	return (ssize_t)len;
}

static void discard_end(struct hbt_sink *sink, const struct halibut_error *why)
{
	(void)sink;
	(void)why;
}

struct hbt_sink *hbt_discard_sink(void)
{
	static const struct hbt_sink_ops ops = {
		.write = discard_write,
		.end = discard_end,
	};
	static struct hbt_sink sink = {.ops = &ops}; /* has no state at all */

	return &sink;
}
