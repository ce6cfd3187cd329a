/* What the master says. */
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "authorize.h"
#include "base/log.h"
#include "gather.h"
#include "http.h"
#include "ipc/log_order.h"
#include "ipc/worker.h"
#include "relay.h"

static void give_up(struct worker *w, const char *why)
{
	log_error("%s; leaving", why);
	w->exit_code = 1;
	event_base_loopbreak(w->base);
}

static void on_settings(struct worker *w, struct hbt_rd *r)
{
	if (w->ready)
		return;
	if (hbt_worker_settings(r, &w->settings, "status worker", true) !=
	    HALIBUT_OK)
		give_up(w, "the settings cannot be applied");
	else
		w->ready = true;
}

/* At the start, and when the secrets were read again. */
static void on_status_settings(struct worker *w, struct hbt_rd *r)
{
	struct hbt_status_settings fresh = {0};
	struct halibut_error err = {0};
	SSL_CTX *tls = NULL;
	int rc;

	hbt_status_settings_get(r, &fresh);
	rc = hbt_rd_finish(r);
	if (rc == HALIBUT_OK)
		rc = authorize_tls(&tls, &fresh, &err);
	if (rc != HALIBUT_OK) {
		log_error("the settings of the status cannot be applied: %s",
		          err.message != NULL ? err.message
		                              : halibut_strerror(rc));
		hbt_status_settings_fini(&fresh);
		give_up(w, "without them nobody can be let in");
	} else {
		hbt_status_settings_fini(&w->status);
		w->status = fresh;
		http_configure(w->http, &w->status, tls);
	}
	SSL_CTX_free(tls);
	halibut_error_clear(&err);
}

static void on_listen(struct worker *w, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	bool is_tcp = hbt_rd_u8(&r) != 0;
	char *address = hbt_rd_strdup(&r);
	int fd = hbt_ipc_take_fd(msg);

	if (hbt_rd_finish(&r) != HALIBUT_OK || address == NULL || fd < 0)
		log_error("a socket to listen on was lost");
	else if (http_listen(w->http, fd, is_tcp, address) != HALIBUT_OK)
		log_error("cannot listen on %s: out of memory", address);
	free(address);
}

static void on_message(void *arg, struct hbt_ipc_msg *msg)
{
	struct worker *w = arg;
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);

	if (hbt_worker_obey(w->ipc, msg))
		return;
	switch (msg->type) {
	case HBT_IPC_SETTINGS:
		on_settings(w, &r);
		break;
	case HBT_IPC_STATUS_SETTINGS:
		on_status_settings(w, &r);
		break;
	case HBT_IPC_STATUS_LISTEN:
		on_listen(w, msg);
		break;
	case HBT_IPC_DOCUMENT_ASK:
		relay_ask(w, msg);
		break;
	case HBT_IPC_ROWS:
		gather_rows(w->gather, msg);
		break;
	case HBT_IPC_STOP: /* the last to go: there is nothing left to tell */
		event_base_loopexit(w->base, NULL);
		break;
	default: /* news for other workers */
		break;
	}
}

/* Without a master there is nothing that we could tell anybody. */
static void on_closed(void *arg, const char *why)
{
	struct worker *w = arg;

	log_error("the master is gone (%s); leaving", why);
	event_base_loopbreak(w->base);
}

const struct hbt_ipc_ops worker_channel_ops = {
	.message = on_message,
	.closed = on_closed,
};

void worker_fini(struct worker *w)
{
	http_free(&w->http);
	relay_free_all(w);
	gather_free(&w->gather);
	if (w->second != NULL)
		event_free(w->second);
	hbt_log_order_forget();
	hbt_ipc_free(&w->ipc);
	hbt_settings_fini(&w->settings);
	hbt_status_settings_fini(&w->status);
	hbt_worker_end(&w->base, NULL);
}
