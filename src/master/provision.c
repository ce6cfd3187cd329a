/* What workers must know: as messages, since they read no files. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "ipc/log_order.h"
#include "master/logs.h"
#include "master/master.h"

static void tell(struct hbt_worker *w, enum hbt_ipc_type type,
                 struct hbt_wr *wr)
{
	int rc = hbt_link_send(&w->link, type, 0, wr, -1);

	if (rc != HALIBUT_OK)
		log_error("%s: does not get its settings (message %d): %s",
		          w->link.name, (int)type, halibut_strerror(rc));
}

/* What is left for each of the workers; 0, which is no limit, stays. */
static int share_of(int limit, size_t workers)
{
	return workers == 0 ? limit
	                    : (int)(((size_t)limit + workers - 1) / workers);
}

static struct hbt_limits limits_of_a_worker(const struct hbt_master *m)
{
	size_t n = hbt_workers_left(m->workers, HBT_PEER_CONNECTION_WORKER);
	struct hbt_limits l = m->cfg->limits;

	if (m->cfg->max_handshakes > 0)
		l.max_handshakes = share_of(m->cfg->max_handshakes, n);
	l.max_handshakes_per_second =
		share_of(m->cfg->max_handshakes_per_second, n);
	return l;
}

static void send_settings(struct hbt_master *m, struct hbt_worker *w)
{
	bool needs_key = w->link.kind == HBT_PEER_CONNECTION_WORKER;
	const struct hbt_config *cfg = m->cfg;
	const struct hbt_settings s = {
		.index = w->index,
		.node = cfg->node,
		.log_level = (uint8_t)cfg->log_level,
		.limits = limits_of_a_worker(m),
		.certificate_pem =
			needs_key ? m->credentials.certificate_pem : NULL,
		.key_pem = needs_key ? m->credentials.key_pem : NULL,
		.friendly_page = m->friendly_page,
		.friendly_headers = m->friendly_headers,
		.spool_directory = cfg->spool_directory,
		.serves_clients = cfg->serves_clients,
	};
	struct hbt_wr wr;

	hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
	hbt_settings_put(&wr, &s);
	tell(w, HBT_IPC_SETTINGS, &wr);
}

/* With passwords: they travel in messages alone. */
static void send_queue_settings(struct hbt_master *m, struct hbt_worker *w)
{
	struct hbt_queue_settings s = hbt_config_queue(m->cfg);
	struct hbt_wr wr;

	s.node_id = m->node_id;
	hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
	hbt_queue_settings_put(&wr, &s);
	tell(w, HBT_IPC_QUEUE_SETTINGS, &wr);
}

static void send_trust(struct hbt_master *m, struct hbt_worker *w)
{
	const struct hbt_trust *t = &m->cfg->trusted;
	struct hbt_wr wr;

	hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
	hbt_wr_u32(&wr, (uint32_t)t->n);
	for (size_t i = 0; i < t->n; i++)
		hbt_wr_bytes(&wr, t->list[i].sha1, HBT_SHA1_LEN);
	tell(w, HBT_IPC_TRUST, &wr);
}

/* How many of n connections are for worker index of workers: each gets its
 * share, and the first ones do not get all the odd ones. */
static uint32_t share(uint32_t n, uint32_t index, uint32_t workers,
                      uint32_t first)
{
	uint32_t place = (index + workers - first % workers) % workers;

	return n / workers + (place < n % workers);
}

static void send_polls(struct hbt_master *m, struct hbt_worker *w)
{
	uint32_t workers = (uint32_t)hbt_workers_left(
		m->workers, HBT_PEER_CONNECTION_WORKER);
	uint32_t n = 0;
	struct hbt_wr wr, list;

	hbt_wr_init(&list, HBT_IPC_MAX_BODY);
	for (size_t i = 0; i < m->cfg->n_polls; i++) {
		struct hbt_poll p = m->cfg->polls[i];

		p.connections =
			share(p.connections, w->index, workers, (uint32_t)i);
		if (p.connections == 0)
			continue;
		hbt_poll_put(&list, &p);
		n++;
	}
	hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
	hbt_wr_u32(&wr, n);
	if (list.buf.len > 0)
		hbt_wr_bytes(&wr, list.buf.data, list.buf.len);
	if (wr.status == HALIBUT_OK)
		wr.status = list.status;
	hbt_wr_fini(&list);
	tell(w, HBT_IPC_POLLS, &wr);
}

static void send_programs(struct hbt_master *m, struct hbt_worker *w)
{
	struct hbt_wr wr;

	hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
	hbt_wr_u32(&wr, (uint32_t)m->cfg->n_programs);
	for (size_t i = 0; i < m->cfg->n_programs; i++)
		hbt_program_put(&wr, &m->cfg->programs[i]);
	tell(w, HBT_IPC_PROGRAMS, &wr);
}

/* With our standard error, since log_file was opened again, or without. */
static void send_log(struct hbt_worker *w, bool with_file)
{
	int fd = with_file ? dup(STDERR_FILENO) : -1;
	struct hbt_wr wr;

	hbt_wr_init(&wr, 256);
	hbt_log_order_put(&wr, hbt_logs_are_followed());
	if (with_file && fd < 0)
		log_error("%s: goes on logging to the old file: %s",
		          w->link.name, strerror(errno));
	if (hbt_link_send(&w->link, HBT_IPC_LOG, 0, &wr, fd) != HALIBUT_OK)
		log_error("%s: is not told how to log: out of memory",
		          w->link.name);
}

static void send_lists(struct hbt_master *m, struct hbt_worker *w)
{
	if (w->link.kind == HBT_PEER_CONNECTION_WORKER) {
		send_trust(m, w);
		send_polls(m, w);
	} else if (w->link.kind == HBT_PEER_SERVICE_WORKER) {
		send_programs(m, w);
	}
}

void hbt_provision_worker(struct hbt_master *m, struct hbt_worker *w)
{
	send_settings(m, w);
	send_log(w, false);
	if (w->link.kind == HBT_PEER_QUEUE_WORKER)
		send_queue_settings(m, w);
	if (w->link.kind == HBT_PEER_STATUS_WORKER)
		hbt_status_port_provision(m->status_port, &w->link);
	send_lists(m, w);
}

void hbt_provision_lists(struct hbt_master *m)
{
	struct hbt_worker *w;

	for (size_t i = 0; (w = hbt_workers_at(m->workers, i)) != NULL; i++)
		if (w->state == WORKER_READY)
			send_lists(m, w);
}

/* Those that finish their calls, too: what they hold may be of a peer that is
 * not trusted any more. */
void hbt_provision_trust(struct hbt_master *m)
{
	struct hbt_worker *w;

	for (size_t i = 0; (w = hbt_workers_at(m->workers, i)) != NULL; i++)
		if (w->link.kind == HBT_PEER_CONNECTION_WORKER &&
		    (w->state == WORKER_READY || w->state == WORKER_STOPPING))
			send_trust(m, w);
}

void hbt_provision_logs(struct hbt_master *m, bool with_file)
{
	struct hbt_worker *w;

	for (size_t i = 0; (w = hbt_workers_at(m->workers, i)) != NULL; i++)
		if (w->state == WORKER_READY || w->state == WORKER_STOPPING)
			send_log(w, with_file);
}
