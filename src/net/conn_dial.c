/*
 * From a dial to a socket on which TLS can begin: the name, its addresses
 * one after the other, the proxy. wire-protocol 2.1 and 13
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/timespan.h"
#include "net/conn_int.h"

/*
 * Outlives the connection: evdns reports the end of a cancelled request too,
 * later.
 */
struct conn_lookup {
	struct hbt_conn *conn; /* NULL once cancelled */
	struct evdns_getaddrinfo_request *request;
};

static void try_next(struct hbt_conn *c);

static const char *where(const struct conn_dial *d, uint16_t *port)
{
	if (d->proxy_host != NULL) {
		*port = d->proxy_port;
		return d->proxy_host;
	}
	if (d->connect_host != NULL) {
		*port = d->connect_port != 0 ? d->connect_port : d->port;
		return d->connect_host;
	}
	*port = d->port;
	return d->host;
}

void conn_dial_cancel_lookup(struct conn_dial *d)
{
	struct conn_lookup *lookup = d->lookup;

	if (lookup == NULL)
		return;
	d->lookup = NULL;
	lookup->conn = NULL;
	if (lookup->request != NULL)
		evdns_getaddrinfo_cancel(lookup->request);
}

static void looked_up(int result, struct evutil_addrinfo *found, void *arg)
{
	struct conn_lookup *lookup = arg;
	struct hbt_conn *c = lookup->conn;

	free(lookup);
	if (c == NULL) {
		if (found != NULL)
			evutil_freeaddrinfo(found);
		return;
	}
	conn_enter(c);
	c->dial->lookup = NULL;
	c->dial->addresses = c->dial->next = found;
	if (result != 0)
		conn_fail_lookup(c, result);
	else
		try_next(c);
	conn_leave(c);
}

static void look_up(struct hbt_conn *c, struct evdns_base *dns,
                    const char *host, const char *port,
                    const struct evutil_addrinfo *hints)
{
	struct conn_lookup *lookup = calloc(1, sizeof(*lookup));
	struct evdns_getaddrinfo_request *request;

	if (lookup == NULL) {
		conn_fail(c, HALIBUT_ENOMEM, "Out of memory");
		return;
	}
	lookup->conn = c;
	c->dial->lookup = lookup;
	request = evdns_getaddrinfo(dns, host, port, hints, looked_up, lookup);
	/* NULL: it was called already, and lookup is gone. */
	if (request != NULL)
		lookup->request = request;
}

/* getaddrinfo() wants no brackets; names in URIs may bring them. */
static bool bare_host(const char *host, char *out, size_t size)
{
	size_t len = strlen(host);

	if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
		host++;
		len -= 2;
	}
	if (len == 0 || len >= size)
		return false;
	memcpy(out, host, len);
	out[len] = '\0';
	return true;
}

void conn_dial_start(struct hbt_conn *c, struct evdns_base *dns)
{
	struct evutil_addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_protocol = IPPROTO_TCP,
		.ai_flags = EVUTIL_AI_NUMERICHOST | EVUTIL_AI_NUMERICSERV,
	};
	struct conn_dial *d = c->dial;
	struct halibut_error err = {0};
	char host[256], service[8];
	uint16_t port;
	int rc;

	if (d->proxy_host != NULL &&
	    hbt_proxy_check(d->proxy_host, d->proxy_port, &err) != 0) {
		conn_fail(c, HALIBUT_EPROXY, "%s", err.message);
		halibut_error_clear(&err);
		return;
	}
	if (!bare_host(where(d, &port), host, sizeof(host))) {
		conn_fail_lookup(c, EVUTIL_EAI_NONAME);
		return;
	}
	snprintf(service, sizeof(service), "%u", port);
	d->connect_due = hbt_now_ms() + d->connect_ms;
	rc = evutil_getaddrinfo(host, service, &hints, &d->addresses);
	if (rc == EVUTIL_EAI_NONAME) {
		hints.ai_flags = EVUTIL_AI_NUMERICSERV;
		if (dns != NULL) {
			c->step_due = d->connect_due;
			look_up(c, dns, host, service, &hints);
			return;
		}
		rc = evutil_getaddrinfo(host, service, &hints, &d->addresses);
	}
	d->next = d->addresses;
	if (rc != 0)
		conn_fail_lookup(c, rc);
	else
		try_next(c);
}

static void tell_step(struct hbt_conn *c, enum hbt_conn_step step, int error)
{
	if (c->ops->step != NULL)
		c->ops->step(c->arg, step, c->address, error);
}

static void close_attempt(struct hbt_conn *c)
{
	if (c->watched != 0)
		event_del(&c->io);
	c->watched = 0;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static void attempt_failed(struct hbt_conn *c, int why)
{
	c->dial->last_errno = why;
	if (why == ECONNREFUSED)
		c->dial->was_refused = true;
	close_attempt(c);
	tell_step(c, HBT_STEP_UNREACHED, why);
}

/* An address that does not answer leaves time for those behind it. */
static int64_t share_of_time(const struct conn_dial *d, int64_t now)
{
	const struct evutil_addrinfo *ai;
	int64_t n = 0;

	for (ai = d->next; ai != NULL; ai = ai->ai_next)
		n++;
	return now + (d->connect_due - now) / (n > 0 ? n : 1);
}

/* 0, or errno; EINPROGRESS means wait. */
static int start_connect(struct hbt_conn *c, const struct evutil_addrinfo *ai)
{
	int rc;

	c->fd = socket(ai->ai_family,
	               SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return errno;
	hbt_sock_format(ai->ai_addr, c->address);
	tell_step(c, HBT_STEP_CONNECT, 0);
	if ((rc = hbt_sock_prepare(c->fd, &c->dial->keep)) != 0)
		return rc;
	return connect(c->fd, ai->ai_addr, (socklen_t)ai->ai_addrlen) == 0
	               ? 0
	               : errno;
}

static void send_request(struct hbt_conn *c)
{
	struct conn_dial *d = c->dial;
	const char *host = d->connect_host != NULL ? d->connect_host : d->host;
	uint16_t port = d->connect_host != NULL && d->connect_port != 0
	                        ? d->connect_port
	                        : d->port;
	char *request =
		hbt_proxy_request(host, port, d->proxy_user, d->proxy_password);
	int64_t now = hbt_now_ms();

	if (request == NULL ||
	    !conn_queue_put(&c->out, request, strlen(request))) {
		free(request);
		conn_fail(c, HALIBUT_ENOMEM, "Out of memory");
		return;
	}
	OPENSSL_cleanse(request, strlen(request));
	free(request);
	hbt_proxy_reply_init(&d->reply);
	c->state = CONN_PROXY;
	c->step_due = now + c->handshake_ms;
	c->attempt_due = now + CONN_PROXY_MS;
	tell_step(c, HBT_STEP_PROXY, 0);
	conn_send(c);
}

static bool is_numeric(const char *host)
{
	unsigned char address[16];

	return strchr(host, ':') != NULL || host[0] == '[' ||
	       evutil_inet_pton(AF_INET, host, address) == 1;
}

static void start_tls(struct hbt_conn *c)
{
	struct conn_dial *d = c->dial;

	c->attempt_due = 0;
	if (conn_start_tls(c, d->ctx, false) != HALIBUT_OK ||
	    (!is_numeric(d->host) &&
	     SSL_set_tlsext_host_name(c->ssl, d->host) != 1)) {
		conn_fail(c, HALIBUT_ENOMEM, "TLS with %s cannot be set up: %s",
		          d->url, hbt_openssl_reason());
		return;
	}
	tell_step(c, HBT_STEP_TLS, 0);
	d->check.thumbprint = d->thumbprint;
	SSL_set_app_data(c->ssl, &d->check);
	conn_handshake(c);
}

static void connected(struct hbt_conn *c)
{
	c->step_due = c->attempt_due = 0;
	if (c->dial->proxy_host != NULL)
		send_request(c);
	else
		start_tls(c);
}

static void try_next(struct hbt_conn *c)
{
	struct conn_dial *d = c->dial;
	int64_t now = hbt_now_ms();
	int rc;

	while (d->next != NULL) {
		const struct evutil_addrinfo *ai = d->next;

		c->state = CONN_CONNECTING;
		c->step_due = d->connect_due;
		c->attempt_due = share_of_time(d, now);
		d->next = ai->ai_next;
		rc = start_connect(c, ai);
		if (rc == EINPROGRESS)
			return;
		if (rc == 0) {
			connected(c);
			return;
		}
		attempt_failed(c, rc);
	}
	conn_fail_connect(c);
}

void conn_dial_connected(struct hbt_conn *c)
{
	socklen_t size = sizeof(int);
	int why = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &why, &size) != 0)
		why = errno;
	if (why == 0) {
		connected(c);
		return;
	}
	attempt_failed(c, why);
	try_next(c);
}

/*
 * Looks before it takes: what stands behind the header belongs to TLS, even
 * though a server has no reason to speak first.
 */
void conn_dial_proxy_readable(struct hbt_conn *c)
{
	struct halibut_error err = {0};
	char data[1024];
	size_t used;
	ssize_t n = recv(c->fd, data, sizeof(data), MSG_PEEK);
	int rc;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		c->io_errno = errno;
		conn_fail_broken(c);
		return;
	}
	if (n == 0) {
		conn_fail_proxy(
			c, HALIBUT_ECONNECT,
			"it closed the connection before its reply was complete");
		return;
	}
	rc = hbt_proxy_reply_feed(&c->dial->reply, data, (size_t)n, &used,
	                          &err);
	recv(c->fd, data, used, 0);
	c->attempt_due = hbt_now_ms() + CONN_PROXY_MS;
	if (rc == HALIBUT_OK)
		start_tls(c);
	else if (rc != HALIBUT_EAGAIN)
		conn_fail_proxy(c, HALIBUT_EPROXY, err.message);
	halibut_error_clear(&err);
}

void conn_dial_late(struct hbt_conn *c, int64_t now)
{
	if (c->state == CONN_PROXY) {
		conn_fail_proxy(c, HALIBUT_ECONNECT_TIMEOUT,
		                "it did not answer in time");
		return;
	}
	if (now >= c->step_due || c->state == CONN_RESOLVING) {
		conn_fail_connect_timeout(c);
		return;
	}
	attempt_failed(c, ETIMEDOUT);
	try_next(c);
}
