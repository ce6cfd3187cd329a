/*
 * Frames of a channel: their bytes, and descriptors through a socket.
 * Internal to src/ipc; see ipc.h for the format.
 */
#ifndef HBT_IPC_FRAME_H
#define HBT_IPC_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define HBT_FRAME_HEADER 12
#define HBT_FRAME_HEADER_MAX (HBT_FRAME_HEADER + 8) /* with a length */
#define HBT_FRAME_INLINE ((size_t)32 * 1024) /* a larger body is a memfd */
#define HBT_FRAME_FDS 2

enum hbt_frame_flag {
	HBT_FRAME_MEMFD = 1,    /* the body is the first descriptor */
	HBT_FRAME_FD = 2,       /* the message has one of its own, the last */
	HBT_FRAME_FOLLOWED = 4, /* alone: the header has the body's length */
};

/* Returns its length; body_len is written for HBT_FRAME_MEMFD only. */
size_t hbt_frame_header_put(uint8_t header[HBT_FRAME_HEADER_MAX],
                            uint16_t type, uint32_t id, uint16_t flags,
                            uint64_t body_len);
/* Another frame is put behind this one, which has no descriptors. */
void hbt_frame_header_follow(uint8_t header[HBT_FRAME_HEADER],
                             size_t body_len);

/* The bytes to the kernel, with the descriptors, whole or not at all. Never
 * blocks. 0 or errno. */
int hbt_frame_send(int fd, const struct iovec *iov, size_t n_iov,
                   const int *fds, size_t n_fds);

/* A body as a sealed memfd, or -1. */
int hbt_frame_memfd(const void *data, size_t len);

/* A packet. hbt_frame_next() takes its frames from the front. */
struct hbt_arrival {
	const uint8_t *data;
	size_t len;
	int fds[HBT_FRAME_FDS]; /* the receiver's to close */
	size_t n_fds;
	bool truncated; /* the kernel could not give all descriptors */
	bool too_long;  /* nor all bytes */
};

/* The next packet into buf. Like recvmsg(): bytes, 0 at the end, or -1. */
ssize_t hbt_frame_receive(int fd, void *buf, size_t cap,
                          struct hbt_arrival *a);
void hbt_arrival_close(struct hbt_arrival *a);

/* What a frame says of itself, checked against what came. */
struct hbt_frame {
	uint16_t type;
	uint32_t id;
	bool has_fd, has_memfd; /* they came */
	bool lost;              /* they should have: no descriptor was free */
	bool followed;          /* the packet has another one */
	const uint8_t *data;    /* empty while it is in the memfd */
	size_t len;
	uint64_t memfd_len;
};

/* NULL, or what is wrong with it. To be called as long as f->followed. */
const char *hbt_frame_next(struct hbt_arrival *a, size_t max_body,
                           struct hbt_frame *f);

/*
 * The body out of a memfd, malloced: what is in our own memory can neither
 * change nor vanish. NULL: *why says what is wrong with it, or is NULL when
 * memory is short.
 */
uint8_t *hbt_frame_read_memfd(int fd, uint64_t len, const char **why);

#endif
