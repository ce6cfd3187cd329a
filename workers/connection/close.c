/* Connections that are closed by order of an operator. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "worker.h"

struct target {
	uint8_t by; /* enum hbt_kick_by */
	uint32_t connection;
	char *text;
};

static bool is_meant(const struct hbt_accepted *a, const struct target *t)
{
	switch (t->by) {
	case HBT_KICK_ID:
		return a->id == t->connection;
	case HBT_KICK_THUMBPRINT:
		return strcmp(a->thumbprint, t->text) == 0;
	default:
		return a->key != NULL && strcmp(a->key, t->text) == 0;
	}
}

static uint32_t close_accepted(struct worker *w, const struct target *t)
{
	struct halibut_error err = {0};
	struct hbt_accepted *a, *next;
	uint32_t n = 0;

	hbt_error_set(&err, HALIBUT_ECLOSED,
	              "an operator of the gateway closed the connection "
	              "(halibutctl kick)");
	/* What one carries fails by messages: no other one goes with it. */
	for (a = LIST_FIRST(&w->accepted); a != NULL; a = next) {
		next = LIST_NEXT(a, link);
		if (a->ending || !is_meant(a, t))
			continue;
		hbt_accepted_drop(a, &err);
		n++;
	}
	halibut_error_clear(&err);
	return n;
}

void close_by_order(struct worker *w, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct target t = {.by = hbt_rd_u8(&r)};
	uint32_t n = 0;
	struct hbt_wr wr;

	t.connection = hbt_rd_u32(&r);
	t.text = hbt_rd_strdup(&r);
	if (hbt_rd_finish(&r) != HALIBUT_OK ||
	    (t.text == NULL) != (t.by == HBT_KICK_ID))
		log_error("an order to close connections is malformed");
	else
		n = close_accepted(w, &t);
	free(t.text);
	hbt_wr_init(&wr, 16);
	hbt_wr_u32(&wr, n);
	worker_tell(w, HBT_IPC_CLOSED, msg->id, &wr, -1);
	hbt_wr_fini(&wr);
}
