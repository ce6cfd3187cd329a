#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "runtime/poller.h"

struct hbt_poller {
	struct hbt_exchange_env *env;
	struct evdns_base *dns;
	struct hbt_tls *tls;
	struct hbt_endpoint endpoint;
	char *subscription;
	char *name; /* "polling URL as SUBSCRIPTION" */
	struct hbt_inlet inlet;
	const struct hbt_inlet_ops *ops;
	void *arg;
	struct hbt_exchange *ex; /* NULL while it waits for its next attempt */
	struct event *timer;
	int64_t series_ms; /* start of the present series of attempts, or 0 */
	double multiplier; /* random, once a poller: spreads a fleet */
	bool retiring;
};

int64_t hbt_poller_delay_ms(int64_t elapsed_ms, double multiplier,
                            int64_t min_ms, int64_t max_ms)
{
	double ms = (double)elapsed_ms * (1.0 + multiplier);

	if (ms < (double)min_ms)
		return min_ms;
	return ms > (double)max_ms ? max_ms : (int64_t)ms;
}

/* The first failure of many is news, and that it works again. */
static void tell_failure(const struct hbt_poller *p,
                         const struct halibut_error *why, int64_t ms)
{
	const char *reason = why != NULL && why->message != NULL
	                             ? why->message
	                             : "the server closed the connection";
	enum hbt_log_level level = hbt_outage_began(p->name, hbt_now_ms())
	                                   ? HBT_LOG_WARNING
	                                   : HBT_LOG_DEBUG;

	size_t len = strlen(reason);

	if (len > 0 && reason[len - 1] == '.')
		len--;
	log_event(level,
	          LOG_ABOUT(.event = "polling_failed",
	                    .endpoint = p->endpoint.url, .reason = reason),
	          "%s: %.*s. Retrying in %.1f seconds", p->name, (int)len,
	          reason, (double)ms / 1000);
}

static void tell_success(const struct hbt_poller *p)
{
	const struct hbt_log_about about = {.event = "polling",
	                                    .endpoint = p->endpoint.url};
	struct hbt_outage was;

	if (hbt_outage_over(p->name, &was))
		log_event(HBT_LOG_INFO, &about,
		          "%s again, after %.1f s and %u failures", p->name,
		          (double)(hbt_now_ms() - was.since_ms) / 1000,
		          was.failures);
	else
		log_event(HBT_LOG_INFO, &about, "%s", p->name);
}

static void dial_later(struct hbt_poller *p, const struct halibut_error *why)
{
	const struct hbt_limits *l = p->env->limits;
	int64_t elapsed = p->series_ms ? hbt_now_ms() - p->series_ms : 0;
	int64_t ms = hbt_poller_delay_ms(elapsed, p->multiplier,
	                                 l->polling_reconnect_min_ms,
	                                 l->polling_reconnect_max_ms);
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};

	tell_failure(p, why, ms);
	evtimer_add(p->timer, &tv);
}

static void closed(void *arg, const struct halibut_error *err)
{
	struct hbt_poller *p = arg;
	struct hbt_exchange *ex = p->ex;

	p->ex = NULL;
	if (!p->retiring)
		dial_later(p, err);
	hbt_exchange_finish(&ex);
	hbt_inlet_fini(&p->inlet); /* gone() may free p */
}

static void identified(void *arg, const char *subscription)
{
	struct hbt_poller *p = arg;

	(void)subscription;
	p->series_ms = 0; /* a success ends the series: 3.5 */
	tell_success(p);
}

static void message(void *arg, struct hbt_message *m, struct hbt_sink **sink)
{
	struct hbt_poller *p = arg;

	hbt_inlet_message(&p->inlet, m, sink);
}

static void message_end(void *arg)
{
	struct hbt_poller *p = arg;

	hbt_inlet_message_end(&p->inlet);
}

static void sent(void *arg)
{
	struct hbt_poller *p = arg;

	hbt_inlet_sent(&p->inlet);
}

static const struct hbt_exchange_ops exchange_ops = {
	.identified = identified,
	.message = message,
	.message_end = message_end,
	.sent = sent,
	.closed = closed,
};

static void dial(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_poller *p = arg;
	struct hbt_dial d = hbt_endpoint_dial(&p->endpoint);

	(void)fd;
	(void)what;
	if (p->series_ms == 0)
		p->series_ms = hbt_now_ms();
	if (hbt_exchange_dial(&p->ex, p->env, p->dns,
	                      p->endpoint.tls != NULL ? p->endpoint.tls : p->tls,
	                      &d,
	                      p->subscription, &exchange_ops, p) != 0) {
		dial_later(p, NULL);
		return;
	}
	hbt_inlet_init(&p->inlet, p->ops, p->arg, p->ex);
}

static double random_multiplier(void)
{
	uint32_t r = 0;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		r = (uint32_t)hbt_now_us();
	return (double)r / 4294967296.0;
}

int hbt_poller_new(struct hbt_poller **out, struct hbt_exchange_env *env,
                   struct evdns_base *dns, struct hbt_tls *tls,
                   const struct hbt_endpoint *e, const char *subscription,
                   const struct hbt_inlet_ops *ops, void *arg)
{
	struct hbt_poller *p = calloc(1, sizeof(*p));

	*out = NULL;
	if (p == NULL)
		return HALIBUT_ENOMEM;
	p->env = env;
	p->dns = dns;
	p->tls = tls;
	p->ops = ops;
	p->arg = arg;
	p->multiplier = random_multiplier();
	p->subscription = strdup(subscription);
	if (asprintf(&p->name, "polling %s as %s", e->url, subscription) < 0)
		p->name = NULL;
	p->timer = evtimer_new(env->base, dial, p);
	if (p->subscription == NULL || p->name == NULL || p->timer == NULL ||
	    hbt_endpoint_copy(&p->endpoint, e) != 0) {
		hbt_poller_free(&p);
		return HALIBUT_ENOMEM;
	}
	event_active(p->timer, EV_TIMEOUT, 0);
	*out = p;
	return 0;
}

void hbt_poller_free(struct hbt_poller **pp)
{
	struct hbt_poller *p = *pp;

	if (p == NULL)
		return;
	*pp = NULL;
	if (p->timer != NULL)
		event_free(p->timer);
	if (p->ex != NULL)
		hbt_inlet_fini(&p->inlet);
	hbt_exchange_finish(&p->ex);
	hbt_endpoint_fini(&p->endpoint);
	free(p->subscription);
	free(p->name);
	free(p);
}

bool hbt_poller_is_busy(const struct hbt_poller *p)
{
	return p->ex != NULL && hbt_exchange_is_busy(p->ex);
}

void hbt_poller_retire(struct hbt_poller *p)
{
	p->retiring = true;
	event_del(p->timer);
	if (p->ex != NULL)
		hbt_exchange_retire(p->ex);
}

bool hbt_poller_is_over(const struct hbt_poller *p)
{
	return p->retiring && p->ex == NULL;
}

bool hbt_poller_may_bring(const struct hbt_poller *p)
{
	return p->ex != NULL && p->inlet.state == INLET_IDLE;
}

const char *hbt_poller_state_text(const struct hbt_poller *p)
{
	return p->ex == NULL ? "sleeps before it dials again"
	                     : hbt_exchange_state_text(p->ex);
}
