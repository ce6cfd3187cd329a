/* The channel to a gateway: its control socket. ipc/proto.h */
#ifndef HBT_CTL_CONTROL_H
#define HBT_CTL_CONTROL_H

#include <event2/event.h>
#include <stdbool.h>
#include "ipc/ipc.h"
#include "ipc/proto.h"

/* --socket, else $HALIBUT_CONTROL, else where halibutd puts it. */
const char *hbt_ctl_socket_path(const char *option);

/*
 * Connects to the control socket at path and says hello. HALIBUT_ECONNECT
 * with a message that says what to look at.
 */
int hbt_ctl_control_open(struct hbt_ipc **out, struct event_base *base,
                         const char *path, const struct hbt_ipc_ops *ops,
                         void *arg, struct halibut_error *err);

struct hbt_ctl_question {
	uint16_t type, answer;
	const struct hbt_wr *body; /* NULL: none */
	int64_t timeout_ms;        /* for the answer */
	bool until_closed; /* then goes on waiting until the gateway is gone */
};

/*
 * Asks, and waits for the answer: malloced bytes with a terminating NUL behind
 * them (*len may be NULL).
 */
int hbt_ctl_ask(const char *path, const struct hbt_ctl_question *question,
                uint8_t **body, size_t *len, struct halibut_error *err);

/* The same for questions that are answered with DONE (q->answer is not looked
 * at). *message (malloced) is what the gateway says about it, or NULL;
 * HALIBUT_EREMOTE: it refused. */
int hbt_ctl_order(const char *path, const struct hbt_ctl_question *q,
                  char **message, struct halibut_error *err);

/* As hbt_ctl_failed(), for errors of the two functions above: no gateway is
 * an exit code of its own. */
int hbt_ctl_gateway_failed(struct halibut_error *err);

#endif
