#include "runtime/loop.h"

int hbt_loop_until(struct event_base *base, const bool *done)
{
	while (!*done) {
		if (event_base_loop(base, EVLOOP_ONCE |
		                                  EVLOOP_NO_EXIT_ON_EMPTY) < 0)
			return HALIBUT_EINVAL;
		if (!*done && (event_base_got_break(base) ||
		               event_base_got_exit(base)))
			return HALIBUT_ECONNECTING_CANCELLED;
	}
	return HALIBUT_OK;
}
