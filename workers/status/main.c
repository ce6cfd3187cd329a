/* halibut-status-worker: started by halibutd, never by hand. */
#include <jansson.h>

#include "base/log.h"
#include "gather.h"
#include "http.h"
#include "ipc/sandbox.h"
#include "ipc/worker.h"
#include "worker.h"

static void on_second(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	(void)fd;
	(void)what;
	hbt_worker_second(w->ipc, &w->stats, &w->stats_told);
}

static int start_timer(struct worker *w)
{
	static const struct timeval second = {.tv_sec = 1};

	w->second = event_new(w->base, -1, EV_PERSIST, on_second, w);
	return w->second != NULL && event_add(w->second, &second) == 0
	               ? HALIBUT_OK
	               : HALIBUT_ENOMEM;
}

static int start(struct worker *w)
{
	LIST_INIT(&w->relays);
	if ((w->base = event_base_new()) == NULL ||
	    hbt_ipc_new(&w->ipc, w->base, HBT_CHANNEL_FD, HBT_IPC_MAX_BODY,
	                &worker_channel_ops, w) != HALIBUT_OK ||
	    (w->gather = gather_new(w->base, w->ipc)) == NULL ||
	    (w->http = http_new(w)) == NULL || start_timer(w) != HALIBUT_OK)
		return HALIBUT_ENOMEM;
	return hbt_worker_hello(w->ipc, HBT_PEER_STATUS_WORKER);
}

static int lock_up(struct halibut_error *err)
{
	int rc = hbt_worker_read_files(err);

	json_object_seed(0); /* reads what is random */
	return rc == HALIBUT_OK ? hbt_sandbox_enter(HBT_SANDBOX_STATUS, err)
	                        : rc;
}

int main(int argc, char **argv)
{
	static struct worker w;
	struct halibut_error err = {0};
	int rc;

	(void)argv;
	if (!hbt_worker_begin(argc, "halibut-status-worker", "status worker"))
		return 2;
	rc = start(&w);
	if (rc != HALIBUT_OK)
		log_error("cannot start: %s", halibut_strerror(rc));
	else if ((rc = lock_up(&err)) != HALIBUT_OK)
		log_error("cannot start: %s", err.message);
	else
		event_base_loop(w.base, EVLOOP_NO_EXIT_ON_EMPTY);
	halibut_error_clear(&err);
	worker_fini(&w);
	return rc == HALIBUT_OK ? w.exit_code : 1;
}
