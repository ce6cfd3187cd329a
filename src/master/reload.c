/* Reading the configuration again: trust, routes, services, queues and
 * polls. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/log.h"
#include "master/audit.h"
#include "master/logs.h"
#include "master/master.h"
#include "master/systemd.h"

#define MAX_PAGE ((size_t)1024 * 1024)

static int load_page(const char *path, char **text, struct halibut_error *err)
{
	FILE *f = fopen(path, "re");
	struct hbt_buf buf;
	char piece[4096];
	size_t n;
	int rc = HALIBUT_OK;

	if (f == NULL)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "friendly_page %s cannot be read: %s",
		                     path, strerror(errno));
	hbt_buf_init(&buf, MAX_PAGE);
	while (rc == HALIBUT_OK && (n = fread(piece, 1, sizeof(piece), f)) > 0)
		rc = hbt_buf_append(&buf, piece, n);
	if (rc == HALIBUT_OK)
		rc = hbt_buf_append(&buf, "", 1);
	if (rc == HALIBUT_OK && ferror(f))
		rc = HALIBUT_ESYSTEM;
	if (rc == HALIBUT_OK)
		*text = (char *)hbt_buf_detach(&buf, &n);
	else
		hbt_error_set(err, rc, "friendly_page %s: %s", path,
		              rc == HALIBUT_ELIMIT ? "larger than 1 MiB"
		                                   : halibut_strerror(rc));
	hbt_buf_fini(&buf);
	fclose(f);
	return rc;
}

static char *join_lines(const struct hbt_strings *list)
{
	size_t len = 1;
	char *text, *p;

	for (size_t i = 0; i < list->n; i++)
		len += strlen(list->v[i]) + 1;
	text = p = malloc(len);
	if (text == NULL)
		return NULL;
	*p = '\0';
	for (size_t i = 0; i < list->n; i++) {
		p = stpcpy(p, list->v[i]);
		if (i + 1 < list->n)
			p = stpcpy(p, "\n");
	}
	return text;
}

int hbt_master_load_texts(struct hbt_master *m, const struct hbt_config *cfg,
                          struct halibut_error *err)
{
	int rc = HALIBUT_OK;

	if (cfg->friendly_page != NULL)
		rc = load_page(cfg->friendly_page, &m->friendly_page, err);
	if (rc == HALIBUT_OK && cfg->friendly_headers.n > 0 &&
	    (m->friendly_headers = join_lines(&cfg->friendly_headers)) == NULL)
		rc = hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	return rc;
}

static void tell_restart(void *arg, const char *setting)
{
	(void)arg;
	log_event(HBT_LOG_WARNING,
	          LOG_ABOUT(.event = "restart_needed", .reason = setting,
	                    .remedy = "restart halibutd"),
	          "%s was changed in the configuration; restart halibutd to "
	          "apply it",
	          setting);
}

/* The new lists in the old configuration, whose other settings stay. */
static void swap_lists(struct hbt_config *to, struct hbt_config *from)
{
	const struct hbt_config was = *to;

	memcpy(to->sha256, from->sha256, sizeof(to->sha256));
	to->read_at = from->read_at;
	to->trust = from->trust;
	to->trust_file = from->trust_file;
	to->trust_added_file = from->trust_added_file;
	to->trusted = from->trusted;
	to->routes = from->routes;
	to->n_routes = from->n_routes;
	to->programs = from->programs;
	to->n_programs = from->n_programs;
	to->polls = from->polls;
	to->n_polls = from->n_polls;
	to->queues = from->queues;
	to->n_queues = from->n_queues;
	to->log_level = from->log_level;
	to->log_levels = from->log_levels;
	from->log_levels = was.log_levels;
	from->trust = was.trust;
	from->trust_file = was.trust_file;
	from->trust_added_file = was.trust_added_file;
	from->trusted = was.trusted;
	from->routes = was.routes;
	from->n_routes = was.n_routes;
	from->programs = was.programs;
	from->n_programs = was.n_programs;
	from->polls = was.polls;
	from->n_polls = was.n_polls;
	from->queues = was.queues;
	from->n_queues = was.n_queues;
}

static void remember(struct hbt_master *m, const struct halibut_error *err)
{
	free(m->reload_error);
	m->reload_error = err != NULL ? strdup(err->message) : NULL;
	m->reload_error_at = err != NULL ? time(NULL) : 0;
	m->reloads++;
	m->reloads_failed += err != NULL;
}

static int reload(struct hbt_master *m, const char *who,
                  struct halibut_error *err)
{
	struct hbt_config *fresh;
	int rc;

	if (m->state != MASTER_RUNNING)
		return hbt_error_set(err, HALIBUT_ESHUTDOWN,
		                     "the gateway is stopping");
	rc = hbt_config_load(&fresh, m->cfg->path, err);
	if (rc != HALIBUT_OK) {
		log_event(HBT_LOG_ERROR,
		          LOG_ABOUT(.event = "reload_failed",
		                    .reason = err->message),
		          "the configuration stays as it was: %s",
		          err->message);
		hbt_audit(LOG_ABOUT(.event = "reload_refused", .peer = who,
		                    .reason = err->message),
		          "%s: the configuration was not read again: %s", who,
		          err->message);
		remember(m, err);
		return rc;
	}
	hbt_config_compare(m->cfg, fresh, tell_restart, NULL);
	hbt_audit(LOG_ABOUT(.event = "reload", .peer = who),
	          "%s: the configuration was read again", who);
	hbt_audit_trust(who, &m->cfg->trusted, &fresh->trusted);
	swap_lists(m->cfg, fresh);
	hbt_config_free(&fresh);
	if (m->cfg->n_programs > 0 &&
	    hbt_workers_left(m->workers, HBT_PEER_SERVICE_WORKER) == 0 &&
	    hbt_workers_add(m->workers, HBT_PEER_SERVICE_WORKER) != HALIBUT_OK)
		log_error("no service worker can be started");
	hbt_logs_configure(m->cfg);
	hbt_provision_logs(m, false);
	hbt_provision_lists(m);
	hbt_hosted_configure(m->hosted, m->cfg);
	remember(m, NULL);
	log_event(HBT_LOG_INFO, LOG_ABOUT(.event = "reloaded"),
	          "configuration read again: %zu trusted, %zu routes, "
	         "%zu services, %zu polled servers",
	         m->cfg->trusted.n, m->cfg->n_routes, m->cfg->n_programs,
	         m->cfg->n_polls);
	return HALIBUT_OK;
}

int hbt_master_reload(struct hbt_master *m, const char *who,
                      struct halibut_error *err)
{
	int rc;

	hbt_systemd_notify_reloading();
	rc = reload(m, who, err);
	hbt_systemd_notify(rc == HALIBUT_OK
	                           ? "READY=1\nSTATUS=serving"
	                           : "READY=1\nSTATUS=serving; the last reload "
	                             "failed, see the log");
	return rc;
}
