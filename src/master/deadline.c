/*
 * The end of a stop that takes too long, or is to take no time: processes are
 * killed, but not before those have heard of it who are still reached.
 */
#include "master/master.h"

/* At the end of stop_timeout, for those who asked what nobody has begun. */
#define REFUSAL_MS 1000
/* For the queue worker, when the others were ended: its nodes have to hear what
 * became of the calls that were carried here. */
#define LAST_WORDS_MS 5000

static void again_in(struct hbt_master *m, int64_t ms)
{
	const struct timeval tv = {.tv_sec = ms / 1000,
	                           .tv_usec = ms % 1000 * 1000};

	event_add(m->stop_timer, &tv);
}

void hbt_deadline_end_workers(struct hbt_master *m, const char *why)
{
	if (m->past_deadline ||
	    hbt_workers_left(m->workers, HBT_PEER_QUEUE_WORKER) == 0) {
		hbt_workers_kill_all(m->workers, why);
		return;
	}
	m->past_deadline = true;
	again_in(m, LAST_WORDS_MS);
	hbt_workers_kill_but(m->workers, HBT_PEER_QUEUE_WORKER, why);
}

static bool nobody(void *arg, const struct hbt_queue *q, bool collected)
{
	(void)arg;
	(void)q;
	(void)collected;
	return false;
}

/* Whose connection is cut knows nothing of his requests: those that still wait
 * end as not executed before that. */
static bool refuse_waiting(struct hbt_master *m)
{
	if (m->waiting_refused || hbt_calls_counts(m->calls)->waiting == 0)
		return false;
	m->waiting_refused = true;
	hbt_calls_end_unserved(m->calls, nobody, NULL,
	                       "The gateway is stopping");
	again_in(m, REFUSAL_MS);
	return true;
}

void hbt_deadline_passed(struct hbt_master *m)
{
	if (m->past_deadline)
		hbt_deadline_end_workers(
			m, "it could not tell the other nodes in time");
	else if (!refuse_waiting(m))
		hbt_deadline_end_workers(
			m, "it did not stop within stop_timeout");
}
