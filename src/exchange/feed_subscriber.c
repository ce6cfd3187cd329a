/*
 * The client's side of a polling connection: wire-protocol 5.4. While there
 * is nothing to ask, a null message every PollingQueueWaitTimeout keeps the
 * connection alive; a request that comes in the middle of that waits for the
 * NEXT that follows.
 */
#include "exchange/private.h"

static void say_nothing_to_do(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_exchange *ex = arg;

	(void)fd;
	(void)what;
	if (ex->state != EX_READY)
		return;
	if ((ex->out = hbt_message_null()) == NULL)
		return; /* memory is short: the poller dials again */
	ex->out_is_null = true;
	ex_set_state(ex, EX_SENDING);
	ex_send_start(ex);
}

static void start_tick(struct hbt_exchange *ex)
{
	ex_start_timer(ex, ex->env->limits->polling_queue_wait_timeout_ms,
	               say_nothing_to_do);
}

void ex_feed_ready(struct hbt_exchange *ex)
{
	ex_set_state(ex, EX_READY);
	ex->request_began = false;
	start_tick(ex);
	ex->ops->ready(ex->arg);
}

static void next(struct hbt_exchange *ex)
{
	ex_write_line(ex, &hbt_line_proceed);
	if (!ex->out_is_null) {
		ex_feed_ready(ex);
		return;
	}
	ex->out_is_null = false;
	ex->request_began = false;
	ex_set_state(ex, EX_READY);
	if (ex->out_held) {
		ex_set_state(ex, EX_SENDING);
		ex_send_start(ex);
	} else {
		start_tick(ex);
	}
}

static void received(struct hbt_exchange *ex)
{
	if (ex->in_null) {
		/* The original leaves its caller waiting; ours is told. */
		ex_close_with(ex, HALIBUT_EPROTO,
		              "%s answered with a null message",
		              hbt_conn_peer_address(ex->conn));
		return;
	}
	ex_set_state(ex, EX_AWAIT_NEXT);
	ex->ops->message_end(ex->arg);
}

static void sent(struct hbt_exchange *ex)
{
	if (ex->out_is_null) {
		ex_set_state(ex, EX_AWAIT_NEXT);
		return;
	}
	ex_set_state(ex, EX_AWAIT_MESSAGE);
	ex->ops->sent(ex->arg);
}

const struct ex_role ex_feed_subscriber = {
	.role = HBT_ROLE_FEED_SUBSCRIBER,
	.next = next,
	.received = received,
	.sent = sent,
};
