/* Connections that are closed by order: halibutctl kick. */
#ifndef HBT_MASTER_KICK_H
#define HBT_MASTER_KICK_H

#include "master/control.h"
#include "master/supervise.h"

struct hbt_kicks;

/* NULL when memory is short. */
struct hbt_kicks *hbt_kicks_new(void);
void hbt_kicks_free(struct hbt_kicks **kicks);

/*
 * KICK of a control client: tells the connection workers, and says DONE when
 * all of them have answered or are gone.
 */
int hbt_kicks_order(struct hbt_kicks *kicks, struct hbt_workers *workers,
                    struct hbt_client *client, struct hbt_ipc_msg *msg);
/* CLOSED of a connection worker. */
int hbt_kicks_answer(struct hbt_kicks *kicks, struct hbt_link *worker,
                     struct hbt_ipc_msg *msg);
/* A client or a worker is gone. */
/* Orders of the client that are not done yet. */
size_t hbt_kicks_of(const struct hbt_kicks *kicks,
                    const struct hbt_client *client);
void hbt_kicks_link_gone(struct hbt_kicks *kicks, const struct hbt_link *link);

#endif
