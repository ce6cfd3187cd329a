/* Requests of this node, into the queue that the nodes share. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "queue/redis_names.h"
#include "worker.h"

struct enqueued {
	uint32_t id; /* the master's */
	struct worker *w;
	struct hbt_pending pending;
	char *endpoint; /* its key, while it is in a queue */
	UT_hash_handle hh;
};

static struct enqueued *of_pending(struct hbt_pending *p)
{
	return (struct enqueued *)((char *)p -
	                           offsetof(struct enqueued, pending));
}

static void enqueued_free(struct enqueued *e)
{
	struct worker *w = e->w;

	HASH_DEL(w->enqueued, e);
	hbt_pending_fini(&e->pending);
	free(e->endpoint);
	free(e);
	worker_maybe_leave(w);
}

static void failed(struct hbt_pending *p, const struct halibut_error *err)
{
	struct enqueued *e = of_pending(p);

	worker_fail(e->w, e->id, err);
	enqueued_free(e);
}

static void fail_with(struct enqueued *e, int status,
                      enum halibut_connection_state state, const char *text)
{
	struct halibut_error err = {0};

	hbt_error_set(&err, status, "%s", text);
	err.connection_state = state;
	failed(&e->pending, &err);
	halibut_error_clear(&err);
}

static void answered(struct hbt_pending *p, struct hbt_message *m,
                     struct hbt_source *streams, struct hbt_sink **sink)
{
	struct enqueued *e = of_pending(p);
	struct hbt_wr wr;
	int fd = -1, rc = HALIBUT_OK;

	if (streams != NULL)
		rc = worker_pipe(e->w, streams, e->endpoint, &fd);
	else if (m->env.n_streams > 0)
		rc = worker_pipe_sink(e->w, sink, e->endpoint, &fd);
	if (rc != HALIBUT_OK) {
		hbt_message_unref(&m);
		fail_with(e, rc, HALIBUT_CONNECTION_UNKNOWN,
		          "The DataStreams of the response were lost in the "
		          "gateway; the service executed the request");
		return;
	}
	hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
	hbt_parcel_put(&wr, m);
	hbt_message_unref(&m);
	worker_tell(e->w, HBT_IPC_ANSWER, e->id, &wr, fd);
	enqueued_free(e);
}

/* May one more wait? Else err names the limit. */
static int check_room(const struct worker *w, struct hbt_queue *q, size_t bytes,
                      struct halibut_error *err)
{
	const struct hbt_queue_settings *s = &w->queue;
	const char *limit = NULL;
	struct hbt_queue_counts n;

	q->ops->counts(q, &n);
	if (n.waiting >= (size_t)s->max_waiting_requests_per_endpoint)
		limit = "max_waiting_requests_per_endpoint";
	else if (n.waiting_bytes + bytes > s->max_waiting_bytes_per_endpoint)
		limit = "max_waiting_bytes_per_endpoint";
	else if (w->waiting >= (size_t)s->max_waiting_requests)
		limit = "max_waiting_requests";
	else if (w->waiting_bytes + bytes > s->max_waiting_bytes)
		limit = "max_waiting_bytes";
	if (limit == NULL)
		return HALIBUT_OK;
	hbt_error_set(err, HALIBUT_ELIMIT,
	              "%zu requests of this gateway already wait for %s (%zu "
	              "for all endpoints), which is as many as its setting %s "
	              "allows; the request was not sent",
	              n.waiting, q->key, w->waiting, limit);
	err->connection_state = HALIBUT_CONNECTION_CONNECTING;
	return HALIBUT_ELIMIT;
}

static void push(struct enqueued *e, const char *uri)
{
	struct worker *w = e->w;
	struct hbt_queue *q = hbt_switchboard_queue(w->switchboard, uri);
	size_t bytes = e->pending.msg->deflated_len;
	int64_t timeout_ms = e->pending.msg->env.queue_timeout_ms;
	struct halibut_error err = {0};

	if (q == NULL || (e->endpoint = strdup(q->key)) == NULL) {
		fail_with(e, HALIBUT_ENOMEM, HALIBUT_CONNECTION_CONNECTING,
		          "The gateway could not make a queue for the endpoint; "
		          "the request was not sent");
		return;
	}
	if (check_room(w, q, bytes, &err) != HALIBUT_OK) {
		failed(&e->pending, &err);
		halibut_error_clear(&err);
		return;
	}
	if (timeout_ms < 0)
		timeout_ms =
			w->settings.limits.polling_request_queue_timeout_ms;
	e->pending.queue_timeout_ms = timeout_ms;
	w->waiting++;
	w->waiting_bytes += bytes;
	hbt_queue_push(q, &e->pending); /* e may be gone */
}

static struct enqueued *enqueued_new(struct worker *w, uint32_t id)
{
	struct enqueued *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return NULL;
	e->id = id;
	e->w = w;
	e->pending.answered = answered;
	e->pending.failed = failed;
	HASH_ADD(hh, w->enqueued, id, sizeof(e->id), e);
	if (e->hh.tbl == NULL) {
		free(e);
		return NULL;
	}
	return e;
}

static void unpack_and_push(struct enqueued *e, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	uint8_t how = hbt_rd_u8(&r);
	char *uri = hbt_rd_strdup(&r);
	struct hbt_message *m = hbt_parcel_get(&r);
	int rc = HALIBUT_OK;

	e->pending.msg = m;
	if (m != NULL && m->env.n_streams > 0)
		rc = msg->fd < 0 ? HALIBUT_ELIMIT
		                 : hbt_pipe_source_new(&e->pending.streams,
		                                       e->w->base,
		                                       hbt_ipc_take_fd(msg));
	if (m == NULL || uri == NULL || how != HBT_CALL_ENQUEUE ||
	    hbt_rd_finish(&r) != HALIBUT_OK)
		fail_with(e, HALIBUT_EPROTO, HALIBUT_CONNECTION_CONNECTING,
		          "The master's request is malformed; it was not sent");
	else if (rc != HALIBUT_OK)
		fail_with(e, rc, HALIBUT_CONNECTION_CONNECTING,
		          "The DataStreams of the request were lost on their "
		          "way through the gateway; it was not sent");
	else if (e->w->draining)
		fail_with(e, HALIBUT_ESHUTDOWN, HALIBUT_CONNECTION_CONNECTING,
		          "The gateway is stopping; the request was not sent");
	else
		push(e, uri);
	free(uri);
}

void enqueue_call(struct worker *w, struct hbt_ipc_msg *msg)
{
	struct halibut_error err = {0};
	struct enqueued *e = msg->lost ? NULL : enqueued_new(w, msg->id);

	if (e != NULL) {
		unpack_and_push(e, msg);
		return;
	}
	hbt_error_set(&err, msg->lost ? HALIBUT_ELIMIT : HALIBUT_ENOMEM,
	              msg->lost ? "The queue worker of the gateway is out of "
	                          "file descriptors; the request was not sent"
	                        : "The gateway is short of memory; the request "
	                          "was not sent");
	err.connection_state = HALIBUT_CONNECTION_CONNECTING;
	worker_fail(w, msg->id, &err);
	halibut_error_clear(&err);
}

void enqueue_cancel(struct worker *w, uint32_t id)
{
	struct enqueued *e;

	HASH_FIND(hh, w->enqueued, &id, sizeof(id), e);
	if (e != NULL)
		hbt_pending_cancel_soon(&e->pending); /* e may be gone */
}

/* ---- Draining ---- */

/* Which of them Redis was asked about. */
struct asked {
	struct worker *w;
	size_t n;
	uint32_t ids[];
};

static void on_asked(void *arg, redisReply **replies, size_t n,
                     const struct halibut_error *err)
{
	struct asked *asked = arg;
	struct worker *w = asked->w;
	struct enqueued *e;

	w->drain = NULL;
	for (size_t i = 0; err == NULL && i < n && i < asked->n; i++) {
		HASH_FIND(hh, w->enqueued, &asked->ids[i],
		          sizeof(asked->ids[i]), e);
		if (e != NULL && replies[i]->integer == 1)
			hbt_pending_cancel_soon(&e->pending);
	}
	free(asked);
}

static void ask_about(struct hbt_redis_batch *b, const struct worker *w,
                      const struct enqueued *e)
{
	char id[HBT_GUID_TEXT], *ref;
	struct hbt_redis_name name;

	hbt_guid_format(&e->pending.msg->env.activity_id, id);
	ref = hbt_redis_ref(e->pending.queue->key, id);
	hbt_redis_batch_add(b, "HEXISTS %s " HBT_REDIS_MESSAGE_FIELD,
	                    hbt_redis_name(&name, w->queue.key_prefix,
	                                   HBT_REDIS_REQUEST,
	                                   ref != NULL ? ref : ""));
	free(ref);
}

/* A node that has taken one may not have said so yet, so that Redis knows
 * best what nobody has taken. */
void enqueue_drain(struct worker *w)
{
	struct asked *asked;
	struct enqueued *e;

	if (w->drain != NULL || enqueue_busy(w) == 0)
		return;
	asked = calloc(1, sizeof(*asked) +
	                          enqueue_busy(w) * sizeof(asked->ids[0]));
	if (asked == NULL ||
	    (w->drain = hbt_redis_batch_new(w->setup->redis)) == NULL) {
		free(asked);
		return;
	}
	asked->w = w;
	for (e = w->enqueued; e != NULL; e = e->hh.next)
		if (e->pending.state == HBT_PENDING_WAITING) {
			asked->ids[asked->n++] = e->id;
			ask_about(w->drain, w, e);
		}
	if (asked->n > 0) {
		hbt_redis_batch_send(w->drain, 0, on_asked, asked);
		return;
	}
	hbt_redis_batch_cancel(&w->drain);
	free(asked);
}

size_t enqueue_busy(const struct worker *w)
{
	return HASH_COUNT(w->enqueued);
}
