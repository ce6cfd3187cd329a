/* Frames: see frame.h. */
#include "ipc/frame.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/error.h"

#define MAGIC ((uint16_t)('H' | 1 << 8)) /* version 1 */
/* Nobody may change or shorten what was sent. */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

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

size_t hbt_frame_header_put(uint8_t header[HBT_FRAME_HEADER_MAX],
                            uint16_t type, uint32_t id, uint16_t flags,
                            uint64_t body_len)
{
	put_u16(header, MAGIC);
	put_u16(header + 2, type);
	put_u32(header + 4, id);
	put_u16(header + 8, flags);
	put_u16(header + 10, 0);
	if ((flags & HBT_FRAME_MEMFD) == 0)
		return HBT_FRAME_HEADER;
	put_u32(header + HBT_FRAME_HEADER, (uint32_t)body_len);
	put_u32(header + HBT_FRAME_HEADER + 4, (uint32_t)(body_len >> 32));
	return HBT_FRAME_HEADER_MAX;
}

void hbt_frame_header_follow(uint8_t header[HBT_FRAME_HEADER], size_t body_len)
{
	assert(body_len <= HBT_FRAME_INLINE);
	put_u16(header + 8, HBT_FRAME_FOLLOWED);
	put_u16(header + 10, (uint16_t)body_len);
}

int hbt_frame_send(int fd, const struct iovec *iov, size_t n_iov,
                   const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(HBT_FRAME_FDS * sizeof(int))];
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

int hbt_frame_memfd(const void *data, size_t len)
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

static void collect_fds(struct msghdr *mh, struct hbt_arrival *a)
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
			if (a->n_fds < HBT_FRAME_FDS)
				a->fds[a->n_fds++] = fd;
			else
				close(fd);
		}
	}
}

ssize_t hbt_frame_receive(int fd, void *buf, size_t cap, struct hbt_arrival *a)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(HBT_FRAME_FDS * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = buf, .iov_len = cap};
	struct msghdr mh = {.msg_iov = &iov,
	                    .msg_iovlen = 1,
	                    .msg_control = &control,
	                    .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	*a = (struct hbt_arrival){.data = buf};
	if (n < 0)
		return n;
	a->len = (size_t)n;
	a->too_long = (mh.msg_flags & MSG_TRUNC) != 0;
	collect_fds(&mh, a);
	return n;
}

void hbt_arrival_close(struct hbt_arrival *a)
{
	for (size_t i = 0; i < a->n_fds; i++) {
		if (a->fds[i] >= 0)
			close(a->fds[i]);
	}
	a->n_fds = 0;
}

/* The descriptors beside a packet are those of its last frame. */
static const char *check_descriptors(const struct hbt_arrival *a,
                                     struct hbt_frame *f)
{
	size_t expected = (size_t)f->has_memfd + (size_t)f->has_fd;

	if (a->n_fds > expected || (a->n_fds == expected && a->truncated))
		return "more descriptors than the frame says";
	if (a->n_fds < expected && !a->truncated)
		return "fewer descriptors than the frame says";
	f->lost = a->n_fds < expected;
	return NULL;
}

static const char *take_followed(struct hbt_rd *r, size_t len,
                                 struct hbt_frame *f)
{
	f->len = len;
	f->data = hbt_rd_bytes(r, len);
	return f->data != NULL ? NULL : "a frame that is shorter than it says";
}

static const char *take_last(const struct hbt_arrival *a, struct hbt_rd *r,
                             struct hbt_frame *f)
{
	const char *why = check_descriptors(a, f);

	if (why != NULL)
		return why;
	if (f->has_memfd) {
		f->memfd_len = hbt_rd_u64(r);
		if (hbt_rd_finish(r) != HALIBUT_OK)
			return "a frame without its body's length";
	}
	f->len = r->left;
	f->data = hbt_rd_bytes(r, r->left);
	if (f->lost) {
		/* They come in order, so the last is what is missing. */
		f->has_fd = false;
		f->has_memfd = f->has_memfd && a->n_fds > 0;
	}
	return NULL;
}

const char *hbt_frame_next(struct hbt_arrival *a, size_t max_body,
                           struct hbt_frame *f)
{
	struct hbt_rd r = hbt_rd_from(a->data, a->len);
	uint16_t magic = hbt_rd_u16(&r);
	uint16_t flags, len;
	const char *why;

	*f = (struct hbt_frame){.type = hbt_rd_u16(&r)};
	f->id = hbt_rd_u32(&r);
	flags = hbt_rd_u16(&r);
	len = hbt_rd_u16(&r);
	if (a->too_long)
		return "a frame over the limit";
	if (r.status != HALIBUT_OK || magic != MAGIC)
		return "something that is no frame of this version";
	f->followed = flags == HBT_FRAME_FOLLOWED;
	if (!f->followed &&
	    (len != 0 || (flags & ~(HBT_FRAME_MEMFD | HBT_FRAME_FD)) != 0))
		return "unknown flags";
	f->has_memfd = (flags & HBT_FRAME_MEMFD) != 0;
	f->has_fd = (flags & HBT_FRAME_FD) != 0;
	why = f->followed ? take_followed(&r, len, f) : take_last(a, &r, f);
	if (why == NULL && (f->len > max_body || f->memfd_len > max_body))
		why = "a body over the limit";
	a->data = r.p;
	a->len = r.left;
	return why;
}

uint8_t *hbt_frame_read_memfd(int fd, uint64_t len, const char **why)
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
	*why = NULL;
	if ((body = malloc(len > 0 ? (size_t)len : 1)) == NULL)
		return NULL;
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
