/*
 * Leaving, for good or for a while, without a loss. The order of things:
 *
 *   not ready     the status says so; for stop_delay all goes on as ever
 *   no new ones   listening ends; clients end where they would ask for more,
 *                 and so do the servers that we poll
 *   no more of    the nodes' common queue: what was taken out of it already
 *   others        comes to the polling services, which are still here, and to
 *                 the endpoints that are hosted here
 *   polling ends  when nothing more can come: idle polling services end one
 *                 after the other, over drain_spread; what still waits for one
 *                 is answered as soon as nobody is left who could take it
 *   the end       of the connection and queue workers, then of the services
 */
#include <stdio.h>
#include "base/log.h"
#include "base/timespan.h"
#include "master/audit.h"
#include "master/config_units.h"
#include "master/master.h"
#include "master/systemd.h"

#define TICK_MS 100
/* For what is left to do after the last call. */
#define LAST_STEPS_MS 10000
/* How often systemd hears that a stop without deadline goes on. */
#define EXTEND_MS 5000

static struct timeval span(int64_t ms)
{
	const struct timeval tv = {.tv_sec = ms / 1000,
	                           .tv_usec = (ms % 1000) * 1000};

	return tv;
}

/* Workers that were told to bring no new requests, and no more than that. */
static bool is_first_stage(const struct hbt_worker *w)
{
	return w->link.kind == HBT_PEER_CONNECTION_WORKER &&
	       w->state == WORKER_STOPPING && w->told == HBT_STOP_REQUESTS;
}

/* Can a request still come from one of those? */
static bool may_requests_come(const struct hbt_master *m)
{
	const struct hbt_worker *w;

	for (size_t i = 0; (w = hbt_workers_at(m->workers, i)) != NULL; i++)
		if (is_first_stage(w) && w->drained < HBT_DRAINED_REQUESTS)
			return true;
	return false;
}

static bool is_any_in_first_stage(const struct hbt_master *m)
{
	const struct hbt_worker *w;

	for (size_t i = 0; (w = hbt_workers_at(m->workers, i)) != NULL; i++)
		if (is_first_stage(w))
			return true;
	return false;
}

/* Half of the time for those who ask, half for those who are asked. */
static bool is_first_stage_over(const struct hbt_master *m)
{
	if (!may_requests_come(m))
		return true;
	return m->state == MASTER_DRAINING && m->has_deadline &&
	       hbt_now_ms() - m->stage_ms > m->cfg->stop_timeout_ms / 2;
}

static bool is_serving(const struct hbt_master *m)
{
	return m->state <= MASTER_RETREATING || m->state == MASTER_LEAVING;
}

static bool is_most_of_the_time_over(const struct hbt_master *m)
{
	return m->state == MASTER_DRAINING && m->has_deadline &&
	       hbt_now_ms() - m->stage_ms > m->cfg->stop_timeout_ms / 4 * 3;
}

/* Queue workers that were replaced bring what they had taken out of Redis. */
static bool do_old_ones_bring(const struct hbt_master *m)
{
	const struct hbt_worker *w;

	for (size_t i = 0; (w = hbt_workers_at(m->workers, i)) != NULL; i++)
		if (w->link.kind == HBT_PEER_QUEUE_WORKER &&
		    w->state == WORKER_STOPPING &&
		    w->told == HBT_STOP_HANDOVER &&
		    w->drained < HBT_DRAINED_REQUESTS)
			return true;
	return false;
}

/* Requests of other nodes: those that this one took out of Redis already are
 * for its own services. */
static bool has_settled(const struct hbt_master *m)
{
	return m->share == NULL || is_serving(m) ||
	       hbt_share_settle(m->share, do_old_ones_bring(m)) ||
	       is_most_of_the_time_over(m);
}

static void end_polling(struct hbt_master *m)
{
	enum hbt_stop how = is_serving(m) ? HBT_STOP_HANDOVER : HBT_STOP_ALL;
	struct hbt_worker *w;

	for (size_t i = 0; (w = hbt_workers_at(m->workers, i)) != NULL; i++)
		if (is_first_stage(w))
			hbt_worker_stop_on(w, how, m->cfg->drain_spread_ms);
}

/* Nobody serves on any more, or somebody does again: those that were on their
 * way out go on otherwise. */
static void turn(struct hbt_master *m, enum hbt_peer_kind kind,
                 enum hbt_stop from, enum hbt_stop to)
{
	struct hbt_worker *w;

	for (size_t i = 0; (w = hbt_workers_at(m->workers, i)) != NULL; i++)
		if (w->link.kind == kind && w->told == from)
			hbt_worker_stop_on(w, to, m->cfg->drain_spread_ms);
}

/* From now on a request is refused, wherever it comes from. */
static void stop_queues(struct hbt_master *m)
{
	m->queues_stopped = true;
	if (m->share != NULL)
		hbt_share_stop(m->share);
	turn(m, HBT_PEER_QUEUE_WORKER, HBT_STOP_HANDOVER, HBT_STOP_ALL);
	hbt_calls_stop(m->calls);
	hbt_workers_stop(m->workers, HBT_PEER_QUEUE_WORKER, HBT_STOP_ALL, 0);
}

static void advance(struct hbt_master *m)
{
	/* Who asked over the control socket keeps no worker here. */
	if (m->state == MASTER_DRAINING &&
	    !hbt_hosted_is_at_work(m->hosted) &&
	    hbt_workers_left(m->workers, HBT_PEER_CONNECTION_WORKER) == 0 &&
	    hbt_workers_left(m->workers, HBT_PEER_QUEUE_WORKER) == 0) {
		m->state = MASTER_CLOSING;
		hbt_workers_stop(m->workers, HBT_PEER_SERVICE_WORKER,
		                 HBT_STOP_ALL, 0);
	}
	if (m->state == MASTER_CLOSING &&
	    hbt_workers_left(m->workers, HBT_PEER_SERVICE_WORKER) == 0) {
		/* To the last it tells how far the others are. */
		m->state = MASTER_STOPPED;
		hbt_workers_stop(m->workers, HBT_PEER_STATUS_WORKER,
		                 HBT_STOP_ALL, 0);
	}
	if (m->state == MASTER_STOPPED &&
	    hbt_workers_left(m->workers, HBT_PEER_STATUS_WORKER) == 0)
		event_base_loopexit(m->base, NULL);
}

static bool has_taker(void *arg, const struct hbt_queue *q, bool collected)
{
	struct hbt_master *m = arg;

	if (hbt_subscriptions_has(m->subscriptions, q) ||
	    hbt_hosted_has(m->hosted, q))
		return true;
	/* Those in Redis are for all nodes, as long as we talk to it; those that
	 * we took out of it are ours. */
	return !collected && !m->queues_stopped &&
	       hbt_share_has(m->share, q->key);
}

/* What waits for a service that left, or for one that never was. */
static void answer_unserved(struct hbt_master *m)
{
	if (m->state == MASTER_DRAINED)
		hbt_calls_end_unserved(m->calls, has_taker, m,
		                       "The gateway is drained");
	else if (m->queues_stopped)
		hbt_calls_end_unserved(m->calls, has_taker, m,
		                       "The gateway is stopping");
}

static void extend(struct hbt_master *m)
{
	char fields[96];

	if (m->state <= MASTER_DRAINED || m->has_deadline ||
	    hbt_now_ms() - m->extended_ms < EXTEND_MS)
		return;
	m->extended_ms = hbt_now_ms();
	snprintf(fields, sizeof(fields), "EXTEND_TIMEOUT_USEC=%d000",
	         LAST_STEPS_MS + 2 * EXTEND_MS);
	hbt_systemd_notify(fields);
}

/* All that there was to wait for has left, or there never was any. */
static bool is_drained_without_any(const struct hbt_master *m)
{
	return m->state == MASTER_DRAINED &&
	       hbt_workers_renewed(m->workers, HBT_PEER_CONNECTION_WORKER);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_master *m = arg;

	(void)fd;
	(void)what;
	extend(m);
	if (is_any_in_first_stage(m)) {
		if (!is_first_stage_over(m) || !has_settled(m))
			return;
		end_polling(m);
		if (m->state == MASTER_DRAINING)
			stop_queues(m);
	} else if (m->state == MASTER_DRAINING && !m->queues_stopped) {
		stop_queues(m); /* there was no worker to wait for */
	} else if (is_drained_without_any(m)) {
		(void)has_settled(m);
	} else if (m->state <= MASTER_RETREATING) {
		event_del(m->drain_timer);
	}
	answer_unserved(m);
	advance(m);
}

static int start_ticking(struct hbt_master *m)
{
	const struct timeval tv = span(TICK_MS);

	return event_pending(m->drain_timer, EV_TIMEOUT, NULL)
	               ? HALIBUT_OK
	               : event_add(m->drain_timer, &tv);
}

/* Stopping */

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	hbt_deadline_passed(arg);
}

static void begin_draining(struct hbt_master *m)
{
	const struct timeval tv = span(m->cfg->stop_timeout_ms);

	m->state = MASTER_DRAINING;
	m->stage_ms = hbt_now_ms();
	if (m->has_deadline)
		event_add(m->stop_timer, &tv);
	hbt_listeners_finish(m->listeners);
	hbt_listeners_free(&m->listeners);
	turn(m, HBT_PEER_CONNECTION_WORKER, HBT_STOP_HANDOVER,
	     HBT_STOP_REQUESTS);
	hbt_workers_stop(m->workers, HBT_PEER_CONNECTION_WORKER,
	                 HBT_STOP_REQUESTS, 0);
	on_tick(-1, 0, m);
}

static int withdraw(struct hbt_master *m, const char *who);
static void give_drain_up(struct hbt_master *m);

static void on_delay_over(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_master *m = arg;

	(void)fd;
	(void)what;
	if (m->state == MASTER_LEAVING)
		begin_draining(m);
	else if (m->state == MASTER_RETREATING &&
	         withdraw(m, "stop_delay is over") != HALIBUT_OK)
		give_drain_up(m);
}

static void stop_at_once(struct hbt_master *m, const char *why)
{
	hbt_audit(LOG_ABOUT(.event = "stop", .peer = why),
	          "%s: the gateway stops at once", why);
	log_event(HBT_LOG_WARNING,
	          LOG_ABOUT(.event = "stopping_at_once", .reason = why),
	          "stopping at once: %s", why);
	if (m->state <= MASTER_LEAVING) {
		m->state = MASTER_DRAINING;
		hbt_listeners_free(&m->listeners);
	}
	if (!m->queues_stopped)
		stop_queues(m);
	hbt_deadline_end_workers(m, "told to stop at once");
	advance(m);
}

/* systemd waits as long as we do, and some time for the last steps. */
static void tell_stopping(const struct hbt_master *m)
{
	int64_t ms = m->cfg->stop_delay_ms + m->cfg->stop_timeout_ms;
	char fields[128];

	if (!m->has_deadline)
		ms = 2 * EXTEND_MS;
	snprintf(fields, sizeof(fields),
	         "STOPPING=1\nSTATUS=finishing calls\n"
	         "EXTEND_TIMEOUT_USEC=%lld",
	         (long long)(ms + LAST_STEPS_MS) * 1000);
	hbt_systemd_notify(fields);
}

/* It goes on without a deadline, however it began. */
static void lift_deadline(struct hbt_master *m, const char *why)
{
	if (!m->has_deadline || m->past_deadline)
		return;
	m->has_deadline = false;
	event_del(m->stop_timer);
	log_info("%s: the stop has no deadline any more", why);
	extend(m);
}

void hbt_master_stop(struct hbt_master *m, const char *why,
                     enum hbt_master_haste haste)
{
	const struct timeval delay = span(m->cfg->stop_delay_ms);
	bool was_serving = m->state <= MASTER_RETREATING;
	bool is_delayed = m->state == MASTER_RETREATING;

	if (haste == STOP_PATIENTLY && m->state >= MASTER_LEAVING) {
		lift_deadline(m, why);
		return;
	}
	if (haste == STOP_AT_ONCE || m->state >= MASTER_LEAVING) {
		stop_at_once(m, why);
		return;
	}
	hbt_audit(LOG_ABOUT(.event = "stop", .peer = why),
	          "%s: the gateway stops", why);
	log_event(HBT_LOG_INFO, LOG_ABOUT(.event = "stopping", .reason = why),
	          "stopping: %s", why);
	m->has_deadline = haste != STOP_PATIENTLY;
	tell_stopping(m);
	m->state = MASTER_LEAVING;
	if (start_ticking(m) != 0)
		stop_at_once(m, "out of memory");
	else if (!was_serving || m->cfg->stop_delay_ms == 0)
		begin_draining(m);
	else if (!is_delayed) /* else balancers know already */
		event_add(m->delay_timer, &delay);
}

/* For a while */

/* Takes no connections any more. */
static int withdraw(struct hbt_master *m, const char *who)
{
	int rc = start_ticking(m) == 0
	                 ? hbt_workers_renew(m->workers,
	                                     HBT_PEER_CONNECTION_WORKER,
	                                     hbt_master_count_workers(m->cfg))
	                 : HALIBUT_ENOMEM;

	if (rc != HALIBUT_OK)
		return rc;
	log_event(HBT_LOG_INFO, LOG_ABOUT(.event = "drained", .reason = who),
	          "%s: taking no connections any more, finishing what there is",
	          who);
	m->state = MASTER_DRAINED;
	turn(m, HBT_PEER_CONNECTION_WORKER, HBT_STOP_HANDOVER,
	     HBT_STOP_REQUESTS);
	hbt_listeners_refuse(m->listeners);
	hbt_systemd_notify("STATUS=drained, see halibutctl undrain");
	return HALIBUT_OK;
}

/* It was possible when the order came. */
static void give_drain_up(struct hbt_master *m)
{
	log_event(HBT_LOG_ERROR, LOG_ABOUT(.event = "drain_given_up"),
	          "not drained, serving on: no new workers can be started "
	          "beside those that have to finish");
	m->state = MASTER_RUNNING;
	hbt_systemd_notify("STATUS=serving");
}

/* For stop_delay all goes on as ever, as when it stops. */
static void begin_retreat(struct hbt_master *m, const char *who)
{
	const struct timeval delay = span(m->cfg->stop_delay_ms);
	char text[32];

	hbt_format_duration(m->cfg->stop_delay_ms, text);
	log_event(HBT_LOG_INFO,
	          LOG_ABOUT(.event = "drain_begins", .reason = who),
	          "%s: not ready any more, drained in %s", who, text);
	m->state = MASTER_RETREATING;
	event_add(m->delay_timer, &delay);
	hbt_systemd_notify("STATUS=about to be drained");
}

int hbt_master_drain(struct hbt_master *m, const char *who,
                     struct halibut_error *err)
{
	bool at_once = m->cfg->stop_delay_ms == 0;
	int rc = HALIBUT_OK;

	if (m->state > MASTER_DRAINED)
		return hbt_error_set(err, HALIBUT_ESHUTDOWN,
		                     "the gateway is stopping");
	if (m->state != MASTER_RUNNING)
		return HALIBUT_OK;
	if (at_once)
		rc = withdraw(m, who);
	else if (hbt_workers_room(m->workers) <
	         hbt_master_count_workers(m->cfg))
		rc = HALIBUT_ELIMIT;
	if (rc != HALIBUT_OK)
		return hbt_error_set(err, rc,
		                     "no new workers can be started beside "
		                     "those that have to finish: %s",
		                     halibut_strerror(rc));
	hbt_audit(LOG_ABOUT(.event = "drain", .peer = who),
	          "%s: the gateway is drained", who);
	if (!at_once)
		begin_retreat(m, who);
	return HALIBUT_OK;
}

int hbt_master_undrain(struct hbt_master *m, const char *who,
                       struct halibut_error *err)
{
	int rc = HALIBUT_OK;

	if (m->state > MASTER_DRAINED)
		return hbt_error_set(err, HALIBUT_ESHUTDOWN,
		                     "the gateway is stopping");
	if (m->state == MASTER_RUNNING)
		return HALIBUT_OK;
	event_del(m->delay_timer);
	if (m->state == MASTER_DRAINED &&
	    (rc = hbt_listeners_welcome(m->listeners, err)) != HALIBUT_OK)
		return rc;
	hbt_audit(LOG_ABOUT(.event = "undrain", .peer = who),
	          "%s: the gateway serves again", who);
	log_event(HBT_LOG_INFO, LOG_ABOUT(.event = "undrained", .reason = who),
	          "%s: serving again", who);
	m->state = MASTER_RUNNING;
	turn(m, HBT_PEER_CONNECTION_WORKER, HBT_STOP_ALL, HBT_STOP_HANDOVER);
	if (m->share != NULL)
		hbt_share_resume(m->share);
	hbt_provision_lists(m);
	hbt_dispatch_review(m);
	hbt_systemd_notify("STATUS=serving");
	return HALIBUT_OK;
}

/* Workers of older generations */

void hbt_drain_worker_ready(struct hbt_master *m, const struct hbt_worker *w)
{
	enum hbt_peer_kind kind = w->link.kind;
	bool stays = m->state == MASTER_DRAINED &&
	             kind == HBT_PEER_CONNECTION_WORKER;

	if (m->state > MASTER_LEAVING || !hbt_workers_renewed(m->workers, kind))
		return;
	hbt_workers_retire(m->workers, w,
	                   stays ? HBT_STOP_REQUESTS : HBT_STOP_HANDOVER,
	                   m->cfg->drain_spread_ms);
	start_ticking(m);
}

void hbt_drain_queue_worker_serves(struct hbt_master *m,
                                   const struct hbt_worker *w)
{
	hbt_workers_retire(m->workers, w, HBT_STOP_HANDOVER, 0);
}

int hbt_drain_worker_drained(struct hbt_master *m, struct hbt_worker *w)
{
	bool connects = w->link.kind == HBT_PEER_CONNECTION_WORKER;

	if (w->state != WORKER_STOPPING ||
	    (!connects && w->link.kind != HBT_PEER_QUEUE_WORKER))
		return HALIBUT_EPROTO;
	/* Else a call crossed the message; the worker says so again. */
	if (connects && w->drained == HBT_DRAINED_ALL &&
	    w->link.carried == NULL)
		hbt_worker_stop_on(w, HBT_STOP_NOW, 0);
	if (m->state == MASTER_DRAINING || m->state == MASTER_DRAINED)
		on_tick(-1, 0, m);
	return HALIBUT_OK;
}

void hbt_drain_worker_gone(struct hbt_master *m)
{
	advance(m);
}

int hbt_drain_init(struct hbt_master *m)
{
	m->stop_timer = evtimer_new(m->base, on_deadline, m);
	m->delay_timer = evtimer_new(m->base, on_delay_over, m);
	m->drain_timer = event_new(m->base, -1, EV_PERSIST, on_tick, m);
	return m->stop_timer != NULL && m->delay_timer != NULL &&
	                       m->drain_timer != NULL
	               ? HALIBUT_OK
	               : HALIBUT_ENOMEM;
}
