/* Packets: see packet.h. */
#include "ipc/packet.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_CAP 1024

struct hbt_packet *hbt_packet_new(void)
{
	return calloc(1, sizeof(struct hbt_packet));
}

static void close_fds(struct hbt_packet *p)
{
	for (size_t i = 0; i < p->n_fds; i++)
		close(p->fds[i]);
	p->n_fds = 0;
}

void hbt_packet_free(struct hbt_packet **at)
{
	struct hbt_packet *p = *at;

	*at = NULL;
	if (p == NULL)
		return;
	close_fds(p);
	free(p->data);
	free(p);
}

void hbt_packet_reset(struct hbt_packet *p)
{
	close_fds(p);
	p->n_frames = p->weight = p->last = p->len = 0;
}

bool hbt_packet_has_room(const struct hbt_packet *p, size_t len)
{
	return p->n_fds == 0 && p->n_frames < HBT_PACKET_FRAMES &&
	       p->len + HBT_FRAME_HEADER + len <= HBT_PACKET_BYTES;
}

/* Grows by doubling: most packets are small, and some have to wait. */
static bool reserve(struct hbt_packet *p, size_t n)
{
	size_t cap = p->cap > 0 ? p->cap : FIRST_CAP;
	uint8_t *data;

	while (cap < p->len + n)
		cap *= 2;
	if (cap > HBT_PACKET_BYTES)
		cap = HBT_PACKET_BYTES;
	if (cap <= p->cap)
		return true;
	if ((data = realloc(p->data, cap)) == NULL)
		return false;
	p->data = data;
	p->cap = cap;
	return true;
}

bool hbt_packet_add(struct hbt_packet *p, const uint8_t *header,
                    size_t header_len, const void *data, size_t len,
                    const int *fds, size_t n_fds)
{
	size_t before = p->len - p->last;

	assert(hbt_packet_has_room(p, header_len - HBT_FRAME_HEADER + len));
	if (!reserve(p, header_len + len))
		return false;
	if (p->n_frames > 0)
		hbt_frame_header_follow(p->data + p->last,
		                        before - HBT_FRAME_HEADER);
	p->last = p->len;
	memcpy(p->data + p->len, header, header_len);
	if (len > 0)
		memcpy(p->data + p->len + header_len, data, len);
	p->len += header_len + len;
	if (n_fds > 0)
		memcpy(p->fds, fds, n_fds * sizeof(*fds));
	p->n_fds = n_fds;
	p->n_frames++;
	return true;
}
