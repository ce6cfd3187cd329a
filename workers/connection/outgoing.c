/*
 * Sinks: requests that the master has us carry to a polling service that
 * dialled us, or to a listening service that we dial.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/timespan.h"
#include "worker.h"

/* The master hears how far a call is that takes as long. */
#define SLOW_MS 1000

struct carried {
	uint32_t id; /* the master's */
	uint32_t connection; /* that has it; 0: it was dialled */
	enum hbt_exchange_phase told; /* to the master, or what it assumes */
	struct worker *w;
	struct hbt_pending pending;
	UT_hash_handle hh;
};

static struct carried *of_pending(struct hbt_pending *p)
{
	return (struct carried *)((char *)p - offsetof(struct carried, pending));
}

static void carried_free(struct carried *c)
{
	HASH_DEL(c->w->carried, c);
	hbt_pending_fini(&c->pending);
	free(c);
}

static void send_fail(struct worker *w, uint32_t id,
                      const struct halibut_error *err)
{
	struct hbt_wr wr;

	hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
	hbt_ipc_error_put(&wr, err);
	worker_tell(w, HBT_IPC_FAIL, id, &wr, -1);
}

static void failed(struct hbt_pending *p, const struct halibut_error *err)
{
	struct carried *c = of_pending(p);

	send_fail(c->w, c->id, err);
	carried_free(c);
}

static int send_answer(struct worker *w, uint32_t id,
                       const struct hbt_message *m, int fd)
{
	struct hbt_wr wr;

	hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
	hbt_parcel_put(&wr, m);
	return hbt_ipc_send_wr(w->ipc, HBT_IPC_ANSWER, id, &wr, fd);
}

/* Who answers pays for what waits of it. */
static int make_sink(const struct carried *c, struct hbt_sink **sink, int *fd)
{
	const struct hbt_accepted *a = incoming_find(c->w, c->connection);
	const struct hbt_conn *conn = c->pending.answerer;
	struct worker *w = c->w;
	struct hbt_spool_payer *payer;
	int rc = HALIBUT_ENOMEM;

	payer = hbt_spool_payer_new(w->spools, hbt_conn_peer_address(conn),
	                            hbt_conn_peer_thumbprint(conn),
	                            a != NULL ? a->key : NULL);
	if (payer != NULL)
		rc = hbt_pipe_sink_new(sink, w->base, &w->settings.limits,
		                       w->settings.spool_directory, payer, fd);
	hbt_spool_payer_unref(&payer);
	return rc;
}

/* The response's section still flows in: it goes on through a pipe. */
static void answered(struct hbt_pending *p, struct hbt_message *msg,
                     struct hbt_source *streams, struct hbt_sink **sink)
{
	struct carried *c = of_pending(p);
	struct worker *w = c->w;
	struct halibut_error err = {0};
	int fd = -1;
	int rc = 0;

	hbt_source_free(&streams); /* a worker's sinks have none */
	if (msg->env.n_streams > 0)
		rc = make_sink(c, sink, &fd);
	if (rc == 0)
		rc = send_answer(w, c->id, msg, fd);
	if (rc != 0) {
		hbt_error_set(&err, rc,
		              "the response was lost in gateway %s: %s",
		              w->settings.node, halibut_strerror(rc));
		send_fail(w, c->id, &err);
		halibut_error_clear(&err);
	}
	hbt_message_unref(&msg);
	carried_free(c);
}

/* A request of which nothing was sent goes back to the master's queue. */
static void put_back(struct hbt_queue *q, struct hbt_pending *p)
{
	struct carried *c = of_pending(p);
	struct hbt_source *streams = p->streams;
	struct worker *w = c->w;
	int fd;

	(void)q;
	p->streams = NULL;
	fd = streams != NULL ? hbt_pipe_source_detach(&streams) : -1;
	worker_tell(w, HBT_IPC_RETURN, c->id, NULL, fd);
	p->state = HBT_PENDING_IDLE;
	carried_free(c);
}

static void forget(struct hbt_queue *q, struct hbt_pending *p)
{
	(void)q;
	(void)p;
}

void outgoing_init(struct worker *w)
{
	static const struct hbt_queue_ops ops = {
		.put_back = put_back,
		.forget = forget,
	};

	w->to_master.ops = &ops;
	w->to_master.key = (char *)"(the master's)";
}

static struct carried *carried_new(struct worker *w, uint32_t id)
{
	struct carried *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->id = id;
	c->w = w;
	c->pending.answered = answered;
	c->pending.failed = failed;
	HASH_ADD(hh, w->carried, id, sizeof(c->id), c);
	if (c->hh.tbl == NULL) {
		free(c);
		return NULL;
	}
	return c;
}

static void to_connection(struct worker *w, struct carried *c, uint32_t id)
{
	struct hbt_accepted *a = incoming_find(w, id);
	struct hbt_taker *t;

	if (a == NULL || !a->is_ready) {
		put_back(&w->to_master, &c->pending);
		return;
	}
	c->connection = id;
	t = &a->taker;
	hbt_pending_assign(&c->pending, t);
	c->pending.queue = &w->to_master;
	t->deliver(t, &c->pending);
}

static void refuse(struct carried *c, int status, const char *message)
{
	struct halibut_error err = {0};

	hbt_error_set(&err, status, "%s", message);
	failed(&c->pending, &err);
	halibut_error_clear(&err);
}

static char *move_text(char **from)
{
	char *text = *from;

	*from = NULL;
	return text;
}

int worker_endpoint(struct worker *w, struct hbt_endpoint *e,
                    struct hbt_endpoint_fields *f, struct halibut_error *err)
{
	int rc = hbt_endpoint_init(e, f->url, f->thumbprint,
	                           &w->settings.limits, err);

	if (rc != 0)
		return rc;
	e->proxy_host = move_text(&f->proxy_host);
	e->proxy_port = f->proxy_port;
	e->proxy_user = move_text(&f->proxy_user);
	e->proxy_password = move_text(&f->proxy_password);
	e->connect_host = move_text(&f->connect_host);
	e->connect_port = f->connect_port;
	if (f->identity == NULL)
		return 0;
	if ((e->tls = worker_identity(w, f->identity)) != NULL)
		return 0;
	hbt_endpoint_fini(e);
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "%s is to be dialled as identity \"%s\", which "
	                     "this gateway does not have",
	                     f->url, f->identity);
}

static void to_service(struct worker *w, struct carried *c,
                       struct hbt_endpoint_fields *f)
{
	struct halibut_error err = {0};
	struct hbt_endpoint e;
	int rc = worker_endpoint(w, &e, f, &err);

	if (rc == 0) {
		rc = hbt_dialler_call(w->dialler, &e, &c->pending);
		hbt_endpoint_fini(&e);
	}
	if (rc != 0)
		refuse(c, rc, err.message ? err.message : "out of memory");
	halibut_error_clear(&err);
}

static void unpack_and_go(struct worker *w, struct carried *c,
                          struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct hbt_endpoint_fields f = {0};
	uint8_t how = hbt_rd_u8(&r);
	uint32_t connection = 0;

	if (how == HBT_CALL_TO_CONNECTION)
		connection = hbt_rd_u32(&r);
	else if (how == HBT_CALL_DIAL)
		hbt_endpoint_fields_get(&r, &f);
	else
		r.status = HALIBUT_EPROTO;
	c->pending.msg = hbt_parcel_get(&r);
	if (c->pending.msg != NULL && c->pending.msg->env.n_streams > 0)
		hbt_pipe_source_new(&c->pending.streams, w->base,
		                    hbt_ipc_take_fd(msg));
	if (c->pending.msg == NULL)
		refuse(c, HALIBUT_EPROTO, "the master's request is malformed");
	else if (c->pending.msg->env.n_streams > 0 &&
	         c->pending.streams == NULL)
		refuse(c, HALIBUT_ENOMEM,
		       "the DataStreams of the request were lost in the "
		       "gateway: out of memory or descriptors");
	else if (how == HBT_CALL_TO_CONNECTION)
		to_connection(w, c, connection);
	else
		to_service(w, c, &f);
	hbt_endpoint_fields_fini(&f);
}

void outgoing_call(struct worker *w, struct hbt_ipc_msg *msg)
{
	struct halibut_error err = {0};
	struct carried *c;

	if (msg->lost) {
		hbt_error_set(&err, HALIBUT_ENOMEM,
		              "the request was lost in gateway %s: out of "
		              "memory or descriptors",
		              w->settings.node);
		err.connection_state = HALIBUT_CONNECTION_CONNECTING;
		send_fail(w, msg->id, &err);
		halibut_error_clear(&err);
		return;
	}
	if ((c = carried_new(w, msg->id)) != NULL) {
		unpack_and_go(w, c, msg);
		return;
	}
	hbt_error_set(&err, HALIBUT_ENOMEM, "the gateway is out of memory");
	send_fail(w, msg->id, &err);
	halibut_error_clear(&err);
}

void outgoing_cancel(struct worker *w, uint32_t id)
{
	struct carried *c;

	HASH_FIND(hh, w->carried, &id, sizeof(id), c);
	if (c != NULL)
		hbt_pending_cancel(&c->pending); /* failed() follows inside */
}

size_t outgoing_busy(const struct worker *w)
{
	return HASH_COUNT(w->carried);
}

static enum hbt_exchange_phase phase_of(const struct carried *c)
{
	const struct hbt_accepted *a;

	if (c->connection == 0)
		return hbt_dialler_phase(&c->pending);
	a = incoming_find(c->w, c->connection);
	return a != NULL ? hbt_exchange_phase(a->ex) : HBT_EXCHANGE_BEFORE;
}

static void tell_phase(struct carried *c, enum hbt_exchange_phase phase)
{
	static const uint8_t phases[] = {
		[HBT_EXCHANGE_BEFORE] = HBT_PHASE_TAKEN,
		[HBT_EXCHANGE_SENDING] = HBT_PHASE_SENDING,
		[HBT_EXCHANGE_AWAITING] = HBT_PHASE_EXECUTING,
		[HBT_EXCHANGE_RECEIVING] = HBT_PHASE_RECEIVING,
	};
	struct hbt_wr wr;

	hbt_wr_init(&wr, 8);
	hbt_wr_u8(&wr, phases[phase]);
	if (hbt_ipc_send_wr(c->w->ipc, HBT_IPC_CALL_PHASE, c->id, &wr, -1) == 0)
		c->told = phase;
}

/* In the order in which they came, so that only slow ones are looked at. */
void outgoing_tell_phases(struct worker *w)
{
	int64_t now = hbt_now_ms();

	for (struct carried *c = w->carried; c != NULL; c = c->hh.next) {
		enum hbt_exchange_phase phase;

		if (now - c->pending.since_ms < SLOW_MS)
			break;
		if ((phase = phase_of(c)) != c->told)
			tell_phase(c, phase);
	}
}
