/* From a name to a connected socket: addresses one after the other. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/timespan.h"
#include "net/sock.h"
#include "redis/link_int.h"

/* Outlives the link: evdns reports the end of a cancelled request later. */
struct link_lookup {
	struct hbt_link *link; /* NULL once cancelled */
	struct evdns_getaddrinfo_request *request;
};

static const struct hbt_keep_alive keep_alive = {
	.enabled = true, .idle_s = 60, .interval_s = 10, .count = 3,
};

static void try_next(struct hbt_link *l);

static void close_attempt(struct hbt_link *l)
{
	if (l->connecting != NULL)
		event_free(l->connecting);
	l->connecting = NULL;
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

void link_dial_fini(struct hbt_link *l)
{
	struct link_lookup *lookup = l->lookup;

	close_attempt(l);
	if (l->addresses != NULL)
		evutil_freeaddrinfo(l->addresses);
	l->addresses = l->next = NULL;
	if (lookup == NULL)
		return;
	l->lookup = NULL;
	lookup->link = NULL;
	if (lookup->request != NULL)
		evdns_getaddrinfo_cancel(lookup->request);
}

static const char *hint(const struct hbt_link *l, int error)
{
	switch (error) {
	case ECONNREFUSED:
		return "; is the server running, and does it listen there "
		       "(bind, port, protected-mode)?";
	case EACCES:
		return "; may this user write to the socket "
		       "(unixsocketperm)?";
	case ENOENT:
		return "; is the server running, and is this its unixsocket?";
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return "; does a firewall stand between?";
	default:
		(void)l;
		return "";
	}
}

static void fail_connect(struct hbt_link *l)
{
	int error = l->last_errno != 0 ? l->last_errno : EHOSTUNREACH;

	link_fail(l, HALIBUT_ESYSTEM, "cannot connect: %s%s", strerror(error),
	          hint(l, error));
}

/* An address that does not answer leaves time for those behind it. */
static void arm_attempt(struct hbt_link *l)
{
	int64_t now = hbt_now_ms(), n = 1;

	for (const struct evutil_addrinfo *a = l->next; a != NULL;
	     a = a->ai_next)
		n++;
	link_arm(l, now + (l->connect_due - now) / n);
}

static void writable(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_link *l = arg;
	socklen_t len = sizeof(int);
	int error = 0;

	(void)what;
	link_enter(l);
	if (getsockopt((int)fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (error == 0) {
		event_free(l->connecting);
		l->connecting = NULL;
		link_connected(l);
	} else {
		l->last_errno = error;
		close_attempt(l);
		try_next(l);
	}
	link_leave(l);
}

/* 0: connected or under way; else errno. */
static int attempt(struct hbt_link *l, const struct sockaddr *address,
                   socklen_t len)
{
	int rc;

	l->fd = socket(address->sa_family,
	               SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return errno;
	if (address->sa_family != AF_UNIX &&
	    (rc = hbt_sock_prepare(l->fd, &keep_alive)) != 0)
		return rc;
	/* EAGAIN: the backlog of a Unix socket is full. */
	if (connect(l->fd, address, len) != 0 && errno != EINPROGRESS)
		return errno;
	l->connecting = event_new(l->config.base, l->fd, EV_WRITE, writable, l);
	if (l->connecting == NULL || event_add(l->connecting, NULL) != 0)
		return ENOMEM;
	return 0;
}

static void try_next(struct hbt_link *l)
{
	while (l->next != NULL) {
		const struct evutil_addrinfo *a = l->next;
		int rc;

		l->next = a->ai_next;
		rc = attempt(l, a->ai_addr, (socklen_t)a->ai_addrlen);
		if (rc == 0) {
			arm_attempt(l);
			return;
		}
		l->last_errno = rc;
		close_attempt(l);
	}
	fail_connect(l);
}

void link_dial_timeout(struct hbt_link *l)
{
	if (l->lookup != NULL) {
		link_fail(l, HALIBUT_ETIMEOUT,
		          "the name '%s' was not resolved within %lld ms; do "
		          "the name servers of this machine answer?",
		          l->host, (long long)l->config.options
		                           ->connect_timeout_ms);
		return;
	}
	if (l->bev != NULL) {
		link_fail(l, HALIBUT_ETIMEOUT,
		          "connected, but no TLS handshake within %lld ms; "
		          "does the server expect TLS on this port (tls-port)?",
		          (long long)l->config.options->connect_timeout_ms);
		return;
	}
	l->last_errno = ETIMEDOUT;
	close_attempt(l);
	if (l->next != NULL)
		try_next(l);
	else
		link_fail(l, HALIBUT_ETIMEOUT,
		          "cannot connect within %lld ms%s",
		          (long long)l->config.options->connect_timeout_ms,
		          hint(l, ETIMEDOUT));
}

static void resolved(struct hbt_link *l, int result,
                     struct evutil_addrinfo *found)
{
	if (result != 0) {
		link_fail(l, HALIBUT_ESYSTEM,
		          "the name '%s' cannot be resolved: %s", l->host,
		          evutil_gai_strerror(result));
		return;
	}
	l->addresses = l->next = found;
	try_next(l);
}

static void looked_up(int result, struct evutil_addrinfo *found, void *arg)
{
	struct link_lookup *lookup = arg;
	struct hbt_link *l = lookup->link;

	free(lookup);
	if (l == NULL) {
		if (found != NULL)
			evutil_freeaddrinfo(found);
		return;
	}
	link_enter(l);
	l->lookup = NULL;
	resolved(l, result, found);
	link_leave(l);
}

static void look_up(struct hbt_link *l, const char *port,
                    const struct evutil_addrinfo *hints)
{
	struct link_lookup *lookup = calloc(1, sizeof(*lookup));
	struct evdns_getaddrinfo_request *request;

	if (lookup == NULL) {
		link_fail(l, HALIBUT_ESYSTEM, "out of memory");
		return;
	}
	lookup->link = l;
	l->lookup = lookup;
	request = evdns_getaddrinfo(l->config.dns, l->host, port, hints,
	                            looked_up, lookup);
	/* NULL: it was called already, and lookup is gone. */
	if (request != NULL)
		lookup->request = request;
}

static void dial_host(struct hbt_link *l)
{
	struct evutil_addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_protocol = IPPROTO_TCP,
		.ai_flags = EVUTIL_AI_NUMERICHOST | EVUTIL_AI_NUMERICSERV,
	};
	struct evutil_addrinfo *found = NULL;
	char port[8];
	int rc;

	evutil_snprintf(port, sizeof(port), "%u", l->port);
	rc = evutil_getaddrinfo(l->host, port, &hints, &found);
	if (rc == EVUTIL_EAI_NONAME) {
		hints.ai_flags = EVUTIL_AI_NUMERICSERV;
		if (l->config.dns != NULL) {
			look_up(l, port, &hints);
			return;
		}
		rc = evutil_getaddrinfo(l->host, port, &hints, &found);
	}
	resolved(l, rc, found);
}

static void dial_path(struct hbt_link *l)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(l->unix_path);
	int rc;

	memcpy(address.sun_path, l->unix_path, len + 1);
	len += offsetof(struct sockaddr_un, sun_path) + 1;
	rc = attempt(l, (struct sockaddr *)&address, (socklen_t)len);
	if (rc == 0)
		return;
	l->last_errno = rc;
	close_attempt(l);
	fail_connect(l);
}

void link_dial(struct hbt_link *l)
{
	l->connect_due = hbt_now_ms() + l->config.options->connect_timeout_ms;
	link_arm(l, l->connect_due);
	if (l->unix_path != NULL)
		dial_path(l);
	else
		dial_host(l);
}
