/* An accepted connection until its peer is known. wire-protocol 2.3, 3, 4.2 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "exchange/private.h"

static void opened(struct hbt_exchange *ex)
{
	ex_set_state(ex, EX_PREAMBLE);
}

/* For a browser, whatever it asked for: the page, and good-bye. 3.2 */
static void friendly(struct hbt_exchange *ex)
{
	char *page;
	size_t len;

	page = hbt_friendly_page(ex->env->friendly_page,
	                         ex->env->friendly_headers, &len);
	if (page != NULL) {
		hbt_conn_write(ex->conn, page, len);
		free(page);
	}
	log_debug("%s: not a Halibut peer, got the friendly page",
	          hbt_conn_peer_address(ex->conn));
	ex_close(ex, NULL);
}

static void preamble(struct hbt_exchange *ex, const struct hbt_event *ev)
{
	const char *thumbprint = hbt_conn_peer_thumbprint(ex->conn);

	if (ev->is_empty) {
		ex_close(ex, NULL);
	} else if (!ev->is_mx) {
		friendly(ex);
	} else if (thumbprint == NULL) {
		ex_close_with(ex, HALIBUT_EUNTRUSTED,
		              "A client at %s connected, and attempted a "
		              "message exchange, but did not present a client "
		              "certificate; it was refused. A Halibut peer "
		              "always presents one: look for a proxy that ends "
		              "TLS in between",
		              hbt_conn_peer_address(ex->conn));
	} else if (!ex->ops->authorise(ex->arg, thumbprint)) {
		if (ex->state == EX_CLOSED)
			return; /* freed in there */
		ex_close_with(ex, HALIBUT_EUNTRUSTED,
		              "A client at %s connected, and attempted a "
		              "message exchange, but it presented a client "
		              "certificate with the thumbprint '%s' which is "
		              "not in the list of thumbprints that we trust. If "
		              "it should connect, trust that thumbprint",
		              hbt_conn_peer_address(ex->conn), thumbprint);
	} else if (ex->state != EX_CLOSED) {
		ex->is_known = true;
		ex_set_state(ex, EX_IDENTITY);
	}
}

static void identity(struct hbt_exchange *ex, const struct hbt_event *ev)
{
	if (ev->type == HBT_EVENT_PREAMBLE) {
		preamble(ex, ev);
		return;
	}
	switch (ev->identity) {
	case HBT_IDENTITY_CLIENT:
		ex->role = &ex_serve_client;
		ex_set_state(ex, EX_ADMISSION);
		ex->ops->identified(ex->arg, NULL);
		break;
	case HBT_IDENTITY_SUBSCRIBER:
		/* The event's text ends with the expectation. */
		if ((ex->subscription = strdup(ev->subscription)) == NULL) {
			ex_close_with(ex, HALIBUT_ENOMEM, "out of memory");
			break;
		}
		ex->role = &ex_feed_subscriber;
		ex_set_state(ex, EX_ADMISSION);
		ex->ops->identified(ex->arg, ex->subscription);
		break;
	case HBT_IDENTITY_SERVER:
		ex_write_line(ex, &hbt_line_server);
		ex_close_with(ex, HALIBUT_EPROTO,
		              "%s dialled us and identified itself as a server",
		              hbt_conn_peer_address(ex->conn));
		break;
	}
}

void hbt_exchange_admit(struct hbt_exchange *ex, const char *why_not)
{
	if (ex->state != EX_ADMISSION)
		return;
	ex_stop_timer(ex);
	if (why_not != NULL) {
		ex_close_with(ex, HALIBUT_ELIMIT, "%s was not admitted: %s",
		              hbt_conn_peer_address(ex->conn), why_not);
		return;
	}
	ex_write_line(ex, &hbt_line_server);
	if (ex->role == &ex_feed_subscriber)
		ex_feed_ready(ex);
	else
		ex_set_state(ex, EX_AWAIT_MESSAGE);
}

const struct ex_role ex_accepted = {
	.role = HBT_ROLE_ACCEPTED,
	.opened = opened,
	.identity = identity,
};
