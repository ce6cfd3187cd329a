#include "http.h"

#include <stdlib.h>
#include <string.h>

#include "authorize.h"
#include "base/log.h"
#include "base/timespan.h"
#include "http_connections.h"
#include "refusals.h"
#include "request.h"

#define MAX_HEADERS 8192
#define MAX_BODY 4096 /* of a request; nobody reads it */
#define NEVER_S (365 * 24 * 3600) /* libevent's own limits; ours are here */

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
		http_connection_hang_up(c); /* on_client_gone() follows */
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
	struct connection *c = http_connection_find(p->all, req);
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
	http_connections_look(p->all);
}

static void place_free(struct place *p)
{
	if (p->evhttp != NULL)
		evhttp_free(p->evhttp); /* with its listener and connections */
	p->listener = NULL;
	http_connections_drop(p);
	TAILQ_REMOVE(&p->all->places, p, next);
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
	evhttp_set_bevcb(p->evhttp, http_connection_accept, p);
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
	if (!http_connections_init(h))
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
	http_connections_fini(h);
	SSL_CTX_free(h->tls);
	free(h);
}
