/*
 * The life of a connection: its states, what it waits for in each, its
 * deadlines, its end.
 *
 * Deadlines are lazy: a read only notes its moment. The timer is set for the
 * earliest deadline there has been, and looks again when it fires.
 */
#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/timespan.h"
#include "net/conn_int.h"

static uint8_t discarded[16 * 1024];

static void on_io(evutil_socket_t fd, short what, void *arg);
static void on_timer(evutil_socket_t fd, short what, void *arg);

void conn_dial_free(struct conn_dial **dial)
{
	struct conn_dial *d = *dial;

	if (d == NULL)
		return;
	conn_dial_cancel_lookup(d);
	if (d->addresses != NULL)
		evutil_freeaddrinfo(d->addresses);
	X509_free(d->check.refused);
	SSL_CTX_free(d->ctx);
	hbt_secret_free(&d->proxy_password);
	free(d->host);
	free(d->connect_host);
	free(d->proxy_host);
	free(d->proxy_user);
	free(d->thumbprint);
	free(d->url);
	free(d);
	*dial = NULL;
}

static void conn_free(struct hbt_conn *c)
{
	conn_turn_part(c);
	SSL_free(c->ssl);
	conn_dial_free(&c->dial);
	conn_queue_clear(&c->out);
	conn_queue_clear(&c->rest);
	halibut_error_clear(&c->err);
	free(c);
}

static void stop_events(struct hbt_conn *c)
{
	if (c->watched != 0)
		event_del(&c->io);
	if (c->armed_at != 0)
		event_del(&c->timer);
	c->watched = 0;
	c->armed_at = 0;
	conn_shake_leave(c);
}

/*
 * An open connection ends with RST: runtime-behaviour 4.4. In a handshake an
 * alert may be under way, which RST would destroy.
 */
static void close_socket(struct hbt_conn *c)
{
	if (c->state == CONN_OPEN || c->state == CONN_LINGERING)
		hbt_sock_abort(c->fd);
	else if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

void conn_dispose(struct hbt_conn *c)
{
	stop_events(c);
	conn_turn_forget(c);
	close_socket(c);
	c->orphan = true;
	c->state = CONN_CLOSED;
	if (c->depth == 0)
		conn_free(c);
}

void conn_fail(struct hbt_conn *c, int status, const char *fmt, ...)
{
	bool opened = c->state == CONN_OPEN;
	char *text;
	va_list ap;

	if (c->state == CONN_FAILED || c->state == CONN_CLOSED)
		return;
	if (c->orphan) {
		conn_dispose(c);
		return;
	}
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	hbt_error_set(&c->err, status, "%s",
	              text != NULL ? text : halibut_strerror(status));
	free(text);
	if (c->dialled && !opened)
		c->err.connection_state = HALIBUT_CONNECTION_CONNECTING;
	stop_events(c);
	close_socket(c);
	if (c->dial != NULL)
		conn_dial_cancel_lookup(c->dial);
	conn_queue_clear(&c->out);
	c->state = CONN_FAILED;
	conn_turn_later(c); /* unless a handler on the stack tells it first */
}

void conn_enter(struct hbt_conn *c)
{
	c->depth++;
}

void conn_leave(struct hbt_conn *c)
{
	if (c->depth == 1) {
		if (c->state == CONN_FAILED && !c->told) {
			c->told = true;
			c->ops->failed(c->arg, &c->err);
		}
		conn_watch(c);
		conn_arm(c);
	}
	if (--c->depth == 0 && c->state == CONN_CLOSED)
		conn_free(c);
}

/* What the functions of conn.h do last. Inside a handler its end does it. */
static void settle(struct hbt_conn *c)
{
	if (c->depth > 0)
		return;
	conn_watch(c);
	conn_arm(c);
}

static short wanted(const struct hbt_conn *c)
{
	short write = c->out.len > 0 && c->blocked ? EV_WRITE : 0;

	switch (c->state) {
	case CONN_CONNECTING:
		return EV_WRITE | EV_PERSIST;
	case CONN_PROXY:
	case CONN_HANDSHAKE:
		return (short)((conn_shake_is_queued(c) ? 0 : EV_READ) |
		               EV_PERSIST | write);
	case CONN_OPEN:
		/*
		 * EV_CLOSED alone would miss a reset, which libevent reports
		 * as readable and writable; edge-triggered, as both stay so.
		 */
		if (c->parked)
			return EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST;
		return (short)(EV_READ | EV_PERSIST | write);
	case CONN_LINGERING:
	case CONN_PARTING:
		return (short)((c->at_eof ? 0 : EV_READ) | EV_PERSIST | write);
	default:
		return 0;
	}
}

void conn_watch(struct hbt_conn *c)
{
	short want = wanted(c);

	if (want == EV_PERSIST)
		want = 0;
	if (want == c->watched)
		return;
	if (c->watched != 0)
		event_del(&c->io);
	c->watched = 0;
	if (want == 0)
		return;
	if (event_assign(&c->io, event_get_base(&c->timer), c->fd, want, on_io,
	                 c) != 0 ||
	    event_add(&c->io, NULL) != 0) {
		conn_fail(c, HALIBUT_ESYSTEM,
		          "The event loop does not take the connection with "
		          "%s: %s",
		          c->address, strerror(errno));
		return;
	}
	c->watched = want;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

static int64_t read_due(const struct hbt_conn *c)
{
	return conn_is_reading(c) && c->read_ms > 0 ? c->read_at + c->read_ms
	                                            : 0;
}

static int64_t write_due(const struct hbt_conn *c)
{
	return c->state == CONN_OPEN && c->write_ms > 0 && c->blocked &&
	                       c->write_at > 0
	               ? c->write_at + c->write_ms
	               : 0;
}

/* Who stands in line for a step of the handshake waits for us. */
static int64_t step_due(const struct hbt_conn *c)
{
	return conn_shake_is_queued(c) ? 0 : c->step_due;
}

void conn_arm(struct hbt_conn *c)
{
	struct timeval tv;
	int64_t due, span;

	if (c->state == CONN_FAILED || c->state == CONN_CLOSED)
		return;
	due = earlier(earlier(step_due(c), c->attempt_due),
	              earlier(read_due(c), write_due(c)));
	if (due == 0 || (c->armed_at != 0 && c->armed_at <= due))
		return;
	span = due - hbt_now_ms();
	if (span < 1)
		span = 1;
	tv.tv_sec = (time_t)(span / 1000);
	tv.tv_usec = (suseconds_t)(span % 1000 * 1000);
	if (event_add(&c->timer, &tv) != 0)
		conn_fail(c, HALIBUT_ENOMEM, "No deadline can be set for %s",
		          c->address);
	else
		c->armed_at = due;
}

/* All was sent: FIN, and then what still comes is thrown away. */
static void part(struct hbt_conn *c)
{
	if (c->at_eof || shutdown(c->fd, SHUT_WR) != 0) {
		c->state = CONN_PARTING;
		conn_dispose(c);
		return;
	}
	c->state = CONN_PARTING;
	c->burst = 0;
	c->step_due =
		hbt_now_ms() +
		(c->linger_ms < CONN_LINGER_MS ? c->linger_ms : CONN_LINGER_MS);
}

/*
 * Closing with unread bytes would send RST, which may overtake our last
 * words. So the peer's FIN is awaited, within bounds.
 */
static void discard(struct hbt_conn *c)
{
	ssize_t n;

	while ((n = recv(c->fd, discarded, sizeof(discarded), 0)) > 0) {
		c->burst += (size_t)n;
		if (c->burst > CONN_LINGER_READ) {
			conn_dispose(c);
			return;
		}
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	c->at_eof = true;
	if (n < 0 || c->state == CONN_PARTING)
		conn_dispose(c);
}

static void send_last(struct hbt_conn *c)
{
	conn_send(c);
	if (c->state == CONN_LINGERING && c->out.len == 0)
		part(c);
}

static void tell_drained(struct hbt_conn *c)
{
	if (c->state != CONN_OPEN || !c->wants_drain || c->out.len > CONN_LOW)
		return;
	c->wants_drain = false;
	c->ops->drained(c->arg);
}

static void on_open_io(struct hbt_conn *c, short what)
{
	if (what & EV_WRITE && c->out.len > 0) {
		conn_send(c);
		tell_drained(c);
	}
	if (c->state != CONN_OPEN)
		return;
	if (c->parked || (what & EV_READ && !conn_is_reading(c))) {
		conn_look_for_end(c);
	} else if (what & EV_READ) {
		c->dry = false;
		conn_read(c);
	}
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_conn *c = arg;

	(void)fd;
	conn_enter(c);
	if (what & EV_WRITE)
		c->blocked = false;
	switch (c->state) {
	case CONN_CONNECTING:
		conn_dial_connected(c);
		break;
	case CONN_PROXY:
		if (c->out.len > 0)
			conn_send(c);
		if (c->state == CONN_PROXY && what & EV_READ)
			conn_dial_proxy_readable(c);
		break;
	case CONN_HANDSHAKE:
		c->dry = false;
		if (c->out.len > 0)
			conn_send(c);
		if (c->state != CONN_HANDSHAKE || !(what & EV_READ))
			break;
		if (c->dialled)
			conn_handshake(c);
		else
			conn_shake_readable(c);
		break;
	case CONN_OPEN:
		on_open_io(c, what);
		break;
	case CONN_LINGERING:
		if (what & EV_READ)
			discard(c);
		if (c->state == CONN_LINGERING && what & EV_WRITE)
			send_last(c);
		break;
	case CONN_PARTING:
		discard(c);
		break;
	default:
		break;
	}
	conn_leave(c);
}

static bool is_due(int64_t due, int64_t now)
{
	return due != 0 && now >= due;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_conn *c = arg;
	int64_t now = hbt_now_ms();

	(void)fd;
	(void)what;
	conn_enter(c);
	c->armed_at = 0;
	switch (c->state) {
	case CONN_RESOLVING:
	case CONN_CONNECTING:
	case CONN_PROXY:
		if (is_due(c->step_due, now) || is_due(c->attempt_due, now))
			conn_dial_late(c, now);
		break;
	case CONN_HANDSHAKE:
		if (is_due(step_due(c), now))
			conn_fail_deadline(c, false);
		break;
	case CONN_OPEN:
		if (is_due(write_due(c), now))
			conn_fail_deadline(c, true);
		else if (is_due(read_due(c), now))
			conn_fail_deadline(c, false);
		break;
	case CONN_LINGERING:
	case CONN_PARTING:
		if (is_due(c->step_due, now))
			conn_dispose(c);
		break;
	default:
		break;
	}
	conn_leave(c);
}

void conn_end_turn(struct hbt_conn *c)
{
	conn_enter(c);
	c->burst = 0;
	if (c->state == CONN_OPEN && c->out.len > 0)
		conn_send(c);
	if (c->state == CONN_OPEN && c->wants_drain && c->out.len <= CONN_LOW)
		conn_turn_later(c);
	conn_leave(c);
}

void conn_next_turn(struct hbt_conn *c)
{
	conn_enter(c);
	tell_drained(c);
	if (c->read_later && conn_is_reading(c))
		conn_read(c);
	conn_leave(c);
}

static struct hbt_conn *conn_new(struct event_base *base,
                                 const struct hbt_limits *limits,
                                 const struct hbt_conn_ops *ops, void *arg)
{
	struct hbt_conn *c;

	if (conn_io_init() != HALIBUT_OK || (c = calloc(1, sizeof(*c))) == NULL)
		return NULL;
	if (conn_turn_join(c, base) != HALIBUT_OK) {
		free(c);
		return NULL;
	}
	event_assign(&c->timer, base, -1, 0, on_timer, c);
	c->fd = -1;
	c->ops = ops;
	c->arg = arg;
	c->read_what = "data";
	c->peer_awaited = true;
	c->write_ms = limits->tcp_client_send_timeout_ms;
	c->linger_ms = limits->tcp_client_heartbeat_send_timeout_ms;
	return c;
}

static void note_peer(struct hbt_conn *c)
{
	struct sockaddr_storage peer = {0};
	socklen_t size = sizeof(peer);

	/* Fails when the peer is gone already. */
	if (getpeername(c->fd, (struct sockaddr *)&peer, &size) != 0)
		peer.ss_family = AF_UNSPEC;
	hbt_sock_format((struct sockaddr *)&peer, c->address);
}

int hbt_conn_accept(struct hbt_conn **out, struct event_base *base,
                    struct hbt_tls *tls, const struct hbt_limits *limits,
                    int fd, const struct hbt_conn_ops *ops, void *arg)
{
	struct hbt_keep_alive keep = hbt_keep_alive_of(limits);
	struct hbt_conn *c;
	int rc = HALIBUT_ESYSTEM;

	*out = NULL;
	if ((c = conn_new(base, limits, ops, arg)) == NULL) {
		hbt_sock_abort(fd);
		return HALIBUT_ENOMEM;
	}
	c->fd = fd;
	c->handshake_ms = limits->handshake_total_timeout_ms;
	note_peer(c);
	if (hbt_sock_prepare(fd, &keep) != 0)
		goto fail;
	conn_shake_accept(c, tls->server, limits);
	settle(c);
	if (c->state == CONN_FAILED) {
		rc = (int)c->err.status;
		goto fail;
	}
	*out = c;
	return HALIBUT_OK;
fail:
	conn_dispose(c);
	return rc;
}

static bool copy(char **to, const char *from)
{
	*to = from == NULL ? NULL : strdup(from);
	return from == NULL || *to != NULL;
}

static struct conn_dial *copy_dial(const struct hbt_dial *from)
{
	struct conn_dial *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->port = from->port;
	d->connect_port = from->connect_port;
	d->proxy_port = from->proxy_port;
	d->anonymous = from->without_certificate;
	d->connect_ms = from->connect_timeout_ms;
	if (!copy(&d->host, from->host) ||
	    !copy(&d->connect_host, from->connect_host) ||
	    !copy(&d->proxy_host, from->proxy_host) ||
	    !copy(&d->proxy_user, from->proxy_user) ||
	    !copy(&d->proxy_password, from->proxy_password) ||
	    !copy(&d->thumbprint, from->thumbprint) ||
	    !copy(&d->url, from->url != NULL ? from->url : from->host))
		conn_dial_free(&d);
	return d;
}

int hbt_conn_dial(struct hbt_conn **out, struct event_base *base,
                  struct evdns_base *dns, struct hbt_tls *tls,
                  const struct hbt_limits *limits, const struct hbt_dial *dial,
                  const struct hbt_conn_ops *ops, void *arg)
{
	struct hbt_conn *c;

	*out = NULL;
	if (dial->host == NULL)
		return HALIBUT_EINVAL;
	if ((c = conn_new(base, limits, ops, arg)) == NULL)
		return HALIBUT_ENOMEM;
	c->dialled = true;
	c->state = CONN_RESOLVING;
	c->handshake_ms = limits->tcp_client_receive_timeout_ms;
	if ((c->dial = copy_dial(dial)) == NULL) {
		conn_dispose(c);
		return HALIBUT_ENOMEM;
	}
	c->dial->ctx = c->dial->anonymous ? tls->client_anonymous : tls->client;
	SSL_CTX_up_ref(c->dial->ctx);
	if (!c->dial->anonymous)
		c->dial->keep = hbt_keep_alive_of(limits);
	c->depth++; /* nothing is called back from in here */
	conn_dial_start(c, dns);
	c->depth--;
	settle(c);
	*out = c;
	return HALIBUT_OK;
}

void hbt_conn_flush(struct hbt_conn *c)
{
	if (c->state != CONN_OPEN)
		return;
	conn_send(c);
	settle(c);
}

void hbt_conn_pause(struct hbt_conn *c)
{
	c->paused = true;
}

void hbt_conn_resume(struct hbt_conn *c)
{
	bool was_reading = conn_is_reading(c);

	c->resumed = true;
	if (c->state != CONN_OPEN || c->eof_told)
		return;
	c->paused = c->held = c->parked = false;
	if (was_reading || c->in_input)
		return;
	c->read_at = hbt_now_ms();
	if (c->rest.len > 0 || SSL_has_pending(c->ssl)) {
		c->read_later = true;
		conn_turn_later(c);
	}
	settle(c);
}

void hbt_conn_await_peer(struct hbt_conn *c, bool awaited)
{
	c->peer_awaited = awaited;
}

void hbt_conn_read_timeout(struct hbt_conn *c, int64_t ms, const char *what)
{
	c->read_ms = ms;
	c->read_what = what;
	if (ms > 0)
		c->read_at = hbt_now_ms();
	settle(c);
}

void hbt_conn_write_timeout(struct hbt_conn *c, int64_t ms)
{
	c->write_ms = ms;
	settle(c);
}

const char *hbt_conn_peer_thumbprint(const struct hbt_conn *c)
{
	return c->thumbprint[0] != '\0' ? c->thumbprint : NULL;
}

const char *hbt_conn_own_thumbprint(const struct hbt_conn *c)
{
	const struct hbt_tls *tls;

	if (c->ssl == NULL || SSL_get_certificate(c->ssl) == NULL)
		return NULL; /* none yet, or a discovery's */
	tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(c->ssl));
	return tls->thumbprint;
}

X509 *hbt_conn_peer_certificate(const struct hbt_conn *c)
{
	return c->ssl != NULL ? SSL_get0_peer_certificate(c->ssl) : NULL;
}

const char *hbt_conn_peer_address(const struct hbt_conn *c)
{
	return c->address;
}

const char *hbt_conn_tls_version(const struct hbt_conn *c)
{
	return c->ssl != NULL ? SSL_get_version(c->ssl) : "";
}

const char *hbt_conn_cipher(const struct hbt_conn *c)
{
	return c->ssl != NULL ? SSL_get_cipher_name(c->ssl) : NULL;
}

size_t hbt_conn_unsent(const struct hbt_conn *c)
{
	return c->out.len;
}

uint64_t hbt_conn_bytes_in(const struct hbt_conn *c)
{
	return c->bytes_in;
}

uint64_t hbt_conn_bytes_out(const struct hbt_conn *c)
{
	return c->bytes_out;
}

void hbt_conn_close(struct hbt_conn **conn, bool flush)
{
	struct hbt_conn *c = *conn;

	if (c == NULL)
		return;
	*conn = NULL;
	assert(!c->orphan);
	c->orphan = true;
	if (!flush || c->state != CONN_OPEN) {
		conn_dispose(c);
		return;
	}
	/* All is encrypted already: the queue is all that is needed. */
	SSL_free(c->ssl);
	c->ssl = NULL;
	conn_turn_forget(c);
	conn_turn_orphan(c);
	c->state = CONN_LINGERING;
	c->step_due = hbt_now_ms() + c->linger_ms;
	c->depth++;
	send_last(c);
	conn_leave(c);
}
