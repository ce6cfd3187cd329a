/*
 * A call through a gateway: the request goes to the control socket as any
 * worker would bring it in, the gateway routes it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ctl/call.h"
#include "ctl/control.h"
#include "ctl/ctl.h"
#include "ctl/sender.h"
#include "wire/compose.h"
#include "wire/json.h"
#include "wire/reader.h"

#define CALL_ID 1
#define CHUNK 65536
#define TURN_CHUNKS 16

struct gateway {
	struct hbt_ctl_call *c;
	struct event_base *base;
	struct hbt_limits limits;
	struct hbt_ipc *ipc;
	struct hbt_ctl_patience patience;
	bool done;

	struct hbt_stream_ref *refs; /* of the request */
	struct hbt_ctl_sender *sender; /* NULL: no DataStreams */

	/* Receiving: the response and its section. */
	struct hbt_message *response;
	struct hbt_source *source;
	struct event *pull;
	struct hbt_section section;
	int64_t received;
};

static void finish(struct gateway *g)
{
	g->done = true;
	event_base_loopbreak(g->base);
}

/* The call ends with c->err, which the caller has set. */
static void fail(struct gateway *g, int status)
{
	if (g->done)
		return;
	if (g->c->err.status == HALIBUT_OK)
		hbt_error_set(&g->c->err, status, "%s",
		              halibut_strerror(status));
	finish(g);
}

/* ---- The request ---- */

static int make_refs(struct gateway *g)
{
	size_t n = g->c->args.n_streams;

	g->refs = calloc(n > 0 ? n : 1, sizeof(*g->refs));
	if (g->refs == NULL)
		return HALIBUT_ENOMEM;
	for (size_t i = 0; i < n; i++) {
		g->refs[i].id = hbt_guid_new();
		g->refs[i].length = g->c->args.streams[i].length;
	}
	return HALIBUT_OK;
}

static int append_params(struct gateway *g, bson_t *params)
{
	struct halibut_error *err = &g->c->err;
	json_t *value;
	size_t i;

	json_array_foreach(g->c->args.values, i, value) {
		const char *key;
		char text[16];
		int rc;

		bson_uint32_to_string((uint32_t)i, &key, text, sizeof(text));
		rc = hbt_json_append_bson(params, key, value, true, g->refs,
		                          g->c->args.n_streams, err);
		if (rc != 0) {
			hbt_error_prefix(err, "argument %zu: ", i + 1);
			return rc;
		}
	}
	return HALIBUT_OK;
}

static int compose(struct gateway *g, struct hbt_message **out)
{
	struct hbt_ctl_call *c = g->c;
	struct hbt_request_parts parts = {
		.activity_id = hbt_guid_new(),
		.destination = c->endpoint,
		.thumbprint = c->thumbprint,
		.limits = &g->limits,
		.service = c->service,
		.method = c->method,
	};
	bson_t params = BSON_INITIALIZER, doc = BSON_INITIALIZER;
	char *id = NULL;
	int rc = make_refs(g);

	if (c->timeout_ms > 0)
		g->limits.polling_request_queue_timeout_ms = c->timeout_ms;
	if (rc == 0)
		rc = append_params(g, &params);
	if (rc != 0)
		goto out;
	id = hbt_request_id(c->service, c->method, 1, &parts.activity_id);
	if (id == NULL) {
		rc = HALIBUT_ENOMEM;
		goto out;
	}
	parts.id = id;
	parts.params = &params;
	bson_destroy(&doc);
	rc = hbt_compose_request(&parts, &doc);
	if (rc == 0)
		rc = hbt_message_from_bson(hbt_deflater_shared(),
		                           bson_get_data(&doc), doc.len, out,
		                           &c->err);
out:
	free(id);
	bson_destroy(&params);
	bson_destroy(&doc);
	return rc;
}

static void sending_failed(void *arg, const struct halibut_error *err)
{
	struct gateway *g = arg;

	if (!g->done)
		hbt_error_copy(&g->c->err, err);
	fail(g, err->status);
}

static int open_sender(struct gateway *g, int *fd)
{
	struct hbt_ctl_call *c = g->c;
	struct hbt_ctl_sending what = {
		.base = g->base,
		.args = &c->args,
		.refs = g->refs,
		.progress = &c->progress,
		.failed = sending_failed,
		.arg = g,
	};

	*fd = -1;
	if (c->args.n_streams == 0)
		return HALIBUT_OK;
	return hbt_ctl_sender_new(&g->sender, &what, fd, &c->err);
}

static int send_call(struct gateway *g, const struct hbt_message *m)
{
	struct hbt_ctl_call *c = g->c;
	char asker[64];
	struct hbt_wr w;
	int fd, rc;

	if ((rc = open_sender(g, &fd)) != 0)
		return rc;
	snprintf(asker, sizeof(asker), "halibutctl %ld", (long)getpid());
	hbt_wr_init(&w, HBT_IPC_MAX_BODY);
	hbt_wr_u8(&w, HBT_CALL_ROUTE);
	hbt_wr_cstr(&w, c->endpoint);
	hbt_wr_cstr(&w, NULL);
	hbt_wr_str(&w, asker, strlen(asker));
	hbt_wr_cstr(&w, c->thumbprint);
	hbt_wr_u8(&w, HBT_ORIGIN_CONTROL);
	hbt_parcel_put(&w, m);
	return hbt_ipc_send_wr(g->ipc, HBT_IPC_CALL, CALL_ID, &w, fd);
}

/* ---- The response ---- */

/* The document says how the call ended. */
static void conclude(struct gateway *g)
{
	struct hbt_ctl_call *c = g->c;
	size_t next_stream = 0, len;
	uint8_t *bson = NULL;
	bson_iter_t result;
	bool found;
	int rc;

	rc = hbt_message_to_bson(g->response, g->limits.max_message_bytes,
	                         &bson, &len);
	if (rc == 0)
		rc = hbt_response_outcome(bson, len, &result, &found, &c->err);
	if (rc == 0 && found)
		rc = hbt_json_from_bson(&result, &c->result, &next_stream,
		                        NULL, NULL, &c->err);
	else if (rc == 0)
		c->result = json_null();
	free(bson);
	if (rc != 0)
		fail(g, rc);
	else
		finish(g);
}

/* Looks at one piece of the section. */
static int take_piece(struct gateway *g, const uint8_t **data, size_t *len)
{
	struct hbt_ctl_call *c = g->c;
	const uint8_t *piece;
	size_t used, piece_len;
	bool begin, end;
	int rc;

	rc = hbt_section_next(&g->section, *data, *len, &used, &piece,
	                      &piece_len, &begin, &end, &c->err);
	*data += used;
	*len -= used;
	if (rc == 0 && begin)
		rc = hbt_ctl_landing_begin(&c->landing, g->section.length,
		                           &c->err);
	if (rc == 0 && piece_len > 0)
		rc = hbt_ctl_landing_data(&c->landing, piece, piece_len,
		                          &c->err);
	if (rc == 0 && end)
		rc = hbt_ctl_landing_end(&c->landing, &c->err);
	return rc;
}

static void section_over(struct gateway *g)
{
	if (hbt_section_finished(&g->section)) {
		conclude(g);
		return;
	}
	hbt_error_set(&g->c->err, HALIBUT_ESTREAM,
	              "the response's DataStreams ended early: %s lost the "
	              "connection, or the gateway's log says more",
	              g->c->endpoint);
	fail(g, HALIBUT_ESTREAM);
}

static void on_pull(evutil_socket_t fd, short what, void *arg)
{
	struct gateway *g = arg;
	static uint8_t buf[CHUNK];

	(void)fd;
	(void)what;
	for (int i = 0; i < TURN_CHUNKS; i++) {
		const uint8_t *data = buf;
		ssize_t n = g->source->ops->read(g->source, buf, sizeof(buf),
		                                 &g->c->err);
		size_t len = n > 0 ? (size_t)n : 0;

		if (n == -HALIBUT_EAGAIN)
			return; /* wake() follows */
		if (n < 0) {
			fail(g, (int)-n);
			return;
		}
		if (n == 0) {
			section_over(g);
			return;
		}
		g->received += n;
		hbt_ctl_progress_set(&g->c->progress, g->received);
		while (len > 0) {
			int rc = take_piece(g, &data, &len);

			if (rc != 0) {
				fail(g, rc);
				return;
			}
		}
	}
	event_active(g->pull, EV_TIMEOUT, 0);
}

static void wake_pull(void *arg)
{
	struct gateway *g = arg;

	event_active(g->pull, EV_TIMEOUT, 0);
}

static void on_answer(struct gateway *g, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	const struct hbt_envelope *env;
	int64_t total = 0;
	int rc, fd;

	g->response = hbt_parcel_get(&r);
	if (g->response == NULL || hbt_rd_finish(&r) != 0) {
		hbt_error_set(&g->c->err, HALIBUT_EPROTO,
		              "the gateway's answer is malformed; are it and "
		              "this halibutctl of one version?");
		fail(g, HALIBUT_EPROTO);
		return;
	}
	env = &g->response->env;
	if (env->n_streams == 0) {
		conclude(g);
		return;
	}
	if ((fd = hbt_ipc_take_fd(msg)) < 0) {
		hbt_error_set(&g->c->err, HALIBUT_ESYSTEM,
		              "the answer's DataStreams are lost: too few "
		              "descriptors");
		fail(g, HALIBUT_ESYSTEM);
		return;
	}
	rc = hbt_pipe_source_new(&g->source, g->base, fd);
	if (rc == 0)
		rc = hbt_section_init(&g->section, env->streams,
		                      env->n_streams);
	if (rc != 0) {
		fail(g, rc);
		return;
	}
	for (size_t i = 0; i < env->n_streams; i++)
		total += env->streams[i].length + 32;
	hbt_ctl_progress_clear(&g->c->progress);
	hbt_ctl_progress_begin(&g->c->progress, "receiving", total);
	g->source->wake = wake_pull;
	g->source->wake_arg = g;
	event_active(g->pull, EV_TIMEOUT, 0);
}

static void on_fail(struct gateway *g, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);

	hbt_ipc_error_get(&r, &g->c->err);
	fail(g, HALIBUT_EPROTO);
}

static void on_message(void *arg, struct hbt_ipc_msg *msg)
{
	struct gateway *g = arg;

	if (msg->id != CALL_ID || g->done || g->response != NULL)
		return;
	if (msg->type == HBT_IPC_ANSWER)
		on_answer(g, msg);
	else if (msg->type == HBT_IPC_FAIL)
		on_fail(g, msg);
}

static void on_closed(void *arg, const char *why)
{
	struct gateway *g = arg;

	if (g->done || g->response != NULL)
		return; /* what the pipe brings is enough */
	hbt_error_set(&g->c->err, HALIBUT_EWORKER,
	              "the gateway hung up during the call: %s", why);
	fail(g, HALIBUT_EWORKER);
}

static const struct hbt_ipc_ops ops = {
	.message = on_message,
	.closed = on_closed,
};

static void give_up(void *arg)
{
	struct gateway *g = arg;

	if (g->response != NULL) {
		/* The gateway's part is over; only we can end it. */
		hbt_error_set(&g->c->err, HALIBUT_ETRANSFERRING_CANCELLED,
		              "the service has answered, but its DataStreams "
		              "were still on their way");
		fail(g, HALIBUT_ETRANSFERRING_CANCELLED);
		return;
	}
	hbt_ipc_send(g->ipc, HBT_IPC_CANCEL, CALL_ID, NULL, 0, -1);
}

/* ---- The whole ---- */

static int start(struct gateway *g)
{
	struct hbt_ctl_call *c = g->c;
	struct hbt_message *request = NULL;
	int rc;

	g->base = event_base_new();
	if (g->base == NULL)
		return HALIBUT_ENOMEM;
	g->pull = event_new(g->base, -1, 0, on_pull, g);
	if (g->pull == NULL ||
	    hbt_ctl_patience_init(&g->patience, g->base, c->timeout_ms,
	                          give_up, g) != 0)
		return HALIBUT_ENOMEM;
	rc = compose(g, &request);
	if (rc == 0) {
		rc = hbt_ctl_control_open(&g->ipc, g->base, c->socket, &ops, g,
		                          &c->err);
		c->no_gateway = rc != 0;
	}
	if (rc == 0)
		rc = send_call(g, request);
	hbt_message_unref(&request);
	return rc;
}

static void gateway_fini(struct gateway *g)
{
	hbt_ctl_patience_fini(&g->patience);
	hbt_ctl_sender_free(&g->sender);
	hbt_source_free(&g->source);
	hbt_section_fini(&g->section);
	hbt_ipc_free(&g->ipc);
	if (g->pull != NULL)
		event_free(g->pull);
	hbt_message_unref(&g->response);
	free(g->refs);
	if (g->base != NULL)
		event_base_free(g->base);
}

void hbt_ctl_call_gateway(struct hbt_ctl_call *c)
{
	static struct gateway g;
	int rc;

	memset(&g, 0, sizeof(g));
	g.c = c;
	hbt_limits_init(&g.limits);
	rc = start(&g);
	if (rc != 0)
		fail(&g, rc);
	while (!g.done)
		event_base_loop(g.base, EVLOOP_ONCE);
	hbt_ctl_progress_clear(&c->progress);
	hbt_ctl_patience_explain(&g.patience, c);
	gateway_fini(&g);
}
