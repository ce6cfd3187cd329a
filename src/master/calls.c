#include "master/calls_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/guid.h"
#include "base/timespan.h"
#include "master/audit.h"

/* How long a carrier may take to say how a cancelled call ended. */
#define CANCEL_PATIENCE_S 5

static struct hbt_call *call_of(struct hbt_pending *p)
{
	return (struct hbt_call *)((char *)p -
	                           offsetof(struct hbt_call, pending));
}

void hbt_call_set_state(struct hbt_call *call, enum hbt_call_state to)
{
	struct hbt_calls_counts *n = &call->calls->counts;

	if (call->state == CALL_WAITING) {
		n->waiting--;
		n->waiting_bytes -= call->bytes;
		hbt_asker_waits(&call->from_whom, call->bytes, false);
	}
	call->state = to;
	if (to == CALL_WAITING) {
		n->waiting++;
		n->waiting_bytes += call->bytes;
		call->taken_us = 0;
		call->phase = HBT_PHASE_WAITING;
		call->phase_us = hbt_now_us();
		hbt_asker_waits(&call->from_whom, call->bytes, true);
	}
}

/* Who has it now, for the status: the carrier's own words may follow. */
static void note_carrier(struct hbt_call *call, const struct hbt_link *carrier)
{
	static const uint8_t first[HBT_PEER_KINDS] = {
		[HBT_PEER_CONNECTION_WORKER] = HBT_PHASE_TAKEN,
		[HBT_PEER_SERVICE_WORKER] = HBT_PHASE_EXECUTING,
		[HBT_PEER_QUEUE_WORKER] = HBT_PHASE_SHARED,
	};

	call->taken_us = call->phase_us = hbt_now_us();
	call->phase = first[carrier->kind];
	call->carried_on = 0;
	snprintf(call->carried_by, sizeof(call->carried_by), "%.*s",
	         (int)sizeof(call->carried_by) - 1, carrier->name);
}

/* The end of a call */

static void leave_asker(struct hbt_call *call)
{
	if (call->asker == NULL)
		return;
	HASH_DELETE(by_asker, call->asker->asked, call);
	call->asker = NULL;
}

void hbt_call_drop_carrier(struct hbt_call *call)
{
	struct hbt_subscriber *s = call->subscriber;
	struct hbt_hosted_taker *t = call->hosted;

	if (call->carrier == NULL)
		return;
	HASH_DELETE(by_carrier, call->carrier->carried, call);
	call->carrier = NULL;
	call->subscriber = NULL;
	call->hosted = NULL;
	hbt_call_set_state(call, CALL_NEW);
	if (s != NULL)
		hbt_subscriber_done(s);
	if (t != NULL)
		hbt_hosted_done(t);
}

static void call_free(struct hbt_call *call)
{
	hbt_call_set_state(call, CALL_NEW);
	leave_asker(call);
	hbt_call_drop_carrier(call);
	TAILQ_REMOVE(&call->calls->all, call, link);
	call->calls->counts.in_flight--;
	if (call->cancel_timer != NULL)
		event_free(call->cancel_timer);
	hbt_asker_fini(&call->from_whom);
	hbt_pending_fini(&call->pending);
	hbt_slots_remove(&call->calls->slots, call->slot);
	free(call->from);
	free(call->from_thumbprint);
	free(call->destination);
	free(call);
}

/* The one way a call fails. */
static void end_failed(struct hbt_call *call, const struct halibut_error *err)
{
	unsigned status = (unsigned)err->status;

	if (status >= HALIBUT_STATUS_COUNT)
		status = HALIBUT_EPROTO;
	call->calls->counts.failed[status]++;
	hbt_call_note_end(call, err);
	if (call->asker != NULL)
		hbt_link_send_fail(call->asker, call->asker_id, err);
	call_free(call);
}

static void end_with(struct hbt_call *call, int status, const char *text)
{
	struct halibut_error err = {0};

	hbt_error_set(&err, status, "%s", text);
	end_failed(call, &err);
	halibut_error_clear(&err);
}

/* The one way a call is answered. The message and fd are given away. */
static void end_answered(struct hbt_call *call, struct hbt_message *m, int fd)
{
	struct hbt_wr w;
	int rc = HALIBUT_OK;

	if (call->asker == NULL) {
		if (fd >= 0)
			close(fd);
	} else {
		hbt_wr_init(&w, HBT_IPC_MAX_BODY);
		hbt_parcel_put(&w, m);
		rc = hbt_link_send(call->asker, HBT_IPC_ANSWER, call->asker_id,
		                   &w, fd);
	}
	hbt_message_unref(&m);
	if (rc != HALIBUT_OK) {
		end_with(call, rc,
		         "The response could not be passed on: out of memory");
		return;
	}
	call->calls->counts.answered++;
	hbt_call_note_end(call, NULL);
	call_free(call);
}

/* From the queue */

static void on_answered(struct hbt_pending *p, struct hbt_message *m,
                        struct hbt_source *streams, struct hbt_sink **sink)
{
	struct hbt_call *call = call_of(p);
	int fd = -1, rc = HALIBUT_OK;

	if (streams != NULL) {
		fd = hbt_pipe_source_detach(&streams);
		rc = fd < 0 ? HALIBUT_ESTREAM : HALIBUT_OK;
		hbt_source_free(&streams);
	} else if (m->env.n_streams > 0 && call->asker != NULL) {
		rc = hbt_pipe_sink_new(sink, call->calls->env.base,
		                       &call->calls->cfg->limits,
		                       call->calls->cfg->spool_directory, NULL,
		                       &fd);
	}
	if (rc == HALIBUT_OK) {
		end_answered(call, m, fd);
		return;
	}
	hbt_message_unref(&m);
	end_with(call, rc, "The DataStreams of the response were lost");
}

bool hbt_call_is_collected(const struct hbt_call *call)
{
	return call->asker != NULL &&
	       call->asker->kind == HBT_PEER_QUEUE_WORKER;
}

/* Back to the queue worker, with the DataStreams as they came. */
static void end_returned(struct hbt_call *call)
{
	int fd = hbt_pipe_source_detach(&call->pending.streams);

	if (call->asker != NULL)
		hbt_ipc_send(call->asker->ipc, HBT_IPC_RETURN, call->asker_id,
		             NULL, 0, fd);
	else if (fd >= 0)
		close(fd);
	call->calls->counts.total--;
	call_free(call);
}

/* .NET clients know the last sentence, and that they may try again. */
void hbt_call_refuse(struct halibut_error *err, const char *why)
{
	hbt_error_set(err, HALIBUT_ESHUTDOWN,
	              "%s; the request was not sent. The request was abandoned, "
	              "possibly because the node processing the request "
	              "shutdown or redis lost all of its data.",
	              why);
	err->connection_state = HALIBUT_CONNECTION_CONNECTING;
}

static void end_unserved(struct hbt_call *call)
{
	struct halibut_error err = {0};

	hbt_call_refuse(&err, call->unserved);
	end_failed(call, &err);
	halibut_error_clear(&err);
}

static void on_failed(struct hbt_pending *p, const struct halibut_error *err)
{
	struct hbt_call *call = call_of(p);

	if (call->returns)
		end_returned(call);
	else if (call->unserved != NULL)
		end_unserved(call);
	else
		end_failed(call, err);
}

void hbt_call_return(struct hbt_call *call)
{
	assert(call->state == CALL_NEW);
	end_returned(call);
}

/* Whoever carries or owns it says so: through the queue, if it is in one. */
void hbt_call_fail(struct hbt_call *call, const struct halibut_error *err)
{
	hbt_call_drop_carrier(call);
	if (call->by_queue && call->pending.state == HBT_PENDING_TAKEN)
		hbt_pending_fail(&call->pending, err);
	else
		end_failed(call, err);
}

void hbt_call_fail_with(struct hbt_call *call, int status,
                        enum halibut_connection_state state, const char *text)
{
	struct halibut_error err = {0};

	hbt_error_set(&err, status, "%s", text);
	err.connection_state = state;
	hbt_call_fail(call, &err);
	halibut_error_clear(&err);
}

static void answer(struct hbt_call *call, struct hbt_message *m, int fd)
{
	struct hbt_source *streams = NULL;
	int rc;

	hbt_call_drop_carrier(call);
	if (!call->by_queue) {
		end_answered(call, m, fd);
		return;
	}
	if (fd >= 0) {
		rc = hbt_pipe_source_new(&streams, call->calls->env.base, fd);
		if (rc != HALIBUT_OK) {
			hbt_message_unref(&m);
			hbt_call_fail_with(
				call, rc, HALIBUT_CONNECTION_UNKNOWN,
				"The DataStreams of the response were lost");
			return;
		}
	}
	hbt_pending_answer(&call->pending, m, streams, NULL);
}

/* Handing calls out */

static void give_id(struct hbt_call *call, struct hbt_link *carrier)
{
	struct hbt_call *other;

	do { /* one that a long call still has is passed over */
		call->carrier_id = ++carrier->last_id;
		HASH_FIND(by_carrier, carrier->carried, &call->carrier_id,
		          sizeof(call->carrier_id), other);
	} while (other != NULL);
}

int hbt_call_carry(struct hbt_call *call, struct hbt_link *carrier,
                   enum hbt_call_how how, hbt_call_put_target put,
                   const void *target)
{
	struct hbt_wr w;
	int fd = hbt_pipe_source_detach(&call->pending.streams);
	int rc = HALIBUT_ENOMEM;

	give_id(call, carrier);
	HASH_ADD(by_carrier, carrier->carried, carrier_id,
	         sizeof(call->carrier_id), call);
	if (call->by_carrier.tbl == NULL) {
		if (fd >= 0)
			close(fd);
		return rc;
	}
	hbt_wr_init(&w, HBT_IPC_MAX_BODY);
	hbt_wr_u8(&w, (uint8_t)how);
	if (put != NULL)
		put(&w, target);
	hbt_parcel_put(&w, call->pending.msg);
	rc = hbt_link_send(carrier, HBT_IPC_CALL, call->carrier_id, &w, fd);
	if (rc != HALIBUT_OK) {
		HASH_DELETE(by_carrier, carrier->carried, call);
		return rc;
	}
	hbt_call_set_state(call, CALL_CARRIED);
	note_carrier(call, carrier);
	call->carrier = carrier;
	return HALIBUT_OK;
}

/* Messages */

struct hbt_call *hbt_call_new(struct hbt_calls *calls, struct hbt_link *asker,
                              uint32_t id)
{
	struct hbt_call *call = calloc(1, sizeof(*call));

	if (call == NULL)
		return NULL;
	call->calls = calls;
	call->asker_id = id;
	call->pending.answered = on_answered;
	call->pending.failed = on_failed;
	HASH_ADD(by_asker, asker->asked, asker_id, sizeof(call->asker_id),
	         call);
	if (call->by_asker.tbl == NULL) {
		free(call);
		return NULL;
	}
	if (hbt_slots_add(&calls->slots, call, &call->slot) != HALIBUT_OK) {
		HASH_DELETE(by_asker, asker->asked, call);
		free(call);
		return NULL;
	}
	call->asker = asker;
	call->since_us = call->phase_us = hbt_now_us();
	TAILQ_INSERT_TAIL(&calls->all, call, link);
	calls->counts.in_flight++;
	calls->counts.total++;
	call->number = ++calls->last_number;
	return call;
}

size_t hbt_calls_asked(const struct hbt_link *link)
{
	return HASH_CNT(by_asker, link->asked);
}

struct hbt_call *hbt_call_asked(struct hbt_link *link, uint32_t id)
{
	struct hbt_call *call;

	HASH_FIND(by_asker, link->asked, &id, sizeof(id), call);
	return call;
}

static struct hbt_call *carried(struct hbt_link *link, uint32_t id)
{
	struct hbt_call *call;

	HASH_FIND(by_carrier, link->carried, &id, sizeof(id), call);
	return call;
}

static int on_answer(struct hbt_link *link, struct hbt_ipc_msg *msg)
{
	struct hbt_call *call = carried(link, msg->id);
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct hbt_message *m;

	if (call == NULL)
		return HALIBUT_OK;
	if (msg->lost) {
		hbt_call_fail_with(
			call, HALIBUT_ELIMIT, HALIBUT_CONNECTION_UNKNOWN,
			"The response was lost because the gateway is out of "
			"file descriptors; the service executed the request");
		return HALIBUT_OK;
	}
	m = hbt_parcel_get(&r);
	if (m == NULL || hbt_rd_finish(&r) != HALIBUT_OK ||
	    m->env.kind != HBT_MESSAGE_RESPONSE) {
		hbt_message_unref(&m);
		return HALIBUT_EPROTO; /* and so the call fails */
	}
	if (m->env.n_streams > 0 && msg->fd < 0) {
		hbt_message_unref(&m);
		return HALIBUT_EPROTO;
	}
	answer(call, m, hbt_ipc_take_fd(msg));
	return HALIBUT_OK;
}

static int on_fail(struct hbt_link *link, struct hbt_ipc_msg *msg)
{
	struct hbt_call *call = carried(link, msg->id);
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct halibut_error err = {0};
	int rc;

	if (call == NULL)
		return HALIBUT_OK;
	if (msg->lost) {
		hbt_call_fail_with(
			call, HALIBUT_ELIMIT, HALIBUT_CONNECTION_UNKNOWN,
			"The call failed, and its error was lost because the "
			"gateway is out of file descriptors");
		return HALIBUT_OK;
	}
	hbt_ipc_error_get(&r, &err);
	rc = hbt_rd_finish(&r);
	if (rc == HALIBUT_OK && err.status == HALIBUT_OK)
		rc = HALIBUT_EPROTO;
	if (rc == HALIBUT_OK)
		hbt_call_fail(call, &err);
	halibut_error_clear(&err);
	return rc;
}

/* The polling connection was lost before the request was begun. */
static int on_return(struct hbt_link *link, struct hbt_ipc_msg *msg)
{
	struct hbt_call *call = carried(link, msg->id);
	int rc = HALIBUT_OK;

	if (call == NULL)
		return HALIBUT_OK;
	if (!call->by_queue)
		return HALIBUT_EPROTO;
	if (call->pending.msg->env.n_streams > 0)
		rc = msg->fd < 0 ? HALIBUT_ESTREAM
		                 : hbt_pipe_source_new(&call->pending.streams,
		                                       call->calls->env.base,
		                                       hbt_ipc_take_fd(msg));
	if (rc != HALIBUT_OK) {
		hbt_call_fail_with(
			call, rc, HALIBUT_CONNECTION_CONNECTING,
			"The polling connection was closed before the request "
			"was sent, and its DataStreams cannot be sent again");
		return HALIBUT_OK;
	}
	hbt_call_drop_carrier(call);
	hbt_call_set_state(call, CALL_WAITING);
	hbt_pending_put_back(&call->pending);
	return HALIBUT_OK;
}

static void on_patience_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	hbt_call_fail_with(arg, HALIBUT_ETRANSFERRING_CANCELLED,
	                   HALIBUT_CONNECTION_UNKNOWN,
	                   "The Request was cancelled while Transferring.");
}

/* A call without queue: its carrier knows how far it came. */
static void cancel_direct(struct hbt_call *call)
{
	const struct timeval patience = {.tv_sec = CANCEL_PATIENCE_S};

	if (call->cancel_timer != NULL)
		return;
	hbt_ipc_send(call->carrier->ipc, HBT_IPC_CANCEL, call->carrier_id, NULL,
	             0, -1);
	call->phase = HBT_PHASE_CANCELLING;
	call->phase_us = hbt_now_us();
	call->cancel_timer =
		evtimer_new(call->calls->env.base, on_patience_over, call);
	if (call->cancel_timer == NULL ||
	    event_add(call->cancel_timer, &patience) != 0)
		on_patience_over(-1, 0, call);
}

/* Its origin does not want it any more, or is no more. */
static void cancel(struct hbt_call *call)
{
	if (call->by_queue)
		hbt_pending_cancel(&call->pending);
	else
		cancel_direct(call);
}

int hbt_calls_message(struct hbt_calls *calls, struct hbt_link *link,
                      struct hbt_ipc_msg *msg)
{
	struct hbt_call *call;

	switch (msg->type) {
	case HBT_IPC_CALL:
		return hbt_calls_ask(calls, link, msg);
	case HBT_IPC_ANSWER:
		return on_answer(link, msg);
	case HBT_IPC_FAIL:
		return on_fail(link, msg);
	case HBT_IPC_RETURN:
		return on_return(link, msg);
	case HBT_IPC_CALL_PHASE:
		call = carried(link, msg->id);
		return call != NULL ? hbt_call_on_phase(call, msg) : HALIBUT_OK;
	case HBT_IPC_CANCEL:
		call = hbt_call_asked(link, msg->id);
		if (call != NULL)
			cancel(call);
		return HALIBUT_OK;
	default:
		return HALIBUT_EPROTO;
	}
}

/* Links that end */

static void fail_carried(struct hbt_call *call, const char *name)
{
	struct halibut_error err = {0};

	hbt_error_set(&err, HALIBUT_EWORKER,
	              "Process %s of the gateway ended while it carried the "
	              "request; the service may have executed it",
	              name);
	hbt_call_fail(call, &err);
	halibut_error_clear(&err);
}

void hbt_calls_link_gone(struct hbt_calls *calls, struct hbt_link *link)
{
	(void)calls;
	/* First those whose both ends it was: nobody is there to be told. */
	while (link->asked != NULL) {
		struct hbt_call *call = link->asked;

		leave_asker(call);
		if (call->carrier != link)
			cancel(call);
	}
	while (link->carried != NULL)
		fail_carried(link->carried, link->name);
}

void hbt_calls_stop(struct hbt_calls *calls)
{
	calls->stopping = true;
}

void hbt_calls_end_unserved(struct hbt_calls *calls,
                            bool (*may)(void *arg, const struct hbt_queue *q,
                                        bool collected),
                            void *arg, const char *why)
{
	struct hbt_call *call, *next;

	if (calls->counts.waiting == 0)
		return;
	for (call = TAILQ_FIRST(&calls->all); call != NULL; call = next) {
		bool collected = hbt_call_is_collected(call);

		next = TAILQ_NEXT(call, link);
		if (call->state != CALL_WAITING ||
		    may(arg, call->pending.queue, collected))
			continue;
		call->returns = collected;
		call->unserved = why;
		hbt_pending_cancel(&call->pending); /* on_failed() follows */
	}
}

struct hbt_calls *hbt_calls_new(const struct hbt_calls_env *env)
{
	struct hbt_calls *calls = calloc(1, sizeof(*calls));

	if (calls == NULL)
		return NULL;
	calls->env = *env;
	TAILQ_INIT(&calls->all);
	if ((calls->past = hbt_past_calls_new()) == NULL) {
		free(calls);
		return NULL;
	}
	return calls;
}

void hbt_calls_free(struct hbt_calls **at)
{
	struct hbt_calls *calls = *at;
	struct hbt_call *call;

	*at = NULL;
	if (calls == NULL)
		return;
	while ((call = TAILQ_FIRST(&calls->all)) != NULL) {
		assert(call->carrier == NULL && call->asker == NULL);
		hbt_pending_cancel(&call->pending); /* ends it */
	}
	hbt_past_calls_free(&calls->past);
	hbt_slots_fini(&calls->slots);
	free(calls);
}

void hbt_calls_configure(struct hbt_calls *calls, const struct hbt_config *cfg)
{
	calls->cfg = cfg;
}

const struct hbt_calls_counts *hbt_calls_counts(const struct hbt_calls *calls)
{
	return &calls->counts;
}
