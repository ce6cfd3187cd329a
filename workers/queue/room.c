/*
 * How much of its memory Redis uses: for the status, and so that somebody is
 * told before it is full. INFO once in a while, where it is allowed; that it is
 * full the refusal of a write says, which each node makes often (nodes.c).
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timespan.h"
#include "worker.h"

#define TICK_S 1
/* Percent of maxmemory: when the server is examined anew; when that may be
 * said again. */
#define TIGHT 90
#define WIDE 80

struct room {
	struct worker *w;
	struct event *timer;
	struct hbt_redis_batch *batch;
	bool up;        /* as the tick last saw Redis */
	bool forbidden; /* by the ACL; asked again with the next connection */
	bool known, tight;
	bool refusing; /* as the tick last saw Redis: a change is looked at */
	int64_t due_ms;
	long long used, max; /* bytes; max 0: no limit */
};

static long long figure(const redisReply *info, const char *name)
{
	const char *at = info->type == REDIS_REPLY_STRING
	                         ? strstr(info->str, name)
	                         : NULL;

	return at != NULL ? atoll(at + strlen(name)) : -1;
}

static void judge(struct room *r)
{
	long long percent = r->max > 0 ? r->used / (r->max / 100 + 1) : 0;

	if (!r->tight && percent >= TIGHT) {
		r->tight = true;
		/* When it is full already, that was said. */
		if (!r->refusing)
			examine_again(r->w, false);
	} else if (r->tight && percent < WIDE) {
		r->tight = false;
		examine_again(r->w, true);
	}
}

static void on_info(void *arg, redisReply **replies, size_t n,
                    const struct halibut_error *err)
{
	struct room *r = arg;

	(void)n;
	r->batch = NULL;
	r->due_ms = hbt_now_ms() + r->w->queue.times.data_loss_check_ms;
	if (err != NULL) {
		r->known = false;
		r->forbidden = strstr(err->message, "NOPERM") != NULL;
		log_debug("redis: memory: %s", err->message);
		return;
	}
	r->used = figure(replies[0], "\nused_memory:");
	r->max = figure(replies[0], "\nmaxmemory:");
	r->known = r->used >= 0 && r->max >= 0;
	if (r->known)
		judge(r);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct room *r = arg;
	struct hbt_redis_state s;
	struct hbt_redis_batch *b;

	(void)fd;
	(void)what;
	hbt_redis_state(r->w->setup->redis, &s);
	if (!s.commands_up) {
		r->up = r->known = false;
		return;
	}
	if (!r->up) {
		r->up = true;
		r->forbidden = false;
		r->due_ms = 0;
	}
	if (r->refusing != (s.refusing_since_ms != 0)) {
		r->refusing = !r->refusing;
		r->due_ms = 0;
	}
	if (r->forbidden || r->batch != NULL || hbt_now_ms() < r->due_ms ||
	    (b = hbt_redis_batch_new(r->w->setup->redis)) == NULL)
		return;
	hbt_redis_batch_add(b, "INFO memory");
	r->batch = b;
	hbt_redis_batch_send(b, 0, on_info, r);
}

int room_start(struct worker *w)
{
	static const struct timeval pause = {.tv_sec = TICK_S};
	struct room *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return HALIBUT_ENOMEM;
	r->w = w;
	w->room = r;
	r->timer = event_new(w->base, -1, EV_PERSIST, on_tick, r);
	if (r->timer == NULL || event_add(r->timer, &pause) != 0)
		return HALIBUT_ENOMEM;
	return HALIBUT_OK;
}

void room_free(struct worker *w)
{
	struct room *r = w->room;

	if (r == NULL)
		return;
	w->room = NULL;
	if (r->timer != NULL)
		event_free(r->timer);
	free(r);
}

void room_describe(const struct worker *w, json_t *o)
{
	const struct room *r = w->room;

	json_object_set_new(o, "memory_bytes",
	                    r->known ? json_integer(r->used) : json_null());
	json_object_set_new(o, "memory_max_bytes",
	                    r->known && r->max > 0 ? json_integer(r->max)
	                                           : json_null());
}
