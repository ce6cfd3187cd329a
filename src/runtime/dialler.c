#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "runtime/dialler.h"
#include "runtime/pool.h"

/*
 * One call to a listening service, over as many attempts as it may have.
 * runtime-behaviour 3.2
 */
struct outcall {
	struct hbt_dialler *d;
	struct hbt_endpoint endpoint;
	struct hbt_taker taker;
	struct hbt_pending *p; /* NULL once answered, failed or cancelled */
	struct hbt_exchange *ex; /* of the present attempt */
	struct event *timer;     /* the next attempt */
	int attempts;
	int64_t started_ms;
	bool from_pool;   /* the present attempt is on a used connection */
	bool identified;  /* some attempt got past identification */
	LIST_ENTRY(outcall) link;
};

struct hbt_dialler {
	struct hbt_exchange_env *env;
	struct evdns_base *dns;
	struct hbt_tls *tls;
	struct hbt_pool *pool;
	LIST_HEAD(, outcall) calls;
	size_t n_calls;
	uint64_t dialled, reused, retries;
};

static void attempt(struct outcall *oc);

static void outcall_free(struct outcall *oc)
{
	LIST_REMOVE(oc, link);
	oc->d->n_calls--;
	hbt_exchange_free(&oc->ex);
	if (oc->timer != NULL)
		event_free(oc->timer);
	hbt_endpoint_fini(&oc->endpoint);
	free(oc);
}

/* The one text that tells a caller where and how far it went: 3.3. */
static void fail(struct outcall *oc, const struct halibut_error *cause,
                 bool began)
{
	struct hbt_pending *p = oc->p;
	struct halibut_error err = {0};

	hbt_error_copy(&err, cause);
	if (err.status == HALIBUT_OK)
		hbt_error_set(&err, HALIBUT_ECLOSED,
		              "the service closed the connection");
	hbt_error_prefix(&err,
	                 "An error occurred when sending a request to '%s', "
	                 "%s: ",
	                 oc->endpoint.url,
	                 began ? "after the request began"
	                       : "before the request could begin");
	err.connection_state = oc->identified || began
	                               ? HALIBUT_CONNECTION_UNKNOWN
	                               : HALIBUT_CONNECTION_CONNECTING;
	oc->p = NULL;
	outcall_free(oc);
	hbt_pending_fail(p, &err);
	halibut_error_clear(&err);
}

static bool worth_another_try(const struct outcall *oc, int status)
{
	if (status == HALIBUT_ERESOLVE || status == HALIBUT_ECERTIFICATE ||
	    status == HALIBUT_ETLS || status == HALIBUT_EINVAL)
		return false;
	return oc->attempts < oc->endpoint.retry_count &&
	       hbt_now_ms() - oc->started_ms < oc->endpoint.retry_timeout_ms;
}

static void timer_fired(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	attempt(arg);
}

/* The first failure of many is news, and that it works again. */
static void tell_failure(const struct outcall *oc,
                         const struct halibut_error *err)
{
	const char *reason = err->message != NULL ? err->message : "closed";
	enum hbt_log_level level =
		hbt_outage_began(oc->endpoint.key, hbt_now_ms())
			? HBT_LOG_WARNING
			: HBT_LOG_DEBUG;

	log_event(level,
	          LOG_ABOUT(.event = "dialling_failed",
	                    .endpoint = oc->endpoint.url, .reason = reason),
	          "%s cannot be called: %s", oc->endpoint.url, reason);
}

static void tell_success(const struct outcall *oc)
{
	struct hbt_outage was;

	if (hbt_outage_over(oc->endpoint.key, &was))
		log_event(HBT_LOG_INFO,
		          LOG_ABOUT(.event = "dialling_works",
		                    .endpoint = oc->endpoint.url),
		          "%s can be called again, after %.1f s and %u "
		          "failures",
		          oc->endpoint.url,
		          (double)(hbt_now_ms() - was.since_ms) / 1000,
		          was.failures);
}

static void try_later(struct outcall *oc)
{
	int64_t ms = oc->endpoint.retry_sleep_ms;
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};

	log_debug("%s: attempt %d of %d failed, the next follows in %lld ms",
	          oc->endpoint.url, oc->attempts, oc->endpoint.retry_count,
	          (long long)ms);
	oc->d->retries++;
	/* Pooled connections that die one by one would use the tries up. */
	if (oc->attempts == 2)
		hbt_pool_clear(oc->d->pool, &oc->endpoint);
	evtimer_add(oc->timer, &tv);
}

static void closed(void *arg, const struct halibut_error *err)
{
	struct outcall *oc = arg;
	struct hbt_source *streams;

	if (oc->p == NULL) { /* answered: its streams broke off */
		log_warning("%s: %s", oc->endpoint.url,
		            err->message ? err->message : "closed");
		outcall_free(oc);
		return;
	}
	if (hbt_exchange_unsend(oc->ex, &streams))
		oc->p->streams = streams;
	if (hbt_exchange_request_began(oc->ex)) {
		fail(oc, err, true);
		return;
	}
	hbt_exchange_free(&oc->ex);
	if (!oc->identified && !oc->from_pool)
		tell_failure(oc, err);
	if (worth_another_try(oc, err->status))
		try_later(oc);
	else
		fail(oc, err, false);
}

static void send_request(struct outcall *oc)
{
	struct hbt_source *streams = oc->p->streams;

	oc->p->streams = NULL;
	hbt_exchange_send(oc->ex, oc->p->msg, streams);
}

static void identified(void *arg, const char *subscription)
{
	struct outcall *oc = arg;

	(void)subscription;
	oc->identified = true;
	tell_success(oc);
}

static void ready(void *arg)
{
	send_request(arg);
}

static void message(void *arg, struct hbt_message *m, struct hbt_sink **sink)
{
	struct outcall *oc = arg;
	struct hbt_pending *p = oc->p;

	oc->p = NULL;
	p->answerer = hbt_exchange_conn(oc->ex);
	hbt_pending_answer(p, m, NULL, sink);
}

static void message_end(void *arg)
{
	struct outcall *oc = arg;
	struct hbt_exchange *ex = oc->ex;

	oc->ex = NULL;
	hbt_pool_put(oc->d->pool, &oc->endpoint, ex);
	outcall_free(oc);
}

static void sent(void *arg)
{
	(void)arg;
}

static const struct hbt_exchange_ops exchange_ops = {
	.identified = identified,
	.ready = ready,
	.message = message,
	.message_end = message_end,
	.sent = sent,
	.closed = closed,
};

static void attempt(struct outcall *oc)
{
	struct hbt_dial dial = hbt_endpoint_dial(&oc->endpoint);
	struct halibut_error err = {0};

	if (oc->attempts >= oc->endpoint.retry_count ||
	    oc->endpoint.retry_timeout_ms <= 0) {
		hbt_error_set(&err, HALIBUT_ENO_RESPONSE,
		              "No response was received from the endpoint "
		              "within the allowed time.");
		fail(oc, &err, false);
		halibut_error_clear(&err);
		return;
	}
	oc->attempts++;
	oc->ex = hbt_pool_take(oc->d->pool, &oc->endpoint);
	oc->from_pool = oc->ex != NULL;
	if (oc->from_pool) {
		oc->d->reused++;
		hbt_exchange_set_owner(oc->ex, &exchange_ops, oc);
		send_request(oc);
		return;
	}
	oc->d->dialled++;
	if (hbt_exchange_dial(&oc->ex, oc->d->env, oc->d->dns,
	                      oc->endpoint.tls != NULL ? oc->endpoint.tls
	                                               : oc->d->tls,
	                      &dial, NULL, &exchange_ops, oc) != 0) {
		hbt_error_set(&err, HALIBUT_ENOMEM, "out of memory");
		fail(oc, &err, false);
		halibut_error_clear(&err);
	}
}

static struct outcall *of_taker(struct hbt_taker *t)
{
	return (struct outcall *)((char *)t - offsetof(struct outcall, taker));
}

static bool cancelled(struct hbt_taker *t, struct hbt_pending *p)
{
	struct outcall *oc = of_taker(t);
	bool began = oc->ex != NULL && hbt_exchange_request_began(oc->ex);

	assert(oc->p == p);
	oc->p = NULL;
	outcall_free(oc);
	return began;
}

enum hbt_exchange_phase hbt_dialler_phase(const struct hbt_pending *p)
{
	const struct outcall *oc = of_taker(p->taker);

	return oc->ex != NULL ? hbt_exchange_phase(oc->ex)
	                      : HBT_EXCHANGE_BEFORE;
}

int hbt_dialler_call(struct hbt_dialler *d, const struct hbt_endpoint *e,
                     struct hbt_pending *p)
{
	struct outcall *oc = calloc(1, sizeof(*oc));

	if (oc == NULL)
		return HALIBUT_ENOMEM;
	oc->timer = evtimer_new(d->env->base, timer_fired, oc);
	if (oc->timer == NULL ||
	    hbt_endpoint_copy(&oc->endpoint, e) != 0) {
		if (oc->timer != NULL)
			event_free(oc->timer);
		free(oc);
		return HALIBUT_ENOMEM;
	}
	oc->d = d;
	oc->p = p;
	oc->started_ms = hbt_now_ms();
	oc->taker.cancelled = cancelled;
	LIST_INSERT_HEAD(&d->calls, oc, link);
	d->n_calls++;
	hbt_pending_assign(p, &oc->taker);
	event_active(oc->timer, EV_TIMEOUT, 0); /* nothing before we return */
	return 0;
}

struct hbt_dialler *hbt_dialler_new(struct hbt_exchange_env *env,
                                    struct evdns_base *dns,
                                    struct hbt_tls *tls)
{
	struct hbt_dialler *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->env = env;
	d->dns = dns;
	d->tls = tls;
	LIST_INIT(&d->calls);
	if ((d->pool = hbt_pool_new(env->base, env->limits)) == NULL) {
		free(d);
		return NULL;
	}
	return d;
}

static void shut_down(struct outcall *oc)
{
	struct halibut_error err = {0};

	if (oc->p == NULL) {
		outcall_free(oc);
		return;
	}
	hbt_error_set(&err, HALIBUT_ENO_RESPONSE,
	              "No response was received from the endpoint within the "
	              "allowed time: this side shut down");
	fail(oc, &err, oc->ex != NULL && hbt_exchange_request_began(oc->ex));
	halibut_error_clear(&err);
}

void hbt_dialler_free(struct hbt_dialler **dp)
{
	struct hbt_dialler *d = *dp;

	if (d == NULL)
		return;
	*dp = NULL;
	while (!LIST_EMPTY(&d->calls))
		shut_down(LIST_FIRST(&d->calls));
	hbt_pool_free(&d->pool);
	free(d);
}

void hbt_dialler_set_tls(struct hbt_dialler *d, struct hbt_tls *tls)
{
	d->tls = tls;
	hbt_pool_clear(d->pool, NULL);
}

static bool same_endpoint(const struct hbt_endpoint *a,
                          const struct hbt_endpoint *b)
{
	const char *ta = a->thumbprint ? a->thumbprint : "";
	const char *tb = b->thumbprint ? b->thumbprint : "";

	return strcmp(a->key, b->key) == 0 && strcmp(ta, tb) == 0 &&
	       a->tls == b->tls;
}

void hbt_dialler_disconnect(struct hbt_dialler *d, const struct hbt_endpoint *e)
{
	struct outcall *oc;

	hbt_pool_clear(d->pool, e);
	LIST_FOREACH (oc, &d->calls, link)
		if (oc->ex != NULL && same_endpoint(&oc->endpoint, e))
			hbt_exchange_abort(oc->ex);
}

void hbt_dialler_counts(const struct hbt_dialler *d,
                        struct hbt_dialler_counts *out)
{
	out->pooled = hbt_pool_count(d->pool);
	out->calls = d->n_calls;
	out->dialled = d->dialled;
	out->reused = d->reused;
	out->retries = d->retries;
}
