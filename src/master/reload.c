/*
 * Reading the configuration again, with all that it names. First everything
 * is read, checked and opened; what goes wrong in that leaves no trace. Then
 * it takes the place of the old, and nothing can fail any more.
 */
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/log.h"
#include "master/audit.h"
#include "master/logs.h"
#include "master/master.h"
#include "master/preflight.h"
#include "master/systemd.h"

static const enum hbt_peer_kind renewable[] = {
	HBT_PEER_CONNECTION_WORKER,
	HBT_PEER_SERVICE_WORKER,
	HBT_PEER_QUEUE_WORKER,
};
#define N_RENEWABLE (sizeof(renewable) / sizeof(renewable[0]))

/* What was read, before it takes the place of what there is. */
struct fresh {
	struct hbt_config *cfg;
	struct hbt_credentials credentials;
	char *page, *headers;
	struct hbt_identity identity;
	struct hbt_listen_plan *plan; /* NULL: the same addresses as before */
	unsigned renew[N_RENEWABLE];  /* how many workers; 0: the old ones do */
	bool status_differs;          /* for the status worker */
};

static void fresh_fini(struct fresh *f)
{
	hbt_listen_plan_free(&f->plan);
	hbt_credentials_fini(&f->credentials);
	hbt_config_free(&f->cfg);
	free(f->page);
	free(f->headers);
}

/* arg: where what needs a restart is listed for who asked. */
static void tell_restart(void *arg, const char *setting)
{
	struct hbt_buf *list = arg;

	if (list->len > 0)
		(void)hbt_buf_append(list, ", ", 2);
	(void)hbt_buf_append(list, setting, strlen(setting));
	log_event(HBT_LOG_WARNING,
	          LOG_ABOUT(.event = "restart_needed", .reason = setting,
	                    .remedy = "restart halibutd"),
	          "%s was changed in the configuration; restart halibutd to "
	          "apply it",
	          setting);
}

static bool is_same_list(const struct hbt_strings *a,
                         const struct hbt_strings *b)
{
	for (size_t i = 0; i < a->n && a->n == b->n; i++)
		if (strcmp(a->v[i], b->v[i]) != 0)
			return false;
	return a->n == b->n;
}

static int plan_listening(struct hbt_master *m, struct fresh *f,
                          struct halibut_error *err)
{
	if (is_same_list(&m->cfg->listen, &f->cfg->listen) ||
	    hbt_listeners_are_inherited(m->listeners))
		return HALIBUT_OK;
	return hbt_listeners_plan(m->listeners, &f->cfg->listen, &f->plan,
	                          err);
}

/* How many of that kind there should be. */
static unsigned wanted(const struct hbt_master *m, const struct fresh *f,
                       enum hbt_peer_kind kind)
{
	if (kind == HBT_PEER_CONNECTION_WORKER)
		return hbt_master_count_workers(f->cfg);
	if (kind == HBT_PEER_QUEUE_WORKER)
		return m->share != NULL;
	return f->cfg->n_programs > 0 ||
	       hbt_workers_newest(m->workers, kind) > 0;
}

static bool is_same_identity(const struct hbt_identity *a,
                             const struct hbt_identity *b)
{
	return a->change == b->change && a->uid == b->uid && a->gid == b->gid;
}

/* Which workers know, or are, something else than they would be now? */
static int plan_workers(struct hbt_master *m, struct fresh *f,
                        struct halibut_error *err)
{
	const struct hbt_told told = {
		.cfg = f->cfg,
		.credentials = &f->credentials,
		.friendly_page = f->page,
		.friendly_headers = f->headers,
		.node_id = m->node_id,
	};
	bool others = !is_same_identity(&m->identity, &f->identity);
	unsigned all = 0;

	for (size_t i = 0; i < N_RENEWABLE; i++) {
		enum hbt_peer_kind kind = renewable[i];
		unsigned n = wanted(m, f, kind);

		if (others || n != hbt_workers_newest(m->workers, kind) ||
		    hbt_provision_differs(m, &told, kind))
			f->renew[i] = n;
		all += f->renew[i];
	}
	if (all <= hbt_workers_room(m->workers))
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_ELIMIT,
	                     "the workers would have to be replaced, but too "
	                     "many from earlier reloads still finish what "
	                     "they carry; try again when they have");
}

/* Everything that can go wrong. Afterwards f has the fixed settings that the
 * gateway goes on with, and m->cfg those that were read. */
static int prepare(struct hbt_master *m, struct fresh *f,
                   struct halibut_error *err)
{
	int rc = hbt_config_load(&f->cfg, m->cfg->path, err);

	if (rc == HALIBUT_OK)
		rc = hbt_credentials_load(&f->credentials, f->cfg, err);
	if (rc == HALIBUT_OK)
		rc = hbt_master_load_texts(f->cfg, &f->page, &f->headers, err);
	if (rc == HALIBUT_OK)
		rc = hbt_identity_find(&f->identity, f->cfg, err);
	if (rc == HALIBUT_OK)
		rc = hbt_preflight(f->cfg, err);
	if (rc != HALIBUT_OK)
		return rc;
	hbt_config_swap_fixed(f->cfg, m->cfg);
	rc = plan_listening(m, f, err);
	if (rc == HALIBUT_OK)
		rc = plan_workers(m, f, err);
	if (rc == HALIBUT_OK) /* the last one, since it is in force then */
		rc = hbt_status_port_reload(m->status_port, f->cfg,
		                            f->credentials.certificate_pem,
		                            &f->status_differs, err);
	if (rc != HALIBUT_OK)
		hbt_config_swap_fixed(f->cfg, m->cfg);
	return rc;
}

/* The configuration stays where it is, for those who point to it. */
static void exchange(struct hbt_master *m, struct fresh *f)
{
	const struct hbt_config cfg = *m->cfg;
	const struct hbt_credentials credentials = m->credentials;
	char *page = m->friendly_page, *headers = m->friendly_headers;

	*m->cfg = *f->cfg;
	*f->cfg = cfg;
	m->credentials = f->credentials;
	f->credentials = credentials;
	m->friendly_page = f->page;
	f->page = page;
	m->friendly_headers = f->headers;
	f->headers = headers;
	m->identity = f->identity;
}

static void renew_workers(struct hbt_master *m, const struct fresh *f)
{
	for (size_t i = 0; i < N_RENEWABLE; i++) {
		int rc = HALIBUT_OK;

		if (f->renew[i] > 0)
			rc = hbt_workers_renew(m->workers, renewable[i],
			                       f->renew[i]);
		if (rc != HALIBUT_OK)
			log_error("workers cannot be replaced, the old ones "
			          "serve on with the old configuration: %s",
			          halibut_strerror(rc));
	}
}

/* Nothing can go wrong that would not be said and leave the old in place. */
static void commit(struct hbt_master *m, struct fresh *f,
                   struct hbt_buf *restart)
{
	hbt_config_compare(m->cfg, f->cfg, tell_restart, restart);
	exchange(m, f);
	hbt_provision_identities(m, &f->credentials);
	if (f->plan != NULL)
		hbt_listeners_adopt(m->listeners, &f->plan);
	hbt_workers_identify(m->workers, &m->identity);
	renew_workers(m, f);
	m->max_connections_a_worker = hbt_dispatch_limit();
	if (hbt_admission_configure(m->admission, m->cfg) != HALIBUT_OK)
		log_error("unlimited_sources stays as it was: out of memory");
	hbt_logs_configure(m->cfg);
	hbt_audit_configure(m->cfg);
	hbt_provision_logs(m, false);
	hbt_provision_lists(m);
	if (f->status_differs)
		hbt_provision_status(m);
	hbt_hosted_configure(m->hosted, m->cfg);
	hbt_dispatch_review(m);
}

static void remember(struct hbt_master *m, const struct halibut_error *err)
{
	free(m->reload_error);
	m->reload_error = err != NULL ? strdup(err->message) : NULL;
	m->reload_error_at = err != NULL ? time(NULL) : 0;
	m->reloads++;
	m->reloads_failed += err != NULL;
}

static void tell_failure(struct hbt_master *m, const char *who,
                         const struct halibut_error *err)
{
	log_event(HBT_LOG_ERROR,
	          LOG_ABOUT(.event = "reload_failed", .reason = err->message),
	          "the configuration stays as it was: %s", err->message);
	hbt_audit(LOG_ABOUT(.event = "reload_refused", .peer = who,
	                    .reason = err->message),
	          "%s: the configuration was not read again: %s", who,
	          err->message);
	remember(m, err);
}

static bool is_any_renewed(const struct fresh *f)
{
	for (size_t i = 0; i < N_RENEWABLE; i++)
		if (f->renew[i] > 0)
			return true;
	return false;
}

static void tell_success(struct hbt_master *m, const struct fresh *was,
                         const char *who)
{
	const char *before = was->credentials.thumbprint;

	hbt_audit(LOG_ABOUT(.event = "reload", .peer = who),
	          "%s: the configuration was read again", who);
	hbt_audit_trust(who, &was->cfg->trusted, &m->cfg->trusted);
	if (strcmp(before, m->credentials.thumbprint) != 0)
		log_event(HBT_LOG_INFO,
		          LOG_ABOUT(.event = "certificate_changed",
		                    .thumbprint = m->credentials.thumbprint),
		          "the certificate is %s now, it was %s",
		          m->credentials.thumbprint, before);
	log_event(HBT_LOG_INFO, LOG_ABOUT(.event = "reloaded"),
	          "configuration read again: %zu trusted, %zu routes, "
	          "%zu services, %zu polled servers%s",
	          m->cfg->trusted.n, m->cfg->n_routes, m->cfg->n_programs,
	          m->cfg->n_polls,
	          is_any_renewed(was) ? "; new workers take over" : "");
	hbt_master_look_at_certificates(m);
	remember(m, NULL);
}

static int reload(struct hbt_master *m, const char *who,
                  struct hbt_buf *restart, struct halibut_error *err)
{
	struct fresh f = {.cfg = NULL};
	int rc;

	if (m->state > MASTER_DRAINED)
		return hbt_error_set(err, HALIBUT_ESHUTDOWN,
		                     "the gateway is stopping");
	rc = prepare(m, &f, err);
	if (rc == HALIBUT_OK) {
		commit(m, &f, restart);
		tell_success(m, &f, who);
	} else {
		tell_failure(m, who, err);
	}
	fresh_fini(&f);
	return rc;
}

int hbt_master_reload(struct hbt_master *m, const char *who, char **restart,
                      struct halibut_error *err)
{
	struct hbt_buf list;
	size_t n;
	int rc;

	hbt_buf_init(&list, 4096);
	hbt_systemd_notify_reloading();
	rc = reload(m, who, &list, err);
	hbt_systemd_notify(rc == HALIBUT_OK
	                           ? "READY=1\nSTATUS=serving"
	                           : "READY=1\nSTATUS=serving; the last reload "
	                             "failed, see the log");
	if (restart != NULL && list.len > 0 &&
	    hbt_buf_append(&list, "", 1) == HALIBUT_OK)
		*restart = (char *)hbt_buf_detach(&list, &n);
	hbt_buf_fini(&list);
	return rc;
}
