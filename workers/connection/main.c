/* halibut-connection-worker: started by halibutd, never by hand. */
#include <string.h>

#include "base/log.h"
#include "ipc/sandbox.h"
#include "ipc/worker.h"
#include "worker.h"

static int start(struct worker *w)
{
	struct event_config *cfg = event_config_new();

	if (cfg == NULL)
		return HALIBUT_ENOMEM;
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
	w->base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	if (w->base == NULL)
		return HALIBUT_ENOMEM;
	/* What is done for those who are not connected yet comes last. */
	if (event_base_priority_init(w->base, 3) != 0)
		return HALIBUT_ENOMEM;
	LIST_INIT(&w->accepted);
	LIST_INIT(&w->pollings);
	outgoing_init(w);
	w->dns = evdns_base_new(w->base,
	                        EVDNS_BASE_INITIALIZE_NAMESERVERS |
	                                EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (hbt_ipc_new(&w->ipc, w->base, HBT_CHANNEL_FD, HBT_IPC_MAX_BODY,
	                &worker_channel_ops, w) != 0 ||
	    (w->trust = hbt_trust_set_new()) == NULL)
		return HALIBUT_ENOMEM;
	return HALIBUT_OK;
}

static int lock_up(struct halibut_error *err)
{
	int rc = hbt_worker_read_files(err);

	return rc == HALIBUT_OK
	               ? hbt_sandbox_enter(HBT_SANDBOX_CONNECTIONS, err)
	               : rc;
}

int main(int argc, char **argv)
{
	static struct worker w;
	struct halibut_error err = {0};
	int rc;

	(void)argv;
	if (!hbt_worker_begin(argc, "halibut-connection-worker", "worker"))
		return 2;
	rc = start(&w);
	if (rc != 0)
		log_error("cannot start: %s", halibut_strerror(rc));
	else if ((rc = lock_up(&err)) != 0)
		log_error("cannot start: %s", err.message);
	else if ((rc = hbt_worker_hello(w.ipc, HBT_PEER_CONNECTION_WORKER)) !=
	         0) /* only now it is ready */
		log_error("cannot start: %s", halibut_strerror(rc));
	else
		event_base_loop(w.base, EVLOOP_NO_EXIT_ON_EMPTY);
	halibut_error_clear(&err);
	worker_fini(&w);
	return rc == 0 ? w.exit_code : 1;
}
