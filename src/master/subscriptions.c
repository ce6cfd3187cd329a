#include "master/subscriptions_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"

/*
 * Is in link->subscribers, unless it is gone and only waits for its call to
 * end: the worker still says how it ended.
 */
struct hbt_subscriber {
	struct hbt_taker taker;
	struct hbt_subscriptions *subs;
	struct hbt_subscription *subscription;
	struct hbt_holder *holder; /* NULL without memory */
	struct hbt_link *link;
	uint32_t connection; /* the worker's number of it */
	bool busy;           /* has a call */
	bool gone;
	bool leaves;         /* its worker was told that it may */
	UT_hash_handle hh;
};

static void subscriber_free(struct hbt_subscriber *s)
{
	hbt_queue_withdraw(&s->taker);
	s->subscription->leaving -= s->leaves;
	hbt_subscription_leave(s->subs, s->subscription, s->holder);
	free(s);
}

static void set_busy(struct hbt_subscriber *s, bool busy)
{
	if (busy && !s->busy)
		s->subscription->busy++;
	else if (!busy && s->busy)
		s->subscription->busy--;
	s->busy = busy;
}

/* From the calls */

void hbt_subscriber_done(struct hbt_subscriber *s)
{
	set_busy(s, false);
	if (s->gone)
		subscriber_free(s);
}

/* From the queue */

static struct hbt_call *call_of(struct hbt_pending *p)
{
	return (struct hbt_call *)((char *)p -
	                           offsetof(struct hbt_call, pending));
}

static struct hbt_subscriber *self(struct hbt_taker *t)
{
	return (struct hbt_subscriber *)((char *)t -
	                                 offsetof(struct hbt_subscriber,
	                                          taker));
}

static void put_connection(struct hbt_wr *w, const void *target)
{
	hbt_wr_u32(w, *(const uint32_t *)target);
}

static void deliver(struct hbt_taker *t, struct hbt_pending *p)
{
	struct hbt_subscriber *s = self(t);
	struct hbt_call *call = call_of(p);
	struct halibut_error err = {0};
	int rc = hbt_call_carry(call, s->link, HBT_CALL_TO_CONNECTION,
	                        put_connection, &s->connection);

	if (rc == HALIBUT_OK) {
		set_busy(s, true);
		call->subscriber = s;
		call->carried_on = s->connection;
		hbt_subscription_note_wait(s->subscription, call);
		return;
	}
	hbt_error_set(&err, rc,
	              "The gateway is short of memory; the request was not "
	              "sent");
	err.connection_state = HALIBUT_CONNECTION_CONNECTING;
	hbt_pending_fail(p, &err);
	halibut_error_clear(&err);
	hbt_queue_offer(s->subscription->queue, t); /* it can still take one */
}

/* The worker closes the connection, and answers a call that nobody asks for
 * any more. How far it came only the worker knows: it may have been sent. */
static bool cancelled(struct hbt_taker *t, struct hbt_pending *p)
{
	struct hbt_subscriber *s = self(t);
	struct hbt_call *call = call_of(p);

	hbt_ipc_send(s->link->ipc, HBT_IPC_CANCEL, call->carrier_id, NULL, 0,
	             -1);
	hbt_call_drop_carrier(call);
	return true;
}

/* Messages */

/* why NULL: it is allowed. */
static void reply(struct hbt_link *link, uint32_t connection, const char *why)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 256);
	hbt_wr_u8(&w, why == NULL);
	hbt_wr_cstr(&w, why);
	if (hbt_link_send(link, HBT_IPC_SUBSCRIBED, connection, &w, -1) !=
	    HALIBUT_OK)
		log_error("%s: cannot be told about connection %u", link->name,
		          connection);
}

static struct hbt_subscriber *subscriber(struct hbt_link *link, uint32_t id)
{
	struct hbt_subscriber *s;

	HASH_FIND(hh, link->subscribers, &id, sizeof(id), s);
	return s;
}

/* Its worker, which has been replaced, lets it go. */
static void let_go(struct hbt_subscriber *s)
{
	struct hbt_subscription *of = s->subscription;

	s->leaves = true;
	of->leaving++;
	of->let_go_ms = hbt_now_ms();
	hbt_ipc_send(s->link->ipc, HBT_IPC_MAY_LEAVE, s->connection, NULL, 0,
	             -1); /* without memory it goes when its time is over */
}

static void on_leave(struct hbt_subscriber *s)
{
	if (s->leaves)
		return;
	if (hbt_subscription_can_spare(s->subscription))
		let_go(s);
	else
		s->subscription->last = s;
}

/* Another one has come. */
static void relieve(struct hbt_subscription *of)
{
	struct hbt_subscriber *last = of->last;

	of->last = NULL;
	if (last != NULL)
		on_leave(last);
}

static bool add(struct hbt_subscriptions *subs, struct hbt_link *link,
                uint32_t id, struct hbt_subscription *to,
                const char *thumbprint)
{
	struct hbt_subscriber *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return false;
	s->subs = subs;
	s->link = link;
	s->subscription = to;
	s->connection = id;
	s->taker.deliver = deliver;
	s->taker.cancelled = cancelled;
	HASH_ADD(hh, link->subscribers, connection, sizeof(s->connection), s);
	if (s->hh.tbl == NULL) {
		free(s);
		return false;
	}
	s->holder = hbt_subscription_enter(subs, to, thumbprint);
	relieve(to);
	return true;
}

static void refuse(struct hbt_subscriptions *subs, const char *peer,
                   const char *thumbprint, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static void refuse(struct hbt_subscriptions *subs, const char *peer,
                   const char *thumbprint, const char *fmt, ...)
{
	char reason[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	hbt_refused_add(subs->refused, peer, thumbprint, reason);
}

static const char not_a_subscription[] = "its subscription is no poll:// URI";
static const char too_many_of_subscription[] =
	"its subscription has as many connections as it may have";
static const char too_many_of_certificate[] =
	"its certificate has as many connections as it may have";
static const char no_memory[] = "the gateway is short of memory";

/* One line a minute for each reason and source. */
static void log_no_subscription(const struct hbt_link *link, const char *peer,
                                const char *thumbprint, const char *uri)
{
	char key[HBT_LOG_KEY];

	hbt_log_key(key, "no subscription", peer);
	log_limited(key, HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "subscription_refused", .peer = peer,
	                      .thumbprint = thumbprint, .endpoint = uri),
	            "%s: subscription of %s refused: \"%s\" is no poll:// URI",
	            link->name, peer, uri);
}

static void log_too_many(const struct hbt_link *link, const char *peer,
                         const char *thumbprint, const char *uri,
                         uint32_t limit)
{
	char key[HBT_LOG_KEY];

	hbt_log_key(key, "max_connections_per_subscription", peer);
	log_limited(key, HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "subscription_refused", .peer = peer,
	                      .thumbprint = thumbprint, .endpoint = uri,
	                      .remedy = "max_connections_per_subscription"),
	            "%s: a polling client at %s has exceeded the maximum "
	            "number of active connections (%u) for subscription %s; it "
	            "was refused. See max_connections_per_subscription",
	            link->name, peer, limit, uri);
}

/* May this connection subscribe? NULL, and it is counted, or why not. */
static const char *admit(struct hbt_subscriptions *subs, struct hbt_link *link,
                         uint32_t id, const char *uri, const char *thumbprint,
                         const char *peer, uint32_t limit)
{
	struct hbt_queue *q = hbt_switchboard_queue(subs->switchboard, uri);
	struct hbt_subscription *to =
		q != NULL ? hbt_subscription_find_or_make(subs, q) : NULL;
	const char *why = NULL;

	if (to == NULL) {
		log_no_subscription(link, peer, thumbprint, uri);
		refuse(subs, peer, thumbprint,
		       "its subscription \"%s\" is no poll:// URI", uri);
		return not_a_subscription;
	}
	if (limit > 0 && to->connections >= limit) {
		hbt_admission_refused(subs->admission,
		                      HBT_LIMIT_SUBSCRIPTION_CONNECTIONS);
		log_too_many(link, peer, thumbprint, q->key, limit);
		refuse(subs, peer, thumbprint,
		       "%s has as many connections as "
		       "max_connections_per_subscription allows",
		       q->key);
		why = too_many_of_subscription;
	} else if (!add(subs, link, id, to, thumbprint)) {
		why = no_memory;
	}
	if (why != NULL)
		hbt_subscription_forget_if_new(subs, to);
	return why;
}

/* A client, or a polling service: its certificate is known now. */
static const char *identify(struct hbt_subscriptions *subs,
                            struct hbt_link *link, uint32_t ticket,
                            const char *thumbprint, const char *peer)
{
	if (thumbprint == NULL || peer == NULL)
		return no_memory;
	return hbt_admission_identify(subs->admission, link, ticket, thumbprint,
	                              peer)
	               ? NULL
	               : too_many_of_certificate;
}

static int on_identify(struct hbt_subscriptions *subs, struct hbt_link *link,
                       struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	char *thumbprint = hbt_rd_strdup(&r);
	char *peer = hbt_rd_strdup(&r);
	uint32_t ticket = hbt_rd_u32(&r);
	int rc = hbt_rd_finish(&r);

	if (rc == HALIBUT_OK)
		reply(link, msg->id,
		      identify(subs, link, ticket, thumbprint, peer));
	free(thumbprint);
	free(peer);
	return rc;
}

static int on_subscribe(struct hbt_subscriptions *subs, struct hbt_link *link,
                        struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	const struct hbt_limits *l = &subs->cfg->limits;
	uint32_t limit = (uint32_t)
		l->maximum_active_tcp_connections_per_polling_subscription;
	char *uri = hbt_rd_strdup(&r);
	char *thumbprint = hbt_rd_strdup(&r);
	char *peer = hbt_rd_strdup(&r);
	uint32_t ticket = hbt_rd_u32(&r);
	int rc = hbt_rd_finish(&r);
	const char *why;

	if (rc == HALIBUT_OK && subscriber(link, msg->id) != NULL)
		rc = HALIBUT_EPROTO;
	if (rc == HALIBUT_OK) {
		why = identify(subs, link, ticket, thumbprint, peer);
		if (why == NULL)
			why = uri == NULL ? no_memory
			                  : admit(subs, link, msg->id, uri,
			                          thumbprint, peer, limit);
		reply(link, msg->id, why);
	}
	free(uri);
	free(thumbprint);
	free(peer);
	return rc;
}

static void remove_subscriber(struct hbt_subscriber *s)
{
	HASH_DEL(s->link->subscribers, s);
	hbt_queue_withdraw(&s->taker);
	if (s->subscription->last == s)
		s->subscription->last = NULL;
	s->gone = true;
	if (!s->busy)
		subscriber_free(s);
}

int hbt_subscriptions_message(struct hbt_subscriptions *subs,
                              struct hbt_link *link, struct hbt_ipc_msg *msg)
{
	struct hbt_subscriber *s = subscriber(link, msg->id);

	if (msg->type == HBT_IPC_IDENTIFY)
		return on_identify(subs, link, msg);
	if (msg->type == HBT_IPC_SUBSCRIBE)
		return on_subscribe(subs, link, msg);
	if (s == NULL) /* refused, or gone: the messages crossed */
		return HALIBUT_OK;
	switch (msg->type) {
	case HBT_IPC_UNSUBSCRIBE:
		remove_subscriber(s);
		return HALIBUT_OK;
	case HBT_IPC_WITHDRAW:
		hbt_queue_withdraw(&s->taker);
		return HALIBUT_OK;
	case HBT_IPC_OFFER:
		if (s->busy)
			return HALIBUT_EPROTO;
		if (s->taker.queue == NULL)
			hbt_queue_offer(s->subscription->queue, &s->taker);
		return HALIBUT_OK;
	case HBT_IPC_LEAVE:
		on_leave(s);
		return HALIBUT_OK;
	default:
		return HALIBUT_EPROTO;
	}
}

void hbt_subscriptions_link_gone(struct hbt_subscriptions *subs,
                                 struct hbt_link *link)
{
	(void)subs;
	while (link->subscribers != NULL)
		remove_subscriber(link->subscribers);
}
