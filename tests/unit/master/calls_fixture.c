#include "calls_fixture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "text_file.h"

/* The clock, as all files of a program read it; linked with --wrap. */
static int64_t passed_us;

int64_t __real_hbt_now_us(void);
int64_t __wrap_hbt_now_us(void);
int64_t __wrap_hbt_now_us(void)
{
	return __real_hbt_now_us() + passed_us;
}

int64_t __wrap_hbt_now_ms(void);
int64_t __wrap_hbt_now_ms(void)
{
	return __wrap_hbt_now_us() / 1000;
}

void let_pass_ms(int64_t ms)
{
	passed_us += ms * 1000;
}

/* The master's side, as master.c has it */

static void master_hears(void *arg, struct hbt_ipc_msg *msg)
{
	struct peer *p = arg;

	switch (msg->type) {
	case HBT_IPC_SUBSCRIBE:
	case HBT_IPC_UNSUBSCRIBE:
	case HBT_IPC_OFFER:
	case HBT_IPC_WITHDRAW:
	case HBT_IPC_LEAVE:
		p->status = hbt_subscriptions_message(p->f->subscriptions,
		                                      &p->link, msg);
		break;
	default:
		p->status = hbt_calls_message(p->f->calls, &p->link, msg);
	}
}

static void lose(struct peer *p)
{
	if (p->link.ipc == NULL)
		return;
	hbt_subscriptions_link_gone(p->f->subscriptions, &p->link);
	hbt_calls_link_gone(p->f->calls, &p->link);
	hbt_ipc_free(&p->link.ipc);
	p->gone = true;
}

static void master_closed(void *arg, const char *why)
{
	(void)why;
	lose(arg);
}

static struct hbt_link *dialler(void *arg, const char *url)
{
	struct fixture *f = arg;

	free(f->dialled);
	f->dialled = strdup(url);
	return f->carrier_runs ? &f->carrier.link : NULL;
}

static struct hbt_link *host(void *arg)
{
	struct fixture *f = arg;

	return f->carrier_runs ? &f->carrier.link : NULL;
}

/* The other processes' side */

static void peer_hears(void *arg, struct hbt_ipc_msg *msg)
{
	struct peer *p = arg;
	struct heard *h = &p->heard[p->n_heard++];

	assert_true(p->n_heard < MAX_HEARD);
	assert_true(msg->len <= sizeof(h->body));
	h->type = msg->type;
	h->id = msg->id;
	h->len = msg->len;
	h->fd = hbt_ipc_take_fd(msg);
	if (msg->len > 0)
		memcpy(h->body, msg->data, msg->len);
}

static void peer_closed(void *arg, const char *why)
{
	(void)arg;
	(void)why;
}

void settle(struct fixture *f)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
}

void connect_peer(struct fixture *f, struct peer *p, const char *name,
                  enum hbt_peer_kind kind)
{
	static const struct hbt_ipc_ops near = {master_hears, master_closed};
	static const struct hbt_ipc_ops far = {peer_hears, peer_closed};
	int pair[2];

	p->f = f;
	p->link.kind = kind;
	snprintf(p->link.name, sizeof(p->link.name), "%s", name);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(hbt_ipc_new(&p->link.ipc, f->base, pair[0],
	                             HBT_IPC_MAX_BODY, &near, p),
	                 HALIBUT_OK);
	assert_int_equal(hbt_ipc_new(&p->ipc, f->base, pair[1],
	                             HBT_IPC_MAX_BODY, &far, p),
	                 HALIBUT_OK);
}

struct heard *next(struct peer *p, uint16_t type)
{
	settle(p->f);
	if (p->n_read == p->n_heard)
		fail_msg("message %u did not come", type);
	assert_int_equal(p->heard[p->n_read].type, type);
	return &p->heard[p->n_read++];
}

void assert_quiet(struct peer *p)
{
	settle(p->f);
	assert_int_equal(p->n_read, p->n_heard);
}

void tell(struct peer *p, uint16_t type, uint32_t id, struct hbt_wr *w, int fd)
{
	assert_int_equal(w->status, HALIBUT_OK);
	assert_int_equal(
		hbt_ipc_send(p->ipc, type, id, w->buf.data, w->buf.len, fd),
		HALIBUT_OK);
	hbt_wr_fini(w);
	settle(p->f);
}

void say(struct peer *p, uint16_t type, uint32_t id)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 16);
	tell(p, type, id, &w, -1);
}

void die(struct peer *p)
{
	hbt_ipc_free(&p->ipc);
	settle(p->f);
	assert_true(p->gone);
}

/* Messages */

static struct hbt_message *message(enum hbt_message_kind kind, size_t streams)
{
	struct hbt_envelope env = {
		.kind = kind,
		.id = strdup("IEcho::Say[1] / x"),
		.queue_timeout_ms = -1,
		.n_streams = streams,
	};
	struct hbt_message *m;

	if (kind == HBT_MESSAGE_REQUEST) {
		env.service = strdup("IEcho");
		env.method = strdup("Say");
	}
	if (streams > 0)
		env.streams = calloc(streams, sizeof(*env.streams));
	m = hbt_message_new(&env, (uint8_t *)strdup("12345678"), 8);
	assert_non_null(m);
	return m;
}

void put_message(struct hbt_wr *w, enum hbt_message_kind kind, size_t streams)
{
	struct hbt_message *m = message(kind, streams);

	hbt_parcel_put(w, m);
	hbt_message_unref(&m);
}

void ask_how(struct peer *p, uint32_t id, uint8_t how, const char *destination,
             uint8_t origin, size_t streams, int fd)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 4096);
	hbt_wr_u8(&w, how);
	hbt_wr_cstr(&w, destination);
	hbt_wr_cstr(&w, PRINT1);
	hbt_wr_str(&w, "192.0.2.1:5", 11);
	hbt_wr_cstr(&w, NULL);
	hbt_wr_u8(&w, origin);
	put_message(&w, HBT_MESSAGE_REQUEST, streams);
	tell(p, HBT_IPC_CALL, id, &w, fd);
}

void ask_as(struct peer *p, uint32_t id, const char *destination,
            uint8_t origin, size_t streams, int fd)
{
	ask_how(p, id, HBT_CALL_ROUTE, destination, origin, streams, fd);
}

void ask(struct peer *p, uint32_t id, const char *destination)
{
	ask_as(p, id, destination, HBT_ORIGIN_CLIENT, 0, -1);
}

void answer(struct peer *p, uint32_t id)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 4096);
	put_message(&w, HBT_MESSAGE_RESPONSE, 0);
	tell(p, HBT_IPC_ANSWER, id, &w, -1);
}

void subscribe_as(struct peer *p, uint32_t id, const char *uri,
                  const char *thumbprint, const char *address)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 4096);
	hbt_wr_cstr(&w, uri);
	hbt_wr_cstr(&w, thumbprint);
	hbt_wr_cstr(&w, address);
	hbt_wr_u32(&w, 0);
	tell(p, HBT_IPC_SUBSCRIBE, id, &w, -1);
}

void subscribe(struct peer *p, uint32_t id, const char *uri)
{
	subscribe_as(p, id, uri, PRINT1, "192.0.2.2:6");
}

bool admitted(struct peer *p, uint32_t id)
{
	struct heard *h = next(p, HBT_IPC_SUBSCRIBED);

	assert_int_equal(h->id, id);
	assert_true(h->len > 1); /* and why not */
	return h->body[0] == 1;
}

void offer(struct peer *p, uint32_t id, const char *uri)
{
	subscribe(p, id, uri);
	assert_true(admitted(p, id));
	say(p, HBT_IPC_OFFER, id);
}

uint32_t delivered(struct peer *p, uint32_t connection)
{
	struct heard *h = next(p, HBT_IPC_CALL);
	struct hbt_rd r = hbt_rd_from(h->body, h->len);
	struct hbt_message *m;

	assert_int_equal(hbt_rd_u8(&r), HBT_CALL_TO_CONNECTION);
	assert_int_equal(hbt_rd_u32(&r), connection);
	m = hbt_parcel_get(&r);
	assert_non_null(m);
	assert_string_equal(m->env.service, "IEcho");
	assert_int_equal(m->deflated_len, 8);
	hbt_message_unref(&m);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	return h->id;
}

void fail_call(struct peer *p, uint32_t id, enum halibut_status status,
               enum halibut_connection_state state, const char *words)
{
	struct halibut_error err = {0};
	struct hbt_wr w;

	hbt_error_set(&err, status, "%s", words);
	err.connection_state = state;
	hbt_wr_init(&w, 4096);
	hbt_ipc_error_put(&w, &err);
	tell(p, HBT_IPC_FAIL, id, &w, -1);
	halibut_error_clear(&err);
}

void assert_failed(struct peer *p, uint32_t id, enum halibut_status status,
                   enum halibut_connection_state state, const char *words)
{
	struct heard *h = next(p, HBT_IPC_FAIL);
	struct hbt_rd r = hbt_rd_from(h->body, h->len);
	struct halibut_error err = {0};

	hbt_ipc_error_get(&r, &err);
	assert_int_equal(h->id, id);
	assert_int_equal(err.status, status);
	assert_int_equal(err.connection_state, state);
	if (strstr(err.message, words) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err.message, words);
	halibut_error_clear(&err);
}

void read_only_row(struct hbt_page *page, void *row)
{
	struct hbt_rd r;

	assert_int_equal(page->n, 1);
	r = hbt_rd_from(page->rows.buf.data, page->rows.buf.len);
	hbt_row_get(&r, page->table, row);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	hbt_wr_fini(&page->rows);
}

/* Set-up */

static void drop_line(void *arg, enum hbt_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

int setup(void **state)
{
	static const char text[] =
		"max_waiting_requests_per_endpoint = 2\n"
		"max_waiting_requests = 3\n"
		"max_connections_per_subscription = 2\n"
		"service \"IEcho\" { command = x }\n"
		"endpoint \"https://inner:10933\" { thumbprint = " PRINT1
		" }\n";
	struct fixture *f = calloc(1, sizeof(*f));
	struct hbt_calls_env env = {.dialler = dialler, .host = host, .arg = f};

	hbt_log_set_sink(drop_line, NULL);
	if (f == NULL || config_from(text, &f->cfg, NULL) != HALIBUT_OK)
		return -1;
	f->base = env.base = event_base_new();
	f->switchboard = env.switchboard =
		hbt_switchboard_new(f->base, NULL, NULL);
	f->refused = hbt_refused_new();
	f->holders = env.holders = hbt_holders_new();
	f->subscriptions = env.subscriptions = hbt_subscriptions_new(
		f->switchboard, NULL, f->refused, f->holders);
	f->calls = hbt_calls_new(&env);
	hbt_calls_configure(f->calls, f->cfg);
	hbt_subscriptions_configure(f->subscriptions, f->cfg);
	connect_peer(f, &f->caller, "worker 0 (pid 10)",
	             HBT_PEER_CONNECTION_WORKER);
	connect_peer(f, &f->poller, "worker 1 (pid 11)",
	             HBT_PEER_CONNECTION_WORKER);
	connect_peer(f, &f->carrier, "worker 2 (pid 12)",
	             HBT_PEER_CONNECTION_WORKER);
	f->carrier_runs = true;
	*state = f;
	return 0;
}

static void close_peer(struct peer *p)
{
	lose(p);
	hbt_ipc_free(&p->ipc);
	for (size_t i = 0; i < p->n_heard; i++)
		if (p->heard[i].fd >= 0)
			close(p->heard[i].fd);
}

int teardown(void **state)
{
	struct fixture *f = *state;
	const struct hbt_calls_counts *n = hbt_calls_counts(f->calls);

	close_peer(&f->caller);
	close_peer(&f->poller);
	close_peer(&f->carrier);
	assert_int_equal(n->in_flight, 0);
	assert_int_equal(n->waiting, 0);
	assert_int_equal(n->waiting_bytes, 0);
	hbt_calls_free(&f->calls);
	hbt_subscriptions_free(&f->subscriptions);
	hbt_holders_free(&f->holders);
	hbt_refused_free(&f->refused);
	hbt_switchboard_free(&f->switchboard);
	event_base_free(f->base);
	hbt_config_free(&f->cfg);
	free(f->dialled);
	free(f);
	return 0;
}
