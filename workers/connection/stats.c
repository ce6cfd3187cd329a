/* What the master's status shows of this worker: once a second, if new. */
#include "ipc/worker.h"
#include "worker.h"

static void collect(struct worker *w)
{
	struct hbt_worker_stats *s = &w->stats;
	struct hbt_dialler_counts d;

	hbt_dialler_counts(w->dialler, &d);
	s->handshakes_waiting = hbt_conn_handshakes()->waiting;
	s->handshakes_begun = hbt_conn_handshakes()->begun;
	s->handshakes_given_up = hbt_conn_handshakes()->given_up;
	s->pooled = d.pooled;
	s->dialled = d.calls;
	s->calls_in_flight = incoming_busy(w) + outgoing_busy(w);
	s->messages_in = w->env.counts.messages_in;
	s->messages_out = w->env.counts.messages_out;
	s->bytes_in = hbt_conn_totals()->bytes_in;
	s->bytes_out = hbt_conn_totals()->bytes_out;
	s->streams_in = w->env.counts.streams_in;
	s->stream_bytes_in = w->env.counts.stream_bytes_in;
	s->spool_bytes = hbt_spool_bytes();
	s->spool_full = hbt_spool_accounts_full(w->spools, HBT_SPOOL_OF_ALL);
	s->spool_full_per_source =
		hbt_spool_accounts_full(w->spools, HBT_SPOOL_OF_SOURCE);
	s->spool_full_per_thumbprint =
		hbt_spool_accounts_full(w->spools, HBT_SPOOL_OF_THUMBPRINT);
	s->spool_full_per_subscription =
		hbt_spool_accounts_full(w->spools, HBT_SPOOL_OF_SUBSCRIPTION);
}

static void tick(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	(void)fd;
	(void)what;
	incoming_polls_end(w);
	outgoing_tell_phases(w);
	collect(w);
	hbt_worker_second(w->ipc, &w->stats, &w->stats_told);
}

int stats_start(struct worker *w)
{
	const struct timeval second = {1, 0};

	w->stats_timer = event_new(w->base, -1, EV_PERSIST, tick, w);
	if (w->stats_timer == NULL)
		return HALIBUT_ENOMEM;
	evtimer_add(w->stats_timer, &second);
	return HALIBUT_OK;
}
