/* What a control client may ask for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "master/audit.h"
#include "master/config_show.h"
#include "master/logs.h"
#include "master/master.h"
#include "master/where.h"

/* What a client may have under way. More it can say, but is not heard. */
#define MAX_CALLS 256
#define MAX_DOCUMENTS 4
#define MAX_KICKS 16

/* Takes doc over. */
static void send_document(struct hbt_client *c, enum hbt_ipc_type type,
                          uint32_t id, json_t *doc)
{
	char *text = doc != NULL ? json_dumps(doc, JSON_COMPACT) : NULL;
	struct hbt_wr w;

	json_decref(doc);
	if (text == NULL) {
		hbt_client_done(c, id, false, "out of memory");
		return;
	}
	hbt_wr_init(&w, HBT_IPC_MAX_BODY);
	hbt_wr_str(&w, text, strlen(text));
	free(text);
	if (hbt_link_send(&c->link, type, id, &w, -1) != HALIBUT_OK)
		log_error("%s: cannot be sent what it asked for",
		          c->link.name);
}

static void reload(struct hbt_master *m, struct hbt_client *c, uint32_t id)
{
	struct halibut_error err = {0};
	char *restart = NULL, *said = NULL;
	int rc;

	log_info("%s: asked to read the configuration again", c->link.name);
	rc = hbt_master_reload(m, c->link.name, &restart, &err);
	if (restart != NULL &&
	    asprintf(&said,
	             "configuration reloaded; these were changed, too, and need "
	             "a restart of halibutd: %s",
	             restart) < 0)
		said = NULL;
	hbt_client_done(c, id, rc == HALIBUT_OK,
	                rc == HALIBUT_OK ? said : err.message);
	free(said);
	free(restart);
	halibut_error_clear(&err);
}

static void set_log_level(struct hbt_master *m, struct hbt_client *c,
                          struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	char *text = msg->len > 0 ? hbt_rd_strdup(&r) : NULL;
	struct halibut_error err = {0};
	int rc = HALIBUT_OK;
	char *levels;

	if (text != NULL) {
		rc = hbt_logs_set_level(text, &err);
		if (rc == HALIBUT_OK) {
			hbt_audit(LOG_ABOUT(.event = "log_level",
			                    .peer = c->link.name),
			          "%s: log level set to %s", c->link.name,
			          text);
			hbt_provision_logs(m, false);
		}
	}
	levels = hbt_logs_levels();
	hbt_client_done(c, msg->id, rc == HALIBUT_OK,
	          rc == HALIBUT_OK ? levels : err.message);
	halibut_error_clear(&err);
	free(levels);
	free(text);
}

static void follow_log(struct hbt_master *m, struct hbt_client *c, uint32_t id)
{
	bool followed = hbt_logs_are_followed();

	if (hbt_logs_follow(&c->link, id) != HALIBUT_OK)
		hbt_client_done(c, id, false,
		          "too many others follow the log already");
	else if (!followed)
		hbt_provision_logs(m, false);
}

static void send_outcome(struct hbt_client *c, uint32_t id,
                         int (*order)(struct hbt_master *m, const char *who,
                                      struct halibut_error *err),
                         struct hbt_master *m)
{
	struct halibut_error err = {0};
	int rc = order(m, c->link.name, &err);

	hbt_client_done(c, id, rc == HALIBUT_OK, err.message);
	halibut_error_clear(&err);
}

bool hbt_orders_busy(void *master, const struct hbt_client *c)
{
	const struct hbt_master *m = master;

	return hbt_calls_asked(&c->link) >= MAX_CALLS ||
	       hbt_documents_of(m->documents, c) >= MAX_DOCUMENTS ||
	       hbt_kicks_of(m->kicks, c) >= MAX_KICKS;
}

static int where(struct hbt_master *m, struct hbt_client *c,
                 struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct hbt_str text = hbt_rd_str(&r);
	const struct hbt_where_self self = {m->listeners, &m->own_certs};
	char *url;

	if (hbt_rd_finish(&r) != HALIBUT_OK)
		return HALIBUT_EPROTO;
	if ((url = strndup(text.s, text.len)) == NULL)
		return HALIBUT_ENOMEM;
	send_document(c, HBT_IPC_CONFIG_DOC, msg->id,
	              hbt_where(m->cfg, &self, url));
	free(url);
	return HALIBUT_OK;
}

int hbt_orders_message(void *master, struct hbt_client *c,
                       struct hbt_ipc_msg *msg)
{
	struct hbt_master *m = master;

	switch (msg->type) {
	case HBT_IPC_KICK:
		return hbt_kicks_order(m->kicks, m->workers, c, msg);
	case HBT_IPC_CONFIG:
		send_document(c, HBT_IPC_CONFIG_DOC, msg->id,
		              hbt_config_show(m->cfg));
		return HALIBUT_OK;
	case HBT_IPC_WHERE:
		return where(m, c, msg);
	case HBT_IPC_DOCUMENT_ASK:
		return hbt_documents_ask(m->documents, hbt_dispatch_status(m),
		                         c, msg);
	case HBT_IPC_RELOAD:
		reload(m, c, msg->id);
		return HALIBUT_OK;
	case HBT_IPC_LOG_LEVEL:
		set_log_level(m, c, msg);
		return HALIBUT_OK;
	case HBT_IPC_LOG_FOLLOW:
		follow_log(m, c, msg->id);
		return HALIBUT_OK;
	case HBT_IPC_TRUST_ADD:
		return hbt_orders_trust_add(m, c, msg);
	case HBT_IPC_TRUST_REMOVE:
		return hbt_orders_trust_remove(m, c, msg);
	case HBT_IPC_SHUTDOWN:
		hbt_client_done(c, msg->id, true, NULL);
		hbt_master_stop(m, c->link.name, STOP_IN_TIME);
		return HALIBUT_OK;
	case HBT_IPC_DRAIN:
		send_outcome(c, msg->id, hbt_master_drain, m);
		return HALIBUT_OK;
	case HBT_IPC_UNDRAIN:
		send_outcome(c, msg->id, hbt_master_undrain, m);
		return HALIBUT_OK;
	case HBT_IPC_CALL:
	case HBT_IPC_CANCEL:
		return hbt_calls_message(m->calls, &c->link, msg);
	default:
		return HALIBUT_EPROTO;
	}
}
