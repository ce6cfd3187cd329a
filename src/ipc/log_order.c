#include "ipc/log_order.h"

#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "ipc/proto.h"

/* Lines that a slow reader would make wait beyond this are not sent. */
#define MAX_UNSENT ((size_t)1024 * 1024)

void hbt_log_order_put(struct hbt_wr *w, bool follow)
{
	hbt_wr_u8(w, (uint8_t)hbt_log_format());
	hbt_wr_u8(w, follow);
	hbt_wr_u8(w, HBT_LOG_AREAS);
	for (int i = 0; i < HBT_LOG_AREAS; i++)
		hbt_wr_u8(w, (uint8_t)hbt_log_area_level((enum hbt_log_area)i));
}

static void send_line(void *arg, const char *object, size_t len)
{
	struct hbt_ipc *ipc = arg;
	struct hbt_wr w;

	if (hbt_ipc_unsent(ipc) > MAX_UNSENT)
		return;
	hbt_wr_init(&w, len + 4);
	hbt_wr_str(&w, object, len);
	if (w.status == HALIBUT_OK)
		hbt_ipc_send(ipc, HBT_IPC_LOG_LINE, 0, w.buf.data, w.buf.len,
		             -1);
	hbt_wr_fini(&w);
}

static void take_stderr(struct hbt_ipc_msg *msg)
{
	int fd = hbt_ipc_take_fd(msg);

	if (fd < 0)
		return;
	dup2(fd, STDERR_FILENO);
	close(fd);
}

int hbt_log_order_obey(struct hbt_ipc *ipc, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	uint8_t format = hbt_rd_u8(&r);
	bool follow = hbt_rd_u8(&r) != 0;
	uint8_t n = hbt_rd_u8(&r);
	const uint8_t *levels = hbt_rd_bytes(&r, n);

	if (hbt_rd_finish(&r) != HALIBUT_OK || n != HBT_LOG_AREAS ||
	    format > HBT_LOG_JOURNAL)
		return HALIBUT_EPROTO;
	for (uint8_t i = 0; i < n; i++)
		if (levels[i] > HBT_LOG_DEBUG)
			return HALIBUT_EPROTO;
	take_stderr(msg);
	hbt_log_set_format((enum hbt_log_format)format);
	for (uint8_t i = 0; i < n; i++)
		hbt_log_set_area_level((enum hbt_log_area)i,
		                       (enum hbt_log_level)levels[i]);
	hbt_log_set_tee(follow ? send_line : NULL, ipc);
	return HALIBUT_OK;
}

void hbt_log_order_forget(void)
{
	hbt_log_set_tee(NULL, NULL);
}
