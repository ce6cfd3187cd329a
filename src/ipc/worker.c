#include "ipc/worker.h"

#include <fcntl.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "ipc/log_order.h"
#include "ipc/vitals.h"

/* ---- Beginning and end ---- */

/* A missing one of 0 to 2 would be taken by something that must not be
 * printed into. */
static void fill_standard_descriptors(void)
{
	int fd;

	while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= 2)
		;
	if (fd > 2)
		close(fd);
}

bool hbt_worker_begin(int argc, const char *program, const char *kind)
{
	if (argc > 1 || fcntl(HBT_CHANNEL_FD, F_GETFD) < 0) {
		fprintf(stderr,
		        "%s is a part of halibutd, which starts it; see "
		        "halibutd(8)\n",
		        program);
		return false;
	}
	fill_standard_descriptors();
	signal(SIGPIPE, SIG_IGN);
	/* For the whole foreground group; the master decides what it means. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a spool at its limit is a full disk */
	hbt_log_begin(kind);
	hbt_vitals_begin();
	return true;
}

int hbt_worker_read_files(struct halibut_error *err)
{
	tzset();
	if (OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS |
	                             OPENSSL_INIT_LOAD_CRYPTO_STRINGS |
	                             OPENSSL_INIT_LOAD_CONFIG,
	                     NULL) != 1)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "OpenSSL does not start; is its "
		                     "configuration, openssl.cnf, right?");
	return HALIBUT_OK;
}

void hbt_worker_end(struct event_base **base, struct evdns_base **dns)
{
	if (dns != NULL && *dns != NULL) {
		evdns_base_free(*dns, 0);
		*dns = NULL;
	}
	if (*base == NULL)
		return;
	event_base_loop(*base, EVLOOP_NONBLOCK);
	event_base_free(*base);
	*base = NULL;
}

/* ---- From the master ---- */

int hbt_worker_settings(struct hbt_rd *r, struct hbt_settings *s,
                        const char *kind, bool is_only)
{
	char name[32];
	int rc;

	hbt_settings_get(r, s);
	if ((rc = hbt_rd_finish(r)) != HALIBUT_OK)
		return rc;
	if (is_only)
		snprintf(name, sizeof(name), "%s", kind);
	else
		snprintf(name, sizeof(name), "%s %u", kind, s->index);
	hbt_log_set_process(name);
	hbt_log_set_level((enum hbt_log_level)s->log_level);
	return HALIBUT_OK;
}

bool hbt_worker_obey(struct hbt_ipc *ipc, struct hbt_ipc_msg *msg)
{
	switch (msg->type) {
	case HBT_IPC_LOG:
		(void)hbt_log_order_obey(ipc, msg);
		return true;
	case HBT_IPC_PING:
		(void)hbt_ipc_send(ipc, HBT_IPC_PONG, msg->id, NULL, 0, -1);
		return true;
	default:
		return false;
	}
}

/* ---- To the master ---- */

int hbt_worker_hello(struct hbt_ipc *ipc, enum hbt_peer_kind kind)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 256);
	hbt_wr_u32(&w, HBT_IPC_PROTOCOL);
	hbt_wr_u8(&w, (uint8_t)kind);
	hbt_wr_u32(&w, (uint32_t)getpid());
	hbt_wr_cstr(&w, HBT_VERSION);
	return hbt_ipc_send_wr(ipc, HBT_IPC_HELLO, 0, &w, -1);
}

int hbt_worker_tell(struct hbt_ipc *ipc, enum hbt_ipc_type type, uint32_t id,
                    struct hbt_wr *body, int fd)
{
	int rc = body != NULL ? hbt_ipc_send_wr(ipc, (uint16_t)type, id, body,
	                                        fd)
	                      : hbt_ipc_send(ipc, (uint16_t)type, id, NULL, 0,
	                                     fd);

	if (rc != HALIBUT_OK)
		log_error("the master cannot be told what it has to know "
		          "(%s); leaving",
		          halibut_strerror(rc));
	return rc;
}

void hbt_worker_second(struct hbt_ipc *ipc, struct hbt_worker_stats *stats,
                       struct hbt_worker_stats *told)
{
	struct hbt_wr w;

	hbt_log_limit_tick(hbt_now_ms());
	hbt_vitals_note(stats);
	if (memcmp(stats, told, sizeof(*stats)) == 0)
		return;
	hbt_wr_init(&w, 4096);
	hbt_worker_stats_put(&w, stats);
	if (hbt_ipc_send_wr(ipc, HBT_IPC_STATS, 0, &w, -1) == HALIBUT_OK)
		*told = *stats;
}
