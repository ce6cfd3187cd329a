#include "master/rows.h"

#include <stdlib.h>
#include <sys/queue.h>

/* A status worker has one question a document under way. */
#define MAX_RELAYS 1024

/* A question that a connection worker has. */
struct relay {
	struct hbt_link *asker;
	uint32_t asker_id;
	struct hbt_link *worker;
	uint32_t worker_id; /* ours, on its channel */
	TAILQ_ENTRY(relay) link;
};

struct hbt_rows {
	struct hbt_rows_env env;
	TAILQ_HEAD(, relay) relays; /* in the order in which they were asked */
	size_t n;
	uint32_t last_id;
};

struct hbt_rows *hbt_rows_new(const struct hbt_rows_env *env)
{
	struct hbt_rows *rows = calloc(1, sizeof(*rows));

	if (rows == NULL)
		return NULL;
	rows->env = *env;
	TAILQ_INIT(&rows->relays);
	return rows;
}

static void relay_free(struct hbt_rows *rows, struct relay *relay)
{
	TAILQ_REMOVE(&rows->relays, relay, link);
	rows->n--;
	free(relay);
}

void hbt_rows_free(struct hbt_rows **at)
{
	struct hbt_rows *rows = *at;

	*at = NULL;
	if (rows == NULL)
		return;
	while (!TAILQ_EMPTY(&rows->relays))
		relay_free(rows, TAILQ_FIRST(&rows->relays));
	free(rows);
}

static int pass_on(struct hbt_rows *rows, struct hbt_link *asker, uint32_t id,
                   const struct hbt_rows_ask *ask)
{
	struct hbt_link *worker = rows->env.worker(rows->env.arg, ask->worker);
	struct relay *relay;
	struct hbt_wr w;

	if (worker == NULL || hbt_link_congested(worker) ||
	    rows->n == MAX_RELAYS ||
	    (relay = calloc(1, sizeof(*relay))) == NULL)
		return HALIBUT_ENOMEM;
	relay->asker = asker;
	relay->asker_id = id;
	relay->worker = worker;
	relay->worker_id = ++rows->last_id;
	TAILQ_INSERT_TAIL(&rows->relays, relay, link);
	rows->n++;
	hbt_wr_init(&w, 64);
	hbt_rows_ask_put(&w, ask);
	if (hbt_link_send(worker, HBT_IPC_ROWS_ASK, relay->worker_id, &w, -1) ==
	    HALIBUT_OK)
		return HALIBUT_OK;
	relay_free(rows, relay);
	return HALIBUT_ENOMEM;
}

static void answer(struct hbt_rows *rows, struct hbt_link *asker, uint32_t id,
                   const struct hbt_rows_ask *ask)
{
	struct hbt_page page;
	uint64_t next = 0;

	hbt_page_init(&page, (enum hbt_table)ask->table);
	if (!rows->env.fill(rows->env.arg, ask, &page, &next)) {
		hbt_wr_fini(&page.rows);
		hbt_page_refuse(asker->ipc, id);
		return;
	}
	hbt_page_send(&page, asker->ipc, id, next);
}

static int on_ask(struct hbt_rows *rows, struct hbt_link *asker,
                  struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct hbt_rows_ask ask;

	hbt_rows_ask_get(&r, &ask);
	if (hbt_rd_finish(&r) != HALIBUT_OK)
		return HALIBUT_EPROTO;
	if (ask.table != HBT_TABLE_CONNECTIONS && ask.table != HBT_TABLE_CLOSED)
		answer(rows, asker, msg->id, &ask);
	else if (pass_on(rows, asker, msg->id, &ask) != HALIBUT_OK)
		hbt_page_refuse(asker->ipc, msg->id);
	return HALIBUT_OK;
}

static void on_rows(struct hbt_rows *rows, struct hbt_link *worker,
                    struct hbt_ipc_msg *msg)
{
	struct relay *relay;

	TAILQ_FOREACH (relay, &rows->relays, link)
		if (relay->worker == worker && relay->worker_id == msg->id)
			break;
	if (relay == NULL) /* who asked is gone */
		return;
	if (msg->lost)
		hbt_page_refuse(relay->asker->ipc, relay->asker_id);
	else
		hbt_ipc_send(relay->asker->ipc, HBT_IPC_ROWS, relay->asker_id,
		             msg->data, msg->len, -1);
	relay_free(rows, relay);
}

int hbt_rows_message(struct hbt_rows *rows, struct hbt_link *link,
                     struct hbt_ipc_msg *msg)
{
	if (msg->type == HBT_IPC_ROWS_ASK &&
	    link->kind == HBT_PEER_STATUS_WORKER)
		return on_ask(rows, link, msg);
	if (msg->type != HBT_IPC_ROWS ||
	    link->kind != HBT_PEER_CONNECTION_WORKER)
		return HALIBUT_EPROTO;
	on_rows(rows, link, msg);
	return HALIBUT_OK;
}

void hbt_rows_link_gone(struct hbt_rows *rows, struct hbt_link *link)
{
	struct relay *relay, *next;

	for (relay = TAILQ_FIRST(&rows->relays); relay != NULL; relay = next) {
		next = TAILQ_NEXT(relay, link);
		if (relay->worker == link)
			hbt_page_refuse(relay->asker->ipc, relay->asker_id);
		if (relay->worker == link || relay->asker == link)
			relay_free(rows, relay);
	}
}
