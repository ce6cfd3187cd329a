/* A CALL comes in: what it asks for, whether there is room, where it goes. */
#include "master/calls_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/guid.h"
#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "master/audit.h"
#include "master/route.h"

static void put_endpoint(struct hbt_wr *w, const void *target)
{
	hbt_endpoint_fields_put(w, target);
}

/* To a worker that dials, or to one that hosts. */
static void carry_directly(struct hbt_call *call, struct hbt_link *to,
                           const struct hbt_endpoint_fields *endpoint)
{
	int rc;

	if (to == NULL) {
		hbt_call_fail_with(
			call, HALIBUT_EWORKER, HALIBUT_CONNECTION_CONNECTING,
			endpoint != NULL
				? "No connection worker of the gateway runs "
				  "at the moment; the request was not sent"
				: "The service worker of the gateway does not "
				  "run at the moment; the request was not "
				  "executed");
		return;
	}
	if (hbt_link_congested(to)) {
		hbt_call_fail_with(
			call, HALIBUT_ELIMIT, HALIBUT_CONNECTION_CONNECTING,
			"The worker of the gateway that should carry the "
			"request is too busy; the request was not sent");
		return;
	}
	rc = hbt_call_carry(call, to,
	                    endpoint != NULL ? HBT_CALL_DIAL : HBT_CALL_SERVE,
	                    endpoint != NULL ? put_endpoint : NULL, endpoint);
	if (rc != HALIBUT_OK) {
		hbt_call_fail_with(
			call, rc, HALIBUT_CONNECTION_CONNECTING,
			"The gateway is short of memory; the request was not "
			"sent");
		return;
	}
	hbt_message_unref(&call->pending.msg); /* it will not come back */
}

/* May one more wait? Else err names the limit. */
static int check_room(struct hbt_call *call, struct hbt_queue *q,
                      struct halibut_error *err)
{
	const struct hbt_calls_counts *all = &call->calls->counts;
	const struct hbt_config *cfg = call->calls->cfg;
	const char *limit = NULL;
	struct hbt_queue_counts n;

	q->ops->counts(q, &n);
	if (n.takers > 0)
		return HALIBUT_OK;
	if (n.waiting >= (size_t)cfg->max_waiting_requests_per_endpoint)
		limit = "max_waiting_requests_per_endpoint";
	else if (n.waiting_bytes + call->bytes >
	         cfg->max_waiting_bytes_per_endpoint)
		limit = "max_waiting_bytes_per_endpoint";
	else if (all->waiting >= (size_t)cfg->max_waiting_requests)
		limit = "max_waiting_requests";
	else if (all->waiting_bytes + call->bytes > cfg->max_waiting_bytes)
		limit = "max_waiting_bytes";
	if (limit == NULL)
		return HALIBUT_OK;
	hbt_error_set(err, HALIBUT_ELIMIT,
	              "%zu requests already wait for %s (%zu for all "
	              "endpoints), which is as many as the gateway's setting "
	              "%s allows; the request was not sent",
	              n.waiting, q->key, all->waiting, limit);
	err->connection_state = HALIBUT_CONNECTION_CONNECTING;
	return HALIBUT_ELIMIT;
}

static void push(struct hbt_call *call, const char *uri)
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
	if (check_room(call, q, &err) != HALIBUT_OK) {
		hbt_call_fail(call, &err);
		halibut_error_clear(&err);
		return;
	}
	if (timeout_ms < 0)
		timeout_ms = call->calls->cfg->limits
		                     .polling_request_queue_timeout_ms;
	call->pending.queue_timeout_ms = timeout_ms;
	call->by_queue = true;
	hbt_call_set_state(call, CALL_WAITING);
	hbt_queue_push(q, &call->pending); /* call may have ended */
}

/* What a CALL to the master says besides its message. */
struct ask {
	char *destination, *thumbprint, *address, *expected;
	uint8_t origin;
};

static void ask_fini(struct ask *a)
{
	free(a->destination);
	free(a->thumbprint);
	free(a->address);
	free(a->expected);
}

static void log_unroutable(const struct ask *a, const struct hbt_envelope *env,
                           const struct halibut_error *err)
{
	const char *colon =
		a->address != NULL ? strrchr(a->address, ':') : NULL;
	char key[512], activity[HBT_GUID_TEXT] = "";

	if (env->has_activity_id)
		hbt_guid_format(&env->activity_id, activity);
	snprintf(key, sizeof(key), "unroutable %s %.*s",
	         a->destination != NULL ? a->destination : "",
	         colon != NULL ? (int)(colon - a->address) : 0,
	         colon != NULL ? a->address : "");
	log_limited(key, HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "unroutable", .peer = a->address,
	                      .thumbprint = a->thumbprint,
	                      .endpoint = a->destination,
	                      .activity = activity[0] ? activity : NULL,
	                      .reason = err->message),
	            "%s", err->message);
}

static void route(struct hbt_call *call, const struct ask *a)
{
	const struct hbt_envelope *env = &call->pending.msg->env;
	const struct hbt_route_query q = {
		.origin = (enum hbt_call_origin)a->origin,
		.destination = a->destination,
		.service = env->service,
		.method = env->method,
		.expected_thumbprint = a->expected,
		.asker = a->address,
	};
	struct hbt_calls *calls = call->calls;
	struct halibut_error err = {0};
	struct hbt_decision d;

	if (hbt_route_decide(calls->cfg, &q, &d, &err) != HALIBUT_OK) {
		log_unroutable(a, env, &err);
		hbt_call_fail(call, &err);
	} else if (d.kind == HBT_ROUTE_QUEUE)
		push(call, d.uri);
	else if (d.kind == HBT_ROUTE_DIAL)
		carry_directly(
			call,
			calls->env.dialler(calls->env.arg, d.endpoint.url),
			&d.endpoint);
	else
		carry_directly(call, calls->env.host(calls->env.arg), NULL);
	halibut_error_clear(&err);
	hbt_decision_fini(&d);
}

static bool may_come_from(enum hbt_peer_kind kind, uint8_t origin)
{
	if (kind == HBT_PEER_CONTROL)
		return origin == HBT_ORIGIN_CONTROL;
	return kind == HBT_PEER_CONNECTION_WORKER &&
	       (origin == HBT_ORIGIN_CLIENT || origin == HBT_ORIGIN_POLLED);
}

static void note_asker(struct hbt_call *call, const struct ask *a)
{
	const char *address = a->address != NULL ? a->address : "";

	call->since_ms = hbt_now_ms();
	if (call->asker->kind == HBT_PEER_CONTROL)
		call->from = strdup(call->asker->name);
	else if (asprintf(&call->from, "%s%s%s", address,
	                  a->thumbprint != NULL ? " " : "",
	                  a->thumbprint != NULL ? a->thumbprint : "") < 0)
		call->from = NULL;
}

/* Everything is there: makes the call and routes it. Takes m over. */
static void start(struct hbt_calls *calls, struct hbt_link *link,
                  struct hbt_ipc_msg *msg, struct hbt_message *m,
                  const struct ask *a)
{
	struct hbt_call *call = hbt_call_new(calls, link, msg->id);
	struct halibut_error err = {0};
	int rc = HALIBUT_OK;

	if (call == NULL) {
		hbt_message_unref(&m);
		hbt_error_set(&err, HALIBUT_ENOMEM,
		              "The gateway is short of memory");
		hbt_link_send_fail(link, msg->id, &err);
		halibut_error_clear(&err);
		return;
	}
	call->pending.msg = m;
	if (hbt_audit_wants_calls())
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
	else if (calls->stopping)
		hbt_call_fail_with(
			call, HALIBUT_ESHUTDOWN, HALIBUT_CONNECTION_CONNECTING,
			"The gateway is stopping; the request was not sent");
	else if (hbt_link_congested(link))
		hbt_call_fail_with(
			call, HALIBUT_ELIMIT, HALIBUT_CONNECTION_CONNECTING,
			"The worker of the gateway that brought the request "
			"is too busy; it was not sent");
	else
		route(call, a);
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
		return HALIBUT_OK;
	}
	how = hbt_rd_u8(&r);
	a.destination = hbt_rd_strdup(&r);
	a.thumbprint = hbt_rd_strdup(&r);
	a.address = hbt_rd_strdup(&r);
	a.expected = hbt_rd_strdup(&r);
	a.origin = hbt_rd_u8(&r);
	m = hbt_parcel_get(&r);
	if (m == NULL || hbt_rd_finish(&r) != HALIBUT_OK ||
	    how != HBT_CALL_ROUTE || !may_come_from(link->kind, a.origin) ||
	    m->env.kind != HBT_MESSAGE_REQUEST) {
		hbt_message_unref(&m);
		ask_fini(&a);
		return HALIBUT_EPROTO;
	}
	start(calls, link, msg, m, &a);
	ask_fini(&a);
	return HALIBUT_OK;
}
