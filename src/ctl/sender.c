/* The files of a call as the section behind its request. */
#include "ctl/sender.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ipc/proto.h"
#include "wire/writer.h"

#define CHUNK 65536
#define TURN_CHUNKS 16
/* What waits for the gateway between our files and the pipe: the files need
 * no spool, they are there already. */
#define SPOOL_BYTES ((int64_t)1024 * 1024)

struct hbt_ctl_sender {
	struct hbt_ctl_sending what;
	struct hbt_limits limits;
	struct hbt_sink *sink; /* NULL once all is said */
	struct event *push;
	size_t stream;
	int64_t at; /* in the file of stream */
	enum { SEND_HEAD, SEND_DATA, SEND_TAIL } part;
	uint8_t out[CHUNK];
	size_t out_len, out_done;
	int64_t sent;
};

static int read_piece(struct hbt_ctl_sender *s,
                      const struct hbt_ctl_stream *file,
                      struct halibut_error *err)
{
	size_t want = sizeof(s->out);
	ssize_t n;

	if ((int64_t)want > file->length - s->at)
		want = (size_t)(file->length - s->at);
	do
		n = read(file->fd, s->out, want);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return hbt_error_set(err, HALIBUT_ESTREAM, "%s %s", file->name,
		                     n < 0 ? strerror(errno)
		                           : "became shorter while it was "
		                             "sent");
	s->out_len = (size_t)n;
	s->at += n;
	if (s->at == file->length)
		s->part = SEND_TAIL;
	return HALIBUT_OK;
}

/* The next piece of the section into s->out. */
static int refill(struct hbt_ctl_sender *s, struct halibut_error *err)
{
	const struct hbt_ctl_stream *file = &s->what.args->streams[s->stream];

	s->out_done = 0;
	switch (s->part) {
	case SEND_HEAD:
		hbt_section_head(&s->what.refs[s->stream].id, file->length,
		                 s->out);
		s->out_len = 24;
		s->at = 0;
		s->part = file->length > 0 ? SEND_DATA : SEND_TAIL;
		return HALIBUT_OK;
	case SEND_TAIL:
		hbt_section_tail(file->length, s->out);
		s->out_len = 8;
		s->stream++;
		s->part = SEND_HEAD;
		return HALIBUT_OK;
	case SEND_DATA:
		break;
	}
	return read_piece(s, file, err);
}

/* Something more to write in s->out? Ends the sink when not. */
static bool prepare(struct hbt_ctl_sender *s)
{
	struct halibut_error err = {.status = HALIBUT_OK};

	if (s->out_done < s->out_len)
		return true;
	if (s->stream == s->what.args->n_streams) {
		hbt_sink_end(&s->sink, NULL);
		return false;
	}
	if (refill(s, &err) == HALIBUT_OK)
		return true;
	hbt_sink_end(&s->sink, &err);
	s->what.failed(s->what.arg, &err);
	halibut_error_clear(&err);
	return false;
}

static void on_push(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_ctl_sender *s = arg;
	struct halibut_error err = {.status = HALIBUT_OK};
	ssize_t n;

	(void)fd;
	(void)what;
	for (int i = 0; s->sink != NULL && i < TURN_CHUNKS; i++) {
		if (!prepare(s))
			return;
		n = s->sink->ops->write(s->sink, s->out + s->out_done,
		                        s->out_len - s->out_done, &err);
		if (n < 0) {
			hbt_sink_end(&s->sink, &err);
			halibut_error_clear(&err);
			return;
		}
		s->sent += n;
		s->out_done += (size_t)n;
		hbt_ctl_progress_set(s->what.progress, s->sent);
		if (s->out_done < s->out_len)
			return; /* wake() follows */
	}
	if (s->sink != NULL)
		event_active(s->push, EV_TIMEOUT, 0);
}

static void wake(void *arg)
{
	struct hbt_ctl_sender *s = arg;

	event_active(s->push, EV_TIMEOUT, 0);
}

int hbt_ctl_sender_new(struct hbt_ctl_sender **out,
                       const struct hbt_ctl_sending *what, int *fd,
                       struct halibut_error *err)
{
	struct hbt_ctl_sender *s = calloc(1, sizeof(*s));
	int64_t total = 0;
	int rc;

	*out = s;
	if (s == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	s->what = *what;
	hbt_limits_init(&s->limits);
	s->limits.spool_max_bytes_a_stream_section = SPOOL_BYTES;
	s->limits.spool_max_bytes_total = SPOOL_BYTES;
	s->push = event_new(what->base, -1, 0, on_push, s);
	rc = s->push == NULL
	             ? HALIBUT_ENOMEM
	             : hbt_pipe_sink_new(&s->sink, what->base, &s->limits,
	                                 "/var/tmp", NULL, fd);
	if (rc != 0) {
		hbt_ctl_sender_free(out);
		return hbt_error_set(err, rc,
		                     "cannot make a pipe for the DataStreams");
	}
	s->sink->wake = wake;
	s->sink->wake_arg = s;
	for (size_t i = 0; i < what->args->n_streams; i++)
		total += what->args->streams[i].length + 32;
	hbt_ctl_progress_begin(what->progress, "sending", total);
	event_active(s->push, EV_TIMEOUT, 0);
	return HALIBUT_OK;
}

void hbt_ctl_sender_free(struct hbt_ctl_sender **sp)
{
	struct halibut_error over = {.status = HALIBUT_ECLOSED};
	struct hbt_ctl_sender *s = *sp;

	if (s == NULL)
		return;
	*sp = NULL;
	if (s->sink != NULL)
		hbt_sink_end(&s->sink, &over);
	if (s->push != NULL)
		event_free(s->push);
	free(s);
}
