/* Documents for halibutctl, which asks the master for them. */
#ifndef HBT_STATUS_RELAY_H
#define HBT_STATUS_RELAY_H

#include "worker.h"

/* DOCUMENT_ASK: exactly one DOCUMENT with its id follows. */
void relay_ask(struct worker *w, struct hbt_ipc_msg *msg);
void relay_free_all(struct worker *w);

#endif
