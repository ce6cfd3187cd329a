#include "request.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "documents.h"
#include "view.h"

/* To gather, and to make a piece; readers have other limits. */
#define PATIENCE_S 20

static void request_free(struct request *rq)
{
	if (rq->doc != NULL && rq->doc->close != NULL)
		rq->doc->close(rq);
	for (size_t i = 0; i < HBT_TABLES; i++) {
		gather_cancel(&rq->waiters[i]);
		snapshot_unref(&rq->tables[i]);
	}
	if (rq->turn != NULL)
		event_free(rq->turn);
	if (rq->deadline != NULL)
		event_free(rq->deadline);
	query_fini(&rq->query);
	free(rq->accept_copy);
	free(rq);
}

void request_cancel(struct request **at)
{
	struct request *rq = *at;

	*at = NULL;
	if (rq != NULL)
		request_free(rq);
}

static void finish(struct request *rq, bool broken)
{
	const struct request_sink *sink = rq->sink;
	void *to = rq->to;

	request_free(rq);
	if (broken)
		sink->broken(to);
	else
		sink->end(to);
}

static void set_deadline(struct request *rq)
{
	static const struct timeval patience = {.tv_sec = PATIENCE_S};

	event_add(rq->deadline, &patience);
}

/* Not event_active(): that would be this turn still, and nobody else would be
 * heard until the document is made. */
static void next_turn(struct request *rq)
{
	static const struct timeval at_once;

	event_add(rq->turn, &at_once);
}

/* ---- Beginning, and failing ---- */

void request_begin(struct request *rq, int status, const char *type)
{
	rq->begun = true;
	rq->sink->begin(rq->to, status, type);
}

void request_fail(struct request *rq, int status, const char *fmt, ...)
{
	struct evbuffer *out = evbuffer_new();
	char text[2048];
	json_t *o;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rq->ended = true;
	if (out == NULL)
		return;
	request_begin(rq, status, REQUEST_JSON);
	o = json_object();
	json_object_set_new(o, "error", view_text(text, strlen(text)));
	event_del(rq->deadline);
	if (request_put_json(out, o))
		rq->sink->piece(rq->to, out);
	evbuffer_free(out);
}

/* ---- Pieces ---- */

static void make_piece(struct request *rq)
{
	struct evbuffer *out = evbuffer_new();
	enum request_piece piece =
		out != NULL ? rq->doc->more(rq, out) : REQUEST_FAILED;

	if (piece == REQUEST_FAILED) {
		if (out != NULL)
			evbuffer_free(out);
		log_warning("%s: cut off, it cannot be made to its end",
		            rq->query.path);
		finish(rq, true);
		return;
	}
	if (piece == REQUEST_REFUSED) {
		evbuffer_free(out);
		return;
	}
	rq->ended = piece == REQUEST_LAST;
	if (evbuffer_get_length(out) > 0) {
		event_del(rq->deadline);
		rq->sink->piece(rq->to, out);
	} else {
		next_turn(rq);
	}
	evbuffer_free(out);
}

void request_go_on(struct request *rq)
{
	set_deadline(rq);
	next_turn(rq);
}

static bool open_document(struct request *rq)
{
	for (size_t i = 1; i < HBT_TABLES; i++)
		if (rq->doc->tables & REQUEST_TABLE(i) &&
		    (rq->tables[i] == NULL || rq->tables[i]->failed)) {
			request_fail(rq, 503,
			             "The gateway does not tell what this is "
			             "made of. Try again.");
			return false;
		}
	return rq->doc->open(rq);
}

static bool is_gathered(const struct request *rq)
{
	for (size_t i = 1; i < HBT_TABLES; i++)
		if (rq->waiters[i] != NULL)
			return false;
	return true;
}

/* From the loop. */
static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct request *rq = arg;

	(void)fd;
	(void)what;
	if (rq->ended) {
		finish(rq, false);
		return;
	}
	if (!is_gathered(rq))
		return;
	if (!rq->opened) {
		rq->opened = true;
		if (!open_document(rq)) {
			if (!rq->begun)
				finish(rq, true);
			return; /* what request_fail() gave is on its way */
		}
	}
	make_piece(rq);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct request *rq = arg;

	(void)fd;
	(void)what;
	if (rq->begun) {
		log_warning("%s: cut off, it took too long", rq->query.path);
		finish(rq, true);
		return;
	}
	for (size_t i = 0; i < HBT_TABLES; i++)
		gather_cancel(&rq->waiters[i]);
	request_fail(rq, 504, "The gateway did not tell it within %d s.",
	             PATIENCE_S);
}

static void on_gathered(void *arg, struct snapshot *s)
{
	struct request *rq = arg;

	rq->waiters[s->table] = NULL;
	rq->tables[s->table] = s;
	if (is_gathered(rq))
		next_turn(rq);
}

/* ---- The beginning ---- */

static bool gather(struct request *rq)
{
	for (size_t i = 1; i < HBT_TABLES; i++) {
		if (!(rq->doc->tables & REQUEST_TABLE(i)))
			continue;
		rq->waiters[i] = gather_ask(rq->w->gather,
		                            (enum hbt_table)i,
		                            rq->sink->wants_new, on_gathered,
		                            rq);
		if (rq->waiters[i] == NULL)
			return false;
	}
	if (is_gathered(rq))
		next_turn(rq);
	return true;
}

static void refuse_parameters(struct request *rq)
{
	if (TAILQ_EMPTY(&rq->query.parameters))
		return;
	request_fail(rq, 400, "%s has no parameters.", rq->query.path);
}

static void on_begin(evutil_socket_t fd, short what, void *arg)
{
	struct request *rq = arg;

	(void)fd;
	(void)what;
	event_free(rq->turn);
	rq->turn = event_new(rq->w->base, -1, 0, on_turn, rq);
	if (rq->turn == NULL) {
		finish(rq, true);
		return;
	}
	if (rq->wrong != NULL)
		request_fail(rq, 400, "%s", rq->wrong);
	else if ((rq->doc = documents_find(rq->query.path)) == NULL)
		request_fail(rq, 404,
		             "There is no document %s here; / lists them.",
		             rq->query.path);
	else if (rq->doc->check == NULL)
		refuse_parameters(rq);
	else if (!rq->doc->check(rq) && !rq->ended)
		request_fail(rq, 503, "out of memory");
	if (!rq->ended && !gather(rq))
		request_fail(rq, 503, "out of memory");
}

json_t *request_node(const struct request *rq)
{
	const struct snapshot *s = rq->tables[HBT_TABLE_NODE];
	struct view v;
	struct hbt_rd r;
	json_t *doc;

	if (s == NULL || s->n_pages == 0)
		return NULL;
	r = hbt_rd_from(s->pages[0].data, s->pages[0].len);
	if (!view_next(&r, HBT_TABLE_NODE, &v))
		return NULL;
	doc = json_loadb(v.v[0].text.s, v.v[0].text.len, 0, NULL);
	return doc;
}

bool request_put_json(struct evbuffer *out, json_t *value)
{
	char *text = value != NULL ? json_dumps(value, JSON_COMPACT |
	                                                JSON_ENCODE_ANY)
	                           : NULL;
	bool good = text != NULL && evbuffer_add(out, text, strlen(text)) == 0;

	free(text);
	json_decref(value);
	return good;
}

bool request_new(struct request **out, struct worker *w, const char *target,
                 const char *accept, const struct request_sink *sink,
                 void *to)
{
	struct request *rq = calloc(1, sizeof(*rq));

	*out = NULL;
	if (rq == NULL)
		return false;
	rq->w = w;
	rq->sink = sink;
	rq->to = to;
	rq->wrong = query_parse(&rq->query, target);
	rq->accept_copy = strdup(accept != NULL ? accept : "");
	rq->accept = rq->accept_copy;
	rq->turn = event_new(w->base, -1, 0, on_begin, rq);
	rq->deadline = evtimer_new(w->base, on_deadline, rq);
	if (rq->accept == NULL || rq->turn == NULL || rq->deadline == NULL) {
		request_free(rq);
		return false;
	}
	set_deadline(rq);
	next_turn(rq);
	*out = rq;
	return true;
}
