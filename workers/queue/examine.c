/*
 * Is this Redis server fit for the queue? Asked whenever there is another
 * connection to it, which may lead to another server, and, while something is
 * wrong, now and then, so that it does not look wrong when it was mended. What
 * is found is logged when it is news, and part of the status.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/timespan.h"
#include "redis/doctor.h"
#include "worker.h"

#define EXAMINATION_MS 15000
#define TICK_S 1
#define AGAIN_MS (5 * 60 * 1000) /* 27 commands, or a few more */

struct examiner {
	struct worker *w;
	struct event *timer;
	bool up, running;
	bool refusing; /* as the tick last saw Redis */
	int64_t ended_ms;
	uint64_t reconnects; /* at the last examination */
	json_t *findings; /* of the last one */
	json_t *now;      /* of the one that is running */
};

static bool is_known(const json_t *list, const json_t *finding)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
		if (json_equal(o, finding))
			return true;
	return false;
}

static void log_finding(const struct hbt_finding *f)
{
	const char *mend = f->remedy != NULL ? "; to mend it: " : "";
	const char *remedy = f->remedy != NULL ? f->remedy : "";

	log_event(f->level == HBT_FINDING_ERROR ? HBT_LOG_ERROR
	                                        : HBT_LOG_WARNING,
	          LOG_ABOUT(.event = "redis_unfit", .reason = f->what,
	                    .remedy = f->remedy),
	          "redis: %s%s%s", f->what, mend, remedy);
}

static void on_finding(void *arg, const struct hbt_finding *f)
{
	struct examiner *x = arg;
	json_t *o;

	if (f->level == HBT_FINDING_OK)
		return;
	o = json_object();
	json_object_set_new(o, "level",
	                    json_string(f->level == HBT_FINDING_ERROR
	                                        ? "error"
	                                        : "hint"));
	json_object_set_new(o, "what", json_string(f->what));
	json_object_set_new(o, "remedy",
	                    f->remedy != NULL ? json_string(f->remedy)
	                                      : json_null());
	if (!is_known(x->findings, o))
		log_finding(f);
	json_array_append_new(x->now, o);
}

static void on_done(void *arg, bool usable)
{
	struct examiner *x = arg;

	x->running = false;
	x->ended_ms = hbt_now_ms();
	if (usable && json_array_size(x->now) == 0 &&
	    json_array_size(x->findings) > 0)
		log_event(HBT_LOG_INFO, LOG_ABOUT(.event = "redis_fit"),
		          "redis: nothing is wrong with the server any more");
	json_decref(x->findings);
	x->findings = x->now;
	x->now = NULL;
}

static bool is_due(struct examiner *x, const struct hbt_redis_state *s)
{
	bool wrong = json_array_size(x->findings) > 0;
	bool has_room = x->refusing && s->refusing_since_ms == 0;

	x->refusing = s->refusing_since_ms != 0;
	return !x->up || x->reconnects != s->reconnects ||
	       (wrong &&
	        (has_room || hbt_now_ms() - x->ended_ms >= AGAIN_MS));
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct examiner *x = arg;
	struct hbt_redis_state s;

	(void)fd;
	(void)what;
	hbt_redis_state(x->w->setup->redis, &s);
	if (!s.commands_up || x->running || !is_due(x, &s))
		return;
	if ((x->now = json_array()) == NULL)
		return;
	x->up = true;
	x->reconnects = s.reconnects;
	x->running = true;
	hbt_redis_examine(x->w->setup->redis, x->w->queue.key_prefix,
	                  EXAMINATION_MS, on_finding, on_done, x);
}

int examine_start(struct worker *w)
{
	static const struct timeval pause = {.tv_sec = TICK_S};
	struct examiner *x = calloc(1, sizeof(*x));

	if (x == NULL)
		return HALIBUT_ENOMEM;
	x->w = w;
	w->examiner = x;
	x->findings = json_array();
	x->timer = event_new(w->base, -1, EV_PERSIST, on_tick, x);
	if (x->findings == NULL || x->timer == NULL ||
	    event_add(x->timer, &pause) != 0)
		return HALIBUT_ENOMEM;
	return HALIBUT_OK;
}

void examine_free(struct worker *w)
{
	struct examiner *x = w->examiner;

	if (x == NULL)
		return;
	w->examiner = NULL;
	json_decref(x->findings);
	json_decref(x->now);
	if (x->timer != NULL)
		event_free(x->timer);
	free(x);
}

void examine_again(struct worker *w, bool if_wrong)
{
	struct examiner *x = w->examiner;

	if (!if_wrong || json_array_size(x->findings) > 0)
		x->up = false;
}

json_t *examine_findings(const struct worker *w)
{
	return json_deep_copy(w->examiner->findings);
}
