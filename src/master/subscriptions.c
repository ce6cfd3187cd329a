#include "master/subscriptions.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/log_limit.h"
#include "master/calls_private.h"

/* All connections of one endpoint. */
struct subscription {
	struct hbt_queue *queue; /* one of its users */
	size_t connections, busy;
	UT_hash_handle hh; /* by the address of the queue */
};

struct hbt_subscriptions {
	struct hbt_switchboard *switchboard;
	const struct hbt_config *cfg;
	struct subscription *list;
};

/*
 * Is in link->subscribers, unless it is gone and only waits for its call to
 * end: the worker still says how it ended.
 */
struct hbt_subscriber {
	struct hbt_taker taker;
	struct hbt_subscriptions *subs;
	struct subscription *subscription;
	struct hbt_link *link;
	uint32_t connection; /* the worker's number of it */
	bool busy;           /* has a call */
	bool gone;
	UT_hash_handle hh;
};

static struct subscription *find(const struct hbt_subscriptions *subs,
                                 const struct hbt_queue *q)
{
	struct subscription *s;

	HASH_FIND_PTR(subs->list, &q, s);
	return s;
}

static struct subscription *find_or_make(struct hbt_subscriptions *subs,
                                         struct hbt_queue *q)
{
	struct subscription *s = find(subs, q);

	if (s != NULL || (s = calloc(1, sizeof(*s))) == NULL)
		return s;
	s->queue = q;
	HASH_ADD_PTR(subs->list, queue, s);
	if (s->hh.tbl == NULL) {
		free(s);
		return NULL;
	}
	q->users++;
	return s;
}

static void free_if_unused(struct hbt_subscriptions *subs,
                           struct subscription *s)
{
	if (s->connections > 0)
		return;
	HASH_DEL(subs->list, s);
	s->queue->users--;
	free(s);
}

static void subscriber_free(struct hbt_subscriber *s)
{
	hbt_queue_withdraw(&s->taker);
	s->subscription->connections--;
	free_if_unused(s->subs, s->subscription);
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

static void reply(struct hbt_link *link, uint32_t connection, bool allowed,
                  uint32_t limit)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 8);
	hbt_wr_u8(&w, allowed);
	hbt_wr_u32(&w, limit);
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

static bool add(struct hbt_subscriptions *subs, struct hbt_link *link,
                uint32_t id, struct subscription *to)
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
	to->connections++;
	return true;
}

/* May this connection subscribe? It is counted if so. */
static bool admit(struct hbt_subscriptions *subs, struct hbt_link *link,
                  uint32_t id, const char *uri, const char *peer,
                  uint32_t limit)
{
	struct hbt_queue *q = hbt_switchboard_queue(subs->switchboard, uri);
	struct subscription *to = q != NULL ? find_or_make(subs, q) : NULL;
	bool allowed = false;

	if (to == NULL) {
		log_limited(uri, HBT_LOG_WARNING,
		            LOG_ABOUT(.event = "subscription_refused",
		                      .peer = peer, .endpoint = uri),
		            "%s: subscription of %s refused: \"%s\" is no "
		            "poll:// URI",
		            link->name, peer, uri);
		return false;
	}
	if (limit > 0 && to->connections >= limit)
		log_limited(uri, HBT_LOG_WARNING,
		            LOG_ABOUT(.event = "subscription_refused",
		                      .peer = peer, .endpoint = q->key,
		                      .remedy = "max_connections_per_"
		                                "subscription"),
		            "%s: a polling client at %s has exceeded the "
		            "maximum number of active connections (%u) for "
		            "subscription %s; it was refused. See "
		            "max_connections_per_subscription",
		            link->name, peer, limit, q->key);
	else
		allowed = add(subs, link, id, to);
	if (!allowed)
		free_if_unused(subs, to);
	return allowed;
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
	int rc = hbt_rd_finish(&r);

	if (rc == HALIBUT_OK && subscriber(link, msg->id) != NULL)
		rc = HALIBUT_EPROTO;
	if (rc == HALIBUT_OK)
		reply(link, msg->id,
		      uri != NULL && peer != NULL &&
		              admit(subs, link, msg->id, uri, peer, limit),
		      limit);
	free(uri);
	free(thumbprint);
	free(peer);
	return rc;
}

static void remove_subscriber(struct hbt_subscriber *s)
{
	HASH_DEL(s->link->subscribers, s);
	hbt_queue_withdraw(&s->taker);
	s->gone = true;
	if (!s->busy)
		subscriber_free(s);
}

int hbt_subscriptions_message(struct hbt_subscriptions *subs,
                              struct hbt_link *link, struct hbt_ipc_msg *msg)
{
	struct hbt_subscriber *s = subscriber(link, msg->id);

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

void hbt_subscriptions_count(const struct hbt_subscriptions *subs,
                             const struct hbt_queue *q, size_t *connections,
                             size_t *busy)
{
	const struct subscription *s = find(subs, q);

	*connections = s != NULL ? s->connections : 0;
	*busy = s != NULL ? s->busy : 0;
}

struct hbt_subscriptions *hbt_subscriptions_new(struct hbt_switchboard *sb)
{
	struct hbt_subscriptions *subs = calloc(1, sizeof(*subs));

	if (subs != NULL)
		subs->switchboard = sb;
	return subs;
}

void hbt_subscriptions_free(struct hbt_subscriptions **subs)
{
	free(*subs);
	*subs = NULL;
}

void hbt_subscriptions_configure(struct hbt_subscriptions *subs,
                                 const struct hbt_config *cfg)
{
	subs->cfg = cfg;
}
