/* The channel to a gateway. */
#include "ctl/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "ctl/ctl.h"
#include "ipc/worker.h"

const char *hbt_ctl_socket_path(const char *option)
{
	const char *env = getenv("HALIBUT_CONTROL");

	if (option != NULL)
		return option;
	return env != NULL && env[0] != '\0' ? env
	                                     : HBT_RUNSTATEDIR "/control";
}

static int connect_error(const char *path, int error,
                         struct halibut_error *err)
{
	const char *remedy = "";

	if (error == ENOENT || error == ECONNREFUSED || error == ENOTDIR)
		remedy = "; is halibutd running? --socket names another "
			 "control socket";
	else if (error == EACCES)
		remedy = "; only its owner and group may use it: see "
			 "control_mode in halibutd.conf(5)";
	return hbt_error_set(err, HALIBUT_ECONNECT,
	                     "no gateway at the control socket %s: %s%s", path,
	                     strerror(error), remedy);
}

static int connect_socket(const char *path, struct halibut_error *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd, error;

	if (strlen(path) >= sizeof(sa.sun_path)) {
		hbt_error_set(err, HALIBUT_ECONNECT,
		              "the path of the control socket is longer than "
		              "%zu bytes: %s",
		              sizeof(sa.sun_path) - 1, path);
		return -1;
	}
	memcpy(sa.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	error = errno;
	if (fd >= 0)
		close(fd);
	connect_error(path, error, err);
	return -1;
}

int hbt_ctl_control_open(struct hbt_ipc **out, struct event_base *base,
                         const char *path, const struct hbt_ipc_ops *ops,
                         void *arg, struct halibut_error *err)
{
	int fd = connect_socket(path, err);
	int rc;

	*out = NULL;
	if (fd < 0)
		return HALIBUT_ECONNECT;
	rc = hbt_ipc_new(out, base, fd, HBT_IPC_MAX_BODY, ops, arg);
	if (rc == 0)
		rc = hbt_worker_hello(*out, HBT_PEER_CONTROL);
	if (rc != 0) {
		hbt_ipc_free(out);
		return hbt_error_set(err, rc,
		                     "cannot talk to the gateway at %s: %s",
		                     path, halibut_strerror(rc));
	}
	return HALIBUT_OK;
}

/* One question on its way. */
struct question {
	uint16_t answer;
	bool answered, closed, timed_out;
	bool short_of_memory;
	uint8_t *body;
	size_t len;
	char why[160];
};

static void on_message(void *arg, struct hbt_ipc_msg *msg)
{
	struct question *q = arg;

	if (msg->type != q->answer || q->answered)
		return;
	q->answered = true;
	if ((q->body = malloc(msg->len + 1)) == NULL) {
		q->short_of_memory = true;
		return;
	}
	if (msg->len > 0)
		memcpy(q->body, msg->data, msg->len);
	q->body[msg->len] = '\0';
	q->len = msg->len;
}

static void on_closed(void *arg, const char *why)
{
	struct question *q = arg;

	q->closed = true;
	strncpy(q->why, why, sizeof(q->why) - 1);
}

static const struct hbt_ipc_ops question_ops = {
	.message = on_message,
	.closed = on_closed,
};

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct question *q = arg;

	(void)fd;
	(void)what;
	q->timed_out = true;
}

static int conclude(struct question *q, const char *path, int64_t timeout_ms,
                    bool until_closed, struct halibut_error *err)
{
	char text[32];

	hbt_ctl_format_ms(timeout_ms, text);
	if (q->short_of_memory)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	if (!q->answered && q->closed)
		return hbt_error_set(err, HALIBUT_ECONNECT,
		                     "the gateway at %s hung up: %s; its log "
		                     "may say why",
		                     path, q->why);
	if (!q->answered)
		return hbt_error_set(err, HALIBUT_ETIMEOUT,
		                     "the gateway at %s did not answer within "
		                     "%s; its log may say why",
		                     path, text);
	if (until_closed && !q->closed)
		return hbt_error_set(err, HALIBUT_ETIMEOUT,
		                     "the gateway at %s has not ended within "
		                     "%s; it may still finish calls",
		                     path, text);
	return HALIBUT_OK;
}

static int send_question(struct hbt_ipc *ipc, const struct hbt_ctl_question *q,
                         struct halibut_error *err)
{
	int rc = q->body != NULL ? q->body->status : HALIBUT_OK;

	if (rc == HALIBUT_OK)
		rc = hbt_ipc_send(ipc, q->type, 1,
		                  q->body != NULL ? q->body->buf.data : NULL,
		                  q->body != NULL ? q->body->buf.len : 0, -1);
	return rc == HALIBUT_OK ? rc
	                        : hbt_error_set(err, rc, "%s",
	                                        halibut_strerror(rc));
}

int hbt_ctl_ask(const char *path, const struct hbt_ctl_question *question,
                uint8_t **body, size_t *len, struct halibut_error *err)
{
	struct question q = {.answer = question->answer};
	struct event_base *base = event_base_new();
	struct event *timer = NULL;
	struct hbt_ipc *ipc = NULL;
	int64_t ms = question->timeout_ms;
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	int rc;

	*body = NULL;
	if (base == NULL ||
	    (timer = event_new(base, -1, 0, on_timeout, &q)) == NULL) {
		rc = hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
		goto out;
	}
	event_add(timer, &tv);
	rc = hbt_ctl_control_open(&ipc, base, path, &question_ops, &q, err);
	if (rc == 0)
		rc = send_question(ipc, question, err);
	if (rc != 0)
		goto out;
	while (!q.closed && !q.timed_out &&
	       (!q.answered || question->until_closed))
		event_base_loop(base, EVLOOP_ONCE);
	rc = conclude(&q, path, ms, question->until_closed, err);
	if (rc == 0) {
		*body = q.body;
		q.body = NULL;
		if (len != NULL)
			*len = q.len;
	}
out:
	free(q.body);
	hbt_ipc_free(&ipc);
	if (timer != NULL)
		event_free(timer);
	if (base != NULL)
		event_base_free(base);
	return rc;
}

int hbt_ctl_order(const char *path, const struct hbt_ctl_question *question,
                  char **message, struct halibut_error *err)
{
	struct hbt_ctl_question q = *question;
	uint8_t *body;
	struct hbt_rd r;
	size_t len;
	bool ok;
	int rc;

	*message = NULL;
	q.answer = HBT_IPC_DONE;
	rc = hbt_ctl_ask(path, &q, &body, &len, err);
	if (rc != 0)
		return rc;
	r = hbt_rd_from(body, len);
	ok = hbt_rd_u8(&r) != 0;
	*message = hbt_rd_strdup(&r);
	if (hbt_rd_finish(&r) != 0)
		rc = hbt_error_set(err, HALIBUT_EPROTO,
		                   "the gateway at %s answered in a way that "
		                   "this halibutctl does not know; are both "
		                   "of one version?",
		                   path);
	else if (!ok)
		rc = hbt_error_set(err, HALIBUT_EREMOTE,
		                   "the gateway refused: %s",
		                   *message != NULL ? *message : "no reason");
	free(body);
	return rc;
}

int hbt_ctl_gateway_failed(struct halibut_error *err)
{
	bool no_gateway = err->status == HALIBUT_ECONNECT;
	int code = hbt_ctl_failed(err);

	return no_gateway ? HBT_EXIT_GATEWAY : code;
}
