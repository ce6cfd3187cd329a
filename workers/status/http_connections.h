/*
 * Connections of the HTTP server: how many there are, how long each may take,
 * and that libevent tells nothing of them. Internal to http*.c.
 */
#ifndef HBT_STATUS_HTTP_CONNECTIONS_H
#define HBT_STATUS_HTTP_CONNECTIONS_H

#include <event2/http.h>
#include <event2/listener.h>
#include <stdint.h>

#include "net/sock.h"
#include "request.h"
#include "worker.h"

struct answer;

/* Where it listens. */
struct place {
	struct http *all;
	struct evhttp *evhttp;
	struct evconnlistener *listener; /* the evhttp's */
	bool is_tcp;
	char *address;
	unsigned n_connections;
	TAILQ_ENTRY(place) next;
};

/*
 * A connection. libevent's HTTP tells nothing of one before its first request,
 * and not that it is gone: so we hold a reference to its bufferevent, and
 * look each SWEEP_MS whether ours is the last one.
 */
struct connection {
	struct place *place;
	struct bufferevent *bev;
	struct answer *answer; /* that is under way; NULL: none */
	int64_t since_ms;      /* when it began, or what is under way did */
	int64_t moved_ms;      /* when some of an answer left */
	size_t unsent;         /* what was left then */
	char peer[HBT_ADDRESS_TEXT]; /* "": no TLS, or no handshake yet */
	TAILQ_ENTRY(connection) next;
};

/* An answer on its way. */
struct answer {
	struct connection *connection; /* NULL: it is gone */
	struct evhttp_request *req;
	struct request *request; /* NULL: it has given all */
	bool begun;
};

struct http {
	struct worker *w;
	const struct hbt_status_settings *settings;
	SSL_CTX *tls;
	struct event *sweep;
	TAILQ_HEAD(, place) places;
	TAILQ_HEAD(, connection) connections;
};

/* False: out of memory. Then http_connections_fini() all the same. */
bool http_connections_init(struct http *h);
void http_connections_fini(struct http *h);

/* For evhttp_set_bevcb(): a client has come to a place. */
struct bufferevent *http_connection_accept(struct event_base *base,
                                           void *place);
/* The one that a request came over. NULL: there was no memory for it. */
struct connection *http_connection_find(struct http *h,
                                        struct evhttp_request *req);
/* libevent sees the end of it, and frees what is its own. */
void http_connection_hang_up(struct connection *c);
/* Looks after those that there are, and whether there is room, soon. */
void http_connections_look(struct http *h);
/* Forgets those of a place, which libevent has ended. */
void http_connections_drop(struct place *p);

#endif
