/*
 * A packet on its way out: frames that were sent in one loop turn, so that
 * the other process wakes up once for all of them. Internal to src/ipc.
 */
#ifndef HBT_IPC_PACKET_H
#define HBT_IPC_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "ipc/frame.h"

#define HBT_PACKET_FRAMES 64
#define HBT_PACKET_BYTES (HBT_FRAME_HEADER + HBT_FRAME_INLINE)

struct hbt_packet {
	TAILQ_ENTRY(hbt_packet) link;
	int fds[HBT_FRAME_FDS]; /* of the last frame */
	size_t n_fds;
	size_t n_frames;
	size_t weight; /* what its messages count among the unsent */
	size_t last;   /* where the last frame begins */
	size_t len, cap;
	uint8_t *data;
};

/* An empty one; NULL when memory is short. */
struct hbt_packet *hbt_packet_new(void);
/* Closes the descriptors. NULL allowed. */
void hbt_packet_free(struct hbt_packet **p);
/* Of what was sent: ready to be filled anew. Closes the descriptors. */
void hbt_packet_reset(struct hbt_packet *p);

/* Is there room for one more frame, with so many bytes behind its header?
 * Behind one with descriptors there is none. */
bool hbt_packet_has_room(const struct hbt_packet *p, size_t len);

/*
 * Copies a frame into a packet that has room: header and the bytes behind it.
 * The descriptors are the packet's from here on. False: no memory, and nothing
 * changed.
 */
bool hbt_packet_add(struct hbt_packet *p, const uint8_t *header,
                    size_t header_len, const void *data, size_t len,
                    const int *fds, size_t n_fds);

#endif
