/* Channels between our processes: see ipc.h. */
#include "ipc/ipc.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"

#define MAGIC ((uint16_t)('H' | 1 << 8)) /* version 1 */
#define HEADER_BYTES 12
#define INLINE_BYTES ((size_t)32 * 1024)
#define FLAG_MEMFD 1u /* the body is the first descriptor */
#define FLAG_FD 2u    /* the message has a descriptor of its own, the last */
#define MAX_FDS 2
#define TURN_MESSAGES 64
#define TURN_BYTES ((size_t)4 * 1024 * 1024)
/* Nobody may change or shorten what was sent. */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* A frame that the socket did not take yet. */
struct frame {
	STAILQ_ENTRY(frame) link;
	int fds[MAX_FDS];
	size_t n_fds;
	size_t weight; /* what it adds to unsent */
	size_t len;
	uint8_t data[];
};

struct hbt_ipc {
	const struct hbt_ipc_ops *ops;
	void *arg;
	int fd;
	size_t max_body;
	struct event *readable;
	struct event *writable;
	struct event *retry; /* the kernel is short of something: try again */
	struct event *doom;  /* a send failed: look what is left to read */
	STAILQ_HEAD(, frame) out;
	size_t unsent;
	bool paused;
	bool peer_gone; /* nothing can be sent any more */
	bool closed;    /* closed() was called */
	bool handling;  /* inside a callback of ours: */
	bool freed;     /*   then the memory lives until it returns */
	uint8_t in[HEADER_BYTES + INLINE_BYTES];
};

/* What recvmsg() gave, before it is a message. */
struct arrival {
	int fds[MAX_FDS];
	size_t n_fds;
	bool truncated; /* the kernel could not give all descriptors */
};

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

static void frame_free(struct frame *f)
{
	close_all(f->fds, f->n_fds);
	free(f);
}

static void drop_unsent(struct hbt_ipc *ipc)
{
	struct frame *f;

	while ((f = STAILQ_FIRST(&ipc->out)) != NULL) {
		STAILQ_REMOVE_HEAD(&ipc->out, link);
		frame_free(f);
	}
	ipc->unsent = 0;
}

/* Sending */

static void put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static void put_u32(uint8_t *p, uint32_t v)
{
	put_u16(p, (uint16_t)v);
	put_u16(p + 2, (uint16_t)(v >> 16));
}

/* One frame to the kernel, whole or not at all. 0 or errno. */
static int send_now(int fd, const struct iovec *iov, size_t n_iov,
                    const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control = {.space = {0}};
	struct msghdr mh = {
		.msg_iov = (struct iovec *)iov,
		.msg_iovlen = n_iov,
	};

	if (n_fds > 0) {
		struct cmsghdr *c;

		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	for (;;) {
		if (sendmsg(fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		if (errno != EINTR)
			return errno;
	}
}

/* Later messages and the EOF still wait to be read, so closed() comes from
 * the reading side, and never from inside hbt_ipc_send(). */
static void lose_peer(struct hbt_ipc *ipc)
{
	ipc->peer_gone = true;
	drop_unsent(ipc);
	event_del(ipc->writable);
	event_del(ipc->retry);
	event_active(ipc->doom, EV_TIMEOUT, 0);
}

/* What a failed send means: wait for room, wait a little, or the end. */
static void wait_to_send(struct hbt_ipc *ipc, int err)
{
	/* Full, or too many descriptors on their way: nobody tells us when
	 * the latter ends. */
	static const struct timeval pause = {.tv_usec = 10000};

	if (err == EAGAIN)
		event_add(ipc->writable, NULL);
	else if (err == ENOBUFS || err == ENOMEM || err == ETOOMANYREFS)
		event_add(ipc->retry, &pause);
	else
		lose_peer(ipc);
}

static void flush(struct hbt_ipc *ipc)
{
	struct frame *f;

	while ((f = STAILQ_FIRST(&ipc->out)) != NULL) {
		struct iovec iov = {.iov_base = f->data, .iov_len = f->len};
		int err = send_now(ipc->fd, &iov, 1, f->fds, f->n_fds);

		if (err != 0) {
			wait_to_send(ipc, err);
			return;
		}
		STAILQ_REMOVE_HEAD(&ipc->out, link);
		ipc->unsent -= f->weight;
		frame_free(f);
	}
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	flush(arg);
}

/* The body as a sealed memfd, or -1. */
static int make_memfd(const void *data, size_t len)
{
	int fd = memfd_create("halibut message",
	                      MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t done = 0;

	if (fd < 0)
		return -1;
	while (done < len) {
		ssize_t n = write(fd, (const uint8_t *)data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			goto fail;
		done += (size_t)n;
	}
	if (fcntl(fd, F_ADD_SEALS, SEALS) != 0)
		goto fail;
	return fd;
fail:
	close(fd);
	return -1;
}

/* Copies the frame behind those that wait; takes fds over unless it fails. */
static int enqueue(struct hbt_ipc *ipc, const struct iovec *iov, size_t n_iov,
                   const int *fds, size_t n_fds, size_t body_len)
{
	struct frame *f;
	size_t len = 0;

	for (size_t i = 0; i < n_iov; i++)
		len += iov[i].iov_len;
	if ((f = malloc(sizeof(*f) + len)) == NULL)
		return HALIBUT_ENOMEM;
	f->len = 0;
	for (size_t i = 0; i < n_iov; i++) {
		if (iov[i].iov_len > 0)
			memcpy(f->data + f->len, iov[i].iov_base,
			       iov[i].iov_len);
		f->len += iov[i].iov_len;
	}
	f->n_fds = n_fds;
	if (n_fds > 0)
		memcpy(f->fds, fds, n_fds * sizeof(*fds));
	f->weight = HEADER_BYTES + body_len;
	ipc->unsent += f->weight;
	STAILQ_INSERT_TAIL(&ipc->out, f, link);
	return HALIBUT_OK;
}

int hbt_ipc_send(struct hbt_ipc *ipc, uint16_t type, uint32_t id,
                 const void *data, size_t len, int fd)
{
	uint8_t header[HEADER_BYTES + sizeof(uint64_t)];
	struct iovec iov[2] = {
		{.iov_base = header, .iov_len = HEADER_BYTES},
		{.iov_base = (void *)data, .iov_len = len},
	};
	int fds[MAX_FDS] = {-1, -1};
	size_t n_fds = 0;
	uint32_t flags = 0;
	int rc = HALIBUT_OK;
	int err = EAGAIN;

	if (ipc->peer_gone || ipc->closed) {
		if (fd >= 0)
			close(fd);
		return HALIBUT_OK;
	}
	if (len > INLINE_BYTES) {
		flags |= FLAG_MEMFD;
		if ((fds[n_fds] = make_memfd(data, len)) < 0)
			rc = HALIBUT_ENOMEM;
		n_fds++;
		put_u32(header + HEADER_BYTES, (uint32_t)len);
		put_u32(header + HEADER_BYTES + 4,
		        (uint32_t)((uint64_t)len >> 32));
		iov[0].iov_len = sizeof(header);
		iov[1].iov_len = 0;
	}
	if (fd >= 0) {
		flags |= FLAG_FD;
		fds[n_fds++] = fd;
	}
	put_u16(header, MAGIC);
	put_u16(header + 2, type);
	put_u32(header + 4, id);
	put_u32(header + 8, flags);

	if (rc == HALIBUT_OK && STAILQ_EMPTY(&ipc->out)) {
		err = send_now(ipc->fd, iov, 2, fds, n_fds);
		if (err != 0)
			wait_to_send(ipc, err);
	}
	if (rc == HALIBUT_OK && err != 0 && !ipc->peer_gone &&
	    (rc = enqueue(ipc, iov, 2, fds, n_fds, len)) == HALIBUT_OK)
		n_fds = 0; /* the frame's from here */
	close_all(fds, n_fds);
	return rc;
}

size_t hbt_ipc_unsent(const struct hbt_ipc *ipc)
{
	return ipc->unsent;
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
	event_del(ipc->readable);
	event_del(ipc->writable);
	event_del(ipc->retry);
	event_del(ipc->doom);
	ipc->ops->closed(ipc->arg, why);
}

static void collect_fds(struct msghdr *mh, struct arrival *a)
{
	a->n_fds = 0;
	a->truncated = (mh->msg_flags & MSG_CTRUNC) != 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c != NULL;
	     c = CMSG_NXTHDR(mh, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int),
			       sizeof(fd));
			if (a->n_fds < MAX_FDS)
				a->fds[a->n_fds++] = fd;
			else
				close(fd);
		}
	}
}

/*
 * The body out of a memfd, in our own memory: what is read can then neither
 * change nor vanish. *why says what is wrong with it.
 */
static uint8_t *read_memfd(int fd, uint64_t len, const char **why)
{
	int seals = fcntl(fd, F_GET_SEALS);
	uint8_t *body;
	size_t done = 0;
	struct stat st;

	/* Only memory has seals, so reading it cannot block either. */
	if (seals < 0 || (seals & SEALS) != SEALS) {
		*why = "a body that is no sealed memfd";
		return NULL;
	}
	if (fstat(fd, &st) != 0 || st.st_size < 0 ||
	    (uint64_t)st.st_size != len) {
		*why = "a body of another length than its frame says";
		return NULL;
	}
	if ((body = malloc(len > 0 ? (size_t)len : 1)) == NULL) {
		*why = "a body that finds no memory";
		return NULL;
	}
	while (done < len) {
		ssize_t n = pread(fd, body + done, (size_t)len - done,
		                  (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			*why = "a body that cannot be read";
			free(body);
			return NULL;
		}
		done += (size_t)n;
	}
	return body;
}

static void warn_of_lost(const struct hbt_ipc_msg *msg)
{
	log_warning("message %u (id %u) lost its descriptor: this process has "
	            "none left, raise LimitNOFILE or accept fewer connections",
	            msg->type, msg->id);
}

/*
 * One frame. What it brought is either in the message that the handler gets,
 * or closed here. NULL, or what the other side did wrong.
 */
static const char *handle_frame(struct hbt_ipc *ipc, size_t len,
                                struct arrival *a, size_t *used)
{
	struct hbt_rd r = hbt_rd_from(ipc->in, len);
	uint16_t magic = hbt_rd_u16(&r);
	struct hbt_ipc_msg msg = {.fd = -1};
	uint8_t *body = NULL;
	const char *why = NULL;
	size_t expected;
	uint32_t flags;

	msg.type = hbt_rd_u16(&r);
	msg.id = hbt_rd_u32(&r);
	flags = hbt_rd_u32(&r);
	if (r.status != 0 || magic != MAGIC)
		return "something that is no frame of this version";
	if ((flags & ~(FLAG_MEMFD | FLAG_FD)) != 0)
		return "unknown flags";
	expected = (flags & FLAG_MEMFD ? 1 : 0) + (flags & FLAG_FD ? 1 : 0);
	if (a->n_fds > expected || (a->n_fds == expected && a->truncated))
		return "more descriptors than the frame says";
	if (a->n_fds < expected && !a->truncated)
		return "fewer descriptors than the frame says";
	msg.lost = a->n_fds < expected;

	msg.data = r.p;
	msg.len = r.left;
	if (flags & FLAG_MEMFD) {
		uint64_t body_len = hbt_rd_u64(&r);

		if (hbt_rd_finish(&r) != 0)
			return "a frame without its body's length";
		if (body_len > ipc->max_body)
			return "a body over the limit";
		msg.data = ipc->in;
		msg.len = 0;
		if (a->n_fds > 0) {
			body = read_memfd(a->fds[0], body_len, &why);
			if (body == NULL)
				return why;
			msg.data = body;
			msg.len = (size_t)body_len;
		}
	} else if (msg.len > ipc->max_body) {
		return "a body over the limit";
	}
	if ((flags & FLAG_FD) && !msg.lost) {
		msg.fd = a->fds[a->n_fds - 1];
		a->fds[a->n_fds - 1] = -1;
	}
	close_all(a->fds, a->n_fds); /* before the handler needs some */
	*used += HEADER_BYTES + msg.len;
	if (msg.lost)
		warn_of_lost(&msg);
	ipc->ops->message(ipc->arg, &msg);
	if (msg.fd >= 0)
		close(msg.fd);
	free(body);
	return NULL;
}

/* Reads up to a turn's worth. True when more may be there. */
static bool read_turn(struct hbt_ipc *ipc)
{
	size_t used = 0;

	for (int i = 0; i < TURN_MESSAGES && used < TURN_BYTES; i++) {
		union {
			struct cmsghdr align;
			char space[CMSG_SPACE(MAX_FDS * sizeof(int))];
		} control;
		struct iovec iov = {.iov_base = ipc->in,
		                    .iov_len = sizeof(ipc->in)};
		struct msghdr mh = {.msg_iov = &iov,
		                    .msg_iovlen = 1,
		                    .msg_control = &control,
		                    .msg_controllen = sizeof(control)};
		struct arrival a = {.n_fds = 0};
		const char *why;
		ssize_t n = recvmsg(ipc->fd, &mh,
		                    MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

		if (n < 0 && (errno == EINTR || errno == ECONNRESET)) {
			/* A reset is told once, before what the other side
			 * still said and its EOF. */
			continue;
		}
		if (n < 0 && (errno == EAGAIN || errno == ENOMEM))
			return errno == ENOMEM;
		if (n < 0) {
			close_channel(ipc, "cannot read: %s", strerror(errno));
			return false;
		}
		collect_fds(&mh, &a);
		if (n == 0) {
			close_all(a.fds, a.n_fds);
			close_channel(ipc, "the other process ended");
			return false;
		}
		why = mh.msg_flags & MSG_TRUNC
		              ? "a frame over the limit"
		              : handle_frame(ipc, (size_t)n, &a, &used);
		if (why != NULL) {
			close_all(a.fds, a.n_fds);
			close_channel(ipc, "the other process sent %s", why);
			return false;
		}
		if (ipc->freed || ipc->paused)
			return false;
	}
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
	if (ipc->fd >= 0)
		close(ipc->fd);
	free(ipc);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_ipc *ipc = arg;

	(void)fd;
	(void)what;
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
	if (paused)
		event_del(ipc->readable);
	else
		event_add(ipc->readable, NULL);
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
	STAILQ_INIT(&ipc->out);
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
	if (ipc->readable == NULL || ipc->writable == NULL ||
	    ipc->retry == NULL || ipc->doom == NULL ||
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
	event_del(ipc->readable);
	event_del(ipc->writable);
	event_del(ipc->retry);
	event_del(ipc->doom);
	if (!ipc->handling) {
		destroy(ipc);
		return;
	}
	/* The other side learns of it now; the memory goes later. */
	drop_unsent(ipc);
	close(ipc->fd);
	ipc->fd = -1;
}
