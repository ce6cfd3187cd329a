/* The other end of a channel, as calls and subscriptions see it. */
#ifndef HBT_MASTER_LINK_H
#define HBT_MASTER_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include "ipc/ipc.h"
#include "ipc/proto.h"

struct hbt_call;
struct hbt_connection;
struct hbt_subscriber;

/* Embedded in a worker's or a control client's own struct; zeroed first. */
struct hbt_link {
	char name[64]; /* "worker 3 (pid 812)" */
	enum hbt_peer_kind kind;
	struct hbt_ipc *ipc;      /* owned by whoever embeds this */
	struct hbt_call *asked;   /* by the id it chose; calls.c */
	struct hbt_call *carried; /* by the id we chose; calls.c */
	uint32_t last_id;
	struct hbt_subscriber *subscribers; /* subscriptions.c */
	struct hbt_connection *connections; /* by ticket; admission.c */
	uint32_t last_ticket;
};

/* More than this waits to be read by it: nothing new for it or from it. */
#define HBT_LINK_CONGESTED_BYTES ((size_t)64 * 1024 * 1024)
bool hbt_link_congested(const struct hbt_link *link);

/* As hbt_ipc_send(), with the writer's content; w is fini'd, and its failure
 * is this one's. */
int hbt_link_send(struct hbt_link *link, enum hbt_ipc_type type, uint32_t id,
                  struct hbt_wr *w, int fd);

/* FAIL with the id. What cannot be sent is logged. */
void hbt_link_send_fail(struct hbt_link *link, uint32_t id,
                        const struct halibut_error *err);

#endif
