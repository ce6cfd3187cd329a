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

static struct hbt_limits limits_of_a_worker(const struct hbt_config *cfg)
{
	size_t n = hbt_master_count_workers(cfg);
	struct hbt_limits l = cfg->limits;

	if (cfg->max_handshakes > 0)
		l.max_handshakes = share_of(cfg->max_handshakes, n);
	l.max_handshakes_per_second =
		share_of(cfg->max_handshakes_per_second, n);
	return l;
}

static struct hbt_told told_now(const struct hbt_master *m)
{
	const struct hbt_told t = {
		.cfg = m->cfg,
		.credentials = &m->credentials,
		.friendly_page = m->friendly_page,
		.friendly_headers = m->friendly_headers,
		.node_id = m->node_id,
	};

	return t;
}

/* Lines; NULL: none, or no memory. */
static char *join(const struct hbt_strings *list)
{
	size_t len = 0;
	char *text, *to;

	for (size_t i = 0; i < list->n; i++)
		len += strlen(list->v[i]) + 1;
	if (len == 0 || (to = text = malloc(len)) == NULL)
		return NULL;
	for (size_t i = 0; i < list->n; i++) {
		to = stpcpy(to, list->v[i]);
		*to++ = i + 1 < list->n ? '\n' : '\0';
	}
	return text;
}

/* Only to who counts bytes of sources: a change replaces the workers. */
static void put_sources(struct hbt_wr *wr, struct hbt_settings *s,
                        enum hbt_peer_kind kind, const struct hbt_config *cfg)
{
	if (kind != HBT_PEER_CONNECTION_WORKER ||
	    s->limits.spool_max_bytes_a_source == 0)
		return;
	s->source_prefix_ipv4 = (uint32_t)cfg->source_prefix_ipv4;
	s->source_prefix_ipv6 = (uint32_t)cfg->source_prefix_ipv6;
	s->unlimited_sources = join(&cfg->unlimited_sources);
	if (s->unlimited_sources == NULL && cfg->unlimited_sources.n > 0)
		wr->status = HALIBUT_ENOMEM;
}

static void put_settings(struct hbt_wr *wr, const struct hbt_told *t,
                         enum hbt_peer_kind kind, uint32_t index,
                         uint8_t log_level)
{
	bool needs_key = kind == HBT_PEER_CONNECTION_WORKER;
	const struct hbt_credentials *c = t->credentials;
	struct hbt_identity_fields others[HBT_MAX_IDENTITIES];
	struct hbt_settings s = {
		.index = index,
		.node = t->cfg->node,
		.log_level = log_level,
		.limits = limits_of_a_worker(t->cfg),
		.certificate_pem = needs_key ? c->certificate_pem : NULL,
		.key_pem = needs_key ? c->key_pem : NULL,
		.friendly_page = (char *)t->friendly_page,
		.friendly_headers = (char *)t->friendly_headers,
		.spool_directory = t->cfg->spool_directory,
		.serves_clients = t->cfg->serves_clients,
		.identities = others,
		.n_identities = needs_key ? c->n_others : 0,
	};

	for (size_t i = 0; i < s.n_identities; i++)
		others[i] = c->others[i].fields;
	put_sources(wr, &s, kind, t->cfg);
	hbt_settings_put(wr, &s);
	free(s.unlimited_sources);
}

/* With passwords: they travel in messages alone. */
static void put_queue_settings(struct hbt_wr *wr, const struct hbt_told *t)
{
	struct hbt_queue_settings s = hbt_config_queue(t->cfg);

	s.node_id = (char *)t->node_id;
	hbt_queue_settings_put(wr, &s);
}

static void send_settings(struct hbt_master *m, struct hbt_worker *w)
{
	const struct hbt_told t = told_now(m);
	struct hbt_wr wr;

	hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
	put_settings(&wr, &t, w->link.kind, w->index,
	             (uint8_t)m->cfg->log_level);
	tell(w, HBT_IPC_SETTINGS, &wr);
}

static void send_queue_settings(struct hbt_master *m, struct hbt_worker *w)
{
	const struct hbt_told t = told_now(m);
	struct hbt_wr wr;

	hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
	put_queue_settings(&wr, &t);
	tell(w, HBT_IPC_QUEUE_SETTINGS, &wr);
}

static void put_told(struct hbt_wr *wr, const struct hbt_told *t,
                     enum hbt_peer_kind kind)
{
	hbt_wr_init(wr, HBT_IPC_MAX_BODY);
	hbt_wr_cstr(wr, t->cfg->worker_directory);
	hbt_wr_u8(wr, t->cfg->sandbox);
	put_settings(wr, t, kind, 0, 0);
	if (kind == HBT_PEER_QUEUE_WORKER)
		put_queue_settings(wr, t);
}

static void wipe(struct hbt_wr *wr)
{
	if (wr->buf.data != NULL)
		explicit_bzero(wr->buf.data, wr->buf.cap);
	hbt_wr_fini(wr);
}

bool hbt_provision_differs(const struct hbt_master *m,
                           const struct hbt_told *fresh,
                           enum hbt_peer_kind kind)
{
	const struct hbt_told now = told_now(m);
	struct hbt_wr a, b;
	bool differs;

	put_told(&a, &now, kind);
	put_told(&b, fresh, kind);
	differs = a.status != HALIBUT_OK || b.status != HALIBUT_OK ||
	          a.buf.len != b.buf.len ||
	          memcmp(a.buf.data, b.buf.data, a.buf.len) != 0;
	wipe(&a);
	wipe(&b);
	return differs;
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
	uint32_t workers = hbt_workers_newest(m->workers,
	                                      HBT_PEER_CONNECTION_WORKER);
	uint32_t n = 0;
	struct hbt_wr wr, list;

	hbt_wr_init(&list, HBT_IPC_MAX_BODY);
	for (size_t i = 0; m->state <= MASTER_RETREATING && i < m->cfg->n_polls;
	     i++) {
		struct hbt_poll p = m->cfg->polls[i];

		p.connections =
			share(p.connections, hbt_worker_place(w), workers,
			      (uint32_t)i);
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
		/* What older ones poll, they go on with until they retire. */
		if (w->state == WORKER_READY && hbt_worker_is_newest(w))
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
		if (w->state == WORKER_READY || w->state == WORKER_STOPPING)
			send_lists(m, w);
}

void hbt_provision_status(struct hbt_master *m)
{
	struct hbt_link *link = hbt_dispatch_status(m);

	if (link != NULL) /* else it learns of it at its start */
		hbt_status_port_provision(m->status_port, link);
}

static const struct hbt_identity_fields *
find_identity(const struct hbt_credentials *c, const char *name)
{
	for (size_t i = 0; i < c->n_others; i++)
		if (strcmp(c->others[i].fields.name, name) == 0)
			return &c->others[i].fields;
	return NULL;
}

/* One that has another certificate now is the old one there to the end. */
void hbt_provision_identities(struct hbt_master *m,
                              const struct hbt_credentials *before)
{
	struct hbt_worker *w;
	struct hbt_wr wr;

	for (size_t i = 0; i < m->credentials.n_others; i++) {
		const struct hbt_identity_fields *f =
			&m->credentials.others[i].fields;

		if (find_identity(before, f->name) != NULL)
			continue;
		for (size_t k = 0; (w = hbt_workers_at(m->workers, k)) != NULL;
		     k++) {
			if (w->link.kind != HBT_PEER_CONNECTION_WORKER ||
			    w->state != WORKER_READY)
				continue;
			hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
			hbt_identity_fields_put(&wr, f);
			tell(w, HBT_IPC_IDENTITY, &wr);
		}
	}
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
