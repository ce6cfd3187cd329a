#include "queue/pump.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { PIECE = 16384, PIECES_A_TURN = 16 };

struct hbt_feed {
	struct hbt_feed **self;
	struct hbt_source *src;
	struct hbt_sink *sink;
	struct event *again;
	size_t at, have;
	uint8_t held[PIECE];
};

static void finish(struct hbt_feed *f, const struct halibut_error *why)
{
	struct hbt_sink *sink = f->sink;

	if (f->self != NULL)
		*f->self = NULL;
	sink->wake = NULL; /* it may live on until it is drained */
	hbt_source_free(&f->src);
	event_free(f->again);
	free(f);
	hbt_sink_end(&sink, why);
}

void hbt_feed_end(struct hbt_feed **self, const struct halibut_error *why)
{
	if (*self != NULL)
		finish(*self, why);
}

/* Moves one piece; false when there is nothing to do now, or f is gone. */
static bool move(struct hbt_feed *f)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	ssize_t n;

	if (f->at == f->have) {
		n = f->src->ops->read(f->src, f->held, PIECE, &err);
		if (n == -HALIBUT_EAGAIN)
			return false;
		if (n <= 0) {
			finish(f, n == 0 ? NULL : &err);
			halibut_error_clear(&err);
			return false;
		}
		f->at = 0;
		f->have = (size_t)n;
	}
	n = f->sink->ops->write(f->sink, f->held + f->at, f->have - f->at,
	                        &err);
	if (n < 0) {
		finish(f, &err);
		halibut_error_clear(&err);
		return false;
	}
	f->at += (size_t)n;
	return f->at == f->have;
}

static void run(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval next_turn = {0, 0};
	struct hbt_feed *f = arg;

	(void)fd;
	(void)what;
	for (int i = 0; i < PIECES_A_TURN; i++)
		if (!move(f))
			return;
	/* Not event_active(): that would be this turn still, and nobody else
	 * would be heard until the source ends. */
	event_add(f->again, &next_turn);
}

static void woke(void *arg)
{
	struct hbt_feed *f = arg;

	event_active(f->again, EV_TIMEOUT, 0);
}

int hbt_feed_new(struct hbt_feed **self, struct event_base *base,
                 struct hbt_source *src, struct hbt_sink *sink)
{
	static const struct halibut_error no_memory = {
		.status = HALIBUT_ENOMEM, .message = (char *)"out of memory"};
	struct hbt_feed *f = calloc(1, sizeof(*f));

	if (self != NULL)
		*self = NULL;
	if (f != NULL)
		f->again = event_new(base, -1, 0, run, f);
	if (f == NULL || f->again == NULL) {
		free(f);
		hbt_source_free(&src);
		hbt_sink_end(&sink, &no_memory);
		return HALIBUT_ENOMEM;
	}
	f->self = self;
	f->src = src;
	f->sink = sink;
	src->wake = sink->wake = woke;
	src->wake_arg = sink->wake_arg = f;
	if (self != NULL)
		*self = f;
	woke(f);
	return HALIBUT_OK;
}
