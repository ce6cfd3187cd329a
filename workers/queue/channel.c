/* What the master says. */
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "ipc/log_order.h"
#include "ipc/worker.h"
#include "queue/pump.h"
#include "worker.h"

static void give_up(struct worker *w)
{
	w->exit_code = 1;
	event_base_loopbreak(w->base);
}

/* ---- To the master ---- */

void worker_tell(struct worker *w, enum hbt_ipc_type type, uint32_t id,
                 struct hbt_wr *body, int fd)
{
	if (hbt_worker_tell(w->ipc, type, id, body, fd) != HALIBUT_OK)
		give_up(w);
}

void worker_fail(struct worker *w, uint32_t id,
                 const struct halibut_error *err)
{
	struct hbt_wr wr;

	hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
	hbt_ipc_error_put(&wr, err);
	worker_tell(w, HBT_IPC_FAIL, id, &wr, -1);
}

int worker_pipe_sink(struct worker *w, struct hbt_sink **sink,
                     const char *endpoint, int *fd)
{
	struct hbt_spool_payer *payer =
		hbt_spool_payer_new(w->spools, "another node", NULL, endpoint);
	int rc = HALIBUT_ENOMEM;

	if (payer != NULL)
		rc = hbt_pipe_sink_new(sink, w->base, &w->settings.limits,
		                       w->settings.spool_directory, payer, fd);
	hbt_spool_payer_unref(&payer);
	return rc;
}

int worker_pipe(struct worker *w, struct hbt_source *src, const char *endpoint,
                int *fd)
{
	struct hbt_sink *sink;
	int rc;

	*fd = -1;
	if (src == NULL)
		return HALIBUT_OK;
	if ((*fd = hbt_pipe_source_detach(&src)) >= 0)
		return HALIBUT_OK;
	if ((rc = worker_pipe_sink(w, &sink, endpoint, fd)) != HALIBUT_OK) {
		hbt_source_free(&src);
		return rc;
	}
	rc = hbt_feed_new(NULL, w->base, src, sink);
	if (rc != HALIBUT_OK) {
		close(*fd);
		*fd = -1;
	}
	return rc;
}

/* ---- From the master ---- */

static void on_settings(struct worker *w, struct hbt_rd *r)
{
	if (w->settings.node != NULL)
		return;
	if (hbt_worker_settings(r, &w->settings, "queue worker", false) ==
	            HALIBUT_OK &&
	    (w->spools = hbt_spool_accounts_new(w->base, &w->settings.limits,
	                                        &w->no_sources)) != NULL)
		return;
	log_error("the settings cannot be applied");
	give_up(w);
}

static void on_queue_settings(struct worker *w, struct hbt_rd *r)
{
	struct halibut_error err = {0};
	int rc;

	if (w->ready)
		return;
	hbt_queue_settings_get(r, &w->queue);
	rc = hbt_rd_finish(r);
	if (rc == HALIBUT_OK)
		rc = backend_start(w, &err);
	if (rc == HALIBUT_OK && (rc = nodes_start(w)) == HALIBUT_OK &&
	    (rc = lengths_start(w)) == HALIBUT_OK &&
	    (rc = examine_start(w)) == HALIBUT_OK &&
	    (rc = room_start(w)) == HALIBUT_OK)
		rc = state_start(w);
	if (rc != HALIBUT_OK) {
		log_error("the section redis cannot be applied: %s",
		          err.message != NULL ? err.message
		                              : halibut_strerror(rc));
		give_up(w);
	}
	w->ready = rc == HALIBUT_OK;
	halibut_error_clear(&err);
}

static void on_stop(struct worker *w, uint8_t how)
{
	bool replaced = how == HBT_STOP_HANDOVER;

	if (how == HBT_STOP_NOW || !w->ready) {
		event_base_loopbreak(w->base);
		return;
	}
	if (w->draining && !w->replaced)
		return;
	w->draining = true;
	w->replaced = replaced;
	log_info("%s %zu requests",
	         replaced ? "another one serves; finishing"
	                  : "stopping behind",
	         enqueue_busy(w) + collect_busy(w));
	if (replaced) {
		collect_hand_over(w);
	} else {
		collect_drain(w);
		enqueue_drain(w);
	}
	worker_maybe_leave(w);
}

/* Some of a message may still be on its way when its call is over: from a
 * store through a spool into a pipe, or a response into Redis. */
static bool is_under_way(const struct worker *w)
{
	struct hbt_redis_node_state redis = {.receiving = 0};

	if (w->setup != NULL)
		hbt_redis_node_state(w->setup->node, &redis);
	return redis.receiving > 0 || redis.taking > 0 ||
	       enqueue_busy(w) > 0 || collect_busy(w) > 0 ||
	       hbt_pipe_sinks() > 0;
}

static void leave_after(struct worker *w, const struct timeval *pause);

/* From the loop: whoever is called back right now is not freed under it. */
static void leave(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval patience = {.tv_usec = 300000};
	static const struct timeval soon = {.tv_usec = 10000};
	struct worker *w = arg;

	(void)fd;
	(void)what;
	w->leaving = false;
	if (w->signed_off || is_under_way(w))
		return;
	if (hbt_ipc_unsent(w->ipc) > 0) { /* as after each tick */
		leave_after(w, &soon);
		return;
	}
	w->signed_off = true;
	if (w->setup != NULL && !w->replaced)
		nodes_sign_off(w);
	event_base_loopexit(w->base, w->ready ? &patience : NULL);
}

static void leave_after(struct worker *w, const struct timeval *pause)
{
	w->leaving = event_base_once(w->base, -1, EV_TIMEOUT, leave, w,
	                             pause) == 0;
	if (!w->leaving)
		log_error("out of memory while draining"); /* the tick tries */
}

void worker_maybe_leave(struct worker *w)
{
	static const struct timeval at_once;

	if (w->draining && !w->leaving)
		leave_after(w, &at_once);
}

static void on_call(struct worker *w, struct hbt_ipc_msg *msg)
{
	struct halibut_error err = {0};

	if (w->ready) {
		enqueue_call(w, msg);
		return;
	}
	hbt_error_set(&err, HALIBUT_EWORKER,
	              "The queue worker of the gateway is not ready; the "
	              "request was not sent");
	err.connection_state = HALIBUT_CONNECTION_CONNECTING;
	worker_fail(w, msg->id, &err);
	halibut_error_clear(&err);
}

static void on_message(void *arg, struct hbt_ipc_msg *msg)
{
	struct worker *w = arg;
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);

	if (hbt_worker_obey(w->ipc, msg))
		return;
	switch (msg->type) {
	case HBT_IPC_SETTINGS:
		on_settings(w, &r);
		break;
	case HBT_IPC_QUEUE_SETTINGS:
		on_queue_settings(w, &r);
		break;
	case HBT_IPC_CALL:
		on_call(w, msg);
		break;
	case HBT_IPC_CANCEL:
		enqueue_cancel(w, msg->id);
		break;
	case HBT_IPC_ENDPOINT:
	case HBT_IPC_ENDPOINT_GONE:
	case HBT_IPC_OFFER:
	case HBT_IPC_WITHDRAW:
	case HBT_IPC_ANSWER:
	case HBT_IPC_FAIL:
	case HBT_IPC_RETURN:
		if (w->ready && collect_message(w, msg) != HALIBUT_OK) {
			log_error("the master's message of type %u makes no "
			          "sense; leaving",
			          msg->type);
			give_up(w);
		}
		break;
	case HBT_IPC_COLLECT:
		collect_or_not(w, msg->id, hbt_rd_u8(&r) != 0);
		break;
	case HBT_IPC_STOP:
		on_stop(w, hbt_rd_u8(&r));
		break;
	default: /* trust, polls and the like: news for other workers */
		break;
	}
}

/* Without a master there is nothing that we could do for anybody. */
static void on_closed(void *arg, const char *why)
{
	struct worker *w = arg;

	if (!w->draining)
		log_error("the master is gone (%s); leaving", why);
	event_base_loopbreak(w->base);
}

const struct hbt_ipc_ops worker_channel_ops = {
	.message = on_message,
	.closed = on_closed,
};

void worker_fini(struct worker *w)
{
	if (w->tick != NULL)
		event_free(w->tick);
	collect_free(w);
	backend_free(w);
	examine_free(w);
	room_free(w);
	lengths_free(w);
	nodes_free(w);
	hbt_spool_accounts_free(&w->spools);
	hbt_log_order_forget();
	hbt_ipc_free(&w->ipc);
	free(w->state_told);
	hbt_settings_fini(&w->settings);
	hbt_queue_settings_fini(&w->queue);
	hbt_worker_end(&w->base, &w->dns);
}
