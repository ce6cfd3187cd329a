#include "master/documents.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"

#define MAX_OPEN 256
/* Of documents that clients have not read yet, all together. */
#define MAX_UNREAD ((size_t)256 * 1024 * 1024)

/* A question that the status worker has. */
struct asked {
	uint32_t id; /* ours */
	uint32_t client_id;
	struct hbt_client *client;
	TAILQ_ENTRY(asked) next;
};

struct hbt_documents {
	TAILQ_HEAD(, asked) open;
	size_t n;
	uint32_t last_id;
};

struct hbt_documents *hbt_documents_new(void)
{
	struct hbt_documents *docs = calloc(1, sizeof(*docs));

	if (docs != NULL)
		TAILQ_INIT(&docs->open);
	return docs;
}

static void forget(struct hbt_documents *docs, struct asked *a)
{
	TAILQ_REMOVE(&docs->open, a, next);
	docs->n--;
	free(a);
}

void hbt_documents_free(struct hbt_documents **at)
{
	struct hbt_documents *docs = *at;
	struct asked *a;

	*at = NULL;
	if (docs == NULL)
		return;
	while ((a = TAILQ_FIRST(&docs->open)) != NULL)
		forget(docs, a);
	free(docs);
}

/* In the name of the status worker. */
static void refuse(struct hbt_client *client, uint32_t id, const char *why)
{
	char body[256];
	struct hbt_wr w;

	snprintf(body, sizeof(body), "{\"error\": \"%s\"}\n", why);
	hbt_wr_init(&w, 512);
	hbt_wr_u16(&w, 503);
	hbt_wr_str(&w, body, strlen(body));
	if (hbt_link_send(&client->link, HBT_IPC_DOCUMENT, id, &w, -1) !=
	    HALIBUT_OK)
		log_error("%s: cannot be answered", client->link.name);
}

int hbt_documents_ask(struct hbt_documents *docs, struct hbt_link *worker,
                      struct hbt_client *client, struct hbt_ipc_msg *msg)
{
	struct asked *a;

	if (worker == NULL) {
		refuse(client, msg->id,
		       "The status worker is not ready. Try again; the log of "
		       "the gateway says why if it does not start.");
		return HALIBUT_OK;
	}
	if (docs->n == MAX_OPEN || (a = calloc(1, sizeof(*a))) == NULL) {
		refuse(client, msg->id,
		       "Too many documents are asked for at once. Try again.");
		return HALIBUT_OK;
	}
	a->id = ++docs->last_id;
	a->client_id = msg->id;
	a->client = client;
	TAILQ_INSERT_TAIL(&docs->open, a, next);
	docs->n++;
	if (hbt_ipc_send(worker->ipc, HBT_IPC_DOCUMENT_ASK, a->id, msg->data,
	                 msg->len, -1) == HALIBUT_OK)
		return HALIBUT_OK;
	forget(docs, a);
	refuse(client, msg->id, "The gateway is out of memory.");
	return HALIBUT_OK;
}

size_t hbt_documents_of(const struct hbt_documents *docs,
                        const struct hbt_client *client)
{
	const struct asked *a;
	size_t n = 0;

	TAILQ_FOREACH (a, &docs->open, next)
		n += a->client == client;
	return n;
}

int hbt_documents_answer(struct hbt_documents *docs, struct hbt_ipc_msg *msg)
{
	struct asked *a;

	TAILQ_FOREACH (a, &docs->open, next)
		if (a->id == msg->id)
			break;
	if (a == NULL) /* its client is gone */
		return HALIBUT_OK;
	if (hbt_control_unread(a->client->control) + msg->len > MAX_UNREAD)
		refuse(a->client, a->client_id,
		       "Other control clients do not read what they asked for. "
		       "Try again in a minute; the log names them then.");
	else if (msg->lost)
		refuse(a->client, a->client_id,
		       "The gateway is out of descriptors or memory.");
	else if (hbt_ipc_send(a->client->link.ipc, HBT_IPC_DOCUMENT,
	                      a->client_id, msg->data, msg->len,
	                      -1) != HALIBUT_OK)
		log_error("%s: cannot be sent a document",
		          a->client->link.name);
	forget(docs, a);
	return HALIBUT_OK;
}

void hbt_documents_client_gone(struct hbt_documents *docs,
                               struct hbt_client *client)
{
	struct asked *a, *next;

	for (a = TAILQ_FIRST(&docs->open); a != NULL; a = next) {
		next = TAILQ_NEXT(a, next);
		if (a->client == client)
			forget(docs, a);
	}
}

void hbt_documents_worker_gone(struct hbt_documents *docs)
{
	struct asked *a;

	while ((a = TAILQ_FIRST(&docs->open)) != NULL) {
		refuse(a->client, a->client_id,
		       "The status worker ended meanwhile. Try again; the log "
		       "of the gateway says why.");
		forget(docs, a);
	}
}
