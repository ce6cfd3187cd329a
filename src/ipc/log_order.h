/* How the processes of a node log, as the master orders it: HBT_IPC_LOG. */
#ifndef HBT_IPC_LOG_ORDER_H
#define HBT_IPC_LOG_ORDER_H

#include "base/buf.h"
#include "ipc/ipc.h"

/* Format and levels of this process, and whether to send every line. */
void hbt_log_order_put(struct hbt_wr *w, bool follow);

/*
 * Does as the message says. A descriptor beside it becomes standard error.
 * Lines that are asked for are sent over ipc until the next order, or until
 * hbt_log_order_forget(), which comes before the channel is freed.
 * HALIBUT_EPROTO and nothing done, when the message is malformed.
 */
int hbt_log_order_obey(struct hbt_ipc *ipc, struct hbt_ipc_msg *msg);
void hbt_log_order_forget(void);

#endif
