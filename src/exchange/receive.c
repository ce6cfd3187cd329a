/* The way in: what the reader finds becomes steps of the role. */
#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "exchange/private.h"

static void sink_woke(void *arg)
{
	struct hbt_exchange *ex = arg;

	if (ex->state != EX_CLOSED)
		hbt_conn_resume(ex->conn);
}

static void got_message(struct hbt_exchange *ex, struct hbt_message *m)
{
	bool asker = ex_is_asker(ex);
	size_t n_streams = m->env.n_streams;

	ex->env->counts.messages_in++;
	ex->messages_in++;
	ex->env->counts.streams_in += n_streams;
	ex->in_null = m->env.kind == HBT_MESSAGE_NULL;
	if (ex->in_null) {
		hbt_message_unref(&m);
		return;
	}
	if ((m->env.kind == HBT_MESSAGE_RESPONSE) != asker) {
		ex_close_with(ex, HALIBUT_EPROTO,
		              "%s sent a %s where a %s was expected",
		              hbt_conn_peer_address(ex->conn),
		              asker ? "request" : "response",
		              asker ? "response" : "request");
		hbt_message_unref(&m);
		return;
	}
	ex_note_call(ex, m, true);
	ex->ops->message(ex->arg, m, &ex->in_sink);
	if (ex->state == EX_CLOSED)
		return;
	assert((ex->in_sink != NULL) == (n_streams > 0));
	if (ex->in_sink != NULL) {
		ex->in_sink->wake = sink_woke;
		ex->in_sink->wake_arg = ex;
	}
}

/* Returns how many of the bytes the sink took; fewer means it is full. */
static size_t give_sink(struct hbt_exchange *ex, const uint8_t *data,
                        size_t len)
{
	struct halibut_error err = {0};
	struct hbt_sink *broken;
	ssize_t n;

	n = ex->in_sink->ops->write(ex->in_sink, data, len, &err);
	if (n >= 0) {
		ex->env->counts.stream_bytes_in += (uint64_t)n;
		return (size_t)n;
	}
	/*
	 * The taker is gone: what is still to come is of use to nobody. For a
	 * response that ends the exchange. The sender of a request cannot be
	 * told before its last byte, but then it gets the true reason.
	 */
	broken = ex->in_sink;
	ex->in_sink = NULL;
	hbt_sink_end(&broken, &err);
	if (ex_is_asker(ex))
		ex_close(ex, &err);
	else if (ex->state != EX_CLOSED)
		ex->in_sink = hbt_discard_sink();
	halibut_error_clear(&err);
	return len;
}

static void section_end(struct hbt_exchange *ex)
{
	if (ex->in_sink != NULL)
		hbt_sink_end(&ex->in_sink, NULL);
	if (ex->state != EX_CLOSED) /* a handler may have ended us */
		ex->role->received(ex);
}

static void take_event(struct hbt_exchange *ex, struct hbt_event *ev)
{
	switch (ev->type) {
	case HBT_EVENT_PREAMBLE:
	case HBT_EVENT_IDENTITY:
		ex->role->identity(ex, ev);
		break;
	case HBT_EVENT_NEXT:
		ex->role->next(ex);
		break;
	case HBT_EVENT_END:
		ex_close(ex, NULL);
		break;
	case HBT_EVENT_PROCEED:
		ex->role->proceed(ex);
		break;
	case HBT_EVENT_MESSAGE:
		got_message(ex, ev->message);
		break;
	case HBT_EVENT_SECTION_END:
		section_end(ex);
		break;
	case HBT_EVENT_ERROR:
		ex_close(ex, ev->error);
		break;
	case HBT_EVENT_SECTION:
	case HBT_EVENT_MORE:
		break;
	}
}

/*
 * While the peer should be silent, the only bytes that make sense are the
 * farewell of one that gives up. Others are left unread until it is its turn.
 */
static bool out_of_turn(const struct hbt_exchange *ex)
{
	return ex->state == EX_READY || ex->state == EX_ANSWERING ||
	       ex->state == EX_SENDING || ex->state == EX_ADMISSION;
}

static bool is_farewell(const uint8_t *data, size_t len)
{
	size_t n = len < hbt_line_end.len ? len : hbt_line_end.len;

	return memcmp(data, hbt_line_end.bytes, n) == 0;
}

/* A dialler that cancels says END, whatever we are doing for it: 5.2. */
static bool gave_up(const struct hbt_exchange *ex, const uint8_t *data,
                    size_t len)
{
	return (ex->role->role == HBT_ROLE_SERVE_CLIENT ||
	        ex->role->role == HBT_ROLE_FEED_SUBSCRIBER) &&
	       len >= hbt_line_end.len && is_farewell(data, len);
}

size_t ex_receive(struct hbt_exchange *ex, const uint8_t *data, size_t len)
{
	const uint8_t *start = data;
	struct hbt_event ev;

	if (ex->in_scanned > 0) {
		size_t n = len < ex->in_scanned ? len : ex->in_scanned;
		size_t taken = give_sink(ex, data, n);

		if (ex->state == EX_CLOSED)
			return len;
		ex->in_scanned -= taken;
		data += taken;
		len -= taken;
		if (taken < n)
			return (size_t)(data - start);
	}
	for (;;) {
		if (ex->state == EX_READY && len > 0) {
			if (is_farewell(data, len))
				ex_close(ex, NULL);
			else
				ex_close_with(ex, HALIBUT_EPROTO,
				              "%s spoke out of turn",
				              hbt_conn_peer_address(ex->conn));
			return (size_t)(data - start) + len;
		}
		if (out_of_turn(ex) && gave_up(ex, data, len)) {
			ex_close_with(ex, HALIBUT_ECLOSED,
			              "%s gave up while this side %s",
			              hbt_conn_peer_address(ex->conn),
			              hbt_exchange_state_text(ex));
			return (size_t)(data - start) + len;
		}
		if (out_of_turn(ex) && len > 0)
			break; /* stays unread; an EOF is noticed */
		hbt_reader_next(ex->reader, &data, &len, &ev);
		if (ev.type == HBT_EVENT_MORE)
			break;
		if (ex->state == EX_AWAIT_MESSAGE &&
		    ev.type != HBT_EVENT_ERROR)
			ex_set_state(ex, EX_RECEIVING);
		if (ev.type == HBT_EVENT_SECTION) {
			size_t n = ev.section_len;
			size_t taken = give_sink(ex, ev.section, n);

			if (ex->state == EX_CLOSED)
				break;
			if (taken < n) {
				ex->in_scanned = n - taken;
				data -= n - taken;
				len += n - taken;
				break;
			}
			continue;
		}
		take_event(ex, &ev);
		if (ex->state == EX_CLOSED)
			break;
	}
	if (ex->state == EX_CLOSED)
		return (size_t)(data - start) + len;
	if (ex->state == EX_AWAIT_MESSAGE &&
	    hbt_reader_mid_message(ex->reader))
		ex_set_state(ex, EX_RECEIVING);
	return (size_t)(data - start);
}

void ex_receive_eof(struct hbt_exchange *ex)
{
	char hint[HBT_HINT_TEXT];
	struct hbt_event ev;

	if (ex->state == EX_CLOSED)
		return;
	/* What came before the end may be a preamble without its blank line;
	 * nobody tells us of the end a second time. */
	if (ex->state == EX_PREAMBLE && hbt_reader_eof(ex->reader, &ev)) {
		take_event(ex, &ev);
		if (ex->state == EX_CLOSED)
			return;
	}
	/* A peer that leaves between two calls has nothing to explain. */
	if (ex->state == EX_READY || ex->state == EX_AWAIT_NEXT ||
	    (ex->state == EX_AWAIT_MESSAGE &&
	     ex->role->role == HBT_ROLE_SERVE_CLIENT)) {
		ex_close(ex, NULL);
		return;
	}
	hbt_conn_hint(ex->conn, hint);
	ex_close_with(ex, HALIBUT_ECLOSED,
	              "%s closed the connection while this side %s%s",
	              hbt_conn_peer_address(ex->conn),
	              hbt_exchange_state_text(ex), hint);
}

void ex_receive_clear(struct hbt_exchange *ex, const struct halibut_error *why)
{
	static const struct halibut_error gone = {
		.status = HALIBUT_ECLOSED,
		.message = (char *)"the connection was closed",
	};

	if (ex->in_sink != NULL)
		hbt_sink_end(&ex->in_sink,
		             why == NULL || why->status == HALIBUT_OK ? &gone
		                                                      : why);
	ex->in_scanned = 0;
}
