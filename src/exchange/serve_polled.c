/* The polling service's side: it dials, subscribes and answers: 5.3. */
#include "exchange/private.h"

static void opened(struct hbt_exchange *ex)
{
	struct hbt_buf line;

	hbt_buf_init(&line, 4096);
	if (hbt_line_subscriber(&line, ex->subscription) != 0) {
		hbt_buf_fini(&line);
		ex_close_with(ex, HALIBUT_EINVAL,
		              "'%s' cannot be sent as a subscription: use "
		              "printable ASCII without spaces",
		              ex->subscription);
		return;
	}
	ex_write_line(ex, &hbt_line_preamble);
	hbt_conn_write(ex->conn, line.data, line.len);
	hbt_buf_fini(&line);
	ex_set_state(ex, EX_IDENTITY);
}

static void identity(struct hbt_exchange *ex, const struct hbt_event *ev)
{
	if (!ex_met_server(ex, ev))
		return;
	ex_set_state(ex, EX_AWAIT_MESSAGE);
	ex->ops->identified(ex->arg, ex->subscription);
}

static void send_next(struct hbt_exchange *ex)
{
	ex_write_line(ex, ex->retiring ? &hbt_line_end : &hbt_line_next);
	ex_set_state(ex, EX_AWAIT_PROCEED);
	if (ex->retiring)
		ex_end_soon(ex);
}

static void proceed(struct hbt_exchange *ex)
{
	ex_set_state(ex, EX_AWAIT_MESSAGE);
}

static void received(struct hbt_exchange *ex)
{
	if (ex->in_null) { /* nothing to do, and nothing to answer */
		send_next(ex);
		return;
	}
	ex_set_state(ex, EX_ANSWERING);
	ex->ops->message_end(ex->arg);
}

static void sent(struct hbt_exchange *ex)
{
	send_next(ex);
	ex->ops->sent(ex->arg);
}

const struct ex_role ex_serve_polled = {
	.role = HBT_ROLE_SERVE_POLLED,
	.opened = opened,
	.identity = identity,
	.proceed = proceed,
	.received = received,
	.sent = sent,
};
