#include "queue/ahead.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* First it reads, then it is read. */
struct hbt_ahead {
	struct hbt_source source;
	struct hbt_source *inner;
	struct event *turn; /* NULL: it is read */
	hbt_ahead_fn done;
	void *arg;
	size_t max, have, at;
	uint8_t *held; /* grows up to max */
	size_t cap;
};

static void dispose(struct hbt_ahead *a)
{
	if (a->turn != NULL)
		event_free(a->turn);
	hbt_source_free(&a->inner);
	free(a->held);
	free(a);
}

/* ---- Being read ---- */

static ssize_t ahead_read(struct hbt_source *src, void *buf, size_t cap,
                          struct halibut_error *err)
{
	struct hbt_ahead *a = (struct hbt_ahead *)src;
	size_t n = a->have - a->at < cap ? a->have - a->at : cap;

	if (n == 0 && cap > 0)
		return a->inner->ops->read(a->inner, buf, cap, err);
	memcpy(buf, a->held + a->at, n);
	a->at += n;
	if (a->at == a->have) {
		free(a->held);
		a->held = NULL;
	}
	return (ssize_t)n;
}

static void ahead_free(struct hbt_source *src)
{
	dispose((struct hbt_ahead *)src);
}

/* ---- Reading ---- */

static void finish(struct hbt_ahead *a, const struct halibut_error *err)
{
	static const struct hbt_source_ops ops = {
		.read = ahead_read,
		.free = ahead_free,
	};
	hbt_ahead_fn done = a->done;
	void *arg = a->arg;

	if (err != NULL) {
		dispose(a);
		done(arg, NULL, err);
		return;
	}
	event_free(a->turn);
	a->turn = NULL;
	a->source.ops = &ops;
	done(arg, &a->source, NULL);
}

static bool grow(struct hbt_ahead *a)
{
	size_t cap = a->cap == 0 ? 4096 : a->cap * 4;
	uint8_t *held;

	if (cap > a->max)
		cap = a->max;
	if ((held = realloc(a->held, cap)) == NULL)
		return false;
	a->held = held;
	a->cap = cap;
	return true;
}

static void run(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_ahead *a = arg;
	struct halibut_error err = {.status = HALIBUT_OK};
	ssize_t n = 1;

	(void)fd;
	(void)what;
	while (n > 0 && a->have < a->max) {
		if (a->have == a->cap && !grow(a)) {
			hbt_error_set(&err, HALIBUT_ENOMEM, "out of memory");
			n = -HALIBUT_ENOMEM;
			break;
		}
		n = a->inner->ops->read(a->inner, a->held + a->have,
		                        a->cap - a->have, &err);
		if (n > 0)
			a->have += (size_t)n;
	}
	if (n != -HALIBUT_EAGAIN)
		finish(a, n < 0 ? &err : NULL);
	halibut_error_clear(&err);
}

/* To whoever reads just now: what lies between us and the inner one may have
 * kept our wake, and calls it as long as it lives. */
static void woke(void *arg)
{
	struct hbt_ahead *a = arg;

	if (a->turn != NULL)
		event_active(a->turn, EV_TIMEOUT, 0);
	else if (a->source.wake != NULL)
		a->source.wake(a->source.wake_arg);
}

int hbt_ahead_new(struct hbt_ahead **out, struct event_base *base,
                  struct hbt_source *src, size_t max, hbt_ahead_fn done,
                  void *arg)
{
	struct hbt_ahead *a = calloc(1, sizeof(*a));

	if (a != NULL)
		a->turn = event_new(base, -1, 0, run, a);
	if (a == NULL || a->turn == NULL) {
		free(a);
		hbt_source_free(&src);
		return HALIBUT_ENOMEM;
	}
	a->inner = src;
	a->max = max;
	a->done = done;
	a->arg = arg;
	src->wake = woke;
	src->wake_arg = a;
	*out = a;
	woke(a);
	return HALIBUT_OK;
}

void hbt_ahead_cancel(struct hbt_ahead **a)
{
	if (*a != NULL)
		dispose(*a);
	*a = NULL;
}
