/* A CALL comes in: what it asks for, whether there is room, where it goes. */
#include "master/calls_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/guid.h"
#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "base/uri.h"
#include "master/route.h"
#include "master/share.h"
#include "master/subscriptions.h"

static void put_endpoint(struct hbt_wr *w, const void *target)
{
	hbt_endpoint_fields_put(w, target);
}

static void put_uri(struct hbt_wr *w, const void *target)
{
	hbt_wr_cstr(w, target);
}

static const char *nobody_carries(enum hbt_call_how how)
{
	switch (how) {
	case HBT_CALL_DIAL:
		return "No connection worker of the gateway runs at the "
		       "moment; the request was not sent";
	case HBT_CALL_SERVE:
		return "The service worker of the gateway does not run at the "
		       "moment; the request was not executed";
	default:
		return "The queue worker of the gateway, which talks to Redis, "
		       "does not run at the moment; the request was not sent";
	}
}

/* To a worker that dials, to one that hosts, or to the one with Redis. */
static void carry_directly(struct hbt_call *call, struct hbt_link *to,
                           enum hbt_call_how how, hbt_call_put_target put,
                           const void *target)
{
	int rc;

	if (to == NULL) {
		hbt_call_fail_with(call, HALIBUT_EWORKER,
		                   HALIBUT_CONNECTION_CONNECTING,
		                   nobody_carries(how));
		return;
	}
	if (hbt_link_congested(to)) {
		hbt_call_fail_with(
			call, HALIBUT_ELIMIT, HALIBUT_CONNECTION_CONNECTING,
			"The worker of the gateway that should carry the "
			"request is too busy; the request was not sent");
		return;
	}
	rc = hbt_call_carry(call, to, how, put, target);
	if (rc != HALIBUT_OK) {
		hbt_call_fail_with(
			call, rc, HALIBUT_CONNECTION_CONNECTING,
			"The gateway is short of memory; the request was not "
			"sent");
		return;
	}
	hbt_message_shed(call->pending.msg); /* it will not come back */
}

void hbt_call_enqueue_taken(struct hbt_pending *p, struct hbt_link *worker)
{
	struct hbt_call *call = (struct hbt_call *)((char *)p -
	                               offsetof(struct hbt_call, pending));
	struct halibut_error err = {0};
	int rc = hbt_call_carry(call, worker, HBT_CALL_ENQUEUE, put_uri,
	                        p->queue->key);

	if (rc == HALIBUT_OK)
		return;
	hbt_error_set(&err, rc,
	              "The queue worker of the gateway does not take the "
	              "request: %s; it was not sent",
	              halibut_strerror(rc));
	err.connection_state = HALIBUT_CONNECTION_CONNECTING;
	hbt_pending_fail(p, &err);
	halibut_error_clear(&err);
}

/* What a CALL to the master says besides its message. */
struct ask {
	char *destination, *thumbprint, *address, *expected;
	uint8_t origin;
	bool tell; /* HBT_CALL_ROUTE_AND_TELL */
	/* Of HBT_CALL_TO_ENDPOINT instead. */
	bool collected;
	uint32_t endpoint;
	int64_t remaining_ms;
};

/* What keeps one more from waiting in q, and how many there are already. */
static enum hbt_limit limit_of(const struct hbt_call *call,
                               const struct hbt_queue_counts *n, size_t *there)
{
	const struct hbt_calls_counts *all = &call->calls->counts;
	const struct hbt_config *cfg = call->calls->cfg;
	enum hbt_limit limit;

	*there = n->waiting;
	if (n->waiting >= (size_t)cfg->max_waiting_requests_per_endpoint)
		return HBT_LIMIT_ENDPOINT_REQUESTS;
	if (n->waiting_bytes + call->bytes >
	    cfg->max_waiting_bytes_per_endpoint)
		return HBT_LIMIT_ENDPOINT_BYTES;
	*there = all->waiting;
	if (all->waiting >= (size_t)cfg->max_waiting_requests)
		return HBT_LIMIT_REQUESTS;
	if (all->waiting_bytes + call->bytes > cfg->max_waiting_bytes)
		return HBT_LIMIT_BYTES;
	limit = hbt_asker_limit(call->calls->env.admission, &call->from_whom,
	                        call->bytes);
	if (limit == HBT_LIMIT_SOURCE_REQUESTS ||
	    limit == HBT_LIMIT_SOURCE_BYTES)
		*there = call->from_whom.source->waiting;
	else if (limit != HBT_LIMIT_NONE)
		*there = call->from_whom.thumbprint->waiting;
	return limit;
}

static const char *whose(enum hbt_limit limit)
{
	switch (limit) {
	case HBT_LIMIT_REQUESTS:
	case HBT_LIMIT_BYTES:
		return "of all endpoints";
	case HBT_LIMIT_SOURCE_REQUESTS:
	case HBT_LIMIT_SOURCE_BYTES:
		return "of your address";
	case HBT_LIMIT_THUMBPRINT_REQUESTS:
	case HBT_LIMIT_THUMBPRINT_BYTES:
		return "of your certificate";
	default:
		return "for this endpoint";
	}
}

/* One line a minute for each limit and source. */
static void log_full(const struct hbt_call *call, const char *endpoint,
                     enum hbt_limit limit)
{
	const char *name = hbt_limit_name(limit);
	const char *from = call->from != NULL ? call->from : "";
	char key[HBT_LOG_KEY];

	hbt_log_key(key, name, from);
	log_limited(key, HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "request_refused", .peer = from,
	                      .thumbprint = call->from_thumbprint,
	                      .endpoint = endpoint,
	                      .reason = name, .remedy = name),
	            "request of %s to %s refused: as many requests wait %s "
	            "as %s allows",
	            from, endpoint, whose(limit), name);
}

/* May one more wait? Else err names the limit. */
static int check_room(struct hbt_call *call, struct hbt_queue *q,
                      struct halibut_error *err)
{
	struct hbt_queue_counts n;
	enum hbt_limit limit;
	size_t there;

	q->ops->counts(q, &n);
	if (n.takers > 0)
		return HALIBUT_OK;
	limit = limit_of(call, &n, &there);
	if (limit == HBT_LIMIT_NONE)
		return HALIBUT_OK;
	hbt_admission_refused(call->calls->env.admission, limit);
	log_full(call, q->key, limit);
	hbt_error_set(err, HALIBUT_ELIMIT,
	              "The gateway cannot keep one more request for %s: %zu "
	              "already wait %s, which is as many as its setting %s "
	              "allows; the request was not sent",
	              q->key, there, whose(limit), hbt_limit_name(limit));
	err->connection_state = HALIBUT_CONNECTION_CONNECTING;
	return HALIBUT_ELIMIT;
}

/* Into q, where it may wait for a taker. The call may end inside. */
static void push(struct hbt_call *call, struct hbt_queue *q, int64_t timeout_ms)
{
	call->pending.queue_timeout_ms = timeout_ms;
	call->by_queue = true;
	call->found_busy =
		hbt_subscriptions_has(call->calls->env.subscriptions, q);
	hbt_call_set_state(call, CALL_WAITING);
	hbt_queue_push(q, &call->pending);
}

static void queue(struct hbt_call *call, const char *uri)
{
	struct hbt_queue *q =
		hbt_switchboard_queue(call->calls->env.switchboard, uri);
	int64_t timeout_ms = call->pending.msg->env.queue_timeout_ms;
	struct halibut_error err = {0};

	if (q == NULL) {
		hbt_call_fail_with(call, HALIBUT_ENOMEM,
		                   HALIBUT_CONNECTION_CONNECTING,
		                   "The gateway could not make a queue for the "
		                   "endpoint; the request was not sent");
		return;
	}
	hbt_asker_init(&call->from_whom, call->calls->env.admission, call->from,
	               call->from_thumbprint);
	if (check_room(call, q, &err) != HALIBUT_OK) {
		hbt_call_fail(call, &err);
		halibut_error_clear(&err);
		return;
	}
	if (timeout_ms < 0)
		timeout_ms = call->calls->cfg->limits
		                     .polling_request_queue_timeout_ms;
	push(call, q, timeout_ms);
}

static void ask_fini(struct ask *a)
{
	free(a->destination);
	free(a->thumbprint);
	free(a->address);
	free(a->expected);
}

static void log_unroutable(const struct hbt_call *call,
                           const struct halibut_error *err)
{
	const struct hbt_envelope *env = &call->pending.msg->env;
	const char *colon = call->from != NULL ? strrchr(call->from, ':') : NULL;
	char key[512], activity[HBT_GUID_TEXT] = "";

	if (env->has_activity_id)
		hbt_guid_format(&env->activity_id, activity);
	snprintf(key, sizeof(key), "unroutable %s %.*s",
	         call->destination != NULL ? call->destination : "",
	         colon != NULL ? (int)(colon - call->from) : 0,
	         colon != NULL ? call->from : "");
	log_limited(key, HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "unroutable", .peer = call->from,
	                      .thumbprint = call->from_thumbprint,
	                      .endpoint = call->destination,
	                      .activity = activity[0] ? activity : NULL,
	                      .reason = err->message),
	            "%s", err->message);
}

/* No route names the host, and a service of that name is hosted here: right for
 * a client that knows us by that name, and wrong if a route was forgotten. */
static void log_by_default(const struct hbt_call *call)
{
	const char *url = call->destination;
	char key[512];

	snprintf(key, sizeof(key), "hosted_by_default %s", url);
	log_limited(key, HBT_LOG_INFO,
	            LOG_ABOUT(.event = "hosted_by_default", .peer = call->from,
	                      .thumbprint = call->from_thumbprint,
	                      .endpoint = url,
	                      .remedy = "a route to \"hosted\", or to where it "
	                                "should lead"),
	            "%s asked for a service at %s, which no route names: it is "
	            "run here. If that is right, a route to \"hosted\" says so; "
	            "if not, add the route that is missing",
	            call->from != NULL ? call->from : "somebody", url);
}

/* What the connection worker that asked wants to hear, before the call can
 * end: whose queue, if it goes to one. */
static void tell_routed(const struct hbt_call *call,
                        const struct hbt_decision *d)
{
	char *key = d->kind == HBT_ROUTE_QUEUE ? hbt_uri_key(d->uri, true)
	                                       : NULL;
	struct hbt_wr w;

	hbt_wr_init(&w, 8192);
	hbt_wr_cstr(&w, key);
	free(key);
	/* Without it the DataStreams flow on, through the pipe alone. */
	if (hbt_link_send(call->asker, HBT_IPC_ROUTED, call->asker_id, &w,
	                  -1) != HALIBUT_OK)
		log_error("%s: does not hear where a call goes: out of memory",
		          call->asker->name);
}

static void route(struct hbt_call *call, const struct ask *a)
{
	const struct hbt_envelope *env = &call->pending.msg->env;
	const struct hbt_route_query q = {
		.origin = (enum hbt_call_origin)a->origin,
		.destination = call->destination,
		.service = env->service,
		.method = env->method,
		.expected_thumbprint = a->expected,
		.asker = a->address != NULL ? a->address : call->from,
	};
	struct hbt_calls *calls = call->calls;
	const struct hbt_calls_env *to = &calls->env;
	struct halibut_error err = {0};
	struct hbt_decision d;

	if (hbt_route_decide(calls->cfg, &q, &d, &err) != HALIBUT_OK) {
		log_unroutable(call, &err);
		hbt_call_fail(call, &err);
		halibut_error_clear(&err);
		return;
	}
	if (d.by_default)
		log_by_default(call);
	if (a->tell)
		tell_routed(call, &d);
	if (d.kind == HBT_ROUTE_DIAL)
		carry_directly(call, to->dialler(to->arg, d.endpoint.url),
		               HBT_CALL_DIAL, put_endpoint, &d.endpoint);
	else if (d.kind == HBT_ROUTE_HOSTED)
		carry_directly(call, to->host(to->arg), HBT_CALL_SERVE, NULL,
		               NULL);
	else if (hbt_share_has(to->share, d.uri) &&
	         hbt_share_link(to->share) != NULL)
		carry_directly(call, hbt_share_link(to->share),
		               HBT_CALL_ENQUEUE, put_uri, d.uri);
	else
		queue(call, d.uri);
	hbt_decision_fini(&d);
}

/* From the queue that the nodes share, to a taker of this one. q NULL: the
 * endpoint is not known here any more. */
static void pass_collected(struct hbt_call *call, struct hbt_queue *q,
                           int64_t timeout_ms)
{
	if (q == NULL)
		hbt_call_return(call);
	else
		push(call, q, timeout_ms);
}

static bool may_come_from(enum hbt_peer_kind kind, uint8_t origin)
{
	if (kind == HBT_PEER_CONTROL)
		return origin == HBT_ORIGIN_CONTROL;
	return kind == HBT_PEER_CONNECTION_WORKER &&
	       (origin == HBT_ORIGIN_CLIENT || origin == HBT_ORIGIN_POLLED);
}

/* The texts move into the call. */
static void note_asker(struct hbt_call *call, struct ask *a)
{
	call->from_thumbprint = a->thumbprint;
	call->destination = a->destination;
	a->thumbprint = a->destination = NULL;
	if (call->asker->kind == HBT_PEER_CONNECTION_WORKER) {
		hbt_holders_seen(call->calls->env.holders,
		                 call->from_thumbprint);
		call->from = a->address;
		a->address = NULL;
	} else {
		call->from = strdup(call->asker->name);
	}
}

/* Everything is there: makes the call and routes it. Takes m over. */
static void start(struct hbt_calls *calls, struct hbt_link *link,
                  struct hbt_ipc_msg *msg, struct hbt_message *m,
                  struct ask *a)
{
	struct hbt_call *call = hbt_call_new(calls, link, msg->id);
	struct hbt_queue *shared = NULL;
	struct halibut_error err = {0};
	int rc = HALIBUT_OK;

	if (a->collected) /* a credit is used up, whatever follows */
		shared = hbt_share_used(calls->env.share, a->endpoint, link);

	if (call == NULL) {
		hbt_message_unref(&m);
		hbt_error_set(&err, HALIBUT_ENOMEM,
		              "The gateway is short of memory");
		hbt_link_send_fail(link, msg->id, &err);
		halibut_error_clear(&err);
		return;
	}
	call->pending.msg = m;
	note_asker(call, a);
	call->bytes = m->deflated_len;
	if (m->env.n_streams > 0)
		rc = msg->fd < 0 ? HALIBUT_ELIMIT
		                 : hbt_pipe_source_new(&call->pending.streams,
		                                       calls->env.base,
		                                       hbt_ipc_take_fd(msg));
	if (rc != HALIBUT_OK)
		hbt_call_fail_with(
			call, rc, HALIBUT_CONNECTION_CONNECTING,
			"The DataStreams of the request were lost on their "
			"way through the gateway; it was not sent");
	else if (a->collected)
		pass_collected(call, shared, a->remaining_ms);
	else if (calls->stopping) {
		hbt_call_refuse(&err, "The gateway is stopping");
		hbt_call_fail(call, &err);
		halibut_error_clear(&err);
	} else if (hbt_link_congested(link))
		hbt_call_fail_with(
			call, HALIBUT_ELIMIT, HALIBUT_CONNECTION_CONNECTING,
			"The worker of the gateway that brought the request "
			"is too busy; it was not sent");
	else
		route(call, a);
}

static void read_ask(struct hbt_rd *r, struct ask *a)
{
	a->destination = hbt_rd_strdup(r);
	a->thumbprint = hbt_rd_strdup(r);
	a->address = hbt_rd_strdup(r);
	a->expected = hbt_rd_strdup(r);
	a->origin = hbt_rd_u8(r);
}

static void read_collected(struct hbt_rd *r, struct ask *a)
{
	a->collected = true;
	a->endpoint = hbt_rd_u32(r);
	a->remaining_ms = (int64_t)(hbt_rd_u64(r) & INT64_MAX);
}

/* May this link say that? */
static bool is_allowed(const struct hbt_link *link, uint8_t how,
                       const struct ask *a)
{
	if (link->kind == HBT_PEER_QUEUE_WORKER)
		return how == HBT_CALL_TO_ENDPOINT;
	if (how == HBT_CALL_ROUTE_AND_TELL)
		return link->kind == HBT_PEER_CONNECTION_WORKER &&
		       may_come_from(link->kind, a->origin);
	return how == HBT_CALL_ROUTE && may_come_from(link->kind, a->origin);
}

int hbt_calls_ask(struct hbt_calls *calls, struct hbt_link *link,
                  struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct halibut_error err = {0};
	struct hbt_message *m;
	struct ask a = {0};
	uint8_t how;

	if (hbt_call_asked(link, msg->id) != NULL)
		return HALIBUT_EPROTO;
	if (msg->lost) {
		hbt_error_set(&err, HALIBUT_ELIMIT,
		              "The gateway is out of file descriptors; the "
		              "request was not sent");
		err.connection_state = HALIBUT_CONNECTION_CONNECTING;
		hbt_link_send_fail(link, msg->id, &err);
		halibut_error_clear(&err);
		if (link->kind == HBT_PEER_QUEUE_WORKER)
			hbt_share_renew(calls->env.share, link);
		return HALIBUT_OK;
	}
	how = hbt_rd_u8(&r);
	if (how == HBT_CALL_TO_ENDPOINT)
		read_collected(&r, &a);
	else
		read_ask(&r, &a);
	a.tell = how == HBT_CALL_ROUTE_AND_TELL;
	m = hbt_parcel_get(&r);
	if (m == NULL || hbt_rd_finish(&r) != HALIBUT_OK ||
	    !is_allowed(link, how, &a) ||
	    m->env.kind != HBT_MESSAGE_REQUEST) {
		hbt_message_unref(&m);
		ask_fini(&a);
		return HALIBUT_EPROTO;
	}
	start(calls, link, msg, m, &a);
	ask_fini(&a);
	return HALIBUT_OK;
}
