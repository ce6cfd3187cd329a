/*
 * Requests of any node, for the takers of this one. The master OFFERs a
 * credit for each taker that waits, and each credit waits in the queue that
 * the nodes share until it gets a request: src/master/share.h.
 */
#include <stdlib.h>
#include <sys/queue.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/timespan.h"
#include "queue/redis_errors.h"
#include "worker.h"

struct endpoint {
	uint32_t id; /* the master's */
	struct hbt_queue *queue; /* one of its users */
	LIST_HEAD(, credit) offered;
	size_t n_offered;
	size_t debt; /* WITHDRAWs of credits that were used already */
	UT_hash_handle hh;
};

struct credit {
	struct hbt_taker taker;
	struct worker *w;
	struct endpoint *endpoint; /* while it is offered, else NULL */
	LIST_ENTRY(credit) link;
	uint32_t id;            /* of the CALL, once it has got a request */
	struct hbt_pending *p;  /* that request */
	UT_hash_handle hh;
};

static struct credit *self(struct hbt_taker *t)
{
	return (struct credit *)((char *)t - offsetof(struct credit, taker));
}

/* It is used, or void. */
static void leave_endpoint(struct credit *c)
{
	LIST_REMOVE(c, link);
	c->endpoint->n_offered--;
	c->endpoint = NULL;
}

static void collected_free(struct credit *c)
{
	struct worker *w = c->w;

	HASH_DEL(w->collected, c);
	free(c);
	worker_maybe_leave(w);
}

/* ---- From the queue ---- */

/* How long it may wait for a taker here, should the one that was ready have
 * gone: nobody else counts its time any more. */
static int64_t remaining(const struct worker *w, const struct hbt_pending *p)
{
	int64_t ms = p->msg->env.queue_timeout_ms;

	return ms >= 0 ? ms
	               : w->settings.limits.polling_request_queue_timeout_ms;
}

static int send_call(struct credit *c, uint32_t endpoint)
{
	struct hbt_source *streams = c->p->streams;
	struct hbt_wr wr;
	int fd, rc;

	c->p->streams = NULL;
	rc = worker_pipe(c->w, streams, c->endpoint->queue->key, &fd);
	if (rc != HALIBUT_OK)
		return rc;
	hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
	hbt_wr_u8(&wr, HBT_CALL_TO_ENDPOINT);
	hbt_wr_u32(&wr, endpoint);
	hbt_wr_u64(&wr, (uint64_t)remaining(c->w, c->p));
	hbt_parcel_put(&wr, c->p->msg);
	worker_tell(c->w, HBT_IPC_CALL, c->id, &wr, fd);
	return HALIBUT_OK;
}

static void fail_lost(struct hbt_pending *p, int status, const char *node)
{
	struct halibut_error err = {0};

	hbt_error_set(&err, status,
	              "Gateway %s collected the request and lost it: %s; it "
	              "was not sent",
	              node, halibut_strerror(status));
	err.connection_state = HALIBUT_CONNECTION_CONNECTING;
	hbt_pending_fail(p, &err);
	halibut_error_clear(&err);
}

static void deliver(struct hbt_taker *t, struct hbt_pending *p)
{
	struct credit *c = self(t);
	struct worker *w = c->w;
	struct endpoint *from = c->endpoint;
	int rc = HALIBUT_OK;

	c->p = p;
	c->id = ++w->last_call;
	HASH_ADD(hh, w->collected, id, sizeof(c->id), c);
	if (c->hh.tbl == NULL)
		rc = HALIBUT_ENOMEM;
	else if ((rc = send_call(c, from->id)) != HALIBUT_OK)
		HASH_DEL(w->collected, c);
	if (rc == HALIBUT_OK) {
		leave_endpoint(c);
		return;
	}
	/* The master knows nothing of it: the credit is still good. */
	fail_lost(p, rc, w->settings.node);
	c->p = NULL;
	hbt_queue_offer(from->queue, t);
}

/* The master tells the connection worker, which closes the connection; what
 * it says of the call is not heard any more. */
static bool cancelled(struct hbt_taker *t, struct hbt_pending *p)
{
	struct credit *c = self(t);

	(void)p;
	worker_tell(c->w, HBT_IPC_CANCEL, c->id, NULL, -1);
	collected_free(c);
	return true;
}

/* ---- From the master: endpoints and credits ---- */

static struct endpoint *endpoint_of(struct worker *w, uint32_t id)
{
	struct endpoint *e;

	HASH_FIND(hh, w->endpoints, &id, sizeof(id), e);
	return e;
}

static int on_endpoint(struct worker *w, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	char *uri = hbt_rd_strdup(&r);
	struct hbt_queue *q = NULL;
	struct endpoint *e = NULL;

	if (hbt_rd_finish(&r) == HALIBUT_OK && uri != NULL &&
	    endpoint_of(w, msg->id) == NULL)
		q = hbt_switchboard_queue(w->switchboard, uri);
	free(uri);
	if (q == NULL || (e = calloc(1, sizeof(*e))) == NULL)
		return HALIBUT_EPROTO;
	e->id = msg->id;
	e->queue = q;
	LIST_INIT(&e->offered);
	HASH_ADD(hh, w->endpoints, id, sizeof(e->id), e);
	if (e->hh.tbl == NULL) {
		free(e);
		return HALIBUT_ENOMEM;
	}
	q->users++;
	return HALIBUT_OK;
}

static void withdraw(struct endpoint *e)
{
	struct credit *c = LIST_FIRST(&e->offered);

	if (c == NULL) {
		e->debt++;
		return;
	}
	hbt_queue_withdraw(&c->taker);
	leave_endpoint(c);
	free(c);
}

static void endpoint_void(struct endpoint *e)
{
	while (!LIST_EMPTY(&e->offered))
		withdraw(e);
	e->debt = 0;
}

static void endpoint_free(struct worker *w, struct endpoint *e)
{
	endpoint_void(e);
	HASH_DEL(w->endpoints, e);
	e->queue->users--;
	free(e);
}

static int add_credit(struct worker *w, struct endpoint *e)
{
	struct credit *c;

	if ((c = calloc(1, sizeof(*c))) == NULL)
		return HALIBUT_ENOMEM;
	c->w = w;
	c->endpoint = e;
	c->taker.deliver = deliver;
	c->taker.cancelled = cancelled;
	LIST_INSERT_HEAD(&e->offered, c, link);
	e->n_offered++;
	hbt_queue_offer(e->queue, &c->taker);
	return HALIBUT_OK;
}

static int offer(struct worker *w, struct endpoint *e)
{
	if (e->debt == 0)
		return add_credit(w, e);
	e->debt--;
	return HALIBUT_OK;
}

static int on_credit(struct worker *w, struct hbt_ipc_msg *msg)
{
	struct endpoint *e = endpoint_of(w, msg->id);

	if (w->draining) /* they cross: the master withdraws them all */
		return HALIBUT_OK;
	if (e == NULL)
		return HALIBUT_EPROTO;
	switch (msg->type) {
	case HBT_IPC_OFFER:
		return offer(w, e);
	case HBT_IPC_WITHDRAW:
		withdraw(e);
		return HALIBUT_OK;
	default:
		endpoint_free(w, e);
		return HALIBUT_OK;
	}
}

/* ---- From the master: how calls ended ---- */

/* The request, whose taker ends here. */
static struct hbt_pending *finish(struct credit *c)
{
	struct hbt_pending *p = c->p;

	collected_free(c);
	return p;
}

static void end_lost(struct credit *c, const char *what)
{
	struct halibut_error err = {0};

	hbt_error_set(&err, HALIBUT_EWORKER,
	              "%s was lost in gateway %s, which is out of memory or "
	              "file descriptors",
	              what, c->w->settings.node);
	hbt_pending_fail(finish(c), &err);
	halibut_error_clear(&err);
}

static int on_answer(struct credit *c, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct hbt_source *streams = NULL;
	struct hbt_message *m;

	if (msg->lost) {
		end_lost(c, "The response");
		return HALIBUT_OK;
	}
	m = hbt_parcel_get(&r);
	if (m == NULL || hbt_rd_finish(&r) != HALIBUT_OK) {
		hbt_message_unref(&m);
		return HALIBUT_EPROTO;
	}
	if (m->env.n_streams > 0 &&
	    (msg->fd < 0 || hbt_pipe_source_new(&streams, c->w->base,
	                                        hbt_ipc_take_fd(msg)) !=
	                            HALIBUT_OK)) {
		hbt_message_unref(&m);
		end_lost(c, "The response");
		return HALIBUT_OK;
	}
	hbt_pending_answer(finish(c), m, streams, NULL);
	return HALIBUT_OK;
}

static int on_fail(struct credit *c, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct halibut_error err = {0};
	int rc;

	if (msg->lost) {
		end_lost(c, "The error with which the request ended");
		return HALIBUT_OK;
	}
	hbt_ipc_error_get(&r, &err);
	rc = hbt_rd_finish(&r);
	/* Its time to finish was over: what the original's nodes say then, so
	 * that its callers know that they may try again. */
	if (rc == HALIBUT_OK && err.status == HALIBUT_EWORKER &&
	    c->w->draining && !c->w->replaced)
		hbt_redis_error(&err, HBT_REDIS_ABANDONED, "", err.message);
	if (rc == HALIBUT_OK && err.status != HALIBUT_OK)
		hbt_pending_fail(finish(c), &err);
	else
		rc = HALIBUT_EPROTO;
	halibut_error_clear(&err);
	return rc;
}

/* The master knows the endpoint no more, and nobody else would take it. */
static void end_refused(struct credit *c)
{
	struct halibut_error err = {0};

	hbt_redis_error(&err, HBT_REDIS_ABANDONED, "",
	                "nobody polls this gateway for its endpoint any more");
	hbt_pending_fail(finish(c), &err);
	halibut_error_clear(&err);
}

/* Nothing of it was sent: another node may take it. */
static int on_return(struct credit *c, struct hbt_ipc_msg *msg)
{
	struct hbt_pending *p = c->p;
	int rc = HALIBUT_OK;

	if (p->msg->env.n_streams > 0)
		rc = msg->fd < 0 ? HALIBUT_ESTREAM
		                 : hbt_pipe_source_new(&p->streams, c->w->base,
		                                       hbt_ipc_take_fd(msg));
	if (rc != HALIBUT_OK) {
		end_lost(c, "The request");
		return HALIBUT_OK;
	}
	if (c->w->draining || c->w->paused)
		end_refused(c);
	else
		hbt_pending_put_back(finish(c));
	return HALIBUT_OK;
}

int collect_message(struct worker *w, struct hbt_ipc_msg *msg)
{
	struct credit *c;

	if (msg->type == HBT_IPC_ENDPOINT)
		return on_endpoint(w, msg);
	if (msg->type == HBT_IPC_ENDPOINT_GONE || msg->type == HBT_IPC_OFFER ||
	    msg->type == HBT_IPC_WITHDRAW)
		return on_credit(w, msg);
	HASH_FIND(hh, w->collected, &msg->id, sizeof(msg->id), c);
	if (c == NULL) /* it was cancelled */
		return HALIBUT_OK;
	if (msg->type == HBT_IPC_ANSWER)
		return on_answer(c, msg);
	if (msg->type == HBT_IPC_FAIL)
		return on_fail(c, msg);
	return on_return(c, msg);
}

/* ---- All of them ---- */

static void on_settled(void *arg)
{
	struct worker *w = arg;

	worker_tell(w, HBT_IPC_SETTLED, w->settle_id, NULL, -1);
}

void collect_or_not(struct worker *w, uint32_t id, bool on)
{
	w->settle_id = id;
	w->paused = !on;
	if (!w->ready) {
		if (!on)
			on_settled(w);
	} else if (on) {
		hbt_redis_node_resume(w->setup->node);
	} else {
		hbt_redis_node_pause(w->setup->node, on_settled, w);
	}
}

void collect_drain(struct worker *w)
{
	struct endpoint *e;

	for (e = w->endpoints; e != NULL; e = e->hh.next)
		endpoint_void(e);
}

/* All that this one has taken out of Redis is with the master. */
static void on_handed_over(void *arg)
{
	struct hbt_wr wr;

	hbt_wr_init(&wr, 8);
	hbt_wr_u8(&wr, HBT_DRAINED_REQUESTS);
	worker_tell(arg, HBT_IPC_DRAINED, 0, &wr, -1);
}

/*
 * What was popped is in no list any more. The master's OFFERs are for the
 * other one now, but what is brought without one waits there for a taker: a
 * credit for each that may still come, and none is withdrawn.
 */
void collect_hand_over(struct worker *w)
{
	struct endpoint *e;
	size_t coming;

	hbt_redis_node_pause(w->setup->node, NULL, NULL);
	for (e = w->endpoints; e != NULL; e = e->hh.next) {
		coming = hbt_redis_queue_coming(e->queue);
		while (e->n_offered < coming &&
		       add_credit(w, e) == HALIBUT_OK)
			coming = hbt_redis_queue_coming(e->queue);
	}
	/* Now that those have left which only waited for a credit. */
	hbt_redis_node_pause(w->setup->node, on_handed_over, w);
}

size_t collect_busy(const struct worker *w)
{
	return HASH_COUNT(w->collected);
}

void collect_free(struct worker *w)
{
	while (w->endpoints != NULL)
		endpoint_free(w, w->endpoints);
}
