/* Channels between our processes: see ipc.h. */
#include "ipc/ipc.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"
#include "ipc/frame.h"
#include "ipc/packet.h"

#define TURN_MESSAGES 64
#define TURN_BYTES ((size_t)4 * 1024 * 1024)
/* So much does not wait for the end of the turn. */
#define GATHER_BYTES ((size_t)64 * 1024)

struct hbt_ipc {
	const struct hbt_ipc_ops *ops;
	void *arg;
	int fd;
	size_t max_body;
	struct event *readable;
	struct event *writable;
	struct event *retry;  /* the kernel is short of something: try again */
	struct event *doom;   /* a send failed: look what is left to read */
	struct event *ending; /* the end of a turn in which something was sent */
	struct event *again;  /* frames of a packet wait for the next turn */
	TAILQ_HEAD(packets, hbt_packet) out;
	struct hbt_packet *spare; /* one that was sent */
	size_t unsent;
	size_t aside; /* in memfds, since the kernel last had nothing of ours */
	struct hbt_arrival packet; /* the one that is being handled, */
	bool unfinished;           /*   when not all of it was */
	bool several;              /* it has more than one frame */
	bool blocked; /* the socket takes nothing: writable or retry is armed */
	bool paused;
	bool peer_gone; /* nothing can be sent any more */
	bool closed;    /* closed() was called */
	bool handling;  /* inside a callback of ours: */
	bool freed;     /*   then the memory lives until it returns */
	uint8_t in[HBT_FRAME_HEADER + HBT_FRAME_INLINE];
};

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

static void drop_unsent(struct hbt_ipc *ipc)
{
	struct hbt_packet *p;

	while ((p = TAILQ_FIRST(&ipc->out)) != NULL) {
		TAILQ_REMOVE(&ipc->out, p, link);
		hbt_packet_free(&p);
	}
	ipc->unsent = 0;
}

static void stop_events(struct hbt_ipc *ipc)
{
	event_del(ipc->readable);
	event_del(ipc->writable);
	event_del(ipc->retry);
	event_del(ipc->doom);
	event_del(ipc->ending);
	event_del(ipc->again);
}

/* Sending */

/* Later messages and the EOF still wait to be read, so closed() comes from
 * the reading side, and never from inside hbt_ipc_send(). */
static void lose_peer(struct hbt_ipc *ipc)
{
	ipc->peer_gone = true;
	drop_unsent(ipc);
	event_del(ipc->writable);
	event_del(ipc->retry);
	event_del(ipc->ending);
	event_active(ipc->doom, EV_TIMEOUT, 0);
}

/* What a failed send means: wait for room, wait a little, or the end. */
static void wait_to_send(struct hbt_ipc *ipc, int err)
{
	/* Full, or too many descriptors on their way: nobody tells us when
	 * the latter ends. */
	static const struct timeval pause = {.tv_usec = 10000};

	ipc->blocked = true;
	if (err == EAGAIN)
		event_add(ipc->writable, NULL);
	else if (err == ENOBUFS || err == ENOMEM || err == ETOOMANYREFS)
		event_add(ipc->retry, &pause);
	else
		lose_peer(ipc);
}

/* One is kept, so that a turn's packet needs no memory of its own. */
static void packet_was_sent(struct hbt_ipc *ipc, struct hbt_packet *p)
{
	ipc->unsent -= p->weight;
	if (p->weight > p->len)
		ipc->aside += p->weight - p->len;
	if (ipc->spare == NULL || ipc->spare->cap < p->cap) {
		struct hbt_packet *other = ipc->spare;

		hbt_packet_reset(p);
		ipc->spare = p;
		p = other;
	}
	hbt_packet_free(&p);
}

static void flush(struct hbt_ipc *ipc)
{
	struct hbt_packet *p;

	while ((p = TAILQ_FIRST(&ipc->out)) != NULL) {
		struct iovec iov = {.iov_base = p->data, .iov_len = p->len};
		int err = hbt_frame_send(ipc->fd, &iov, 1, p->fds, p->n_fds);

		if (err != 0) {
			wait_to_send(ipc, err);
			return;
		}
		TAILQ_REMOVE(&ipc->out, p, link);
		packet_was_sent(ipc, p);
	}
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_ipc *ipc = arg;

	(void)fd;
	(void)what;
	ipc->blocked = false;
	flush(ipc);
}

static void on_ending(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_ipc *ipc = arg;

	(void)fd;
	(void)what;
	if (!ipc->blocked)
		flush(ipc);
}

/* An empty one that is in no list; NULL: no memory. */
static struct hbt_packet *take_spare(struct hbt_ipc *ipc)
{
	struct hbt_packet *p = ipc->spare;

	ipc->spare = NULL;
	return p != NULL ? p : hbt_packet_new();
}

/*
 * Puts a frame behind those that wait, and sees to it that they leave. The
 * descriptors are the packet's unless it fails.
 */
static int enqueue(struct hbt_ipc *ipc, const uint8_t *header,
                   size_t header_len, const void *data, size_t len,
                   const int *fds, size_t n_fds, size_t body_len)
{
	struct hbt_packet *p = TAILQ_LAST(&ipc->out, packets);
	size_t behind = header_len - HBT_FRAME_HEADER + len;
	bool fresh = p == NULL || !hbt_packet_has_room(p, behind);

	if (fresh && (p = take_spare(ipc)) == NULL)
		return HALIBUT_ENOMEM;
	if (!hbt_packet_add(p, header, header_len, data, len, fds, n_fds)) {
		if (fresh)
			ipc->spare = p;
		return HALIBUT_ENOMEM;
	}
	if (fresh)
		TAILQ_INSERT_TAIL(&ipc->out, p, link);
	p->weight += HBT_FRAME_HEADER + body_len;
	ipc->unsent += HBT_FRAME_HEADER + body_len;
	if (ipc->blocked)
		return HALIBUT_OK;
	if (ipc->unsent >= GATHER_BYTES)
		flush(ipc);
	else
		event_active(ipc->ending, EV_TIMEOUT, 0);
	return HALIBUT_OK;
}

int hbt_ipc_send(struct hbt_ipc *ipc, uint16_t type, uint32_t id,
                 const void *data, size_t len, int fd)
{
	uint8_t header[HBT_FRAME_HEADER_MAX];
	int fds[HBT_FRAME_FDS] = {-1, -1};
	size_t header_len, n_fds = 0;
	uint16_t flags = 0;
	int rc = HALIBUT_OK;

	if (ipc->peer_gone || ipc->closed) {
		if (fd >= 0)
			close(fd);
		return HALIBUT_OK;
	}
	if (len > HBT_FRAME_INLINE) {
		flags |= HBT_FRAME_MEMFD;
		if ((fds[n_fds] = hbt_frame_memfd(data, len)) < 0)
			rc = HALIBUT_ENOMEM;
		n_fds++;
	}
	if (fd >= 0) {
		flags |= HBT_FRAME_FD;
		fds[n_fds++] = fd;
	}
	header_len = hbt_frame_header_put(header, type, id, flags, len);
	if (rc == HALIBUT_OK)
		rc = enqueue(ipc, header, header_len, data,
		             flags & HBT_FRAME_MEMFD ? 0 : len, fds, n_fds,
		             len);
	if (rc != HALIBUT_OK)
		close_all(fds, n_fds);
	return rc;
}

int hbt_ipc_send_wr(struct hbt_ipc *ipc, uint16_t type, uint32_t id,
                    struct hbt_wr *w, int fd)
{
	int rc = w->status;

	if (rc == HALIBUT_OK)
		rc = hbt_ipc_send(ipc, type, id, w->buf.data, w->buf.len, fd);
	else if (fd >= 0)
		close(fd);
	hbt_wr_fini(w);
	return rc;
}

size_t hbt_ipc_unsent(const struct hbt_ipc *ipc)
{
	return ipc->unsent;
}

size_t hbt_ipc_unread(struct hbt_ipc *ipc)
{
	int held = 0;

	if (ioctl(ipc->fd, SIOCOUTQ, &held) != 0 || held == 0)
		ipc->aside = 0;
	return ipc->unsent + ipc->aside;
}

/* Receiving */

/* Says goodbye to the other side, once. */
static void close_channel(struct hbt_ipc *ipc, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void close_channel(struct hbt_ipc *ipc, const char *fmt, ...)
{
	char why[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	ipc->closed = true;
	drop_unsent(ipc);
	stop_events(ipc);
	hbt_arrival_close(&ipc->packet);
	ipc->unfinished = false;
	ipc->ops->closed(ipc->arg, why);
}

static void warn_of_lost(const struct hbt_ipc_msg *msg)
{
	log_warning("message %u (id %u) of another process lost what came "
	            "beside it: no descriptor or memory is free here, raise "
	            "LimitNOFILE or accept fewer connections",
	            msg->type, msg->id);
}

/*
 * The next frame of the packet. What it brought is either in the message that
 * the handler gets, or closed here. NULL, or what the other side did wrong.
 */
static const char *handle(struct hbt_ipc *ipc, size_t *used)
{
	struct hbt_arrival *a = &ipc->packet;
	struct hbt_ipc_msg msg = {.fd = -1};
	uint8_t *body = NULL;
	struct hbt_frame f;
	const char *why = hbt_frame_next(a, ipc->max_body, &f);

	if (why != NULL)
		return why;
	msg.type = f.type;
	msg.id = f.id;
	msg.lost = f.lost;
	msg.data = f.data;
	msg.len = f.len;
	if (f.has_memfd) {
		body = hbt_frame_read_memfd(a->fds[0], f.memfd_len, &why);
		if (why != NULL)
			return why;
		msg.lost = msg.lost || body == NULL;
		if (body != NULL) {
			msg.data = body;
			msg.len = (size_t)f.memfd_len;
		}
	}
	if (f.has_fd && !msg.lost) {
		msg.fd = a->fds[a->n_fds - 1];
		a->fds[a->n_fds - 1] = -1;
	}
	ipc->unfinished = f.followed;
	ipc->several = ipc->several || f.followed;
	if (!f.followed)
		hbt_arrival_close(a); /* before the handler needs some */
	*used += HBT_FRAME_HEADER + msg.len;
	if (msg.lost)
		warn_of_lost(&msg);
	ipc->ops->message(ipc->arg, &msg);
	if (msg.fd >= 0)
		close(msg.fd);
	free(body);
	return NULL;
}

enum arrived {
	ARRIVED_PACKET,
	ARRIVED_NOTHING, /* for now */
	ARRIVED_END,     /* closed() was called */
	ARRIVED_AGAIN,   /* nothing, but trying again helps */
};

static enum arrived receive(struct hbt_ipc *ipc)
{
	ssize_t n = hbt_frame_receive(ipc->fd, ipc->in, sizeof(ipc->in),
	                              &ipc->packet);

	if (n > 0) {
		ipc->unfinished = true;
		ipc->several = false;
		return ARRIVED_PACKET;
	}
	if (n == 0) {
		close_channel(ipc, "the other process ended");
		return ARRIVED_END;
	}
	/* A reset is told once, before what the other side still said and its
	 * end. */
	if (errno == EINTR || errno == ECONNRESET || errno == ENOMEM)
		return ARRIVED_AGAIN;
	if (errno == EAGAIN)
		return ARRIVED_NOTHING;
	close_channel(ipc, "cannot read: %s", strerror(errno));
	return ARRIVED_END;
}

/* The socket may not become readable again for what we have of it. */
static void go_on_next_turn(struct hbt_ipc *ipc)
{
	static const struct timeval at_once;

	if (ipc->unfinished && !ipc->paused)
		event_add(ipc->again, &at_once);
}

/*
 * Reads up to a turn's worth. True when more may be there. Behind a packet of
 * one frame there is hardly ever another: the loop tells, should it be so, and
 * nothing is asked in vain.
 */
static bool read_turn(struct hbt_ipc *ipc)
{
	size_t used = 0;

	for (int i = 0; i < TURN_MESSAGES && used < TURN_BYTES; i++) {
		enum arrived what = ARRIVED_PACKET;
		const char *why;

		if (!ipc->unfinished)
			what = receive(ipc);
		if (what == ARRIVED_AGAIN)
			continue;
		if (what != ARRIVED_PACKET)
			return false;
		if ((why = handle(ipc, &used)) != NULL) {
			close_channel(ipc, "the other process sent %s", why);
			return false;
		}
		if (ipc->freed || ipc->paused)
			return false;
		if (!ipc->unfinished && !ipc->several)
			return true;
	}
	go_on_next_turn(ipc);
	return true;
}

static void destroy(struct hbt_ipc *ipc)
{
	drop_unsent(ipc);
	if (ipc->readable != NULL)
		event_free(ipc->readable);
	if (ipc->writable != NULL)
		event_free(ipc->writable);
	if (ipc->retry != NULL)
		event_free(ipc->retry);
	if (ipc->doom != NULL)
		event_free(ipc->doom);
	if (ipc->ending != NULL)
		event_free(ipc->ending);
	if (ipc->again != NULL)
		event_free(ipc->again);
	hbt_packet_free(&ipc->spare);
	hbt_arrival_close(&ipc->packet);
	if (ipc->fd >= 0)
		close(ipc->fd);
	free(ipc);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_ipc *ipc = arg;

	(void)fd;
	(void)what;
	if (ipc->unfinished)
		event_del(ipc->again); /* this is its turn */
	ipc->handling = true;
	read_turn(ipc);
	ipc->handling = false;
	if (ipc->freed)
		destroy(ipc);
}

/* The other side takes nothing any more: read what it had said, then end. */
static void on_doom(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_ipc *ipc = arg;
	bool more = false;

	(void)fd;
	(void)what;
	ipc->handling = true;
	if (!ipc->paused)
		more = read_turn(ipc);
	if (!ipc->freed && !ipc->closed) {
		if (more)
			event_active(ipc->doom, EV_TIMEOUT, 0);
		else
			close_channel(ipc, "the other process ended");
	}
	ipc->handling = false;
	if (ipc->freed)
		destroy(ipc);
}

void hbt_ipc_pause(struct hbt_ipc *ipc, bool paused)
{
	if (ipc->paused == paused || ipc->closed)
		return;
	ipc->paused = paused;
	if (paused) {
		event_del(ipc->readable);
		event_del(ipc->again);
	} else {
		event_add(ipc->readable, NULL);
		go_on_next_turn(ipc);
	}
}

int hbt_ipc_take_fd(struct hbt_ipc_msg *msg)
{
	int fd = msg->fd;

	msg->fd = -1;
	return fd;
}

static int check_socket(int fd)
{
	socklen_t len = sizeof(int);
	int type = 0;
	int flags;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 ||
	    type != SOCK_SEQPACKET)
		return HALIBUT_EINVAL;
	if ((flags = fcntl(fd, F_GETFL)) < 0 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		return HALIBUT_ESYSTEM;
	return HALIBUT_OK;
}

int hbt_ipc_new(struct hbt_ipc **out, struct event_base *base, int fd,
                size_t max_body, const struct hbt_ipc_ops *ops, void *arg)
{
	struct hbt_ipc *ipc;
	int rc = HALIBUT_ENOMEM;

	*out = NULL;
	if ((ipc = malloc(sizeof(*ipc))) == NULL) {
		close(fd);
		return rc;
	}
	memset(ipc, 0, offsetof(struct hbt_ipc, in));
	TAILQ_INIT(&ipc->out);
	ipc->ops = ops;
	ipc->arg = arg;
	ipc->max_body = max_body;
	ipc->fd = fd;
	if ((rc = check_socket(fd)) != HALIBUT_OK)
		goto fail;
	rc = HALIBUT_ENOMEM;
	ipc->readable =
		event_new(base, fd, EV_READ | EV_PERSIST, on_readable, ipc);
	ipc->writable = event_new(base, fd, EV_WRITE, on_writable, ipc);
	ipc->retry = event_new(base, -1, 0, on_writable, ipc);
	ipc->doom = event_new(base, -1, 0, on_doom, ipc);
	ipc->ending = event_new(base, -1, 0, on_ending, ipc);
	ipc->again = event_new(base, -1, 0, on_readable, ipc);
	if (ipc->readable == NULL || ipc->writable == NULL ||
	    ipc->retry == NULL || ipc->doom == NULL || ipc->ending == NULL ||
	    ipc->again == NULL ||
	    event_add(ipc->readable, NULL) != 0)
		goto fail;
	*out = ipc;
	return HALIBUT_OK;
fail:
	destroy(ipc);
	return rc;
}

void hbt_ipc_free(struct hbt_ipc **ipcp)
{
	struct hbt_ipc *ipc = *ipcp;

	if (ipc == NULL)
		return;
	*ipcp = NULL;
	assert(!ipc->freed);
	if (!ipc->closed && !ipc->peer_gone)
		flush(ipc);
	ipc->freed = true;
	stop_events(ipc);
	if (!ipc->handling) {
		destroy(ipc);
		return;
	}
	/* The other side learns of it now; the memory goes later. */
	drop_unsent(ipc);
	close(ipc->fd);
	ipc->fd = -1;
}
