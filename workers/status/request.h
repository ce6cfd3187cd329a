/*
 * A document on its way to whoever asked for it. First the tables that it is
 * made of are gathered; then it is made piece by piece, and the next piece
 * only when the one before it has left: a slow reader holds one piece, and
 * the rows that it asked for.
 */
#ifndef HBT_STATUS_REQUEST_H
#define HBT_STATUS_REQUEST_H

#include <event2/buffer.h>
#include <jansson.h>
#include <stdbool.h>

#include "gather.h"
#include "query.h"
#include "worker.h"

struct request;

/* Where it goes. */
struct request_sink {
	/* It wants the state of this moment, not that of a second ago. */
	bool wants_new;
	/* Once, first. */
	void (*begin)(void *to, int status, const char *type);
	/* All of data's bytes are taken. request_go_on() when there is room
	 * for more, or request_cancel(). */
	void (*piece)(void *to, struct evbuffer *data);
	/* That was all; the request is gone. */
	void (*end)(void *to);
	/* It cannot be finished: cut it off. The request is gone. */
	void (*broken)(void *to);
};

/* What the maker of a document says of the next piece. */
enum request_piece {
	REQUEST_MORE, /* something, or nothing yet */
	REQUEST_LAST,
	REQUEST_REFUSED, /* request_fail() was called; the request may be gone */
	REQUEST_FAILED,  /* it is cut off */
};

struct document {
	const char *path;
	const char *summary; /* a sentence for the index */
	unsigned tables;     /* bits: REQUEST_TABLE() */
	/* The parameters, before anything is gathered; NULL: it has none. Not
	 * OK: request_fail() was called. */
	bool (*check)(struct request *rq);
	/* All is there: request_begin(), now or with the first piece. */
	bool (*open)(struct request *rq);
	/* A bounded piece into out. */
	enum request_piece (*more)(struct request *rq, struct evbuffer *out);
	void (*close)(struct request *rq); /* frees rq->state */
};
#define REQUEST_TABLE(table) (1u << (table))

struct request {
	struct worker *w;
	struct query query;
	const char *accept; /* header, or "" */
	const struct document *doc;
	void *state; /* of the document's maker */
	struct snapshot *tables[HBT_TABLES]; /* those that doc has */
	const struct request_sink *sink;
	void *to;
	struct gather_waiter *waiters[HBT_TABLES];
	struct event *turn, *deadline;
	char *accept_copy;
	const char *wrong; /* with the query */
	bool opened, begun, ended;
};

/*
 * Asks for target, such as "/connz?limit=5". The sink hears begin() later,
 * and in the end one of end() and broken(), unless request_cancel() comes
 * first. False, and nothing was begun: out of memory.
 */
bool request_new(struct request **out, struct worker *w, const char *target,
                 const char *accept, const struct request_sink *sink,
                 void *to);
/* Nobody wants it any more. */
void request_cancel(struct request **rq);
/* The piece that was given has left. */
void request_go_on(struct request *rq);

/* For the makers of documents. */

void request_begin(struct request *rq, int status, const char *type);
/* Instead of it: a JSON object {"error": …}, and that is all. */
void request_fail(struct request *rq, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The one row of NODE, new; NULL: it is not there or malformed. */
json_t *request_node(const struct request *rq);
/* Appends JSON text, compact; takes value over. False without memory. */
bool request_put_json(struct evbuffer *out, json_t *value);

#define REQUEST_JSON "application/json"

#endif
