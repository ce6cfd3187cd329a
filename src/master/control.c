#include "master/control.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/error.h"
#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "master/unix_socket.h"

#define MAX_CLIENTS 512
#define MAX_OF_USER 128 /* so that one leaves room for others, and for root */
#define HELLO_TIMEOUT_S 10
#define MAX_UNREAD ((size_t)1024 * 1024) /* then nothing is read from it */
#define MAX_UNREAD_EVER ((size_t)256 * 1024 * 1024)
#define READS_NOTHING_MS 30000
#define LOOK_MS 1000
#define LOOK_SOON_MS 20 /* while some are paused */

struct hbt_control {
	struct hbt_control_ops ops;
	struct event_base *base;
	struct event *readable;
	struct event *retry;
	struct event *look; /* pending while there are clients */
	int fd;
	char *path;
	unsigned serial;
	size_t n;
	TAILQ_HEAD(, hbt_client) clients;
};

/* Clients */

static void drop(struct hbt_client *c)
{
	struct hbt_control *control = c->control;

	control->ops.lost(control->ops.arg, c);
	TAILQ_REMOVE(&control->clients, c, next);
	control->n--;
	hbt_ipc_free(&c->link.ipc);
	if (c->timer != NULL)
		event_free(c->timer);
	free(c);
	event_add(control->readable, NULL);
}

/* Clients that do not read */

static void look_in(struct hbt_control *control, int ms)
{
	const struct timeval tv = {.tv_usec = ms % 1000 * 1000,
	                           .tv_sec = ms / 1000};

	event_add(control->look, &tv);
}

static bool has_enough(const struct hbt_client *c)
{
	const struct hbt_control_ops *ops = &c->control->ops;

	return hbt_ipc_unread(c->link.ipc) > MAX_UNREAD ||
	       (ops->busy != NULL && ops->busy(ops->arg, c));
}

static void pause_client(struct hbt_client *c)
{
	c->paused = true;
	hbt_ipc_pause(c->link.ipc, true);
	look_in(c->control, LOOK_SOON_MS);
}

/* While it is paused the channel does not say so. */
static bool is_gone(const struct hbt_client *c)
{
	struct pollfd p = {.fd = c->fd};

	return poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR)) != 0;
}

/* Why it has to go; NULL: it may stay. */
static const char *judge(struct hbt_client *c, int64_t now_ms)
{
	size_t unsent = hbt_ipc_unread(c->link.ipc);

	if (unsent < c->unsent || unsent <= MAX_UNREAD)
		c->moved_ms = now_ms;
	c->unsent = unsent;
	if (unsent > MAX_UNREAD_EVER)
		return "it does not read its answers, which are too many";
	if (now_ms - c->moved_ms > READS_NOTHING_MS)
		return "it reads none of its answers";
	return NULL;
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_control *control = arg;
	int64_t now_ms = hbt_now_ms();
	struct hbt_client *c, *next;
	bool some_paused = false;

	(void)fd;
	(void)what;
	for (c = TAILQ_FIRST(&control->clients); c != NULL; c = next) {
		const char *why = judge(c, now_ms);

		next = TAILQ_NEXT(c, next);
		if (why != NULL) {
			log_warning("%s: %s; closed", c->link.name, why);
			drop(c);
		} else if (c->paused && is_gone(c)) {
			log_debug("%s: closed: it is gone", c->link.name);
			drop(c);
		} else if (c->paused && !has_enough(c)) {
			c->paused = false;
			hbt_ipc_pause(c->link.ipc, false);
		} else {
			some_paused = some_paused || c->paused;
		}
	}
	if (control->n > 0)
		look_in(control, some_paused ? LOOK_SOON_MS : LOOK_MS);
}

size_t hbt_control_unread(const struct hbt_control *control)
{
	const struct hbt_client *c;
	size_t sum = 0;

	TAILQ_FOREACH (c, &control->clients, next)
		sum += hbt_ipc_unread(c->link.ipc);
	return sum;
}

/* What clients say */

static bool read_hello(struct hbt_client *c, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	uint32_t protocol = hbt_rd_u32(&r);
	uint8_t kind = hbt_rd_u8(&r);

	(void)hbt_rd_u32(&r); /* its pid, which the kernel told us better */
	free(hbt_rd_strdup(&r));
	if (msg->type != HBT_IPC_HELLO || hbt_rd_finish(&r) != HALIBUT_OK ||
	    kind != HBT_PEER_CONTROL) {
		log_warning("%s: said no hello", c->link.name);
		return false;
	}
	if (protocol != HBT_IPC_PROTOCOL) {
		log_warning("%s: is of another version", c->link.name);
		return false;
	}
	c->said_hello = true;
	event_del(c->timer);
	return true;
}

static void on_message(void *arg, struct hbt_ipc_msg *msg)
{
	struct hbt_client *c = arg;
	struct hbt_control *control = c->control;

	if (!c->said_hello) {
		if (!read_hello(c, msg))
			drop(c);
		return;
	}
	if (control->ops.message(control->ops.arg, c, msg) == HALIBUT_OK) {
		if (!c->paused && has_enough(c))
			pause_client(c);
		return;
	}
	log_warning("%s: message of type %u is none that it may send, closed",
	            c->link.name, msg->type);
	drop(c);
}

static void on_closed(void *arg, const char *why)
{
	struct hbt_client *c = arg;

	log_debug("%s: closed: %s", c->link.name, why);
	drop(c);
}

void hbt_client_done(struct hbt_client *c, uint32_t id, bool ok,
                     const char *text)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 65536);
	hbt_wr_u8(&w, ok);
	hbt_wr_cstr(&w, text);
	if (hbt_link_send(&c->link, HBT_IPC_DONE, id, &w, -1) != HALIBUT_OK)
		log_error("%s: cannot be answered", c->link.name);
}

static void on_silence(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_client *c = arg;

	(void)fd;
	(void)what;
	log_warning("%s: no hello within %d s, closed", c->link.name,
	            HELLO_TIMEOUT_S);
	drop(c);
}

/* Others wait, or it would be one user's socket. */
static bool is_one_too_many(const struct hbt_control *control, unsigned uid)
{
	const struct hbt_client *c;
	char key[HBT_LOG_KEY], reason[64];
	size_t n = 0;

	TAILQ_FOREACH (c, &control->clients, next)
		n += c->uid == uid;
	if (n < MAX_OF_USER)
		return false;
	snprintf(key, sizeof(key), "control clients %u", uid);
	snprintf(reason, sizeof(reason), "%d of them are connected",
	         MAX_OF_USER);
	log_limited(key, HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "control_refused", .reason = reason,
	                      .remedy = "end those that are not needed"),
	            "control clients of uid %u are refused: %s; end those that "
	            "are not needed",
	            uid, reason);
	return true;
}

/* Takes fd over. */
static void add(struct hbt_control *control, int fd)
{
	static const struct hbt_ipc_ops ops = {on_message, on_closed};
	const struct timeval patience = {.tv_sec = HELLO_TIMEOUT_S};
	struct hbt_client *c = calloc(1, sizeof(*c));
	struct ucred cred = {.pid = 0};
	socklen_t len = sizeof(cred);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	if (c == NULL || is_one_too_many(control, (unsigned)cred.uid)) {
		close(fd);
		free(c);
		return;
	}
	snprintf(c->link.name, sizeof(c->link.name),
	         "control client %u (pid %d, uid %u)", ++control->serial,
	         (int)cred.pid, (unsigned)cred.uid);
	c->uid = (unsigned)cred.uid;
	c->fd = fd;
	c->moved_ms = hbt_now_ms();
	c->link.kind = HBT_PEER_CONTROL;
	c->control = control;
	c->timer = evtimer_new(control->base, on_silence, c);
	if (c->timer == NULL) {
		close(fd);
		free(c);
		return;
	}
	if (hbt_ipc_new(&c->link.ipc, control->base, fd, HBT_IPC_MAX_BODY, &ops,
	                c) != HALIBUT_OK) {
		event_free(c->timer);
		free(c);
		return;
	}
	event_add(c->timer, &patience);
	TAILQ_INSERT_TAIL(&control->clients, c, next);
	if (++control->n >= MAX_CLIENTS)
		event_del(control->readable); /* the rest waits its turn */
	if (!evtimer_pending(control->look, NULL))
		look_in(control, LOOK_MS);
	log_debug("%s: connected", c->link.name);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_control *control = arg;

	(void)fd;
	(void)what;
	if (control->n < MAX_CLIENTS)
		event_add(control->readable, NULL);
}

static void on_readable(evutil_socket_t unused, short what, void *arg)
{
	const struct timeval pause = {.tv_usec = 100000};
	struct hbt_control *control = arg;
	int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)unused;
	(void)what;
	if (fd >= 0) {
		add(control, fd);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
	           errno == ENOBUFS) {
		event_del(control->readable);
		event_add(control->retry, &pause);
	}
}

/* The socket */

int hbt_control_new(struct hbt_control **out, struct event_base *base,
                    const char *path, unsigned mode,
                    const struct hbt_control_ops *ops,
                    struct halibut_error *err)
{
	struct hbt_control *control = calloc(1, sizeof(*control));
	int rc = HALIBUT_ENOMEM;

	*out = NULL;
	if (control == NULL)
		return hbt_error_set(err, rc, "out of memory");
	control->ops = *ops;
	control->base = base;
	control->fd = -1;
	TAILQ_INIT(&control->clients);
	control->retry = evtimer_new(base, on_retry, control);
	control->look = evtimer_new(base, on_look, control);
	rc = hbt_unix_listen(&control->fd, path, SOCK_SEQPACKET, mode,
	                     "control_socket", err);
	if (rc != HALIBUT_OK)
		goto fail;
	rc = HALIBUT_ENOMEM;
	control->path = strdup(path);
	control->readable = event_new(base, control->fd, EV_READ | EV_PERSIST,
	                              on_readable, control);
	if (control->path == NULL || control->readable == NULL ||
	    control->retry == NULL || control->look == NULL ||
	    event_add(control->readable, NULL) != 0) {
		hbt_error_set(err, rc, "out of memory");
		goto fail;
	}
	*out = control;
	return HALIBUT_OK;
fail:
	hbt_control_free(&control);
	return rc;
}

void hbt_control_free(struct hbt_control **at)
{
	struct hbt_control *control = *at;

	*at = NULL;
	if (control == NULL)
		return;
	while (!TAILQ_EMPTY(&control->clients))
		drop(TAILQ_FIRST(&control->clients));
	if (control->path != NULL)
		unlink(control->path);
	if (control->readable != NULL)
		event_free(control->readable);
	if (control->retry != NULL)
		event_free(control->retry);
	if (control->look != NULL)
		event_free(control->look);
	if (control->fd >= 0)
		close(control->fd);
	free(control->path);
	free(control);
}
