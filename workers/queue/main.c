/* halibut-queue-worker: started by halibutd, never by hand. */
#include "base/log.h"
#include "ipc/sandbox.h"
#include "ipc/worker.h"
#include "worker.h"

static int start(struct worker *w)
{
	if ((w->base = event_base_new()) == NULL)
		return HALIBUT_ENOMEM;
	w->dns = evdns_base_new(w->base,
	                        EVDNS_BASE_INITIALIZE_NAMESERVERS |
	                                EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (hbt_ipc_new(&w->ipc, w->base, HBT_CHANNEL_FD, HBT_IPC_MAX_BODY,
	                &worker_channel_ops, w) != HALIBUT_OK)
		return HALIBUT_ENOMEM;
	return hbt_worker_hello(w->ipc, HBT_PEER_QUEUE_WORKER);
}

int main(int argc, char **argv)
{
	static struct worker w;
	struct halibut_error err = {0};
	int rc;

	(void)argv;
	if (!hbt_worker_begin(argc, "halibut-queue-worker", "queue worker"))
		return 2;
	/* It starts the operator's programs: stores and wrappers. */
	if (hbt_sandbox_enter(HBT_SANDBOX_PROGRAMS, &err) != 0) {
		log_error("cannot start: %s", err.message);
		halibut_error_clear(&err);
		return 1;
	}
	rc = start(&w);
	if (rc == HALIBUT_OK)
		event_base_loop(w.base, EVLOOP_NO_EXIT_ON_EMPTY);
	else
		log_error("cannot start: %s", halibut_strerror(rc));
	worker_fini(&w);
	return rc == HALIBUT_OK ? w.exit_code : 1;
}
