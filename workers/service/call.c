/* Calls: see call.h. */
#include "call.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "wire/compose.h"
#include "outlet.h"
#include "program.h"

/* What it has on the disk goes; files that are still sent are open. */
static void remove_files(struct hbt_svc_call *call)
{
	if (call->intake != NULL) {
		const struct hbt_svc_file *f =
			hbt_svc_intake_files(call->intake);

		for (size_t i = 0; i < call->message->env.n_streams; i++)
			call->svc->stats.spool_bytes -= (uint64_t)f[i].length;
	}
	hbt_svc_intake_free(&call->intake);
	hbt_svc_dirs_give(call->svc->dirs, &call->dir, call->dir_in_use);
}

/* Frees it and what it holds. Its program must not know it any more. */
static void call_free(struct hbt_svc_call *call)
{
	struct hbt_svc *svc = call->svc;

	assert(call->slot == NULL);
	TAILQ_REMOVE(&svc->calls, call, link);
	svc->stats.calls_in_flight--;
	remove_files(call);
	hbt_svc_outlet_free(&call->outlet);
	if (call->timer != NULL)
		event_free(call->timer);
	hbt_message_unref(&call->message);
	free(call);
	hbt_svc_look_around(svc);
}

/* Sending */

void hbt_svc_refuse(struct hbt_svc *svc, uint32_t ipc_id,
                    const struct halibut_error *err)
{
	struct hbt_wr w;

	hbt_wr_init(&w, HBT_IPC_MAX_BODY);
	hbt_ipc_error_put(&w, err);
	/* Without any answer the caller would wait in vain. */
	if (hbt_svc_send(svc, HBT_IPC_FAIL, ipc_id, &w, -1) != HALIBUT_OK)
		hbt_svc_doom(svc, "no memory left to send even an error");
}

void hbt_svc_call_fail(struct hbt_svc_call *call,
                       const struct halibut_error *err)
{
	hbt_svc_program_forget(call);
	if (call->state != CALL_SENDING)
		hbt_svc_refuse(call->svc, call->ipc_id, err);
	call_free(call);
}

/* The response document as a message to the master. fd is taken over. */
static int send_document(struct hbt_svc_call *call, const uint8_t *bson,
                         size_t len, int fd, struct halibut_error *err)
{
	struct hbt_svc *svc = call->svc;
	struct hbt_message *m = NULL;
	struct hbt_wr w;
	int rc;

	rc = hbt_message_from_bson(svc->deflater, bson, len, &m, err);
	if (rc == HALIBUT_OK && (m->env.n_streams > 0) != (fd >= 0)) {
		/* By its shape a result's object passes for a DataStream. */
		rc = hbt_error_set(err, HALIBUT_EINVOCATION,
		                   "The result has an object that looks like "
		                   "a DataStream but is none.");
	}
	if (rc != HALIBUT_OK) {
		if (fd >= 0)
			close(fd);
		hbt_message_unref(&m);
		return rc;
	}
	hbt_wr_init(&w, HBT_IPC_MAX_BODY);
	hbt_parcel_put(&w, m);
	rc = hbt_svc_send(svc, HBT_IPC_ANSWER, call->ipc_id, &w, fd);
	if (rc == HALIBUT_OK) {
		svc->stats.messages_out++;
		svc->stats.bytes_out += m->deflated_len;
	} else {
		hbt_error_set(err, rc, "The node that hosts the service has "
		                       "no memory left to send the result.");
	}
	hbt_message_unref(&m);
	return rc;
}

void hbt_svc_call_answer_error(struct hbt_svc_call *call,
                               const struct halibut_error *err)
{
	struct halibut_error bad = {0};
	bson_t document;
	int rc;

	hbt_svc_program_forget(call);
	rc = hbt_compose_error(call->message->env.id, err, &document);
	if (rc == HALIBUT_OK)
		rc = send_document(call, bson_get_data(&document),
		                   document.len, -1, &bad);
	bson_destroy(&document);
	if (rc != HALIBUT_OK)
		hbt_svc_refuse(call->svc, call->ipc_id, err);
	halibut_error_clear(&bad);
	call_free(call);
}

static void on_sent(void *arg, const struct halibut_error *err)
{
	struct hbt_svc_call *call = arg;

	if (err != NULL)
		log_limited(call->message->env.service, HBT_LOG_WARNING,
		            LOG_ABOUT(.event = "answer_not_sent",
		                      .endpoint = call->message->env.service,
		                      .reason = err->message),
		            "%s of %s: %s", call->message->env.method,
		            call->message->env.service, err->message);
	call_free(call);
}

void hbt_svc_call_answer(struct hbt_svc_call *call,
                         struct hbt_svc_answer *answer)
{
	struct hbt_svc *svc = call->svc;
	struct halibut_error err = {0};
	int64_t idle_ms = svc->settings.limits.tcp_client_send_timeout_ms;
	int fd = -1;
	int rc = HALIBUT_OK;

	hbt_svc_program_forget(call);
	if (answer->n_streams > 0) {
		rc = hbt_svc_outlet_new(&call->outlet, svc->base, answer,
		                        idle_ms, on_sent, call, &fd);
		if (rc != HALIBUT_OK)
			hbt_error_set(&err, rc,
			              "The node that hosts the service has no "
			              "descriptors or memory left to send the "
			              "DataStreams of the result.");
	}
	if (rc == HALIBUT_OK)
		rc = send_document(call, answer->document, answer->len, fd,
		                   &err);
	if (rc != HALIBUT_OK) {
		hbt_svc_call_answer_error(call, &err);
		halibut_error_clear(&err);
		return;
	}
	if (call->outlet == NULL) {
		call_free(call);
		return;
	}
	call->state = CALL_SENDING;
	remove_files(call);
}

/* Arriving */

static void on_arrived(void *arg, const struct halibut_error *err)
{
	struct hbt_svc_call *call = arg;

	if (err == NULL)
		hbt_svc_program_submit(call);
	else if (err->status == HALIBUT_ESYSTEM ||
	         err->status == HALIBUT_ENOMEM)
		hbt_svc_call_answer_error(call, err);
	else
		hbt_svc_call_fail(call, err);
}

static void on_arriving(void *arg, size_t bytes)
{
	struct hbt_svc_call *call = arg;

	call->svc->stats.stream_bytes_in += bytes;
	call->svc->stats.bytes_in += bytes;
}

static void on_spooled(void *arg, size_t bytes)
{
	struct hbt_svc_call *call = arg;

	call->svc->stats.spool_bytes += bytes;
}

static const struct hbt_svc_intake_ops intake_ops = {
	.done = on_arrived,
	.progress = on_arriving,
	.spooled = on_spooled,
};

/* Its program and directory, and its DataStreams on the way; takes fd. */
static int prepare(struct hbt_svc_call *call, int *fd,
                   struct halibut_error *err)
{
	struct hbt_svc *svc = call->svc;
	int64_t idle_ms = svc->settings.limits.tcp_client_receive_timeout_ms;
	int section = *fd;
	int rc;

	rc = hbt_svc_program_admit(call, err);
	if (rc == HALIBUT_OK)
		rc = hbt_svc_dirs_take(svc->dirs, &call->dir, err);
	if (rc != HALIBUT_OK || call->message->env.n_streams == 0)
		return rc;
	*fd = -1;
	rc = hbt_svc_intake_new(&call->intake, svc->base, section,
	                        call->message, hbt_svc_dir_path(call->dir),
	                        idle_ms, &intake_ops, call);
	if (rc != HALIBUT_OK)
		hbt_error_set(err, rc, "The node that hosts the service has "
		                       "no memory left for the call.");
	return rc;
}

void hbt_svc_call_open(struct hbt_svc *svc, uint32_t ipc_id,
                       struct hbt_message *message, int fd)
{
	struct hbt_svc_call *call = calloc(1, sizeof(*call));
	struct halibut_error err = {0};
	int rc;

	if (call == NULL) {
		hbt_error_set(&err, HALIBUT_ENOMEM, "The node that hosts the "
		                                    "service has no memory "
		                                    "left for the call.");
		hbt_svc_refuse(svc, ipc_id, &err);
		halibut_error_clear(&err);
		hbt_message_unref(&message);
		if (fd >= 0)
			close(fd);
		return;
	}
	call->svc = svc;
	call->ipc_id = ipc_id;
	call->number = ++svc->next_call;
	call->message = message;
	call->state = CALL_ARRIVING;
	TAILQ_INSERT_TAIL(&svc->calls, call, link);
	svc->stats.calls_in_flight++;
	svc->stats.messages_in++;
	svc->stats.bytes_in += message->deflated_len;
	svc->stats.streams_in += message->env.n_streams;

	rc = prepare(call, &fd, &err);
	if (fd >= 0) {
		/* What is refused is read all the same: intake.h. */
		hbt_svc_drain(svc->base, fd,
		              svc->settings.limits
		                      .tcp_client_receive_timeout_ms);
	}
	if (rc != HALIBUT_OK)
		hbt_svc_call_answer_error(call, &err);
	else if (call->intake == NULL)
		hbt_svc_program_submit(call);
	halibut_error_clear(&err);
}

/* Giving up */

static struct hbt_svc_call *find_call(struct hbt_svc *svc, uint32_t ipc_id)
{
	struct hbt_svc_call *call;

	TAILQ_FOREACH(call, &svc->calls, link)
	{
		if (call->ipc_id == ipc_id && call->state != CALL_SENDING)
			return call;
	}
	return NULL;
}

void hbt_svc_call_cancel(struct hbt_svc *svc, uint32_t ipc_id)
{
	struct hbt_svc_call *call = find_call(svc, ipc_id);
	struct halibut_error err = {0};

	if (call == NULL)
		return;
	if (call->state == CALL_RUNNING)
		hbt_error_set(&err, HALIBUT_ETRANSFERRING_CANCELLED,
		              "The call was cancelled while the service "
		              "program worked on it.");
	else
		hbt_error_set(&err, HALIBUT_ECONNECTING_CANCELLED,
		              "The call was cancelled before the service "
		              "program got it.");
	hbt_svc_program_stop(call);
	hbt_svc_call_fail(call, &err);
	halibut_error_clear(&err);
}

void hbt_svc_calls_abandon(struct hbt_svc *svc)
{
	struct hbt_svc_call *call, *next;
	struct halibut_error err = {0};

	hbt_error_set(&err, HALIBUT_ESHUTDOWN,
	              "The node that hosts the service is stopping.");
	for (call = TAILQ_FIRST(&svc->calls); call != NULL; call = next) {
		next = TAILQ_NEXT(call, link);
		hbt_svc_program_stop(call);
		hbt_svc_call_fail(call, &err);
	}
	halibut_error_clear(&err);
}
