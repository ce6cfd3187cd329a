#include "relay.h"

#include <stdlib.h>
#include <string.h>

#include "ipc/worker.h"
#include "request.h"

#define MAX_DOCUMENT ((size_t)128 * 1024 * 1024)
/* Of all that are collected; a document below the other is never refused. */
#define MAX_COLLECTED ((size_t)256 * 1024 * 1024)
#define ALWAYS_COLLECTED ((size_t)1024 * 1024)

static size_t collected;

/* A document that is collected, since the channel takes it whole. */
struct relay {
	struct worker *w;
	uint32_t id;
	int status;
	struct evbuffer *body;
	struct request *request;
	LIST_ENTRY(relay) link;
};

static void answer(struct worker *w, uint32_t id, int status, const void *body,
                   size_t len)
{
	struct hbt_wr wr;

	hbt_wr_init(&wr, MAX_DOCUMENT + 64);
	hbt_wr_u16(&wr, (uint16_t)status);
	hbt_wr_str(&wr, body, len);
	if (hbt_worker_tell(w->ipc, HBT_IPC_DOCUMENT, id, &wr, -1) ==
	    HALIBUT_OK)
		return;
	w->exit_code = 1; /* the master answers in our name then */
	event_base_loopbreak(w->base);
}

static void fail(struct worker *w, uint32_t id, const char *why)
{
	answer(w, id, 503, why, strlen(why));
}

static void relay_free(struct relay *r)
{
	LIST_REMOVE(r, link);
	if (r->body != NULL) {
		collected -= evbuffer_get_length(r->body);
		evbuffer_free(r->body);
	}
	free(r);
}

static void begin(void *to, int status, const char *type)
{
	struct relay *r = to;

	(void)type;
	r->status = status;
}

/* Why there may be no more of it; NULL: there may. */
static const char *check_room(const struct relay *r, size_t more)
{
	size_t len = evbuffer_get_length(r->body) + more;

	if (len > MAX_DOCUMENT)
		return "{\"error\":\"The document is too large.\"}";
	if (len > ALWAYS_COLLECTED && collected + more > MAX_COLLECTED)
		return "{\"error\":\"Others ask for so much that it fills the "
		       "memory. Try again.\"}";
	return NULL;
}

static void piece(void *to, struct evbuffer *data)
{
	struct relay *r = to;
	size_t more = evbuffer_get_length(data);
	const char *why = check_room(r, more);

	if (why == NULL && evbuffer_add_buffer(r->body, data) != 0)
		why = "{\"error\":\"out of memory\"}";
	if (why != NULL) {
		fail(r->w, r->id, why);
		request_cancel(&r->request);
		relay_free(r);
		return;
	}
	collected += more;
	request_go_on(r->request);
}

static void end(void *to)
{
	struct relay *r = to;
	size_t len = evbuffer_get_length(r->body);
	unsigned char *all = evbuffer_pullup(r->body, -1);

	if (all != NULL || len == 0)
		answer(r->w, r->id, r->status, all, len);
	else
		fail(r->w, r->id, "{\"error\":\"out of memory\"}");
	relay_free(r);
}

static void broken(void *to)
{
	struct relay *r = to;

	fail(r->w, r->id, "{\"error\":\"The document cannot be made.\"}");
	relay_free(r);
}

/* Who uses halibutctl has perhaps changed something, and looks whether it
 * holds. */
static const struct request_sink sink = {
	.wants_new = true,
	.begin = begin,
	.piece = piece,
	.end = end,
	.broken = broken,
};

void relay_ask(struct worker *w, struct hbt_ipc_msg *msg)
{
	struct hbt_rd rd = hbt_rd_from(msg->data, msg->len);
	char *target = hbt_rd_strdup(&rd);
	struct relay *r = NULL;

	if (hbt_rd_finish(&rd) != HALIBUT_OK || target == NULL) {
		answer(w, msg->id, 400, "{\"error\":\"no path\"}", 19);
		free(target);
		return;
	}
	r = calloc(1, sizeof(*r));
	if (r != NULL) {
		r->w = w;
		r->id = msg->id;
		r->body = evbuffer_new();
		LIST_INSERT_HEAD(&w->relays, r, link);
	}
	if (r == NULL || r->body == NULL ||
	    !request_new(&r->request, w, target, NULL, &sink, r)) {
		fail(w, msg->id, "{\"error\":\"out of memory\"}");
		if (r != NULL)
			relay_free(r);
	}
	free(target);
}

void relay_free_all(struct worker *w)
{
	struct relay *r;

	while ((r = LIST_FIRST(&w->relays)) != NULL) {
		request_cancel(&r->request);
		relay_free(r);
	}
}
