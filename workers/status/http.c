#include "http.h"

#include <event2/bufferevent_ssl.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "authorize.h"
#include "base/log.h"
#include "base/timespan.h"
#include "net/sock.h"
#include "refusals.h"
#include "request.h"

#define MAX_HEADERS 8192
#define MAX_BODY 4096 /* of a request; nobody reads it */
#define MAX_UNREAD (64 * 1024)
#define SWEEP_MS 100
/* How much longer a whole answer may take than one step of it. */
#define WHOLE_ANSWER 20
#define NEVER_S (365 * 24 * 3600) /* libevent's own limits; ours are here */

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

static void on_sweep(evutil_socket_t fd, short what, void *arg);

/* ---- Connections ---- */

static bool is_full(const struct place *p)
{
	return p->n_connections >= p->all->settings->max_connections;
}

static void start_sweep(struct http *h)
{
	static const struct timeval soon = {.tv_usec = SWEEP_MS * 1000};

	if (!evtimer_pending(h->sweep, NULL))
		event_add(h->sweep, &soon);
}

/* When the handshake begins: the first that we hear of the socket, which has
 * no address any more when it is over. */
static void on_handshake(const SSL *ssl, int where, int ret)
{
	struct connection *c = SSL_get_app_data(ssl);
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	(void)ret;
	if ((where & SSL_CB_HANDSHAKE_START) != 0 && c->peer[0] == '\0' &&
	    getpeername(SSL_get_fd(ssl), (struct sockaddr *)&sa, &len) == 0)
		hbt_sock_format((struct sockaddr *)&sa, c->peer);
}

static struct bufferevent *make_bufferevent(struct place *p,
                                            struct connection *c)
{
	struct http *h = p->all;
	SSL *ssl;

	if (!p->is_tcp || h->tls == NULL)
		return bufferevent_socket_new(h->w->base, -1,
		                              BEV_OPT_CLOSE_ON_FREE);
	if ((ssl = SSL_new(h->tls)) == NULL)
		return NULL;
	SSL_set_app_data(ssl, c);
	SSL_set_info_callback(ssl, on_handshake);
	return bufferevent_openssl_socket_new(h->w->base, -1, ssl,
	                                      BUFFEREVENT_SSL_ACCEPTING,
	                                      BEV_OPT_CLOSE_ON_FREE);
}

/* libevent has accepted one. Without ours it makes one of its own, which is
 * refused when it asks for something: find(). */
static struct bufferevent *on_accepted(struct event_base *base, void *arg)
{
	struct place *p = arg;
	struct http *h = p->all;
	struct connection *c = calloc(1, sizeof(*c));

	(void)base;
	if (c == NULL || (c->bev = make_bufferevent(p, c)) == NULL) {
		log_error("%s: a connection is refused: out of memory",
		          p->address);
		free(c);
		return NULL;
	}
	bufferevent_incref(c->bev);
	bufferevent_setwatermark(c->bev, EV_READ, 0, MAX_UNREAD);
	c->place = p;
	c->since_ms = hbt_now_ms();
	TAILQ_INSERT_TAIL(&h->connections, c, next);
	p->n_connections++;
	if (is_full(p)) { /* the kernel keeps the others waiting */
		evconnlistener_disable(p->listener);
		refusal_full(p->n_connections, p->address);
	}
	start_sweep(h);
	return c->bev;
}

static struct connection *find(struct http *h, struct evhttp_request *req)
{
	struct evhttp_connection *evcon = evhttp_request_get_connection(req);
	struct bufferevent *bev =
		evcon != NULL ? evhttp_connection_get_bufferevent(evcon) : NULL;
	struct connection *c;

	TAILQ_FOREACH (c, &h->connections, next)
		if (c->bev == bev)
			return c;
	return NULL;
}

static void forget(struct connection *c)
{
	struct place *p = c->place;

	if (c->answer != NULL)
		c->answer->connection = NULL;
	TAILQ_REMOVE(&p->all->connections, c, next);
	bufferevent_decref(c->bev);
	free(c);
	p->n_connections--;
}

/* Ours is the last reference: libevent took its callbacks out. */
static bool is_gone(const struct connection *c)
{
	bufferevent_data_cb reads, writes;
	bufferevent_event_cb events;
	void *arg;

	bufferevent_getcb(c->bev, &reads, &writes, &events, &arg);
	return reads == NULL && writes == NULL && events == NULL;
}

/* libevent sees the end of it, and frees what is its own. */
static void hang_up(struct connection *c)
{
	int fd = bufferevent_getfd(c->bev);

	bufferevent_setwatermark(c->bev, EV_READ, 0, 0);
	if (fd >= 0)
		shutdown(fd, SHUT_RDWR);
}

static void judge(struct connection *c, int64_t now_ms)
{
	int64_t limit = c->place->all->settings->timeout_ms;
	size_t unsent = evbuffer_get_length(bufferevent_get_output(c->bev));

	if (c->answer == NULL) {
		/* Silent, between two requests, or slow with one. */
		if (now_ms - c->since_ms > limit)
			hang_up(c);
		return;
	}
	if (unsent == 0 || unsent != c->unsent)
		c->moved_ms = now_ms;
	c->unsent = unsent;
	if (now_ms - c->moved_ms > limit ||
	    now_ms - c->since_ms > WHOLE_ANSWER * limit)
		hang_up(c);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct http *h = arg;
	int64_t now_ms = hbt_now_ms();
	struct connection *c, *next;
	struct place *p;

	(void)fd;
	(void)what;
	for (c = TAILQ_FIRST(&h->connections); c != NULL; c = next) {
		next = TAILQ_NEXT(c, next);
		if (is_gone(c)) {
			if (c->peer[0] != '\0')
				refusal_tls(c->bev, c->peer, c->place->address);
			forget(c);
		} else {
			judge(c, now_ms);
		}
	}
	TAILQ_FOREACH (p, &h->places, next)
		if (!is_full(p))
			evconnlistener_enable(p->listener);
	if (!TAILQ_EMPTY(&h->connections))
		start_sweep(h);
}

/* ---- Answers ---- */

static void answer_free(struct answer *a)
{
	if (a->connection != NULL) {
		a->connection->answer = NULL;
		a->connection->since_ms = hbt_now_ms();
	}
	request_cancel(&a->request);
	free(a);
}

/* The client went away in the middle: libevent leaves the request to us. */
static void on_client_gone(struct evhttp_connection *evcon, void *arg)
{
	struct connection *c = arg;
	struct answer *a = c->answer;

	(void)evcon;
	if (a == NULL)
		return;
	if (evhttp_request_get_connection(a->req) == NULL)
		evhttp_request_free(a->req);
	answer_free(a);
}

static void on_piece_left(struct evhttp_connection *evcon, void *arg)
{
	struct connection *c = arg;

	(void)evcon;
	if (c->answer != NULL && c->answer->request != NULL)
		request_go_on(c->answer->request);
}

static void add_headers(struct evhttp_request *req, const char *type)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(req);

	evhttp_add_header(headers, "Content-Type", type);
	evhttp_add_header(headers, "Cache-Control", "no-store");
	evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
	evhttp_add_header(headers, "Content-Security-Policy",
	                  "default-src 'none'; style-src 'unsafe-inline'");
	evhttp_add_header(headers, "Server", "halibutd/" HBT_VERSION);
}

static const char *reason_of(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 504:
		return "Gateway Timeout";
	default:
		return "Service Unavailable";
	}
}

static void begin(void *to, int status, const char *type)
{
	struct answer *a = to;

	a->begun = true;
	add_headers(a->req, type);
	evhttp_send_reply_start(a->req, status, reason_of(status));
}

static void piece(void *to, struct evbuffer *data)
{
	struct answer *a = to;

	if (evhttp_request_get_command(a->req) == EVHTTP_REQ_HEAD) {
		evbuffer_drain(data, evbuffer_get_length(data));
		request_go_on(a->request);
		return;
	}
	evhttp_send_reply_chunk_with_cb(a->req, data, on_piece_left,
	                                a->connection);
}

static void end(void *to)
{
	struct answer *a = to;
	struct evhttp_request *req = a->req;

	a->request = NULL;
	answer_free(a);
	evhttp_send_reply_end(req);
}

/* Neither side may take what came for the whole. */
static void broken(void *to)
{
	struct answer *a = to;
	struct connection *c = a->connection;

	a->request = NULL;
	if (a->begun)
		hang_up(c); /* on_client_gone() follows */
	else {
		evhttp_send_error(a->req, 503, "Service Unavailable");
		answer_free(a);
	}
}

static const struct request_sink sink = {
	.begin = begin,
	.piece = piece,
	.end = end,
	.broken = broken,
};

/* ---- Requests ---- */

static void refuse(struct evhttp_request *req, int status, const char *name,
                   const char *value, const char *why)
{
	struct evbuffer *body = evbuffer_new();

	if (name != NULL)
		evhttp_add_header(evhttp_request_get_output_headers(req), name,
		                  value);
	if (body != NULL)
		evbuffer_add_printf(body, "{\"error\":\"%s\"}\n", why);
	add_headers(req, REQUEST_JSON);
	evhttp_send_reply(req, status, reason_of(status), body);
	if (body != NULL)
		evbuffer_free(body);
}

static bool may_ask(const struct place *p, struct evhttp_request *req)
{
	const char *token = p->all->settings->token;
	const char *header = evhttp_find_header(
		evhttp_request_get_input_headers(req), "Authorization");

	if (!p->is_tcp || token == NULL || authorize_token(token, header))
		return true;
	refusal_token(evhttp_request_get_connection(req), header, p->address);
	return false;
}

static void start_answer(struct connection *c, struct evhttp_request *req)
{
	const char *accept = evhttp_find_header(
		evhttp_request_get_input_headers(req), "Accept");
	struct answer *a = calloc(1, sizeof(*a));

	if (a != NULL)
		a->req = req;
	if (a == NULL ||
	    !request_new(&a->request, c->place->all->w,
	                 evhttp_request_get_uri(req), accept, &sink, a)) {
		free(a);
		refuse(req, 503, NULL, NULL, "out of memory");
		return;
	}
	a->connection = c;
	c->answer = a;
	c->since_ms = c->moved_ms = hbt_now_ms();
	c->unsent = 0;
	evhttp_connection_set_closecb(evhttp_request_get_connection(req),
	                              on_client_gone, c);
}

static void on_request(struct evhttp_request *req, void *arg)
{
	struct place *p = arg;
	struct connection *c = find(p->all, req);
	enum evhttp_cmd_type method = evhttp_request_get_command(req);

	if (c == NULL)
		refuse(req, 503, "Connection", "close", "out of memory");
	else if (!may_ask(p, req))
		refuse(req, 401, "WWW-Authenticate",
		       "Bearer realm=\"halibutd status\"",
		       "The status is shown to who has the token: "
		       "Authorization: Bearer TOKEN");
	else if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD)
		refuse(req, 405, "Allow", "GET, HEAD",
		       "Nothing can be changed here; halibutctl does that.");
	else
		start_answer(c, req);
}

/* ---- Listening ---- */

/* Out of descriptors: not at once again. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
	struct place *p = arg;

	evconnlistener_disable(listener);
	log_warning("%s: cannot accept a connection: %s", p->address,
	            evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
	start_sweep(p->all);
}

static void place_free(struct place *p)
{
	struct http *h = p->all;
	struct connection *c, *next;

	if (p->evhttp != NULL)
		evhttp_free(p->evhttp); /* with its listener and connections */
	p->listener = NULL;
	for (c = TAILQ_FIRST(&h->connections); c != NULL; c = next) {
		next = TAILQ_NEXT(c, next);
		if (c->place != p)
			continue;
		TAILQ_REMOVE(&h->connections, c, next);
		bufferevent_decref(c->bev);
		free(c);
	}
	TAILQ_REMOVE(&h->places, p, next);
	free(p->address);
	free(p);
}

static int start_listening(struct place *p, int fd)
{
	const unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC;

	p->evhttp = evhttp_new(p->all->w->base);
	p->listener = evconnlistener_new(p->all->w->base, NULL, NULL, flags, 0,
	                                 fd);
	if (p->listener == NULL) {
		evutil_closesocket(fd);
		return HALIBUT_ENOMEM;
	}
	if (p->evhttp == NULL ||
	    evhttp_bind_listener(p->evhttp, p->listener) == NULL) {
		evconnlistener_free(p->listener);
		p->listener = NULL;
		return HALIBUT_ENOMEM;
	}
	evhttp_set_allowed_methods(p->evhttp, 0xffff);
	evhttp_set_max_headers_size(p->evhttp, MAX_HEADERS);
	evhttp_set_max_body_size(p->evhttp, MAX_BODY);
	evhttp_set_timeout(p->evhttp, NEVER_S);
	evhttp_set_bevcb(p->evhttp, on_accepted, p);
	evhttp_set_gencb(p->evhttp, on_request, p);
	evconnlistener_set_error_cb(p->listener, on_accept_error);
	return HALIBUT_OK;
}

int http_listen(struct http *h, int fd, bool is_tcp, const char *address)
{
	struct place *p = calloc(1, sizeof(*p));

	if (p == NULL || h->settings == NULL ||
	    (p->address = strdup(address)) == NULL ||
	    evutil_make_socket_nonblocking(fd) != 0) {
		evutil_closesocket(fd);
		free(p);
		return HALIBUT_ENOMEM;
	}
	p->all = h;
	p->is_tcp = is_tcp;
	TAILQ_INSERT_TAIL(&h->places, p, next);
	if (start_listening(p, fd) == HALIBUT_OK)
		return HALIBUT_OK;
	place_free(p);
	return HALIBUT_ENOMEM;
}

void http_configure(struct http *h, const struct hbt_status_settings *s,
                    SSL_CTX *tls)
{
	struct place *p;

	while ((p = TAILQ_FIRST(&h->places)) != NULL)
		place_free(p);
	h->settings = s;
	SSL_CTX_free(h->tls);
	h->tls = tls;
	if (tls != NULL)
		SSL_CTX_up_ref(tls);
}

struct http *http_new(struct worker *w)
{
	struct http *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return NULL;
	h->w = w;
	TAILQ_INIT(&h->places);
	TAILQ_INIT(&h->connections);
	if ((h->sweep = evtimer_new(w->base, on_sweep, h)) == NULL)
		http_free(&h);
	return h;
}

void http_free(struct http **at)
{
	struct http *h = *at;
	struct place *p;

	*at = NULL;
	if (h == NULL)
		return;
	while ((p = TAILQ_FIRST(&h->places)) != NULL)
		place_free(p);
	if (h->sweep != NULL)
		event_free(h->sweep);
	SSL_CTX_free(h->tls);
	free(h);
}
