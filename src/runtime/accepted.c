#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "base/uri.h"
#include "runtime/accepted.h"

/* The request goes, and what became of it is told to its origin. */

static struct hbt_accepted *of_taker(struct hbt_taker *t)
{
	return (struct hbt_accepted *)((char *)t -
	                               offsetof(struct hbt_accepted, taker));
}

static void deliver(struct hbt_taker *t, struct hbt_pending *p)
{
	struct hbt_accepted *a = of_taker(t);
	struct hbt_source *streams = p->streams;

	assert(a->carrying == NULL);
	a->is_ready = false;
	a->carrying = p;
	p->streams = NULL;
	hbt_exchange_send(a->ex, p->msg, streams);
}

static bool cancelled(struct hbt_taker *t, struct hbt_pending *p)
{
	struct hbt_accepted *a = of_taker(t);

	assert(a->carrying == p);
	a->carrying = NULL;
	hbt_exchange_abort(a->ex);
	return hbt_exchange_request_began(a->ex);
}

/*
 * The connection broke. A request of which nothing was sent goes back to the
 * queue; any other fails, and is never put back: runtime-behaviour 3.6.
 */
static void drop_carried(struct hbt_accepted *a, const struct halibut_error *err)
{
	struct hbt_pending *p = a->carrying;
	struct halibut_error why = {0};
	struct hbt_source *streams;

	if (p == NULL)
		return;
	a->carrying = NULL;
	if (hbt_exchange_unsend(a->ex, &streams)) {
		p->streams = streams;
		hbt_pending_put_back(p);
		return;
	}
	if (err != NULL && err->status != HALIBUT_OK)
		hbt_error_copy(&why, err);
	else
		hbt_error_set(&why, HALIBUT_ECLOSED,
		              "the polling service at %s closed the connection",
		              hbt_conn_peer_address(hbt_exchange_conn(a->ex)));
	hbt_pending_fail(p, &why);
	halibut_error_clear(&why);
}

static bool authorise(void *arg, const char *thumbprint)
{
	struct hbt_accepted *a = arg;

	snprintf(a->thumbprint, sizeof(a->thumbprint), "%s", thumbprint);
	a->authorised = a->ops->authorise(a->arg, a, thumbprint);
	return a->authorised;
}

static void identified(void *arg, const char *subscription)
{
	struct hbt_accepted *a = arg;
	const char *peer = hbt_conn_peer_address(hbt_exchange_conn(a->ex));
	char key[160];

	log_event(HBT_LOG_DEBUG,
	          LOG_ABOUT(.event = "authenticated", .peer = peer,
	                    .thumbprint = a->thumbprint),
	          "Client at %s authenticated as %s, a %s", peer,
	          a->thumbprint,
	          subscription != NULL ? "polling service" : "client");
	if (subscription == NULL) {
		hbt_inlet_init(&a->inlet, a->inlet_ops, a->inlet_arg, a->ex);
		a->ops->client(a->arg, a);
		return;
	}
	if ((a->key = hbt_uri_key(subscription, true)) == NULL) {
		hbt_accepted_admit(a, "memory is short");
		return;
	}
	snprintf(key, sizeof(key), "subscribed %s %s", a->thumbprint, a->key);
	log_limited(key, HBT_LOG_INFO,
	            LOG_ABOUT(.event = "subscribed", .peer = peer,
	                      .thumbprint = a->thumbprint, .endpoint = a->key),
	            "%s polls for %s (%s)", peer, a->key, a->thumbprint);
	a->ops->subscriber(a->arg, a, a->key);
}

void hbt_accepted_admit(struct hbt_accepted *a, const char *why_not)
{
	a->refused = why_not != NULL;
	hbt_exchange_admit(a->ex, why_not);
}

static void ready(void *arg)
{
	struct hbt_accepted *a = arg;

	a->is_ready = true;
	a->ready_ms = hbt_now_ms();
	a->ops->ready(a->arg, a);
}

static void message(void *arg, struct hbt_message *m, struct hbt_sink **sink)
{
	struct hbt_accepted *a = arg;
	struct hbt_pending *p = a->carrying;

	if (hbt_exchange_role(a->ex) == HBT_ROLE_SERVE_CLIENT) {
		hbt_inlet_message(&a->inlet, m, sink);
		return;
	}
	a->carrying = NULL;
	if (p != NULL && strcmp(p->msg->env.id, m->env.id) == 0) {
		p->answerer = hbt_exchange_conn(a->ex);
		hbt_pending_answer(p, m, NULL, sink);
		return;
	}
	/* A response to nothing is dropped (5.4); but a caller who waits on
	 * this connection will not get another one. */
	if (m->env.n_streams > 0)
		*sink = hbt_discard_sink();
	if (p != NULL) {
		struct halibut_error err = {0};

		hbt_error_set(&err, HALIBUT_EPROTO,
		              "the polling service at %s answered with id '%s' "
		              "to the request with id '%s'",
		              hbt_conn_peer_address(hbt_exchange_conn(a->ex)),
		              m->env.id, p->msg->env.id);
		hbt_pending_fail(p, &err);
		halibut_error_clear(&err);
	}
	hbt_message_unref(&m);
}

static void message_end(void *arg)
{
	struct hbt_accepted *a = arg;

	if (hbt_exchange_role(a->ex) == HBT_ROLE_SERVE_CLIENT)
		hbt_inlet_message_end(&a->inlet);
}

static void sent(void *arg)
{
	struct hbt_accepted *a = arg;

	if (hbt_exchange_role(a->ex) == HBT_ROLE_SERVE_CLIENT)
		hbt_inlet_sent(&a->inlet);
}

static void let_go(struct hbt_accepted *a, const struct halibut_error *err)
{
	a->ending = true; /* gone() below may want to drop it as well */
	hbt_queue_withdraw(&a->taker);
	drop_carried(a, err);
	if (a->inlet.ops != NULL)
		hbt_inlet_fini(&a->inlet);
}

/* One that comes and goes again and again is a line a minute. */
static void log_lost(const struct hbt_accepted *a, const char *peer,
                     const struct halibut_error *err)
{
	char key[160];

	snprintf(key, sizeof(key), "lost %d %s %s", err->status, a->thumbprint,
	         a->key != NULL ? a->key : "");
	log_limited(key, HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "connection_lost", .peer = peer,
	                      .thumbprint = a->thumbprint, .endpoint = a->key,
	                      .reason = err->message),
	            "%s (%s%s%s) ended: %s", peer, a->thumbprint,
	            a->key ? ", " : "", a->key ? a->key : "", err->message);
}

static void log_end(struct hbt_accepted *a, const struct halibut_error *err)
{
	const char *peer = hbt_conn_peer_address(hbt_exchange_conn(a->ex));

	if (err->status == HALIBUT_OK) {
		log_debug("%s closed", peer);
	} else if (a->refused) {
		log_debug("%s closed: %s", peer, err->message);
	} else if (!a->authorised) {
		log_debug("%s refused: %s", peer, err->message);
		a->ops->refused(a->arg, peer,
		                a->thumbprint[0] ? a->thumbprint : NULL,
		                err->message);
	} else {
		log_lost(a, peer, err);
	}
}

static void closed(void *arg, const struct halibut_error *err)
{
	struct hbt_accepted *a = arg;

	log_end(a, err);
	let_go(a, err);
	a->ops->closed(a->arg, a);
	/* Flushes what is on its way, e.g. the friendly page. */
	hbt_exchange_finish(&a->ex);
	free(a->key);
	free(a);
}

static const struct hbt_exchange_ops exchange_ops = {
	.authorise = authorise,
	.identified = identified,
	.ready = ready,
	.message = message,
	.message_end = message_end,
	.sent = sent,
	.closed = closed,
};

int hbt_accepted_new(struct hbt_accepted **out, struct hbt_exchange_env *env,
                     struct hbt_tls *tls, int fd,
                     const struct hbt_accepted_ops *ops,
                     const struct hbt_inlet_ops *inlet_ops, void *arg)
{
	struct hbt_accepted *a;
	int rc;

	*out = NULL;
	if ((a = calloc(1, sizeof(*a))) == NULL) {
		evutil_closesocket(fd);
		return HALIBUT_ENOMEM;
	}
	a->ops = ops;
	a->arg = arg;
	a->inlet_ops = inlet_ops;
	a->inlet_arg = arg;
	a->taker.deliver = deliver;
	a->taker.cancelled = cancelled;
	rc = hbt_exchange_accept(&a->ex, env, tls, fd, &exchange_ops, a);
	if (rc != 0) {
		free(a);
		return rc;
	}
	*out = a;
	return 0;
}

void hbt_accepted_free(struct hbt_accepted **ap)
{
	struct hbt_accepted *a = *ap;

	if (a == NULL)
		return;
	*ap = NULL;
	let_go(a, NULL);
	hbt_exchange_free(&a->ex);
	free(a->key);
	free(a);
}

void hbt_accepted_retire(struct hbt_accepted *a)
{
	a->retired = true;
	hbt_exchange_retire(a->ex);
}

void hbt_accepted_finish(struct hbt_accepted *a)
{
	if (a->ending)
		return;
	let_go(a, NULL);
	a->ops->closed(a->arg, a);
	hbt_exchange_finish(&a->ex);
	free(a->key);
	free(a);
}

void hbt_accepted_drop(struct hbt_accepted *a, const struct halibut_error *err)
{
	const char *peer;

	if (a->ending)
		return;
	peer = hbt_conn_peer_address(hbt_exchange_conn(a->ex));
	log_event(HBT_LOG_INFO,
	          LOG_ABOUT(.event = "connection_closed", .peer = peer,
	                    .thumbprint = a->thumbprint, .endpoint = a->key,
	                    .reason = err->message),
	          "%s (%s%s%s) closed: %s", peer, a->thumbprint,
	          a->key ? ", " : "", a->key ? a->key : "", err->message);
	hbt_exchange_explain(a->ex, err->message);
	let_go(a, err);
	a->ops->closed(a->arg, a);
	hbt_exchange_free(&a->ex);
	free(a->key);
	free(a);
}

/* Moves those that are not in trust from one list to the other. */
static void pick_untrusted(struct hbt_accepted_list *from,
                           struct hbt_accepted_list *to,
                           const struct hbt_trust_set *trust)
{
	struct hbt_accepted *a, *next;

	for (a = LIST_FIRST(from); a != NULL; a = next) {
		next = LIST_NEXT(a, link);
		if (!a->authorised || a->ending ||
		    hbt_trust_set_has(trust, a->thumbprint))
			continue;
		LIST_REMOVE(a, link);
		LIST_INSERT_HEAD(to, a, link);
	}
}

void hbt_accepted_drop_untrusted(struct hbt_accepted_list *list,
                                 const struct hbt_trust_set *trust)
{
	struct hbt_accepted_list untrusted = LIST_HEAD_INITIALIZER(untrusted);
	struct halibut_error err = {0};
	struct hbt_accepted *a;

	hbt_error_set(&err, HALIBUT_EUNTRUSTED,
	              "its certificate is not trusted any more");
	pick_untrusted(list, &untrusted, trust);
	/* From the start each time: gone() may have dropped others. */
	while ((a = LIST_FIRST(&untrusted)) != NULL) {
		if (!a->ending) {
			hbt_accepted_drop(a, &err);
			continue;
		}
		/* Since it was picked; its owner finds it where it was. */
		LIST_REMOVE(a, link);
		LIST_INSERT_HEAD(list, a, link);
	}
	halibut_error_clear(&err);
}
