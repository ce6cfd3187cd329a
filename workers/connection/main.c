/* halibut-connection-worker: started by halibutd, never by hand. */
#include <event2/event.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "ipc/sandbox.h"
#include "ipc/vitals.h"
#include "worker.h"

static int say_hello(struct worker *w)
{
	struct hbt_wr wr;
	int rc;

	hbt_wr_init(&wr, 4096);
	hbt_wr_u32(&wr, HBT_IPC_PROTOCOL);
	hbt_wr_u8(&wr, HBT_PEER_CONNECTION_WORKER);
	hbt_wr_u32(&wr, (uint32_t)getpid());
	hbt_wr_cstr(&wr, HBT_VERSION);
	rc = wr.status;
	if (rc == 0)
		rc = hbt_ipc_send(w->ipc, HBT_IPC_HELLO, 0, wr.buf.data,
		                  wr.buf.len, -1);
	hbt_wr_fini(&wr);
	return rc;
}

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

/* What is read from files is read by now: time zone, names, OpenSSL's. */
static int lock_up(struct halibut_error *err)
{
	tzset();
	if (OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS |
	                             OPENSSL_INIT_LOAD_CRYPTO_STRINGS |
	                             OPENSSL_INIT_LOAD_CONFIG,
	                     NULL) != 1)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "OpenSSL does not start; is its "
		                     "configuration, openssl.cnf, right?");
	return hbt_sandbox_enter(HBT_SANDBOX_CONNECTIONS, err);
}

int main(int argc, char **argv)
{
	static struct worker w;
	struct halibut_error err = {0};
	int rc;

	(void)argv;
	if (argc > 1 || fcntl(HBT_CHANNEL_FD, F_GETFD) < 0) {
		fprintf(stderr, "halibut-connection-worker is a part of "
		                "halibutd, which starts it; see halibutd(8)\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN); /* Ctrl-C is the master's business */
	signal(SIGHUP, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a spool at its limit is a full disk */
	hbt_log_begin("worker");
	hbt_vitals_begin();
	rc = start(&w);
	if (rc != 0)
		log_error("cannot start: %s", halibut_strerror(rc));
	else if ((rc = lock_up(&err)) != 0)
		log_error("cannot start: %s", err.message);
	else if ((rc = say_hello(&w)) != 0) /* only now it is ready */
		log_error("cannot start: %s", halibut_strerror(rc));
	else
		event_base_loop(w.base, EVLOOP_NO_EXIT_ON_EMPTY);
	halibut_error_clear(&err);
	worker_fini(&w);
	return rc == 0 ? w.exit_code : 1;
}
