#include "master/link.h"

#include "base/log.h"

bool hbt_link_congested(const struct hbt_link *link)
{
	return hbt_ipc_unsent(link->ipc) > HBT_LINK_CONGESTED_BYTES;
}

int hbt_link_send(struct hbt_link *link, enum hbt_ipc_type type, uint32_t id,
                  struct hbt_wr *w, int fd)
{
	return hbt_ipc_send_wr(link->ipc, (uint16_t)type, id, w, fd);
}

void hbt_link_send_fail(struct hbt_link *link, uint32_t id,
                        const struct halibut_error *err)
{
	struct hbt_wr w;
	int rc;

	hbt_wr_init(&w, HBT_IPC_MAX_BODY);
	hbt_ipc_error_put(&w, err);
	rc = hbt_link_send(link, HBT_IPC_FAIL, id, &w, -1);
	if (rc != HALIBUT_OK)
		log_error("%s: cannot be told that call %u failed: %s",
		          link->name, id, halibut_strerror(rc));
}
