/* Accepting, and whom to let in. runtime-behaviour 5 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "runtime/runtime.h"

static bool authorise(void *arg, struct hbt_accepted *a, const char *thumbprint)
{
	struct halibut_runtime *rt = arg;

	if (hbt_trust_set_has(rt->trust, thumbprint))
		return true;
	if (rt->unauthorised == NULL ||
	    !rt->unauthorised(rt->unauthorised_arg,
	                      hbt_conn_peer_address(hbt_exchange_conn(a->ex)),
	                      thumbprint))
		return false;
	return hbt_trust_set_add(rt->trust, thumbprint) == 0;
}

static void refused(void *arg, const char *peer, const char *thumbprint,
                    const char *reason)
{
	(void)arg;
	hbt_log_refusal(peer, thumbprint, reason);
}

static void client(void *arg, struct hbt_accepted *a)
{
	(void)arg;
	hbt_accepted_admit(a, NULL);
}

static int connections_of(const struct halibut_runtime *rt, const char *key)
{
	const struct hbt_accepted *a;
	int n = 0;

	LIST_FOREACH (a, &rt->accepted, link)
		if (a->key != NULL && strcmp(a->key, key) == 0)
			n++;
	return n;
}

static void subscriber(void *arg, struct hbt_accepted *a,
                       const char *subscription)
{
	static const char too_many[] =
		"its subscription has as many connections as it may have";
	const char *peer = hbt_conn_peer_address(hbt_exchange_conn(a->ex));
	struct halibut_runtime *rt = arg;
	int most = rt->limits
	                   .maximum_active_tcp_connections_per_polling_subscription;

	if (hbt_switchboard_queue(rt->switchboard, subscription) == NULL) {
		log_warning("%s subscribes as %s, which is no poll:// URI",
		            peer, subscription);
		hbt_accepted_admit(a, "its subscription is no poll:// URI");
		return;
	}
	/* a itself is counted. */
	if (most == 0 || connections_of(rt, subscription) <= most) {
		hbt_accepted_admit(a, NULL);
		return;
	}
	hbt_log_refusal(peer, a->thumbprint, too_many);
	hbt_accepted_admit(a, too_many);
}

static void ready(void *arg, struct hbt_accepted *a)
{
	struct halibut_runtime *rt = arg;

	hbt_queue_offer(hbt_switchboard_queue(rt->switchboard, a->key),
	                &a->taker);
}

static void closed(void *arg, struct hbt_accepted *a)
{
	(void)arg;
	LIST_REMOVE(a, link);
}

static const struct hbt_accepted_ops accepted_ops = {
	.authorise = authorise,
	.refused = refused,
	.client = client,
	.subscriber = subscriber,
	.ready = ready,
	.closed = closed,
};

static void on_accept(struct evconnlistener *lev, evutil_socket_t fd,
                      struct sockaddr *sa, int salen, void *arg)
{
	struct halibut_runtime *rt = arg;
	struct hbt_accepted *a;

	(void)lev;
	(void)sa;
	(void)salen;
	if (hbt_accepted_new(&a, &rt->env, rt->tls, fd, &accepted_ops,
	                     &hbt_service_inlet_ops, rt) != 0) {
		log_error("a connection was dropped: out of memory");
		return;
	}
	LIST_INSERT_HEAD(&rt->accepted, a, link);
}

static void accept_again(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_listener *l = arg;

	(void)fd;
	(void)what;
	evconnlistener_enable(l->lev);
}

/*
 * Descriptors have run out, most likely: the backlog keeps the others. The
 * socket stays readable, so that only a pause keeps us from spinning.
 */
static void on_accept_error(struct evconnlistener *lev, void *arg)
{
	static const struct timeval pause = {.tv_usec = 200000};
	struct halibut_runtime *rt = arg;
	struct hbt_listener *l;

	log_error("accepting failed: %s. If descriptors ran out, raise the "
	          "limit (ulimit -n)",
	          strerror(EVUTIL_SOCKET_ERROR()));
	LIST_FOREACH (l, &rt->listeners, link)
		if (l->lev == lev && evtimer_add(l->again, &pause) == 0)
			evconnlistener_disable(lev);
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char port[8] = "0";

	if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
		getnameinfo((struct sockaddr *)&ss, len, NULL, 0, port,
		            sizeof(port), NI_NUMERICSERV);
	return (uint16_t)atoi(port);
}

static int bind_one(struct halibut_runtime *rt, const struct addrinfo *ai,
                    uint16_t *bound_port)
{
	const unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC |
	                       LEV_OPT_REUSEABLE;
	struct hbt_listener *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return HALIBUT_ENOMEM;
	l->lev = evconnlistener_new_bind(rt->base, on_accept, rt, flags, -1,
	                                 ai->ai_addr, (int)ai->ai_addrlen);
	if (l->lev == NULL) {
		free(l);
		return HALIBUT_ESYSTEM;
	}
	if ((l->again = evtimer_new(rt->base, accept_again, l)) == NULL) {
		evconnlistener_free(l->lev);
		free(l);
		return HALIBUT_ENOMEM;
	}
	evconnlistener_set_error_cb(l->lev, on_accept_error);
	LIST_INSERT_HEAD(&rt->listeners, l, link);
	if (bound_port != NULL)
		*bound_port = port_of(evconnlistener_get_fd(l->lev));
	return HALIBUT_OK;
}

int halibut_listen(struct halibut_runtime *rt, const char *address,
                   uint16_t port, uint16_t *bound_port,
                   struct halibut_error *err)
{
	struct addrinfo hints = {
		.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *ai = NULL;
	char service[8];
	int rc = HALIBUT_EINVAL;

	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(address == NULL ? "::" : address, service, &hints,
	                &ai) != 0)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "'%s' is not an address to listen on",
		                     address);
	rc = bind_one(rt, ai, bound_port);
	if (rc == HALIBUT_ESYSTEM && address == NULL) { /* no IPv6 here */
		freeaddrinfo(ai);
		if (getaddrinfo("0.0.0.0", service, &hints, &ai) == 0)
			rc = bind_one(rt, ai, bound_port);
	}
	if (rc != 0)
		hbt_error_set(err, rc, "cannot listen on %s port %u: %s",
		              address == NULL ? "any address" : address, port,
		              strerror(errno));
	freeaddrinfo(ai);
	return rc;
}

void hbt_listeners_free(struct halibut_runtime *rt)
{
	struct hbt_listener *l;
	struct hbt_accepted *a;

	while ((l = LIST_FIRST(&rt->listeners)) != NULL) {
		LIST_REMOVE(l, link);
		evconnlistener_free(l->lev);
		event_free(l->again);
		free(l);
	}
	while ((a = LIST_FIRST(&rt->accepted)) != NULL) {
		LIST_REMOVE(a, link);
		hbt_accepted_free(&a);
	}
}

void hbt_drop_untrusted(struct halibut_runtime *rt)
{
	hbt_accepted_drop_untrusted(&rt->accepted, rt->trust);
}
