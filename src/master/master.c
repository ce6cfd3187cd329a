/* Starting, running and stopping a node. */
#include "master/master.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "ipc/rows.h"
#include "master/audit.h"
#include "master/expiry.h"
#include "master/key_modes.h"
#include "master/logs.h"
#include "master/systemd.h"
#include "master/tables.h"

#define TRIM_IDLE_MS (10 * 60 * 1000)

/* What workers and clients bring */

static void take_queue_worker(struct hbt_master *m, struct hbt_worker *w)
{
	hbt_share_attach(m->share, &w->link);
	hbt_drain_queue_worker_serves(m, w);
}

static void worker_ready(void *arg, struct hbt_worker *w)
{
	struct hbt_master *m = arg;

	hbt_provision_worker(m, w);
	if (w->link.kind == HBT_PEER_CONNECTION_WORKER &&
	    m->state == MASTER_RUNNING && !m->told_ready) {
		m->told_ready = true;
		hbt_systemd_notify("READY=1\nSTATUS=serving");
	}
	if (w->link.kind == HBT_PEER_QUEUE_WORKER &&
	    !hbt_share_has_worker(m->share, NULL))
		take_queue_worker(m, w);
	if (w->link.kind == HBT_PEER_SERVICE_WORKER)
		hbt_hosted_review(m->hosted);
	if (w->link.kind != HBT_PEER_QUEUE_WORKER)
		hbt_drain_worker_ready(m, w);
	hbt_dispatch_review(m);
}

/* Here, so that it is one line however many workers refuse. */
static int on_refused(struct hbt_master *m, const struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	char *peer = hbt_rd_strdup(&r);
	char *thumbprint = hbt_rd_strdup(&r);
	char *reason = hbt_rd_strdup(&r);
	int rc = hbt_rd_finish(&r);

	if (rc == HALIBUT_OK && peer != NULL && reason != NULL) {
		hbt_log_refusal(peer, thumbprint, reason);
		hbt_refused_add(m->refused, peer, thumbprint, reason);
	}
	free(peer);
	free(thumbprint);
	free(reason);
	return rc;
}

/* It could apply its settings: now one before it may go. */
static bool takes_over(const struct hbt_master *m, const struct hbt_worker *w)
{
	return !hbt_share_has_worker(m->share, &w->link) &&
	       w->state == WORKER_READY && m->state <= MASTER_LEAVING;
}

/* Its text is for the status alone. */
static int on_queue_state(struct hbt_master *m, struct hbt_worker *w,
                          struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct hbt_str text = hbt_rd_str(&r);
	json_t *state;

	if (takes_over(m, w))
		take_queue_worker(m, w);
	if (msg->lost || !hbt_share_has_worker(m->share, &w->link))
		return HALIBUT_OK;
	if (hbt_rd_finish(&r) != HALIBUT_OK)
		return HALIBUT_EPROTO;
	state = json_loadb(text.s, text.len, 0, NULL);
	if (state != NULL) {
		json_decref(m->queue_state);
		m->queue_state = state;
	}
	return HALIBUT_OK;
}

static int worker_message(void *arg, struct hbt_worker *w,
                          struct hbt_ipc_msg *msg)
{
	struct hbt_master *m = arg;

	switch (msg->type) {
	case HBT_IPC_CALL:
	case HBT_IPC_ANSWER:
	case HBT_IPC_FAIL:
	case HBT_IPC_CANCEL:
	case HBT_IPC_RETURN:
	case HBT_IPC_CALL_PHASE:
		return hbt_calls_message(m->calls, &w->link, msg);
	case HBT_IPC_IDENTIFY:
	case HBT_IPC_SUBSCRIBE:
	case HBT_IPC_UNSUBSCRIBE:
	case HBT_IPC_OFFER:
	case HBT_IPC_WITHDRAW:
	case HBT_IPC_LEAVE:
		if (w->link.kind != HBT_PEER_CONNECTION_WORKER)
			return HALIBUT_EPROTO;
		return hbt_subscriptions_message(m->subscriptions, &w->link,
		                                 msg);
	case HBT_IPC_CONN_GONE:
		hbt_admission_leave(m->admission, &w->link, msg->id);
		if (m->full)
			hbt_dispatch_review(m);
		return HALIBUT_OK;
	case HBT_IPC_STATS:
		hbt_dispatch_review(m);
		return HALIBUT_OK;
	case HBT_IPC_ROWS_ASK:
	case HBT_IPC_ROWS:
		return hbt_rows_message(m->rows, &w->link, msg);
	case HBT_IPC_LOG_LINE:
		hbt_logs_pass_on(msg->data, msg->len);
		return HALIBUT_OK;
	case HBT_IPC_QUEUE_STATE:
		if (w->link.kind != HBT_PEER_QUEUE_WORKER)
			return HALIBUT_EPROTO;
		return on_queue_state(m, w, msg);
	case HBT_IPC_SETTLED:
		if (w->link.kind != HBT_PEER_QUEUE_WORKER)
			return HALIBUT_EPROTO;
		hbt_share_settled(m->share, msg->id);
		return HALIBUT_OK;
	case HBT_IPC_DOCUMENT:
		if (w->link.kind != HBT_PEER_STATUS_WORKER)
			return HALIBUT_EPROTO;
		return hbt_documents_answer(m->documents, msg);
	case HBT_IPC_CLOSED:
		return hbt_kicks_answer(m->kicks, &w->link, msg);
	case HBT_IPC_REFUSED:
		return on_refused(m, msg);
	case HBT_IPC_DRAINED:
		return hbt_drain_worker_drained(m, w);
	default:
		return HALIBUT_EPROTO;
	}
}

static void forget_link(struct hbt_master *m, struct hbt_link *link)
{
	hbt_rows_link_gone(m->rows, link);
	hbt_subscriptions_link_gone(m->subscriptions, link);
	hbt_calls_link_gone(m->calls, link);
	hbt_kicks_link_gone(m->kicks, link);
	hbt_admission_link_gone(m->admission, link);
}

static void worker_lost(void *arg, struct hbt_worker *w)
{
	struct hbt_master *m = arg;

	if (w->link.kind == HBT_PEER_QUEUE_WORKER) {
		if (hbt_share_has_worker(m->share, &w->link)) {
			json_decref(m->queue_state);
			m->queue_state = NULL;
		}
		hbt_share_detach(m->share, &w->link);
	}
	if (w->link.kind == HBT_PEER_STATUS_WORKER)
		hbt_documents_worker_gone(m->documents);
	forget_link(m, &w->link);
	if (w->link.kind == HBT_PEER_SERVICE_WORKER)
		hbt_hosted_review(m->hosted);
	hbt_dispatch_review(m);
}

static void client_lost(void *arg, struct hbt_client *c)
{
	struct hbt_master *m = arg;
	bool followed = hbt_logs_are_followed();

	forget_link(m, &c->link);
	hbt_documents_client_gone(m->documents, c);
	hbt_logs_unfollow(&c->link);
	if (followed && !hbt_logs_are_followed() && m->workers != NULL)
		hbt_provision_logs(m, false);
}

static void worker_gone(void *arg, struct hbt_worker *w)
{
	(void)w;
	hbt_drain_worker_gone(arg);
}

/* Signals */

static void reopen_log(struct hbt_master *m)
{
	struct halibut_error err = {0};

	if (hbt_logs_reopen(m->cfg, &err) == HALIBUT_OK) {
		hbt_provision_logs(m, m->cfg->log_file != NULL);
		log_info("log opened again");
		hbt_audit(LOG_ABOUT(.event = "log_reopened",
		                    .peer = "SIGUSR1"),
		          "SIGUSR1: the logs were opened again");
	} else {
		log_error("%s", err.message);
	}
	halibut_error_clear(&err);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	struct hbt_master *m = arg;
	struct halibut_error err = {0};

	(void)what;
	switch (number) {
	case SIGCHLD:
		hbt_workers_reap(m->workers);
		break;
	case SIGHUP:
		(void)hbt_master_reload(m, "SIGHUP", NULL, &err); /* it logs how that went */
		halibut_error_clear(&err);
		break;
	case SIGUSR1:
		reopen_log(m);
		break;
	case SIGINT:
		hbt_master_stop(m, "SIGINT", STOP_AT_ONCE);
		break;
	case SIGQUIT:
		hbt_master_stop(m, "SIGQUIT", STOP_PATIENTLY);
		break;
	default:
		hbt_master_stop(m, "SIGTERM", STOP_IN_TIME);
	}
}

static int catch_signals(struct hbt_master *m)
{
	static const int numbers[N_SIGNALS] = {SIGCHLD, SIGHUP,  SIGTERM,
	                                       SIGINT,  SIGQUIT, SIGUSR1};

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < N_SIGNALS; i++) {
		m->signals[i] = evsignal_new(m->base, numbers[i], on_signal, m);
		if (m->signals[i] == NULL ||
		    event_add(m->signals[i], NULL) != 0)
			return HALIBUT_ENOMEM;
	}
	return HALIBUT_OK;
}

static void on_second(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_master *m = arg;

	(void)fd;
	(void)what;
	hbt_log_limit_tick(hbt_now_ms());
	hbt_systemd_tick(hbt_now_ms());
	hbt_expiry_tick(&m->own_certs, hbt_now_ms(),
	                (int64_t)time(NULL) * 1000);
	hbt_subscriptions_trim(m->subscriptions);
	hbt_switchboard_trim(m->switchboard, TRIM_IDLE_MS);
}

/* Starting */

static int make_timers(struct hbt_master *m)
{
	const struct timeval second = {.tv_sec = 1};

	m->second_timer = event_new(m->base, -1, EV_PERSIST, on_second, m);
	if (m->second_timer == NULL || event_add(m->second_timer, &second) != 0)
		return HALIBUT_ENOMEM;
	return hbt_drain_init(m);
}

static int make_switchboard(struct hbt_master *m)
{
	const struct hbt_calls_env env = {
		.base = m->base,
		.dialler = hbt_dispatch_dialler,
		.host = hbt_dispatch_host,
		.arg = m,
	};
	const struct hbt_rows_env rows_env = {
		.worker = hbt_tables_worker,
		.fill = hbt_tables_fill,
		.arg = m,
	};
	struct hbt_calls_env with_queues = env;

	if (m->cfg->shares &&
	    (m->share = hbt_share_new(m->base, m->cfg)) == NULL)
		return HALIBUT_ENOMEM;
	if ((m->documents = hbt_documents_new()) == NULL ||
	    (m->kicks = hbt_kicks_new()) == NULL)
		return HALIBUT_ENOMEM;
	m->switchboard = hbt_switchboard_new(
		m->base, m->share != NULL ? hbt_share_queue : NULL, m->share);
	if (m->switchboard == NULL)
		return HALIBUT_ENOMEM;
	m->rows = hbt_rows_new(&rows_env);
	m->refused = hbt_refused_new();
	m->holders = hbt_holders_new();
	if (m->rows == NULL || m->refused == NULL || m->holders == NULL)
		return HALIBUT_ENOMEM;
	m->admission = hbt_admission_new(m->refused);
	if (m->admission == NULL ||
	    hbt_admission_configure(m->admission, m->cfg) != HALIBUT_OK)
		return HALIBUT_ENOMEM;
	m->subscriptions = hbt_subscriptions_new(m->switchboard, m->admission,
	                                         m->refused, m->holders);
	with_queues.admission = m->admission;
	with_queues.share = m->share;
	with_queues.switchboard = m->switchboard;
	with_queues.subscriptions = m->subscriptions;
	with_queues.holders = m->holders;
	m->calls = hbt_calls_new(&with_queues);
	m->hosted = hbt_hosted_new(m->switchboard, hbt_dispatch_host, m);
	if (m->subscriptions == NULL || m->calls == NULL || m->hosted == NULL)
		return HALIBUT_ENOMEM;
	hbt_subscriptions_configure(m->subscriptions, m->cfg);
	hbt_calls_configure(m->calls, m->cfg);
	return HALIBUT_OK;
}

static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

unsigned hbt_master_count_workers(const struct hbt_config *cfg)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	if (cfg->workers > 0)
		return (unsigned)cfg->workers;
	return cores < 1 ? 1 : cores > 256 ? 256 : (unsigned)cores;
}

static int start_workers(struct hbt_master *m, struct halibut_error *err)
{
	const struct hbt_workers_ops ops = {worker_ready, worker_message,
	                                    worker_lost, worker_gone, m};
	unsigned n = hbt_master_count_workers(m->cfg);
	int rc = hbt_identity_find(&m->identity, m->cfg, err);

	if (rc != HALIBUT_OK)
		return rc;
	m->max_connections_a_worker = hbt_dispatch_limit();
	rc = hbt_workers_new(&m->workers, m->base, m->cfg, &m->identity, &ops);
	for (unsigned i = 0; rc == HALIBUT_OK && i < n; i++)
		rc = hbt_workers_add(m->workers, HBT_PEER_CONNECTION_WORKER);
	if (rc == HALIBUT_OK && m->cfg->n_programs > 0)
		rc = hbt_workers_add(m->workers, HBT_PEER_SERVICE_WORKER);
	if (rc == HALIBUT_OK && m->share != NULL)
		rc = hbt_workers_add(m->workers, HBT_PEER_QUEUE_WORKER);
	if (rc == HALIBUT_OK)
		rc = hbt_workers_add(m->workers, HBT_PEER_STATUS_WORKER);
	if (rc == HALIBUT_OK)
		hbt_hosted_configure(m->hosted, m->cfg);
	return rc;
}

static int start_sockets(struct hbt_master *m, struct halibut_error *err)
{
	const struct hbt_listen_ops listen_ops = {hbt_dispatch_accepted, m};
	const struct hbt_control_ops control_ops = {hbt_orders_message,
	                                            hbt_orders_busy,
	                                            client_lost, m};
	int rc = hbt_control_new(&m->control, m->base, m->cfg->control_socket,
	                         m->cfg->control_mode, &control_ops, err);

	if (rc == HALIBUT_OK)
		rc = hbt_status_port_open(&m->status_port, m->cfg,
		                          m->credentials.certificate_pem, err);
	if (rc != HALIBUT_OK)
		return rc;
	return hbt_listeners_new(&m->listeners, m->base, &m->cfg->listen,
	                         m->cfg->listen_backlog, &listen_ops, err);
}

/* Workers find it in their environment, where it may say something else. */
static int tell_sandbox(const struct hbt_config *cfg)
{
	const char *how = getenv("HALIBUT_SANDBOX");

	if (!cfg->sandbox)
		return setenv("HALIBUT_SANDBOX", "no", 1);
	return how != NULL && strcmp(how, "strict") != 0
	               ? unsetenv("HALIBUT_SANDBOX")
	               : 0;
}

static int start_all(struct hbt_master *m, struct halibut_error *err)
{
	int rc;

	if ((rc = hbt_credentials_load(&m->credentials, m->cfg, err)) != 0)
		return rc;
	if ((rc = hbt_master_load_texts(m->cfg, &m->friendly_page,
	                                &m->friendly_headers, err)) != 0)
		return rc;
	if (access(m->cfg->spool_directory, W_OK | X_OK) != 0)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "spool_directory %s is no directory that "
		                     "can be written to; create it or name "
		                     "another one",
		                     m->cfg->spool_directory);
	if (tell_sandbox(m->cfg) != 0)
		return HALIBUT_ENOMEM;
	raise_descriptor_limit();
	if ((m->base = event_base_new()) == NULL)
		return HALIBUT_ENOMEM;
	if ((rc = catch_signals(m)) != 0 || (rc = make_timers(m)) != 0 ||
	    (rc = make_switchboard(m)) != 0 ||
	    (rc = start_sockets(m, err)) != 0)
		return rc;
	return start_workers(m, err);
}

int hbt_master_start(struct hbt_master **out, struct hbt_config *cfg,
                     struct halibut_error *err)
{
	struct hbt_master *m = calloc(1, sizeof(*m));
	struct hbt_guid id = hbt_guid_new();
	int rc = HALIBUT_ENOMEM;

	*out = NULL;
	if (m == NULL) {
		hbt_config_free(&cfg);
		return hbt_error_set(err, rc, "out of memory");
	}
	m->cfg = cfg;
	hbt_guid_format(&id, m->node_id);
	m->started = time(NULL);
	m->started_ms = hbt_now_ms();
	rc = hbt_logs_open(cfg, err);
	if (rc == HALIBUT_OK)
		rc = start_all(m, err);
	if (rc != HALIBUT_OK && err->message == NULL)
		hbt_error_set(err, rc, "%s", halibut_strerror(rc));
	if (rc != HALIBUT_OK) {
		hbt_master_free(&m);
		return rc;
	}
	log_event(HBT_LOG_INFO,
	          LOG_ABOUT(.event = "started",
	                    .thumbprint = m->credentials.thumbprint),
	          "node %s, version %s, thumbprint %s, %zu trusted", cfg->node,
	          HBT_VERSION, m->credentials.thumbprint, cfg->trusted.n);
	hbt_master_look_at_certificates(m);
	*out = m;
	return HALIBUT_OK;
}

void hbt_master_look_at_certificates(struct hbt_master *m)
{
	hbt_own_certs_fini(&m->own_certs);
	if (hbt_own_certs_read(&m->own_certs, &m->credentials, m->cfg) !=
	    HALIBUT_OK)
		log_error("out of memory; the status does not show all "
		          "certificates");
	hbt_expiry_tick(&m->own_certs, hbt_now_ms(),
	                (int64_t)time(NULL) * 1000);
	hbt_key_modes_tell(m->cfg, NULL);
}

void hbt_master_run(struct hbt_master *m)
{
	event_base_dispatch(m->base);
	log_event(HBT_LOG_INFO, LOG_ABOUT(.event = "stopped"), "stopped");
}

static void free_event(struct event **e)
{
	if (*e != NULL)
		event_free(*e);
	*e = NULL;
}

void hbt_master_free(struct hbt_master **at)
{
	struct hbt_master *m = *at;

	*at = NULL;
	if (m == NULL)
		return;
	hbt_listeners_free(&m->listeners);
	hbt_control_free(&m->control);
	hbt_workers_free(&m->workers);
	hbt_status_port_free(&m->status_port);
	hbt_documents_free(&m->documents);
	hbt_kicks_free(&m->kicks);
	hbt_calls_free(&m->calls);
	hbt_hosted_free(&m->hosted);
	hbt_subscriptions_free(&m->subscriptions);
	hbt_holders_free(&m->holders);
	hbt_refused_free(&m->refused);
	hbt_rows_free(&m->rows);
	hbt_switchboard_free(&m->switchboard);
	hbt_admission_free(&m->admission);
	hbt_share_free(&m->share);
	json_decref(m->queue_state);
	for (size_t i = 0; i < N_SIGNALS; i++)
		free_event(&m->signals[i]);
	free_event(&m->second_timer);
	free_event(&m->stop_timer);
	free_event(&m->delay_timer);
	free_event(&m->drain_timer);
	if (m->base != NULL)
		event_base_free(m->base);
	hbt_own_certs_fini(&m->own_certs);
	hbt_credentials_fini(&m->credentials);
	free(m->friendly_page);
	free(m->friendly_headers);
	free(m->reload_error);
	hbt_config_free(&m->cfg);
	free(m);
}
