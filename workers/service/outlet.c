/* DataStreams out of files: see outlet.h. wire-protocol 11.2, 11.4 */
#include "outlet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wire/writer.h"
#include "bounds.h"

#define PIPE_BYTES (256 * 1024)
#define TURN_PIECES 16

enum part {
	PART_HEAD,
	PART_DATA,
	PART_TAIL,
};

struct hbt_svc_outlet {
	struct event *writable;
	int fd;
	struct hbt_svc_stream *streams;
	size_t n_streams;
	size_t current;
	enum part part;
	int64_t written; /* of the part */
	uint8_t frame[24]; /* head or tail */
	bool no_splice; /* the file system cannot */
	void (*done)(void *arg, const struct halibut_error *err);
	void *arg;
};

static uint8_t scratch[SVC_READ_BYTES];

/* write(2) of one piece: > 0, or -errno. */
static ssize_t put(struct hbt_svc_outlet *o, const void *data, size_t len)
{
	ssize_t n;

	if (len > SVC_READ_BYTES)
		len = SVC_READ_BYTES;
	while ((n = write(o->fd, data, len)) < 0 && errno == EINTR)
		;
	return n < 0 ? -errno : n;
}

/* A piece of a file; 0 when it is shorter than it was. */
static ssize_t put_file(struct hbt_svc_outlet *o,
                        const struct hbt_svc_stream *s, int64_t left)
{
	size_t len = left < (int64_t)sizeof(scratch) ? (size_t)left
	                                             : sizeof(scratch);
	loff_t at = o->written;
	ssize_t n;

	if (!o->no_splice) {
		while ((n = splice(s->fd, &at, o->fd, NULL, len,
		                   SPLICE_F_NONBLOCK)) < 0 &&
		       errno == EINTR)
			;
		if (n >= 0)
			return n;
		if (errno != EINVAL && errno != ENOSYS)
			return -errno;
		o->no_splice = true;
	}
	while ((n = pread(s->fd, scratch, len, (off_t)at)) < 0 &&
	       errno == EINTR)
		;
	if (n <= 0)
		return n < 0 ? -errno : 0;
	return put(o, scratch, (size_t)n);
}

static int64_t part_length(const struct hbt_svc_outlet *o,
                           const struct hbt_svc_stream *s)
{
	switch (o->part) {
	case PART_HEAD:
		return 24;
	case PART_DATA:
		return s->length;
	default:
		return 8;
	}
}

static void next_part(struct hbt_svc_outlet *o)
{
	o->written = 0;
	if (o->part != PART_TAIL) {
		o->part++;
		return;
	}
	o->part = PART_HEAD;
	o->current++;
}

/* One piece. > 0, or -errno; 0 as put_file(). */
static ssize_t put_piece(struct hbt_svc_outlet *o,
                         const struct hbt_svc_stream *s, int64_t left)
{
	if (o->part == PART_DATA && s->data == NULL)
		return put_file(o, s, left);
	if (o->part == PART_DATA)
		return put(o, s->data + o->written, (size_t)left);
	if (o->part == PART_HEAD)
		hbt_section_head(&s->id, s->length, o->frame);
	else
		hbt_section_tail(s->length, o->frame);
	return put(o, o->frame + o->written, (size_t)left);
}

static void finish(struct hbt_svc_outlet *o, const struct halibut_error *err)
{
	event_del(o->writable);
	close(o->fd);
	o->fd = -1;
	o->done(o->arg, err);
}

static void finish_failed(struct hbt_svc_outlet *o, const char *why)
{
	struct halibut_error err = {0};

	hbt_error_set(&err, HALIBUT_ESTREAM,
	              "the DataStreams of a response broke off: %s", why);
	finish(o, &err);
	halibut_error_clear(&err);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_svc_outlet *o = arg;

	(void)fd;
	if (what & EV_TIMEOUT) {
		finish_failed(o, "they were not taken in time");
		return;
	}
	for (int i = 0; i < TURN_PIECES;) {
		const struct hbt_svc_stream *s;
		int64_t left;
		ssize_t n;

		if (o->current == o->n_streams) {
			finish(o, NULL);
			return;
		}
		s = &o->streams[o->current];
		left = part_length(o, s) - o->written;
		if (left <= 0) {
			next_part(o);
			continue;
		}
		n = put_piece(o, s, left);
		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			finish_failed(o, n < 0 ? strerror((int)-n)
			                       : "the file became shorter "
			                         "while it was sent");
			return;
		}
		o->written += n;
		i++;
	}
}

int hbt_svc_outlet_new(struct hbt_svc_outlet **out, struct event_base *base,
                       struct hbt_svc_answer *answer, int64_t idle_ms,
                       void (*done)(void *arg, const struct halibut_error *err),
                       void *arg, int *fd)
{
	struct timeval idle = {.tv_sec = (time_t)(idle_ms / 1000),
	                       .tv_usec = (suseconds_t)(idle_ms % 1000 * 1000)};
	struct hbt_svc_outlet *o;
	int fds[2];

	*out = NULL;
	*fd = -1;
	if (pipe2(fds, O_CLOEXEC) != 0)
		return HALIBUT_ESYSTEM;
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	if ((o = calloc(1, sizeof(*o))) == NULL) {
		close(fds[0]);
		close(fds[1]);
		return HALIBUT_ENOMEM;
	}
	fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* or what we may have */
	o->fd = fds[1];
	o->done = done;
	o->arg = arg;
	o->writable = event_new(base, o->fd, EV_WRITE | EV_PERSIST,
	                        on_writable, o);
	if (o->writable == NULL || event_add(o->writable, &idle) != 0) {
		close(fds[0]);
		hbt_svc_outlet_free(&o);
		return HALIBUT_ENOMEM;
	}
	o->streams = answer->streams;
	o->n_streams = answer->n_streams;
	answer->streams = NULL;
	answer->n_streams = 0;
	*fd = fds[0];
	*out = o;
	return HALIBUT_OK;
}

void hbt_svc_outlet_free(struct hbt_svc_outlet **op)
{
	struct hbt_svc_outlet *o = *op;

	if (o == NULL)
		return;
	*op = NULL;
	if (o->writable != NULL)
		event_free(o->writable);
	if (o->fd >= 0)
		close(o->fd);
	hbt_svc_streams_free(o->streams, o->n_streams);
	free(o);
}
