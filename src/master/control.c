#include "master/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/error.h"
#include "base/log.h"
#include "master/unix_socket.h"

#define MAX_CLIENTS 64
#define HELLO_TIMEOUT_S 10

struct hbt_control {
	struct hbt_control_ops ops;
	struct event_base *base;
	struct event *readable;
	struct event *retry;
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
	if (control->ops.message(control->ops.arg, c, msg) == HALIBUT_OK)
		return;
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

/* Takes fd over. */
static void add(struct hbt_control *control, int fd)
{
	static const struct hbt_ipc_ops ops = {on_message, on_closed};
	const struct timeval patience = {.tv_sec = HELLO_TIMEOUT_S};
	struct hbt_client *c = calloc(1, sizeof(*c));
	struct ucred cred = {.pid = 0};
	socklen_t len = sizeof(cred);

	if (c == NULL) {
		close(fd);
		return;
	}
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	snprintf(c->link.name, sizeof(c->link.name),
	         "control client %u (pid %d, uid %u)", ++control->serial,
	         (int)cred.pid, (unsigned)cred.uid);
	c->uid = (unsigned)cred.uid;
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
	rc = hbt_unix_listen(&control->fd, path, SOCK_SEQPACKET, mode,
	                     "control_socket", err);
	if (rc != HALIBUT_OK)
		goto fail;
	rc = HALIBUT_ENOMEM;
	control->path = strdup(path);
	control->readable = event_new(base, control->fd, EV_READ | EV_PERSIST,
	                              on_readable, control);
	if (control->path == NULL || control->readable == NULL ||
	    control->retry == NULL || event_add(control->readable, NULL) != 0) {
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
	if (control->fd >= 0)
		close(control->fd);
	free(control->path);
	free(control);
}
