#include "master/listen_private.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"
#include "master/systemd.h"

/* Descriptors that stay free for what the accepted connections need. */
#define SPARE_DESCRIPTORS 64
/* At the start, for 2 s in all. */
#define TRIES_AT_START 20

/* Making them */

static bool same_port_on_v4(const struct hbt_strings *addresses, uint16_t port)
{
	struct hbt_listen_address a;

	for (size_t i = 0; i < addresses->n; i++)
		if (hbt_listen_parse(addresses->v[i], &a, NULL) == HALIBUT_OK &&
		    a.sa.ss_family == AF_INET &&
		    ((struct sockaddr_in *)(void *)&a.sa)->sin_port == port)
			return true;
	return false;
}

static void close_listener(struct hbt_listener *l)
{
	if (l->readable != NULL)
		event_free(l->readable);
	l->readable = NULL;
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

static void listener_free(struct hbt_listener *l)
{
	if (l == NULL)
		return;
	close_listener(l);
	free(l->text);
	free(l);
}

/* Takes fd over in every case. text NULL: it is inherited. */
static struct hbt_listener *listener_new(struct hbt_listeners *ls, int fd,
                                         const char *text)
{
	struct hbt_listener *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		close(fd);
		return NULL;
	}
	l->all = ls;
	l->fd = fd;
	l->inherited = text == NULL;
	l->bound.len = sizeof(l->bound.sa);
	getsockname(fd, (struct sockaddr *)&l->bound.sa, &l->bound.len);
	hbt_sock_format((struct sockaddr *)&l->bound.sa, l->address);
	l->readable = event_new(ls->base, fd, EV_READ | EV_PERSIST,
	                        hbt_listener_on_readable, l);
	if (l->readable != NULL &&
	    (text == NULL || (l->text = strdup(text)) != NULL))
		return l;
	listener_free(l);
	return NULL;
}

/*
 * A gateway that was killed may have left a child behind that is not executed
 * yet and holds its sockets: whoever starts in its place waits for that one.
 */
static int bind_one(const struct hbt_listeners *ls,
                    struct hbt_listen_address *a, bool only_v6)
{
	const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
	int fd = hbt_listen_bind(a, ls->backlog, only_v6);

	for (int i = 0; i < ls->tries && fd < 0 && errno == EADDRINUSE; i++) {
		nanosleep(&pause, NULL);
		fd = hbt_listen_bind(a, ls->backlog, only_v6);
	}
	return fd;
}

/* One of our own. */
static int open_listener(struct hbt_listeners *ls, struct hbt_listener **out,
                         const struct hbt_strings *addresses, const char *text,
                         struct halibut_error *err)
{
	struct hbt_listen_address a;
	struct sockaddr_in6 *v6 = (void *)&a.sa;
	int rc = hbt_listen_parse(text, &a, err);
	bool only_v6;
	int fd;

	if (rc != HALIBUT_OK)
		return rc;
	only_v6 = a.sa.ss_family == AF_INET6 && v6->sin6_port != 0 &&
	          same_port_on_v4(addresses, v6->sin6_port);
	fd = bind_one(ls, &a, only_v6);
	if (fd < 0 && errno == EAFNOSUPPORT && hbt_listen_any_v4(&a))
		fd = bind_one(ls, &a, false);
	if (fd < 0)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "cannot listen on %s: %s; see listen in "
		                     "halibutd.conf(5)",
		                     text, strerror(errno));
	if ((*out = listener_new(ls, fd, text)) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	(*out)->only_v6 = only_v6;
	return HALIBUT_OK;
}

/* A socket that systemd listens on. Ours from here on. */
static int inherit_listener(struct hbt_listeners *ls, int fd,
                            struct halibut_error *err)
{
	int type = 0, listens = 0;
	socklen_t len = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 ||
	    type != SOCK_STREAM ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) != 0 ||
	    listens == 0 || evutil_make_socket_nonblocking(fd) != 0 ||
	    listen(fd, ls->backlog) != 0) { /* once more, for the backlog */
		close(fd);
		return hbt_error_set(
			err, HALIBUT_EINVAL,
			"descriptor %d that systemd hands over is no "
			"socket that listens; halibutd.socket needs "
			"ListenStream=, and no Accept=",
			fd);
	}
	if ((ls->v[ls->n] = listener_new(ls, fd, NULL)) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	ls->n++;
	return HALIBUT_OK;
}

static int inherit_all(struct hbt_listeners *ls, int n,
                       struct halibut_error *err)
{
	int rc = HALIBUT_OK;

	if ((ls->v = calloc((size_t)n, sizeof(*ls->v))) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	for (int i = 0; rc == HALIBUT_OK && i < n; i++)
		rc = inherit_listener(ls, HBT_SYSTEMD_FIRST_SOCKET + i, err);
	return rc;
}

static void log_listening(const struct hbt_listener *l)
{
	log_event(HBT_LOG_INFO,
	          LOG_ABOUT(.event = "listening", .endpoint = l->address),
	          "listening on %s", l->address);
}

/* Another list of addresses */

struct hbt_listen_plan {
	struct hbt_listener **v; /* borrowed where there was one already */
	char **texts; /* of those, another spelling; NULL: the same */
	bool *is_new;
	size_t n;
};

/* That has this text, or else is bound to that address. */
static struct hbt_listener *find(const struct hbt_listeners *ls,
                                 const char *text)
{
	char address[HBT_ADDRESS_TEXT];
	struct hbt_listen_address a;

	for (size_t i = 0; i < ls->n; i++)
		if (ls->v[i]->text != NULL && strcmp(ls->v[i]->text, text) == 0)
			return ls->v[i];
	if (hbt_listen_parse(text, &a, NULL) != HALIBUT_OK)
		return NULL;
	hbt_sock_format((struct sockaddr *)&a.sa, address);
	for (size_t i = 0; i < ls->n; i++)
		if (strcmp(ls->v[i]->address, address) == 0)
			return ls->v[i];
	return NULL;
}

static bool is_planned(const struct hbt_listen_plan *p,
                       const struct hbt_listener *l)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->v[i] == l)
			return true;
	return false;
}

static int plan_one(struct hbt_listeners *ls, struct hbt_listen_plan *p,
                    const struct hbt_strings *addresses, const char *text,
                    struct halibut_error *err)
{
	struct hbt_listener *l = find(ls, text);
	int rc;

	if (l != NULL && !is_planned(p, l)) {
		if (strcmp(l->text, text) != 0 &&
		    (p->texts[p->n] = strdup(text)) == NULL)
			return hbt_error_set(err, HALIBUT_ENOMEM,
			                     "out of memory");
		p->v[p->n++] = l;
		return HALIBUT_OK;
	}
	rc = open_listener(ls, &l, addresses, text, err);
	if (rc == HALIBUT_OK) {
		p->is_new[p->n] = true;
		p->v[p->n++] = l;
	}
	return rc;
}

int hbt_listeners_plan(struct hbt_listeners *ls,
                       const struct hbt_strings *addresses,
                       struct hbt_listen_plan **out, struct halibut_error *err)
{
	struct hbt_listen_plan *p = calloc(1, sizeof(*p));
	int rc = HALIBUT_OK;

	*out = p;
	if (p == NULL ||
	    (p->v = calloc(addresses->n + 1, sizeof(*p->v))) == NULL ||
	    (p->texts = calloc(addresses->n + 1, sizeof(*p->texts))) == NULL ||
	    (p->is_new = calloc(addresses->n + 1, sizeof(bool))) == NULL)
		rc = hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	for (size_t i = 0; rc == HALIBUT_OK && i < addresses->n; i++)
		rc = plan_one(ls, p, addresses, addresses->v[i], err);
	if (rc != HALIBUT_OK)
		hbt_listen_plan_free(out);
	return rc;
}

void hbt_listen_plan_free(struct hbt_listen_plan **at)
{
	struct hbt_listen_plan *p = *at;

	*at = NULL;
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->n; i++) {
		if (p->is_new[i])
			listener_free(p->v[i]);
		free(p->texts[i]);
	}
	free(p->v);
	free(p->texts);
	free(p->is_new);
	free(p);
}

void hbt_listeners_adopt(struct hbt_listeners *ls, struct hbt_listen_plan **at)
{
	struct hbt_listen_plan *p = *at;

	*at = NULL;
	for (size_t i = 0; i < ls->n; i++) {
		if (is_planned(p, ls->v[i]))
			continue;
		log_event(HBT_LOG_INFO,
		          LOG_ABOUT(.event = "not_listening",
		                    .endpoint = ls->v[i]->address),
		          "no longer listening on %s", ls->v[i]->address);
		if (!ls->refusing)
			hbt_listener_accept_waiting(ls->v[i]);
		listener_free(ls->v[i]);
	}
	free(ls->v);
	ls->v = p->v;
	ls->n = p->n;
	for (size_t i = 0; i < ls->n; i++) {
		if (p->texts[i] != NULL) {
			free(ls->v[i]->text);
			ls->v[i]->text = p->texts[i];
		}
		if (!p->is_new[i])
			continue;
		if (ls->refusing)
			close_listener(ls->v[i]);
		else if (!ls->paused)
			event_add(ls->v[i]->readable, NULL);
		log_listening(ls->v[i]);
	}
	free(p->texts);
	free(p->is_new);
	free(p);
}

static int highest_fd(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > 1 << 30)
		return 1 << 30;
	if (limit.rlim_cur <= 2 * SPARE_DESCRIPTORS)
		return (int)limit.rlim_cur / 2;
	return (int)limit.rlim_cur - SPARE_DESCRIPTORS;
}

int hbt_listeners_new(struct hbt_listeners **out, struct event_base *base,
                      const struct hbt_strings *addresses, int backlog,
                      const struct hbt_listen_ops *ops,
                      struct halibut_error *err)
{
	struct hbt_listeners *ls = calloc(1, sizeof(*ls));
	struct hbt_listen_plan *plan;
	int inherited = hbt_systemd_sockets();
	int rc = HALIBUT_ENOMEM;

	*out = NULL;
	if (ls == NULL || (ls->retry = evtimer_new(base, hbt_listeners_on_retry,
	                                           ls)) == NULL) {
		hbt_error_set(err, rc, "out of memory");
		goto out;
	}
	ls->ops = *ops;
	ls->base = base;
	ls->paused = true;
	ls->backlog = backlog > 0 ? backlog : INT_MAX; /* somaxconn caps it */
	ls->highest_fd = highest_fd();
	if (inherited > 0)
		rc = inherit_all(ls, inherited, err);
	ls->tries = TRIES_AT_START;
	if (inherited <= 0 &&
	    (rc = hbt_listeners_plan(ls, addresses, &plan, err)) == 0)
		hbt_listeners_adopt(ls, &plan);
	ls->tries = 0;
	if (rc != HALIBUT_OK)
		goto out;
	for (size_t i = 0; i < ls->n && inherited > 0; i++)
		log_listening(ls->v[i]);
	*out = ls;
	ls = NULL;
out:
	hbt_listeners_free(&ls);
	return rc;
}

bool hbt_listeners_are_inherited(const struct hbt_listeners *ls)
{
	return ls->n > 0 && ls->v[0]->inherited;
}

/* Refusing */

void hbt_listeners_finish(struct hbt_listeners *ls)
{
	for (size_t i = 0; i < ls->n && !ls->refusing; i++)
		if (!ls->v[i]->inherited)
			hbt_listener_accept_waiting(ls->v[i]);
}

void hbt_listeners_refuse(struct hbt_listeners *ls)
{
	hbt_listeners_finish(ls);
	hbt_listeners_read(ls, false);
	ls->refusing = true;
	for (size_t i = 0; i < ls->n; i++) {
		struct hbt_listener *l = ls->v[i];

		if (l->inherited) {
			event_add(l->readable, NULL);
			continue;
		}
		/* A worker that was forked just now may have it still. */
		if (l->fd >= 0)
			shutdown(l->fd, SHUT_RDWR);
		close_listener(l);
	}
}

static int reopen(struct hbt_listener *l, struct halibut_error *err)
{
	struct hbt_listeners *ls = l->all;

	l->fd = hbt_listen_bind(&l->bound, ls->backlog, l->only_v6);
	if (l->fd < 0)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "cannot listen on %s again: %s",
		                     l->address, strerror(errno));
	l->readable = event_new(ls->base, l->fd, EV_READ | EV_PERSIST,
	                        hbt_listener_on_readable, l);
	if (l->readable != NULL)
		return HALIBUT_OK;
	close_listener(l);
	return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
}

int hbt_listeners_welcome(struct hbt_listeners *ls, struct halibut_error *err)
{
	int rc = HALIBUT_OK;

	for (size_t i = 0; rc == HALIBUT_OK && i < ls->n; i++)
		if (!ls->v[i]->inherited)
			rc = reopen(ls->v[i], err);
	for (size_t i = 0; rc != HALIBUT_OK && i < ls->n; i++)
		if (!ls->v[i]->inherited)
			close_listener(ls->v[i]);
	if (rc != HALIBUT_OK)
		return rc;
	ls->refusing = false;
	hbt_listeners_read(ls, !ls->paused);
	return HALIBUT_OK;
}

void hbt_listeners_free(struct hbt_listeners **at)
{
	struct hbt_listeners *ls = *at;

	*at = NULL;
	if (ls == NULL)
		return;
	for (size_t i = 0; i < ls->n; i++)
		listener_free(ls->v[i]);
	if (ls->retry != NULL)
		event_free(ls->retry);
	free(ls->v);
	free(ls);
}

size_t hbt_listeners_count(const struct hbt_listeners *ls)
{
	return ls->n;
}

const char *hbt_listeners_address(const struct hbt_listeners *ls, size_t i)
{
	return ls->v[i]->address;
}
