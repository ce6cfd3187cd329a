/* halibut-status-worker: started by halibutd, never by hand. */
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "gather.h"
#include "http.h"
#include "ipc/sandbox.h"
#include "ipc/vitals.h"
#include "worker.h"

static int say_hello(struct worker *w)
{
	struct hbt_wr wr;

	hbt_wr_init(&wr, 4096);
	hbt_wr_u32(&wr, HBT_IPC_PROTOCOL);
	hbt_wr_u8(&wr, HBT_PEER_STATUS_WORKER);
	hbt_wr_u32(&wr, (uint32_t)getpid());
	hbt_wr_cstr(&wr, HBT_VERSION);
	return hbt_ipc_send_wr(w->ipc, HBT_IPC_HELLO, 0, &wr, -1);
}

/* What this process costs, once a second. */
static void on_second(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	struct hbt_wr wr;

	(void)fd;
	(void)what;
	hbt_vitals_note(&w->stats);
	hbt_wr_init(&wr, 4096);
	hbt_worker_stats_put(&wr, &w->stats);
	(void)hbt_ipc_send_wr(w->ipc, HBT_IPC_STATS, 0, &wr, -1);
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
	return say_hello(w);
}

/* What is read from files is read by now: time zone, OpenSSL's, chance for
 * jansson's tables. */
static int lock_up(struct halibut_error *err)
{
	tzset();
	json_object_seed(0);
	if (OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS |
	                             OPENSSL_INIT_LOAD_CRYPTO_STRINGS |
	                             OPENSSL_INIT_LOAD_CONFIG,
	                     NULL) != 1)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "OpenSSL does not start; is its "
		                     "configuration, openssl.cnf, right?");
	return hbt_sandbox_enter(HBT_SANDBOX_STATUS, err);
}

int main(int argc, char **argv)
{
	static struct worker w;
	struct halibut_error err = {0};
	int rc;

	(void)argv;
	if (argc > 1 || fcntl(HBT_CHANNEL_FD, F_GETFD) < 0) {
		fprintf(stderr, "halibut-status-worker is a part of halibutd, "
		                "which starts it; see halibutd(8)\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN); /* Ctrl-C is the master's business */
	signal(SIGHUP, SIG_IGN);
	hbt_log_begin("status worker");
	hbt_vitals_begin();
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
