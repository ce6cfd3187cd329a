/* Accepting, and not accepting, what comes to the listening sockets. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "master/listen_private.h"

#define TURN_ACCEPTS 64

void hbt_listeners_read(struct hbt_listeners *ls, bool on)
{
	if (ls->refusing)
		return;
	for (size_t i = 0; i < ls->n; i++) {
		if (on)
			event_add(ls->v[i]->readable, NULL);
		else
			event_del(ls->v[i]->readable);
	}
}

void hbt_listeners_pause(struct hbt_listeners *ls, const char *why)
{
	if (why != NULL && !ls->reason_logged) {
		log_event(HBT_LOG_WARNING,
		          LOG_ABOUT(.event = "accepting_paused", .reason = why),
		          "accepting no connections for now: %s", why);
		ls->reason_logged = true;
	}
	if (!ls->paused)
		hbt_listeners_read(ls, false);
	ls->paused = true;
}

void hbt_listeners_resume(struct hbt_listeners *ls)
{
	if (evtimer_pending(ls->retry, NULL))
		return;
	if (ls->paused)
		hbt_listeners_read(ls, true);
	if (ls->reason_logged && ls->paused)
		log_event(HBT_LOG_INFO, LOG_ABOUT(.event = "accepting_again"),
		          "accepting connections again");
	ls->paused = false;
	ls->reason_logged = false;
}

static void retry_after(struct hbt_listeners *ls, unsigned ms)
{
	struct timeval tv = {.tv_sec = ms / 1000,
	                     .tv_usec = (ms % 1000) * 1000};

	if (!ls->paused)
		hbt_listeners_read(ls, false);
	ls->paused = true;
	event_add(ls->retry, &tv);
}

void hbt_listeners_on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_listeners *ls = arg;

	(void)fd;
	(void)what;
	ls->paused = false;
	hbt_listeners_read(ls, true);
}

/* 5.1: from the third failure in a row on a pause that grows to 1 s. */
static void accept_failed(struct hbt_listener *l, int error)
{
	struct hbt_listeners *ls = l->all;
	unsigned n = ++ls->failures;
	unsigned ms = (n > 3 ? n - 3 : 0) * 10;

	if (ms > 1000)
		ms = 1000;
	if (error == EMFILE || error == ENFILE || error == ENOBUFS ||
	    error == ENOMEM)
		ms = ms < 100 ? 100 : ms;
	if (n == 1)
		log_event(HBT_LOG_ERROR,
		          LOG_ABOUT(.event = "accept_failed",
		                    .endpoint = l->address,
		                    .reason = strerror(error)),
		          "%s: cannot accept a connection: %s", l->address,
		          strerror(error));
	else if (n == 3)
		log_event(HBT_LOG_ERROR,
		          LOG_ABOUT(.event = "accept_failed",
		                    .endpoint = l->address,
		                    .reason = strerror(error)),
		          "%s: Accepting a connection has failed %u times in a "
		          "row: %s; trying again up to every second, silently",
		          l->address, n, strerror(error));
	if (n >= 3 || ms >= 100)
		retry_after(ls, ms);
}

static bool is_news_about_the_peer(int error)
{
	return error == ECONNABORTED || error == EPROTO || error == EPERM ||
	       error == ENETDOWN || error == EHOSTUNREACH ||
	       error == ENETUNREACH || error == ETIMEDOUT;
}

void hbt_listener_on_readable(evutil_socket_t unused, short what, void *arg)
{
	struct hbt_listener *l = arg;
	struct hbt_listeners *ls = l->all;
	struct sockaddr_storage sa;
	char peer[HBT_ADDRESS_TEXT];
	socklen_t len;
	int fd;

	(void)unused;
	(void)what;
	for (int i = 0; i < TURN_ACCEPTS && (!ls->paused || ls->refusing);
	     i++) {
		len = sizeof(sa);
		fd = accept4(l->fd, (struct sockaddr *)&sa, &len,
		             SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0 && (errno == EINTR || is_news_about_the_peer(errno)))
			continue;
		if (fd < 0 && errno == EAGAIN)
			return;
		if (fd < 0) {
			accept_failed(l, errno);
			return;
		}
		ls->failures = 0;
		ls->accepted++;
		if (ls->refusing) {
			hbt_sock_abort(fd); /* it does not wait for more */
			continue;
		}
		hbt_sock_format((struct sockaddr *)&sa, peer);
		/* The lowest free number is given: a high one tells how many
		 * are open. This one is still served. */
		if (fd >= ls->highest_fd) {
			hbt_listeners_pause(ls, "nearly all file descriptors "
			                        "are in use; raise "
			                        "LimitNOFILE");
			retry_after(ls, 100);
		}
		if (!ls->ops.accepted(ls->ops.arg, fd, peer, l->text,
		                      l->address))
			return;
	}
}

void hbt_listener_accept_waiting(struct hbt_listener *l)
{
	uint64_t before;
	int turns = 0;

	do {
		before = l->all->accepted;
		hbt_listener_on_readable(l->fd, EV_READ, l);
	} while (l->all->accepted > before &&
	         ++turns < SOMAXCONN / TURN_ACCEPTS);
}
