/* halibut-queue-worker: started by halibutd, never by hand. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "ipc/sandbox.h"
#include "ipc/vitals.h"
#include "worker.h"

static void say_hello(struct worker *w)
{
	struct hbt_wr wr;

	hbt_wr_init(&wr, 4096);
	hbt_wr_u32(&wr, HBT_IPC_PROTOCOL);
	hbt_wr_u8(&wr, HBT_PEER_QUEUE_WORKER);
	hbt_wr_u32(&wr, (uint32_t)getpid());
	hbt_wr_cstr(&wr, HBT_VERSION);
	worker_tell(w, HBT_IPC_HELLO, 0, &wr, -1);
}

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
	say_hello(w);
	return w->exit_code == 0 ? HALIBUT_OK : HALIBUT_ENOMEM;
}

int main(int argc, char **argv)
{
	static struct worker w;
	struct halibut_error err = {0};
	int rc;

	(void)argv;
	if (argc > 1 || fcntl(HBT_CHANNEL_FD, F_GETFD) < 0) {
		fprintf(stderr, "halibut-queue-worker is a part of halibutd, "
		                "which starts it; see halibutd(8)\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN); /* Ctrl-C is the master's business */
	signal(SIGHUP, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a spool at its limit is a full disk */
	hbt_log_begin("queue worker");
	hbt_vitals_begin();
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
