#include "http_connections.h"

#include <event2/bufferevent_ssl.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/timespan.h"
#include "refusals.h"

#define MAX_UNREAD (64 * 1024)
#define SWEEP_MS 100
/* How much longer a whole answer may take than one step of it. */
#define WHOLE_ANSWER 20

static bool is_full(const struct place *p)
{
	return p->n_connections >= p->all->settings->max_connections;
}

void http_connections_look(struct http *h)
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
 * refused when it asks for something. */
struct bufferevent *http_connection_accept(struct event_base *base, void *arg)
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
	http_connections_look(h);
	return c->bev;
}

struct connection *http_connection_find(struct http *h,
                                        struct evhttp_request *req)
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

void http_connection_hang_up(struct connection *c)
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
			http_connection_hang_up(c);
		return;
	}
	if (unsent == 0 || unsent != c->unsent)
		c->moved_ms = now_ms;
	c->unsent = unsent;
	if (now_ms - c->moved_ms > limit ||
	    now_ms - c->since_ms > WHOLE_ANSWER * limit)
		http_connection_hang_up(c);
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
		http_connections_look(h);
}

void http_connections_drop(struct place *p)
{
	struct http *h = p->all;
	struct connection *c, *next;

	for (c = TAILQ_FIRST(&h->connections); c != NULL; c = next) {
		next = TAILQ_NEXT(c, next);
		if (c->place != p)
			continue;
		TAILQ_REMOVE(&h->connections, c, next);
		bufferevent_decref(c->bev);
		free(c);
	}
}

bool http_connections_init(struct http *h)
{
	TAILQ_INIT(&h->connections);
	h->sweep = evtimer_new(h->w->base, on_sweep, h);
	return h->sweep != NULL;
}

void http_connections_fini(struct http *h)
{
	if (h->sweep != NULL)
		event_free(h->sweep);
}
