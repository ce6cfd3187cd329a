/* The way out: a message, then its DataStream section as it becomes ready. */
#include <stdlib.h>

#include "exchange/private.h"

enum {
	RECORD = 16384,   /* the most that one TLS record holds */
	LAST_RECORD = 16, /* old peers want this much in a message's last one */
	PIECE = 65536,
};

/* wire-protocol 6, "Sender rules about TLS records", third rule. Returns what
 * hbt_conn_write() said last. */
static int write_message(struct hbt_exchange *ex)
{
	const uint8_t *p = ex->out->deflated;
	size_t left = ex->out->deflated_len;

	while (left > RECORD) {
		size_t n = RECORD;

		if (left - n < LAST_RECORD)
			n -= LAST_RECORD;
		hbt_conn_write(ex->conn, p, n);
		p += n;
		left -= n;
	}
	return hbt_conn_write(ex->conn, p, left);
}

static void finished(struct hbt_exchange *ex)
{
	ex->env->counts.messages_out++;
	ex->messages_out++;
	ex->env->counts.streams_out += ex->out_section.n_refs;
	ex_send_clear(ex);
	if (ex->state != EX_CLOSED)
		ex->role->sent(ex);
}

static void source_woke(void *arg)
{
	ex_send_pump(arg);
}

void ex_send_start(struct hbt_exchange *ex)
{
	const struct hbt_envelope *env = &ex->out->env;

	ex->request_began = true;
	ex->out_held = false;
	if (write_message(ex) == HALIBUT_EAGAIN && !ex->out_is_null &&
	    env->n_streams == 0) {
		/* A large message on a slow line: the wait for its answer
		 * starts when it has left, at drained(). */
		ex->out_draining = true;
		return;
	}
	if (env->n_streams == 0) {
		finished(ex);
		return;
	}
	if (hbt_section_init(&ex->out_section, env->streams,
	                     env->n_streams) != 0) {
		ex_close_with(ex, HALIBUT_ENOMEM, "out of memory");
		return;
	}
	ex->out_in_section = true;
	if (ex->out_streams == NULL) {
		ex_close_with(ex, HALIBUT_ESTREAM,
		              "message %s announces %zu DataStreams, but there "
		              "is nothing to send them from",
		              env->id, env->n_streams);
		return;
	}
	ex->out_streams->wake = source_woke;
	ex->out_streams->wake_arg = ex;
	ex_send_pump(ex);
}

/* Only framing that its receiver can follow may leave us: 11.4. */
static bool section_is_sound(struct hbt_exchange *ex, const uint8_t *data,
                             size_t len)
{
	struct halibut_error err = {0};
	size_t used;
	int rc;

	rc = hbt_section_scan(&ex->out_section, data, len, &used, &err);
	if (rc == 0 && used != len)
		rc = hbt_error_set(&err, HALIBUT_ESTREAM,
		                   "more data than the DataStreams of message "
		                   "%s declare",
		                   ex->out->env.id);
	if (rc == 0)
		return true;
	ex_close(ex, &err);
	halibut_error_clear(&err);
	return false;
}

static void section_broke(struct hbt_exchange *ex, ssize_t got,
                          struct halibut_error *err)
{
	if (got == 0)
		hbt_error_set(err, HALIBUT_ESTREAM,
		              "the DataStreams of message %s ended early",
		              ex->out->env.id);
	ex_close(ex, err);
	halibut_error_clear(err);
}

void ex_send_pump(struct hbt_exchange *ex)
{
	static uint8_t piece[PIECE]; /* one loop, no threads */
	struct halibut_error err = {0};
	ssize_t n;

	if (ex->state != EX_CLOSED && ex->out_draining) {
		finished(ex);
		return;
	}
	if (ex->state == EX_CLOSED || !ex->out_in_section)
		return;
	while (!hbt_section_finished(&ex->out_section)) {
		n = ex->out_streams->ops->read(ex->out_streams, piece,
		                               sizeof(piece), &err);
		if (n == -HALIBUT_EAGAIN)
			return;
		if (ex->state == EX_CLOSED) { /* a reader of ours ended us */
			halibut_error_clear(&err);
			return;
		}
		if (n <= 0) {
			section_broke(ex, n, &err);
			return;
		}
		if (!section_is_sound(ex, piece, (size_t)n))
			return;
		ex->env->counts.stream_bytes_out += (uint64_t)n;
		if (hbt_conn_write(ex->conn, piece, (size_t)n) ==
		    HALIBUT_EAGAIN)
			break; /* drained() comes back here */
	}
	if (hbt_section_finished(&ex->out_section))
		finished(ex);
}

void ex_send_clear(struct hbt_exchange *ex)
{
	ex->out_in_section = ex->out_draining = false;
	ex->out_held = false;
	hbt_section_fini(&ex->out_section);
	hbt_source_free(&ex->out_streams);
	hbt_message_unref(&ex->out);
}
