/* The listening service's side of a connection: wire-protocol 5.1. */
#include "exchange/private.h"

static void next(struct hbt_exchange *ex)
{
	if (ex->retiring) { /* it dials somebody else, nothing is lost */
		ex_close(ex, NULL);
		return;
	}
	ex_write_line(ex, &hbt_line_proceed);
	ex_set_state(ex, EX_AWAIT_MESSAGE);
}

static void received(struct hbt_exchange *ex)
{
	if (ex->in_null) { /* L4: no answer to a null request */
		ex_close(ex, NULL);
		return;
	}
	ex_set_state(ex, EX_ANSWERING);
	ex->ops->message_end(ex->arg);
}

static void sent(struct hbt_exchange *ex)
{
	ex_set_state(ex, EX_AWAIT_NEXT);
	if (ex->retiring)
		ex_end_soon(ex);
	ex->ops->sent(ex->arg);
}

const struct ex_role ex_serve_client = {
	.role = HBT_ROLE_SERVE_CLIENT,
	.next = next,
	.received = received,
	.sent = sent,
};
