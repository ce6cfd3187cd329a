#include "master/kick.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/uri.h"
#include "master/audit.h"
#include "net/tls.h"

/* What is to be closed. */
struct target {
	uint8_t by; /* enum hbt_kick_by */
	uint32_t worker, connection;
	char *text;
};

/* An order that is not done yet. */
struct kick {
	uint32_t id; /* ours, on the channels of workers */
	uint32_t client_id;
	struct hbt_client *client; /* NULL: it is gone */
	char what[512]; /* for a person */
	unsigned closed;
	size_t n_asked;
	TAILQ_ENTRY(kick) next;
};

/* A worker that has not answered yet. */
struct asked {
	struct kick *kick;
	const struct hbt_link *worker;
	TAILQ_ENTRY(asked) next;
};

struct hbt_kicks {
	TAILQ_HEAD(, kick) open;
	TAILQ_HEAD(, asked) asked;
	uint32_t last_id;
};

struct hbt_kicks *hbt_kicks_new(void)
{
	struct hbt_kicks *kicks = calloc(1, sizeof(*kicks));

	if (kicks == NULL)
		return NULL;
	TAILQ_INIT(&kicks->open);
	TAILQ_INIT(&kicks->asked);
	return kicks;
}

void hbt_kicks_free(struct hbt_kicks **at)
{
	struct hbt_kicks *kicks = *at;
	struct asked *a;
	struct kick *k;

	*at = NULL;
	if (kicks == NULL)
		return;
	while ((a = TAILQ_FIRST(&kicks->asked)) != NULL) {
		TAILQ_REMOVE(&kicks->asked, a, next);
		free(a);
	}
	while ((k = TAILQ_FIRST(&kicks->open)) != NULL) {
		TAILQ_REMOVE(&kicks->open, k, next);
		free(k);
	}
	free(kicks);
}

/* All have answered. */
static void conclude(struct hbt_kicks *kicks, struct kick *k)
{
	char text[700];

	if (k->closed > 0)
		snprintf(text, sizeof(text), "%u connection%s of %s closed",
		         k->closed, k->closed == 1 ? "" : "s", k->what);
	else
		snprintf(text, sizeof(text),
		         "there is no open connection of %s; `halibutctl "
		         "connections` lists them",
		         k->what);
	if (k->client != NULL)
		hbt_client_done(k->client, k->client_id, k->closed > 0, text);
	TAILQ_REMOVE(&kicks->open, k, next);
	free(k);
}

static void answered(struct hbt_kicks *kicks, struct asked *a)
{
	struct kick *k = a->kick;

	TAILQ_REMOVE(&kicks->asked, a, next);
	free(a);
	if (--k->n_asked == 0)
		conclude(kicks, k);
}

/* Texts as those who are asked have them. HALIBUT_EINVAL with what is wrong. */
static int read_target(struct hbt_ipc_msg *msg, struct target *t,
                       struct halibut_error *err)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	char hex[HBT_THUMBPRINT_TEXT];
	char *text;

	t->by = hbt_rd_u8(&r);
	t->worker = hbt_rd_u32(&r);
	t->connection = hbt_rd_u32(&r);
	text = hbt_rd_strdup(&r);
	if (hbt_rd_finish(&r) != HALIBUT_OK || t->by < HBT_KICK_ID ||
	    t->by > HBT_KICK_SUBSCRIPTION ||
	    (text == NULL) != (t->by == HBT_KICK_ID)) {
		free(text);
		return HALIBUT_EPROTO;
	}
	if (t->by == HBT_KICK_THUMBPRINT && hbt_thumbprint_parse(text, hex))
		t->text = strdup(hex);
	else if (t->by == HBT_KICK_SUBSCRIPTION)
		t->text = hbt_uri_key(text, true);
	if (t->by != HBT_KICK_ID && t->text == NULL)
		hbt_error_set(err, HALIBUT_EINVAL,
		              t->by == HBT_KICK_THUMBPRINT
		                      ? "\"%.80s\" is no thumbprint: it has 40 "
		                        "hexadecimal digits"
		                      : "\"%.80s\" is no subscription; write it "
		                        "as in poll://name/",
		              text);
	free(text);
	return t->by == HBT_KICK_ID || t->text != NULL ? HALIBUT_OK
	                                               : HALIBUT_EINVAL;
}

static int ask(struct hbt_kicks *kicks, struct kick *k, struct hbt_worker *w,
               const struct target *t)
{
	struct asked *a = calloc(1, sizeof(*a));
	struct hbt_wr wr;

	if (a == NULL)
		return HALIBUT_ENOMEM;
	hbt_wr_init(&wr, 65536);
	hbt_wr_u8(&wr, t->by);
	hbt_wr_u32(&wr, t->connection);
	hbt_wr_cstr(&wr, t->text);
	if (hbt_link_send(&w->link, HBT_IPC_CLOSE, k->id, &wr, -1) !=
	    HALIBUT_OK) {
		free(a);
		return HALIBUT_ENOMEM;
	}
	a->kick = k;
	a->worker = &w->link;
	k->n_asked++;
	TAILQ_INSERT_TAIL(&kicks->asked, a, next);
	return HALIBUT_OK;
}

static void name_target(const struct target *t, char *text, size_t size)
{
	if (t->by == HBT_KICK_ID)
		snprintf(text, size, "the id %u-%u", t->worker, t->connection);
	else
		snprintf(text, size, "%s", t->text);
}

static int start(struct hbt_kicks *kicks, struct hbt_workers *workers,
                 struct hbt_client *client, struct hbt_ipc_msg *msg,
                 const struct target *t)
{
	struct kick *k = calloc(1, sizeof(*k));
	struct hbt_worker *w;
	int rc = HALIBUT_OK;

	if (k == NULL)
		return HALIBUT_ENOMEM;
	k->id = ++kicks->last_id;
	k->client_id = msg->id;
	k->client = client;
	name_target(t, k->what, sizeof(k->what));
	TAILQ_INSERT_TAIL(&kicks->open, k, next);
	hbt_audit(LOG_ABOUT(.event = "kick", .peer = client->link.name,
	                    .thumbprint = t->by == HBT_KICK_THUMBPRINT
	                                          ? t->text
	                                          : NULL,
	                    .endpoint = t->by == HBT_KICK_SUBSCRIPTION
	                                        ? t->text
	                                        : NULL),
	          "%s: closes the connections of %s", client->link.name,
	          k->what);
	for (size_t i = 0; (w = hbt_workers_at(workers, i)) != NULL; i++)
		if (w->link.kind == HBT_PEER_CONNECTION_WORKER &&
		    w->link.ipc != NULL && w->state != WORKER_STARTING &&
		    (t->by != HBT_KICK_ID || t->worker == w->index))
			rc |= ask(kicks, k, w, t);
	if (rc != HALIBUT_OK)
		log_error("%s: not every worker was told to close: out of "
		          "memory",
		          client->link.name);
	if (k->n_asked == 0)
		conclude(kicks, k);
	return HALIBUT_OK;
}

int hbt_kicks_order(struct hbt_kicks *kicks, struct hbt_workers *workers,
                    struct hbt_client *client, struct hbt_ipc_msg *msg)
{
	struct halibut_error err = {0};
	struct target t = {.text = NULL};
	int rc = read_target(msg, &t, &err);

	if (rc == HALIBUT_OK)
		rc = start(kicks, workers, client, msg, &t);
	if (rc != HALIBUT_OK && rc != HALIBUT_EPROTO) {
		hbt_client_done(client, msg->id, false,
		                err.message != NULL ? err.message
		                                    : halibut_strerror(rc));
		rc = HALIBUT_OK;
	}
	halibut_error_clear(&err);
	free(t.text);
	return rc;
}

int hbt_kicks_answer(struct hbt_kicks *kicks, struct hbt_link *worker,
                     struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	uint32_t n = hbt_rd_u32(&r);
	struct asked *a;

	if (hbt_rd_finish(&r) != HALIBUT_OK)
		return HALIBUT_EPROTO;
	TAILQ_FOREACH (a, &kicks->asked, next)
		if (a->worker == worker && a->kick->id == msg->id)
			break;
	if (a == NULL)
		return HALIBUT_EPROTO;
	a->kick->closed += n;
	answered(kicks, a);
	return HALIBUT_OK;
}

size_t hbt_kicks_of(const struct hbt_kicks *kicks,
                    const struct hbt_client *client)
{
	const struct kick *k;
	size_t n = 0;

	TAILQ_FOREACH (k, &kicks->open, next)
		n += k->client == client;
	return n;
}

void hbt_kicks_link_gone(struct hbt_kicks *kicks, const struct hbt_link *link)
{
	struct asked *a, *next;
	struct kick *k;

	TAILQ_FOREACH (k, &kicks->open, next)
		if (k->client != NULL && &k->client->link == link)
			k->client = NULL;
	for (a = TAILQ_FIRST(&kicks->asked); a != NULL; a = next) {
		next = TAILQ_NEXT(a, next);
		if (a->worker == link)
			answered(kicks, a);
	}
}
