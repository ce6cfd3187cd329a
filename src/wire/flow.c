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
