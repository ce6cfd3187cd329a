/* The client's side of a connection to a listening service: 5.2. */
#include "exchange/private.h"

static void opened(struct hbt_exchange *ex)
{
	ex_write_line(ex, &hbt_line_preamble);
	ex_write_line(ex, &hbt_line_client);
	ex_set_state(ex, EX_IDENTITY);
}

static void identity(struct hbt_exchange *ex, const struct hbt_event *ev)
{
	if (!ex_met_server(ex, ev))
		return;
	ex_set_state(ex, EX_READY);
	ex->ops->identified(ex->arg, NULL);
	if (ex->state == EX_READY)
		ex->ops->ready(ex->arg);
}

static void proceed(struct hbt_exchange *ex)
{
	ex_set_state(ex, EX_SENDING);
	ex_send_start(ex);
}

static void received(struct hbt_exchange *ex)
{
	if (ex->in_null) {
		ex_close_with(ex, HALIBUT_ENO_RESPONSE,
		              "No response was received from the endpoint "
		              "within the allowed time.");
		return;
	}
	ex->used = true;
	ex_set_state(ex, EX_READY);
	ex->ops->message_end(ex->arg);
}

static void sent(struct hbt_exchange *ex)
{
	ex_set_state(ex, EX_AWAIT_MESSAGE);
	ex->ops->sent(ex->arg);
}

const struct ex_role ex_ask_service = {
	.role = HBT_ROLE_ASK_SERVICE,
	.opened = opened,
	.identity = identity,
	.proceed = proceed,
	.received = received,
	.sent = sent,
};
