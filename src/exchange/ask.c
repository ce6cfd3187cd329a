/* Handing a message to an exchange, and taking it back. */
#include <assert.h>

#include "exchange/private.h"

/* A keep-alive of ours is under way: the request follows its NEXT. */
static bool busy_with_null(const struct hbt_exchange *ex)
{
	return ex->out_is_null &&
	       (ex->state == EX_SENDING || ex->state == EX_AWAIT_NEXT);
}

void hbt_exchange_send(struct hbt_exchange *ex, struct hbt_message *m,
                       struct hbt_source *streams)
{
	if (ex->state == EX_CLOSED) {
		hbt_source_free(&streams);
		return;
	}
	assert(ex->out == NULL && ex->out_streams == NULL);
	assert(ex->state == EX_READY || ex->state == EX_ANSWERING ||
	       busy_with_null(ex));
	ex_note_call(ex, m, false);
	ex->out = hbt_message_ref(m);
	ex->out_streams = streams;
	if (busy_with_null(ex)) {
		ex->out_held = true;
	} else if (ex->state == EX_READY && ex->used) {
		ex->request_began = false;
		ex->out_held = true; /* until PROCEED */
		ex_write_line(ex, &hbt_line_next);
		ex_set_state(ex, EX_PROBING);
	} else {
		if (ex->tick != NULL)
			evtimer_del(ex->tick);
		ex_set_state(ex, EX_SENDING);
		ex_send_start(ex);
	}
}

bool hbt_exchange_unsend(struct hbt_exchange *ex, struct hbt_source **streams)
{
	*streams = NULL;
	if (!ex->out_held)
		return false;
	*streams = ex->out_streams;
	ex->out_streams = NULL;
	ex_send_clear(ex);
	return true;
}

bool hbt_exchange_request_began(const struct hbt_exchange *ex)
{
	return ex->request_began && !ex->out_is_null;
}
