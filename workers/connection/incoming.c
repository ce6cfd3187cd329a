/*
 * Sources: connections that bring requests in, and polling services that
 * dialled us and wait for some. Each request goes to the master as a CALL.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/log_limit.h"
#include "worker.h"

struct asked { /* hangs on the inlet that owes the answer */
	uint32_t id;
	struct worker *w;
	struct hbt_inlet *in;
	struct hbt_spool_payer *payer; /* waits for ROUTED; or NULL */
	UT_hash_handle hh;
};

/* Of whom the master speaks by number: polling services, and clients until it
 * has admitted them. */
struct subscriber {
	uint32_t id;
	struct hbt_accepted *a;
	UT_hash_handle hh;
};

static struct asked *asked_new(struct worker *w, struct hbt_inlet *in)
{
	struct asked *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->w = w;
	a->in = in;
	a->id = ++w->last_call;
	HASH_ADD(hh, w->asked, id, sizeof(a->id), a);
	if (a->hh.tbl == NULL) {
		free(a);
		return NULL;
	}
	in->call = a;
	return a;
}

static void asked_free(struct asked *a)
{
	HASH_DEL(a->w->asked, a);
	a->in->call = NULL;
	hbt_spool_payer_decide(a->payer, NULL);
	hbt_spool_payer_unref(&a->payer);
	free(a);
}

static struct asked *asked_find(struct worker *w, uint32_t id)
{
	struct asked *a;

	HASH_FIND(hh, w->asked, &id, sizeof(id), a);
	return a;
}

static int send_call(struct worker *w, struct asked *a, struct hbt_message *m,
                     int streams_fd)
{
	struct hbt_conn *conn = hbt_exchange_conn(a->in->ex);
	bool polled = hbt_exchange_role(a->in->ex) == HBT_ROLE_SERVE_POLLED;
	const char *address = hbt_conn_peer_address(conn);
	struct hbt_wr wr;
	int rc;

	hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
	hbt_wr_u8(&wr, a->payer != NULL ? HBT_CALL_ROUTE_AND_TELL
	                                : HBT_CALL_ROUTE);
	hbt_wr_cstr(&wr, m->env.destination);
	hbt_wr_cstr(&wr, hbt_conn_peer_thumbprint(conn));
	hbt_wr_str(&wr, address, strlen(address));
	hbt_wr_cstr(&wr, NULL);
	hbt_wr_u8(&wr, polled ? HBT_ORIGIN_POLLED : HBT_ORIGIN_CLIENT);
	hbt_parcel_put(&wr, m);
	rc = wr.status;
	if (rc == 0)
		rc = hbt_ipc_send(w->ipc, HBT_IPC_CALL, a->id, wr.buf.data,
		                  wr.buf.len, streams_fd);
	else if (streams_fd >= 0)
		evutil_closesocket(streams_fd);
	hbt_wr_fini(&wr);
	return rc;
}

/* The sender pays, and the subscription that only the master knows. */
static int make_sink(struct worker *w, const struct hbt_inlet *in,
                     struct hbt_sink **sink, int *fd,
                     struct hbt_spool_payer **payer)
{
	const struct hbt_conn *conn = hbt_exchange_conn(in->ex);
	int rc = HALIBUT_ENOMEM;

	*payer = hbt_spool_payer_new(w->spools, hbt_conn_peer_address(conn),
	                             hbt_conn_peer_thumbprint(conn), NULL);
	if (*payer != NULL)
		rc = hbt_pipe_sink_new(sink, w->base, &w->settings.limits,
		                       w->settings.spool_directory, *payer, fd);
	if (rc != 0)
		*sink = hbt_discard_sink();
	if (rc != 0 || !hbt_spool_payer_defer(*payer))
		hbt_spool_payer_unref(payer);
	return rc;
}

static int pass_on(struct worker *w, struct hbt_inlet *in,
                   struct hbt_message *m, struct hbt_sink **sink)
{
	struct hbt_spool_payer *payer = NULL;
	struct asked *a;
	int fd = -1;
	int rc;

	if (m->env.n_streams > 0 &&
	    (rc = make_sink(w, in, sink, &fd, &payer)) != 0)
		return rc;
	if ((a = asked_new(w, in)) == NULL) {
		hbt_spool_payer_unref(&payer); /* nobody reads the pipe */
		if (fd >= 0)
			evutil_closesocket(fd);
		return HALIBUT_ENOMEM;
	}
	a->payer = payer;
	rc = send_call(w, a, m, fd);
	if (rc != 0)
		asked_free(a);
	return rc;
}

static void on_request(void *arg, struct hbt_inlet *in, struct hbt_message *m,
                       struct hbt_sink **sink)
{
	struct worker *w = arg;
	struct halibut_error err = {0};
	int rc = pass_on(w, in, m, sink);

	if (rc != 0) {
		hbt_error_set(&err, rc,
		              "gateway %s cannot take the request: %s",
		              w->settings.node, halibut_strerror(rc));
		log_limited("request_not_taken", HBT_LOG_WARNING,
		            LOG_ABOUT(.event = "request_not_taken",
		                      .reason = err.message),
		            "request %s: %s", m->env.id, err.message);
		hbt_inlet_fail(in, &err);
		halibut_error_clear(&err);
	}
	hbt_message_unref(&m);
}

static void on_gone(void *arg, struct hbt_inlet *in)
{
	struct asked *a = in->call;

	(void)arg;
	if (a == NULL)
		return;
	worker_tell(a->w, HBT_IPC_CANCEL, a->id, NULL, -1);
	asked_free(a);
}

static const struct hbt_inlet_ops inlet_ops = {
	.request = on_request,
	.gone = on_gone,
};

void incoming_routed(struct worker *w, uint32_t id, struct hbt_rd *r)
{
	struct asked *a = asked_find(w, id);
	char *key = hbt_rd_strdup(r);

	if (a != NULL)
		hbt_spool_payer_decide(a->payer, key);
	free(key);
}

void incoming_answer(struct worker *w, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct asked *a = asked_find(w, msg->id);
	struct hbt_source *streams = NULL;
	struct hbt_message *m;
	struct hbt_inlet *in;

	if (a == NULL) /* its asker went away in the meantime */
		return;
	in = a->in;
	asked_free(a);
	m = hbt_parcel_get(&r);
	if (m != NULL && m->env.n_streams > 0)
		hbt_pipe_source_new(&streams, w->base, hbt_ipc_take_fd(msg));
	if (m == NULL || (m->env.n_streams > 0 && streams == NULL)) {
		struct halibut_error err = {0};

		hbt_error_set(&err, HALIBUT_ENOMEM,
		              "the response was lost in gateway %s: out of "
		              "memory or descriptors",
		              w->settings.node);
		hbt_inlet_fail(in, &err);
		halibut_error_clear(&err);
	} else {
		hbt_inlet_answer(in, m, streams);
	}
	hbt_message_unref(&m);
}

void incoming_fail(struct worker *w, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct asked *a = asked_find(w, msg->id);
	struct halibut_error err = {0};
	struct hbt_inlet *in;

	if (a == NULL)
		return;
	in = a->in;
	asked_free(a);
	hbt_ipc_error_get(&r, &err);
	if (hbt_rd_finish(&r) != 0)
		hbt_error_set(&err, HALIBUT_EREMOTE,
		              "the request failed in gateway %s",
		              w->settings.node);
	hbt_inlet_fail(in, &err);
	halibut_error_clear(&err);
}

/* ---- Connections that were accepted ---- */

static bool authorise(void *arg, struct hbt_accepted *a, const char *thumbprint)
{
	struct worker *w = arg;

	(void)a;
	if (!hbt_trust_set_has(w->trust, thumbprint))
		return false;
	w->stats.handshakes--;
	w->stats.clients++; /* until it says that it polls */
	return true;
}

static void refused(void *arg, const char *peer, const char *thumbprint,
                    const char *reason)
{
	struct worker *w = arg;
	struct hbt_wr wr;

	w->stats.refused++;
	hbt_wr_init(&wr, 8192);
	hbt_wr_str(&wr, peer, strlen(peer));
	hbt_wr_cstr(&wr, thumbprint);
	hbt_wr_str(&wr, reason, strlen(reason));
	if (wr.status == 0)
		hbt_ipc_send(w->ipc, HBT_IPC_REFUSED, 0, wr.buf.data,
		             wr.buf.len, -1);
	hbt_wr_fini(&wr);
}

static const char out_of_memory[] = "the gateway is out of memory";

static struct subscriber *subscriber_new(struct worker *w,
                                         struct hbt_accepted *a)
{
	struct subscriber *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->a = a;
	s->id = a->id;
	HASH_ADD(hh, w->subscribers, id, sizeof(s->id), s);
	if (s->hh.tbl == NULL) {
		free(s);
		return NULL;
	}
	a->owner_data = s;
	return s;
}

static void subscriber_free(struct worker *w, struct hbt_accepted *a)
{
	struct subscriber *s = a->owner_data;

	if (s == NULL)
		return;
	a->owner_data = NULL;
	HASH_DEL(w->subscribers, s);
	free(s);
}

/* Asks the master, who counts what its certificate has. */
static void identify_client(struct worker *w, struct hbt_accepted *a,
                            const char *peer)
{
	struct hbt_wr wr;

	hbt_wr_init(&wr, 8192);
	hbt_wr_str(&wr, a->thumbprint, strlen(a->thumbprint));
	hbt_wr_str(&wr, peer, strlen(peer));
	hbt_wr_u32(&wr, a->ticket);
	if (subscriber_new(w, a) == NULL || wr.status != 0 ||
	    hbt_ipc_send(w->ipc, HBT_IPC_IDENTIFY, a->id, wr.buf.data,
	                 wr.buf.len, -1) != 0)
		hbt_accepted_admit(a, out_of_memory);
	hbt_wr_fini(&wr);
}

static void client(void *arg, struct hbt_accepted *a)
{
	struct worker *w = arg;
	const char *peer = hbt_conn_peer_address(hbt_exchange_conn(a->ex));
	char key[HBT_LOG_KEY];

	if (w->settings.serves_clients) {
		identify_client(w, a, peer);
		return;
	}
	hbt_log_key(key, "serves no clients", peer);
	log_limited(key, HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "client_refused", .peer = peer,
	                      .thumbprint = a->thumbprint,
	                      .remedy = "serve_clients"),
	            "%s is a client, but this gateway serves none; see "
	            "serve_clients in halibutd.conf(5)",
	            peer);
	hbt_accepted_admit(a, "this gateway serves no clients");
}

static void subscriber(void *arg, struct hbt_accepted *a,
                       const char *subscription)
{
	const char *peer = hbt_conn_peer_address(hbt_exchange_conn(a->ex));
	struct worker *w = arg;
	struct hbt_wr wr;

	w->stats.clients--;
	w->stats.subscribers++;
	if (subscriber_new(w, a) == NULL) {
		hbt_accepted_admit(a, out_of_memory);
		return;
	}
	hbt_wr_init(&wr, 8192);
	hbt_wr_str(&wr, subscription, strlen(subscription));
	hbt_wr_str(&wr, a->thumbprint, strlen(a->thumbprint));
	hbt_wr_str(&wr, peer, strlen(peer));
	hbt_wr_u32(&wr, a->ticket);
	if (wr.status != 0 ||
	    hbt_ipc_send(w->ipc, HBT_IPC_SUBSCRIBE, a->id, wr.buf.data,
	                 wr.buf.len, -1) != 0)
		hbt_accepted_admit(a, out_of_memory);
	hbt_wr_fini(&wr);
}

void incoming_subscribed(struct worker *w, uint32_t id, struct hbt_rd *r)
{
	struct hbt_accepted *a = incoming_find(w, id);
	bool allowed = hbt_rd_u8(r) != 0;
	char *why = hbt_rd_strdup(r);

	if (a != NULL) {
		if (a->key == NULL) /* a client: it needs no number any more */
			subscriber_free(w, a);
		hbt_accepted_admit(a, allowed       ? NULL
		                      : why != NULL ? why
		                                    : out_of_memory);
	}
	free(why);
}

static void ready(void *arg, struct hbt_accepted *a)
{
	struct worker *w = arg;

	if (!drain_poller(w, a))
		worker_tell(w, HBT_IPC_OFFER, a->id, NULL, -1);
}

/* As it was counted by the callbacks before. */
static void uncount(struct worker *w, const struct hbt_accepted *a)
{
	w->stats.connections--;
	if (a->key != NULL)
		w->stats.subscribers--;
	else if (a->authorised)
		w->stats.clients--;
	else
		w->stats.handshakes--;
	if (!a->authorised)
		w->stats.failed_handshakes++;
}

static void closed(void *arg, struct hbt_accepted *a)
{
	struct worker *w = arg;

	LIST_REMOVE(a, link);
	uncount(w, a);
	if (a->owner_data != NULL)
		worker_tell(w, HBT_IPC_UNSUBSCRIBE, a->id, NULL, -1);
	worker_tell(w, HBT_IPC_CONN_GONE, a->ticket, NULL, -1);
	subscriber_free(w, a);
}

static const struct hbt_accepted_ops accepted_ops = {
	.authorise = authorise,
	.refused = refused,
	.client = client,
	.subscriber = subscriber,
	.ready = ready,
	.closed = closed,
};

/* What it is shown: of that section, or the usual certificate. */
static struct hbt_tls *certificate_for(struct worker *w, struct hbt_rd *r)
{
	struct hbt_str peer = hbt_rd_str(r);
	char *name = hbt_rd_strdup(r);
	struct hbt_tls *tls = name != NULL ? worker_identity(w, name) : NULL;

	(void)peer;
	free(name);
	return tls != NULL ? tls : w->tls;
}

static bool accept_one(struct worker *w, uint32_t ticket, int fd,
                       struct hbt_rd *r)
{
	struct hbt_accepted *a;

	if (fd < 0) {
		log_error("a connection was lost between master and worker: "
		          "out of descriptors. Raise the limit (ulimit -n, "
		          "LimitNOFILE=)");
		return false;
	}
	if (w->draining) {
		evutil_closesocket(fd);
		return false;
	}
	if (hbt_accepted_new(&a, &w->env, certificate_for(w, r), fd,
	                     &accepted_ops, &inlet_ops, w) != 0) {
		log_error("a connection was dropped: out of memory");
		return false;
	}
	a->id = hbt_exchange_id(a->ex);
	a->ticket = ticket;
	LIST_INSERT_HEAD(&w->accepted, a, link);
	w->stats.connections++;
	w->stats.handshakes++;
	w->stats.accepted++;
	return true;
}

void incoming_connection(struct worker *w, uint32_t ticket, int fd,
                         struct hbt_rd *r)
{
	if (!accept_one(w, ticket, fd, r))
		worker_tell(w, HBT_IPC_CONN_GONE, ticket, NULL, -1);
}

struct hbt_accepted *incoming_find(struct worker *w, uint32_t id)
{
	struct subscriber *s;

	HASH_FIND(hh, w->subscribers, &id, sizeof(id), s);
	return s == NULL ? NULL : s->a;
}

void incoming_drop_untrusted(struct worker *w)
{
	hbt_accepted_drop_untrusted(&w->accepted, w->trust);
}

/* ---- Servers that we poll ---- */

static void stop_polling(struct worker *w, struct polling *p)
{
	LIST_REMOVE(p, link);
	hbt_poller_free(&p->poller);
	hbt_buf_fini(&p->key);
	free(p);
	w->stats.polls--;
}

/* What makes two the same: everything but how many connections there are. */
static int make_key(struct hbt_buf *key, const struct hbt_poll *poll)
{
	struct hbt_poll one = *poll;
	struct hbt_wr wr;

	one.connections = 1;
	hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
	hbt_poll_put(&wr, &one);
	*key = wr.buf;
	return wr.status;
}

static bool has_key(const struct polling *p, const struct hbt_buf *key)
{
	return p->key.len == key->len &&
	       memcmp(p->key.data, key->data, key->len) == 0;
}

static int start_one(struct worker *w, const struct hbt_endpoint *e,
                     const struct hbt_poll *poll, const struct hbt_buf *key)
{
	struct polling *p = calloc(1, sizeof(*p));
	int rc = HALIBUT_ENOMEM;

	if (p == NULL)
		return rc;
	hbt_buf_init(&p->key, key->len);
	rc = hbt_buf_append(&p->key, key->data, key->len);
	if (rc == 0)
		rc = hbt_poller_new(&p->poller, &w->env, w->dns, w->tls, e,
		                    poll->subscription, &inlet_ops, w);
	if (rc != 0) {
		hbt_buf_fini(&p->key);
		free(p);
		return rc;
	}
	p->wanted = true;
	LIST_INSERT_HEAD(&w->pollings, p, link);
	w->stats.polls++;
	return 0;
}

static int start_polling(struct worker *w, struct hbt_poll *poll, uint32_t n,
                         const struct hbt_buf *key)
{
	struct halibut_error err = {0};
	struct hbt_endpoint e;
	int rc = worker_endpoint(w, &e, &poll->server, &err);

	if (rc != 0) {
		log_error("polling %s: %s", poll->server.url, err.message);
		halibut_error_clear(&err);
		return 0; /* that was said */
	}
	while (rc == 0 && n-- > 0)
		rc = start_one(w, &e, poll, key);
	hbt_endpoint_fini(&e);
	return rc;
}

/* Those that are there already go on: a request may be on its way in them. */
static void want_polling(struct worker *w, struct hbt_poll *poll)
{
	uint32_t n = poll->connections;
	struct polling *p;
	struct hbt_buf key;
	int rc = make_key(&key, poll);

	if (rc == 0)
		LIST_FOREACH (p, &w->pollings, link)
			if (n > 0 && !p->wanted && !p->retired &&
			    has_key(p, &key)) {
				p->wanted = true;
				n--;
			}
	if (rc == 0)
		rc = start_polling(w, poll, n, &key);
	if (rc != 0)
		log_error("polling %s: %s", poll->server.url,
		          halibut_strerror(rc));
	hbt_buf_fini(&key);
}

static void retire_polling(struct polling *p)
{
	p->retired = true;
	hbt_poller_retire(p->poller);
}

void incoming_polls(struct worker *w, struct hbt_rd *r)
{
	uint32_t n = hbt_rd_u32(r);
	struct polling *p;

	LIST_FOREACH (p, &w->pollings, link)
		p->wanted = false;
	while (n-- > 0 && r->status == 0) {
		struct hbt_poll poll = {0};

		hbt_poll_get(r, &poll);
		if (r->status == 0)
			want_polling(w, &poll);
		hbt_poll_fini(&poll);
	}
	if (hbt_rd_finish(r) != 0) {
		log_error("the list of servers to poll is malformed");
		return;
	}
	LIST_FOREACH (p, &w->pollings, link)
		if (!p->wanted && !p->retired)
			retire_polling(p);
	incoming_polls_end(w);
}

/* ---- All of them ---- */

size_t incoming_busy(const struct worker *w)
{
	return HASH_COUNT(w->asked) + w->env.counts.answers_leaving;
}

void incoming_polls_retire(struct worker *w)
{
	struct polling *p;

	LIST_FOREACH (p, &w->pollings, link)
		if (!p->retired)
			retire_polling(p);
}

void incoming_polls_end(struct worker *w)
{
	struct polling *p, *next;

	for (p = LIST_FIRST(&w->pollings); p != NULL; p = next) {
		next = LIST_NEXT(p, link);
		if (hbt_poller_is_over(p->poller))
			stop_polling(w, p);
	}
}

bool incoming_polls_may_bring(const struct worker *w)
{
	const struct polling *p;

	LIST_FOREACH (p, &w->pollings, link)
		if (hbt_poller_may_bring(p->poller))
			return true;
	return false;
}

size_t incoming_connections(const struct worker *w)
{
	const struct hbt_accepted *a;
	const struct polling *p;
	size_t n = 0;

	LIST_FOREACH (a, &w->accepted, link)
		n++;
	LIST_FOREACH (p, &w->pollings, link)
		n++;
	return n;
}

void incoming_free_all(struct worker *w)
{
	struct hbt_accepted *a;

	while (!LIST_EMPTY(&w->pollings))
		stop_polling(w, LIST_FIRST(&w->pollings));
	while ((a = LIST_FIRST(&w->accepted)) != NULL) {
		LIST_REMOVE(a, link);
		subscriber_free(w, a);
		hbt_accepted_free(&a);
	}
}
