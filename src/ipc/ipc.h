/*
 * A channel between two of our own processes: messages and descriptors over a
 * SOCK_SEQPACKET socket, so that a message and its descriptors arrive
 * together or not at all.
 *
 * A frame is a header of 12 bytes (magic and version u16, type u16, id u32,
 * flags u16, length u16, little-endian) and a body. Bodies over 32 KiB travel
 * as a memfd: the frame then has their length (u64) instead. The memfd is
 * sealed, so nobody can change or shorten it any more; the receiver insists on
 * that.
 *
 * What is sent in one loop turn leaves at its end, several frames in a packet
 * of up to 32 KiB. The length in the header is that of a body that another
 * frame follows; the last body goes to the end of the packet, and only the
 * last frame may have descriptors.
 */
#ifndef HBT_IPC_IPC_H
#define HBT_IPC_IPC_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hbt_ipc;

struct hbt_ipc_msg {
	uint16_t type; /* enum hbt_ipc_type */
	uint32_t id;   /* pairs an answer with its request */
	const uint8_t *data; /* valid until the handler returns */
	size_t len;
	int fd; /* -1, or open until taken */
	/*
	 * This process has no descriptor number free (or no memory), so what
	 * came beside the message is gone: fd is -1, and a body that travelled
	 * as a memfd is empty. type and id are good: fail what they name.
	 */
	bool lost;
};

struct hbt_ipc_ops {
	void (*message)(void *arg, struct hbt_ipc_msg *msg);
	/*
	 * The other process is gone or broke the framing; nothing follows.
	 * The owner frees the channel, here or later.
	 */
	void (*closed)(void *arg, const char *why);
};

/*
 * Takes fd over in every case; makes it non-blocking and close-on-exec.
 * max_body bounds what is accepted from the other side. At most 64 messages
 * are handled a loop turn. HALIBUT_EINVAL when fd is no SOCK_SEQPACKET socket.
 */
int hbt_ipc_new(struct hbt_ipc **out, struct event_base *base, int fd,
                size_t max_body, const struct hbt_ipc_ops *ops, void *arg);
/* Allowed inside callbacks; the message that one was given stays valid. What
 * was queued is sent as far as the socket takes it at once. */
void hbt_ipc_free(struct hbt_ipc **ipc);

/*
 * Queues one message. From here on the channel owns fd, sent or not, and
 * closes it; pass -1 for none. Fails only with HALIBUT_ENOMEM (a memfd that
 * cannot be made counts as that). Never calls back. It leaves at the end of
 * the loop's turn, or earlier when there is much of it. What is sent to a
 * process that is gone is dropped, and closed() follows.
 */
int hbt_ipc_send(struct hbt_ipc *ipc, uint16_t type, uint32_t id,
                 const void *data, size_t len, int fd);

/* The same with what w holds, or fails as the writing did. w is finished, and
 * fd closed, in any case. */
struct hbt_wr;
int hbt_ipc_send_wr(struct hbt_ipc *ipc, uint16_t type, uint32_t id,
                    struct hbt_wr *w, int fd);

/* Takes the descriptor over. What no handler takes is closed after it. */
int hbt_ipc_take_fd(struct hbt_ipc_msg *msg);

/* Bytes that wait because the other side does not read. */
size_t hbt_ipc_unsent(const struct hbt_ipc *ipc);
/* The same, and what is in memfds that the kernel holds for it: all that were
 * sent since it had last read everything. */
size_t hbt_ipc_unread(struct hbt_ipc *ipc);
/* Stops and restarts reading from the other side. While paused its end shows
 * only when something is sent. */
void hbt_ipc_pause(struct hbt_ipc *ipc, bool paused);

#endif
