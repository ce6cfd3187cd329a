/* The service worker and its master. */
#include "worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "ipc/log_order.h"
#include "ipc/worker.h"
#include "call.h"
#include "intake.h"
#include "program.h"

#ifndef HBT_VERSION
#define HBT_VERSION "0"
#endif

#define UNSENT_PAUSE_US 10000

/* Ending */

void hbt_svc_look_around(struct hbt_svc *svc)
{
	if (svc->phase != SVC_SERVING)
		event_active(svc->turn, EV_TIMEOUT, 0);
}

static void end(struct hbt_svc *svc)
{
	if (svc->phase == SVC_ENDING)
		return;
	svc->phase = SVC_ENDING;
	hbt_svc_calls_abandon(svc);
	hbt_svc_programs_kill(svc);
	hbt_svc_look_around(svc);
}

void hbt_svc_doom(struct hbt_svc *svc, const char *why)
{
	if (!svc->failed)
		log_error("%s; this worker ends", why);
	svc->failed = true;
	/* Not from here: callers hold calls in their hands. */
	event_active(svc->turn, EV_TIMEOUT, 0);
}

/* Calls, then programs, then what the master has not read yet. */
static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval pause = {.tv_usec = UNSENT_PAUSE_US};
	struct hbt_svc *svc = arg;

	(void)fd;
	(void)what;
	if (svc->failed)
		end(svc);
	if (!TAILQ_EMPTY(&svc->calls) || !TAILQ_EMPTY(&svc->programs))
		return;
	if (svc->ipc != NULL && hbt_ipc_unsent(svc->ipc) > 0)
		event_add(svc->turn, &pause);
	else
		event_base_loopbreak(svc->base);
}

static void drain(struct hbt_svc *svc)
{
	if (svc->phase != SVC_SERVING)
		return;
	log_info("stopping behind %llu calls",
	         (unsigned long long)svc->stats.calls_in_flight);
	svc->phase = SVC_DRAINING;
	hbt_svc_programs_retire(svc);
	hbt_svc_look_around(svc);
}

static void on_terminate(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	drain(arg);
}

/* The channel */

int hbt_svc_send(struct hbt_svc *svc, enum hbt_ipc_type type, uint32_t id,
                 struct hbt_wr *w, int fd)
{
	int rc = w->status;

	if (rc == HALIBUT_OK && svc->ipc != NULL)
		rc = hbt_ipc_send(svc->ipc, type, id, w->buf.data, w->buf.len,
		                  fd);
	else if (fd >= 0)
		close(fd);
	hbt_wr_fini(w);
	return rc;
}

static void on_second(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_svc *svc = arg;

	(void)fd;
	(void)what;
	if (svc->ipc != NULL)
		hbt_worker_second(svc->ipc, &svc->stats, &svc->told);
}

/* The master is of our own build: a body that it got wrong is a bug, and
 * going on would hide it. */
static void on_bad_message(struct hbt_svc *svc, const struct hbt_ipc_msg *msg)
{
	char why[200];

	snprintf(why, sizeof(why),
	         "the master sent a malformed message of type %u: are halibutd "
	         "and halibut-service-worker of one version (" HBT_VERSION
	         " here)?",
	         msg->type);
	hbt_svc_doom(svc, why);
}

static void handle_settings(struct hbt_svc *svc, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct hbt_settings settings;
	struct halibut_error err = {0};

	if (hbt_worker_settings(&r, &settings, "service worker", false) !=
	    HALIBUT_OK) {
		hbt_settings_fini(&settings);
		on_bad_message(svc, msg);
		return;
	}
	hbt_settings_fini(&svc->settings);
	svc->settings = settings;
	if (svc->dirs != NULL)
		return;
	if (hbt_svc_dirs_open(&svc->dirs,
	                      settings.spool_directory != NULL
	                              ? settings.spool_directory
	                              : "/tmp",
	                      &err) == HALIBUT_OK)
		return;
	hbt_svc_doom(svc, err.message);
	halibut_error_clear(&err);
}

static void handle_programs(struct hbt_svc *svc, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	uint32_t n = hbt_rd_u32(&r);
	struct hbt_program *list = NULL;
	size_t got = 0;

	/* Each takes more than a byte, so n is no way to bloat us. */
	if (n <= r.left)
		list = calloc(n > 0 ? n : 1, sizeof(*list));
	while (list != NULL && got < n && r.status == HALIBUT_OK)
		hbt_program_get(&r, &list[got++]);
	if (list != NULL && hbt_rd_finish(&r) == HALIBUT_OK) {
		if (svc->phase == SVC_SERVING)
			hbt_svc_programs_set(svc, list, got);
	} else {
		on_bad_message(svc, msg);
	}
	for (size_t i = 0; i < got; i++)
		hbt_program_fini(&list[i]);
	free(list);
}

static void handle_call(struct hbt_svc *svc, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	uint8_t how = hbt_rd_u8(&r);
	struct hbt_message *m = hbt_parcel_get(&r);
	struct halibut_error err = {0};

	if (hbt_rd_finish(&r) != HALIBUT_OK || m == NULL)
		hbt_error_set(&err, HALIBUT_EPROTO,
		              "A call came to a service worker malformed.");
	else if (how != HBT_CALL_SERVE ||
	         m->env.kind != HBT_MESSAGE_REQUEST)
		hbt_error_set(&err, HALIBUT_EPROTO,
		              "A service worker only takes requests.");
	else if (m->env.n_streams > 0 && msg->fd < 0)
		hbt_error_set(&err, HALIBUT_EWORKER,
		              "The DataStreams of the request were lost on "
		              "the way to the service.");
	else if (svc->phase != SVC_SERVING)
		hbt_error_set(&err, HALIBUT_ESHUTDOWN,
		              "The node that hosts the service is stopping.");
	else if (svc->dirs == NULL)
		hbt_error_set(&err, HALIBUT_EPROTO,
		              "A call came to a service worker before its "
		              "settings.");
	if (err.status == HALIBUT_OK) {
		int fd = m->env.n_streams > 0 ? hbt_ipc_take_fd(msg) : -1;

		hbt_svc_call_open(svc, msg->id, m, fd);
		return;
	}
	hbt_svc_refuse(svc, msg->id, &err);
	halibut_error_clear(&err);
	hbt_message_unref(&m);
}

static void handle_stop(struct hbt_svc *svc, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);

	if (hbt_rd_u8(&r) != 0)
		drain(svc);
	else
		end(svc);
}

static void on_message(void *arg, struct hbt_ipc_msg *msg)
{
	struct hbt_svc *svc = arg;

	if (hbt_worker_obey(svc->ipc, msg))
		return;
	switch (msg->type) {
	case HBT_IPC_SETTINGS:
		handle_settings(svc, msg);
		break;
	case HBT_IPC_PROGRAMS:
		handle_programs(svc, msg);
		break;
	case HBT_IPC_CALL:
		handle_call(svc, msg);
		break;
	case HBT_IPC_CANCEL:
		hbt_svc_call_cancel(svc, msg->id);
		break;
	case HBT_IPC_STOP:
		handle_stop(svc, msg);
		break;
	default:
		/* Trust, polls and the like: news for other workers. */
		break;
	}
}

static void on_closed(void *arg, const char *why)
{
	struct hbt_svc *svc = arg;

	if (svc->phase == SVC_SERVING)
		log_warning("the channel to the master closed (%s): ending "
		            "the service programs",
		            why);
	hbt_log_order_forget();
	hbt_ipc_free(&svc->ipc);
	end(svc);
}

static const struct hbt_ipc_ops ipc_ops = {
	.message = on_message,
	.closed = on_closed,
};

/* The worker itself */

static void on_child(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	hbt_svc_programs_reap(arg);
}

/* Files of results stay open until they are sent. */
static void raise_descriptor_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

int hbt_svc_new(struct hbt_svc **out, int fd)
{
	static const struct timeval second = {.tv_sec = 1};
	struct hbt_svc *svc = calloc(1, sizeof(*svc));
	int rc = HALIBUT_ENOMEM;

	*out = NULL;
	if (svc == NULL)
		goto out;
	TAILQ_INIT(&svc->programs);
	TAILQ_INIT(&svc->calls);
	raise_descriptor_limit();
	if ((svc->base = event_base_new()) == NULL ||
	    (svc->deflater = hbt_deflater_new()) == NULL)
		goto out;
	rc = hbt_ipc_new(&svc->ipc, svc->base, fd, HBT_IPC_MAX_BODY, &ipc_ops,
	                 svc);
	fd = -1;
	if (rc != HALIBUT_OK)
		goto out;
	rc = HALIBUT_ENOMEM;
	svc->second =
		event_new(svc->base, -1, EV_PERSIST, on_second, svc);
	svc->turn = event_new(svc->base, -1, 0, on_turn, svc);
	svc->reaper = evsignal_new(svc->base, SIGCHLD, on_child, svc);
	svc->terminate = evsignal_new(svc->base, SIGTERM, on_terminate, svc);
	if (svc->second == NULL || svc->turn == NULL || svc->reaper == NULL ||
	    svc->terminate == NULL || event_add(svc->second, &second) != 0 ||
	    event_add(svc->reaper, NULL) != 0 ||
	    event_add(svc->terminate, NULL) != 0)
		goto out;
	rc = hbt_worker_hello(svc->ipc, HBT_PEER_SERVICE_WORKER);
	if (rc != HALIBUT_OK)
		goto out;
	*out = svc;
	svc = NULL;
out:
	if (fd >= 0)
		close(fd);
	hbt_svc_free(&svc);
	return rc;
}

int hbt_svc_run(struct hbt_svc *svc)
{
	if (event_base_dispatch(svc->base) < 0)
		return HALIBUT_ESYSTEM;
	return svc->failed ? HALIBUT_EWORKER : HALIBUT_OK;
}

void hbt_svc_free(struct hbt_svc **svcp)
{
	struct hbt_svc *svc = *svcp;

	if (svc == NULL)
		return;
	*svcp = NULL;
	hbt_svc_drain_stop();
	hbt_svc_programs_free(svc);
	hbt_log_order_forget();
	hbt_ipc_free(&svc->ipc);
	hbt_svc_dirs_close(&svc->dirs);
	hbt_deflater_free(&svc->deflater);
	hbt_settings_fini(&svc->settings);
	if (svc->second != NULL)
		event_free(svc->second);
	if (svc->turn != NULL)
		event_free(svc->turn);
	if (svc->reaper != NULL)
		event_free(svc->reaper);
	if (svc->terminate != NULL)
		event_free(svc->terminate);
	if (svc->base != NULL)
		event_base_free(svc->base);
	free(svc);
}
