#include "master/subscriptions.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "base/unix_time.h"
#include "master/calls_private.h"

/* How long, and how many, are remembered without a connection. */
#define REMEMBER_MS ((int64_t)24 * 3600 * 1000)
#define REMEMBER_MOST 10000
#define TRIM_AT_ONCE 1000

/* A request that finds all connections busy and waits longer than a turn of
 * one would take; as many of them in as long are a hint. */
#define BUSY_WAIT_US 100000
#define BUSY_WAITS 5
#define BUSY_SPAN_MS ((int64_t)10 * 60 * 1000)

/* A certificate with which connections claim an endpoint. */
struct claim {
	struct hbt_holder *holder;
	uint32_t connections;
};

/* All connections of one endpoint. */
struct subscription {
	struct hbt_queue *queue; /* one of its users */
	size_t connections, busy;
	struct claim *claims; /* one nearly always */
	unsigned n_claims;
	uint64_t waited_busy;
	int64_t waited_busy_ms; /* the last one */
	int64_t span_ms;        /* when a span began, in which there were */
	unsigned in_span;
	int64_t left_ms; /* when the last connection went */
	TAILQ_ENTRY(subscription) link; /* while it has none */
	UT_hash_handle hh; /* by the address of the queue */
};

struct hbt_subscriptions {
	struct hbt_switchboard *switchboard;
	struct hbt_refused *refused;
	struct hbt_holders *holders;
	struct hbt_admission *admission;
	const struct hbt_config *cfg;
	struct subscription *list;
	TAILQ_HEAD(, subscription) left; /* the longest first */
	size_t n_left;
};

/*
 * Is in link->subscribers, unless it is gone and only waits for its call to
 * end: the worker still says how it ended.
 */
struct hbt_subscriber {
	struct hbt_taker taker;
	struct hbt_subscriptions *subs;
	struct subscription *subscription;
	struct hbt_holder *holder; /* NULL without memory */
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
	TAILQ_INSERT_TAIL(&subs->left, s, link);
	subs->n_left++;
	return s;
}

static void forget(struct hbt_subscriptions *subs, struct subscription *s)
{
	TAILQ_REMOVE(&subs->left, s, link);
	subs->n_left--;
	HASH_DEL(subs->list, s);
	s->queue->users--;
	free(s->claims);
	free(s);
}

/* One that never had a connection is not worth remembering. */
static void forget_if_new(struct hbt_subscriptions *subs,
                          struct subscription *s)
{
	if (s->connections == 0 && s->left_ms == 0)
		forget(subs, s);
}

static void claim(struct subscription *s, struct hbt_holder *holder)
{
	struct claim *more;

	if (holder == NULL)
		return;
	for (unsigned i = 0; i < s->n_claims; i++) {
		if (s->claims[i].holder == holder) {
			s->claims[i].connections++;
			return;
		}
	}
	more = reallocarray(s->claims, s->n_claims + 1, sizeof(*more));
	if (more == NULL)
		return;
	s->claims = more;
	more[s->n_claims++] = (struct claim){holder, 1};
}

static void unclaim(struct subscription *s, const struct hbt_holder *holder)
{
	for (unsigned i = 0; i < s->n_claims; i++) {
		if (s->claims[i].holder != holder)
			continue;
		if (--s->claims[i].connections == 0)
			s->claims[i] = s->claims[--s->n_claims];
		return;
	}
}

static void enter(struct hbt_subscriber *s, const char *thumbprint)
{
	struct subscription *to = s->subscription;

	if (to->connections++ == 0) {
		TAILQ_REMOVE(&s->subs->left, to, link);
		s->subs->n_left--;
	}
	s->holder = hbt_holders_enter(s->subs->holders, thumbprint);
	claim(to, s->holder);
}

static void leave(struct hbt_subscriber *s)
{
	struct subscription *from = s->subscription;

	unclaim(from, s->holder);
	hbt_holders_leave(s->subs->holders, s->holder);
	if (--from->connections > 0)
		return;
	from->left_ms = hbt_now_ms();
	TAILQ_INSERT_TAIL(&s->subs->left, from, link);
	s->subs->n_left++;
}

static void subscriber_free(struct hbt_subscriber *s)
{
	hbt_queue_withdraw(&s->taker);
	leave(s);
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

/* Would one more connection have taken it sooner? */
static void note_wait(struct subscription *s, const struct hbt_call *call)
{
	int64_t now = hbt_now_ms();

	if (!call->found_busy || hbt_call_waited_us(call) < BUSY_WAIT_US)
		return;
	if (now - s->span_ms > BUSY_SPAN_MS) {
		s->span_ms = now;
		s->in_span = 0;
	}
	s->in_span++;
	s->waited_busy++;
	s->waited_busy_ms = now;
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
		note_wait(s->subscription, call);
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

static bool add(struct hbt_subscriptions *subs, struct hbt_link *link,
                uint32_t id, struct subscription *to, const char *thumbprint)
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
	enter(s, thumbprint);
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

/* May this connection subscribe? NULL, and it is counted, or why not. */
static const char *admit(struct hbt_subscriptions *subs, struct hbt_link *link,
                         uint32_t id, const char *uri, const char *thumbprint,
                         const char *peer, uint32_t limit)
{
	struct hbt_queue *q = hbt_switchboard_queue(subs->switchboard, uri);
	struct subscription *to = q != NULL ? find_or_make(subs, q) : NULL;
	const char *why = NULL;

	if (to == NULL) {
		log_limited(uri, HBT_LOG_WARNING,
		            LOG_ABOUT(.event = "subscription_refused",
		                      .peer = peer, .endpoint = uri),
		            "%s: subscription of %s refused: \"%s\" is no "
		            "poll:// URI",
		            link->name, peer, uri);
		refuse(subs, peer, thumbprint,
		       "its subscription \"%s\" is no poll:// URI", uri);
		return not_a_subscription;
	}
	if (limit > 0 && to->connections >= limit) {
		hbt_admission_refused(subs->admission,
		                      HBT_LIMIT_SUBSCRIPTION_CONNECTIONS);
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
		refuse(subs, peer, thumbprint,
		       "%s has as many connections as "
		       "max_connections_per_subscription allows",
		       q->key);
		why = too_many_of_subscription;
	} else if (!add(subs, link, id, to, thumbprint)) {
		why = no_memory;
	}
	if (why != NULL)
		forget_if_new(subs, to);
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

static void list_claims(const struct subscription *s, char *text, size_t size)
{
	char hex[HBT_SHA1_TEXT];
	size_t len = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < s->n_claims; i++) {
		if (len + HBT_SHA1_TEXT + (len > 0) > size)
			return;
		hbt_sha1_format(s->claims[i].holder->sha1, hex);
		len += (size_t)snprintf(text + len, size - len, "%s%s",
		                        len > 0 ? " " : "", hex);
	}
}

void hbt_subscriptions_facts(const struct hbt_subscriptions *subs,
                             const struct hbt_queue *q,
                             struct hbt_subscription_facts *facts)
{
	const struct subscription *s = find(subs, q);
	int64_t now = hbt_now_ms();

	memset(facts, 0, sizeof(*facts));
	if (s == NULL)
		return;
	facts->connections = s->connections;
	facts->busy = s->busy;
	facts->last_seen_at = s->connections > 0 ? hbt_unix_ms()
	                                         : hbt_unix_ms_of(s->left_ms);
	facts->machines = s->n_claims;
	list_claims(s, facts->thumbprints, sizeof(facts->thumbprints));
	facts->waited_busy = s->waited_busy;
	facts->waited_busy_at = hbt_unix_ms_of(s->waited_busy_ms);
	facts->wants_connections = s->in_span >= BUSY_WAITS &&
	                           now - s->waited_busy_ms < BUSY_SPAN_MS;
}

bool hbt_subscriptions_has(const struct hbt_subscriptions *subs,
                           const struct hbt_queue *q)
{
	const struct subscription *s = find(subs, q);

	return s != NULL && s->connections > 0;
}

void hbt_subscriptions_trim(struct hbt_subscriptions *subs)
{
	int64_t since = hbt_now_ms() - REMEMBER_MS;
	struct subscription *s;

	for (int i = 0; i < TRIM_AT_ONCE &&
	                (s = TAILQ_FIRST(&subs->left)) != NULL &&
	                (s->left_ms < since || subs->n_left > REMEMBER_MOST);
	     i++)
		forget(subs, s);
}

struct hbt_subscriptions *hbt_subscriptions_new(struct hbt_switchboard *sb,
                                                struct hbt_admission *adm,
                                                struct hbt_refused *refused,
                                                struct hbt_holders *holders)
{
	struct hbt_subscriptions *subs = calloc(1, sizeof(*subs));

	if (subs == NULL)
		return NULL;
	subs->switchboard = sb;
	subs->admission = adm;
	subs->refused = refused;
	subs->holders = holders;
	TAILQ_INIT(&subs->left);
	return subs;
}

void hbt_subscriptions_free(struct hbt_subscriptions **at)
{
	struct hbt_subscriptions *subs = *at;

	*at = NULL;
	if (subs == NULL)
		return;
	while (!TAILQ_EMPTY(&subs->left))
		forget(subs, TAILQ_FIRST(&subs->left));
	free(subs);
}

void hbt_subscriptions_configure(struct hbt_subscriptions *subs,
                                 const struct hbt_config *cfg)
{
	subs->cfg = cfg;
}
