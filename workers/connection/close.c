/* Connections that are closed by order of an operator. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/uri.h"
#include "worker.h"

struct target {
	uint8_t by; /* enum hbt_kick_by */
	uint32_t connection;
	char *text;
};

static bool has_subscription(const char *subscription, const char *wanted)
{
	char *key = subscription != NULL ? hbt_uri_key(subscription, true)
	                                 : NULL;
	bool has = key != NULL && strcmp(key, wanted) == 0;

	free(key);
	return has;
}

static bool is_meant(const struct hbt_exchange *ex, const struct target *t)
{
	const char *thumbprint;
	struct hbt_exchange_facts f;

	hbt_exchange_facts(ex, &f);
	switch (t->by) {
	case HBT_KICK_ID:
		return f.id == t->connection;
	case HBT_KICK_THUMBPRINT:
		thumbprint = hbt_conn_peer_thumbprint(hbt_exchange_conn(ex));
		return thumbprint != NULL && strcmp(thumbprint, t->text) == 0;
	default:
		return has_subscription(f.subscription, t->text);
	}
}

/* They hear why, and so do those whose requests they carry. */
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
		if (a->ending || !is_meant(a->ex, t))
			continue;
		hbt_accepted_drop(a, &err);
		n++;
	}
	halibut_error_clear(&err);
	return n;
}

/* Those that we dialled, idle or not: their owners hear of it. */
static uint32_t close_dialled(struct worker *w, const struct target *t)
{
	struct hbt_exchange_facts f;
	struct hbt_exchange *ex;
	uint64_t at = 0;
	uint32_t n = 0;

	do {
		if ((ex = hbt_slots_next(&w->env.all, &at)) == NULL)
			continue;
		hbt_exchange_facts(ex, &f);
		if (f.url == NULL || !is_meant(ex, t))
			continue;
		hbt_exchange_abort(ex);
		n++;
	} while (at != 0);
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
		n = close_accepted(w, &t) + close_dialled(w, &t);
	free(t.text);
	hbt_wr_init(&wr, 16);
	hbt_wr_u32(&wr, n);
	worker_tell(w, HBT_IPC_CLOSED, msg->id, &wr, -1);
}
