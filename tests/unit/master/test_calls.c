/*
 * Calls through the master, with the test as every other process: a worker
 * that brings requests, one that holds polling connections, one that dials or
 * hosts, each over a socket pair.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "master/audit.h"
#include "master/calls.h"
#include "master/subscriptions.h"
#include "text_file.h"

#define PRINT1 "8A7D5BC0F0F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1"
#define PRINT2 "0000000000F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1"
#define MAX_HEARD 32

/* The clock, as all files of this program read it: a test lets time pass. */
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

static void let_pass_ms(int64_t ms)
{
	passed_us += ms * 1000;
}

struct heard {
	uint16_t type;
	uint32_t id;
	uint8_t body[1024];
	size_t len;
	int fd;
};

struct fixture;

/* A process beside the master, and the master's end of its channel. */
struct peer {
	struct fixture *f;
	struct hbt_link link; /* the master's */
	struct hbt_ipc *ipc;  /* the process's */
	struct heard heard[MAX_HEARD];
	size_t n_heard, n_read;
	int status; /* of the last message that the master got from it */
	bool gone;
};

struct fixture {
	struct event_base *base;
	struct hbt_config *cfg;
	struct hbt_switchboard *switchboard;
	struct hbt_refused *refused;
	struct hbt_holders *holders;
	struct hbt_subscriptions *subscriptions;
	struct hbt_calls *calls;
	struct peer caller, poller, carrier; /* carrier: dials and hosts */
	bool carrier_runs;
	char *dialled;
};

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

/* Until nothing happens any more; all of it is in this process. */
static void settle(struct fixture *f)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
}

static void connect_peer(struct fixture *f, struct peer *p, const char *name,
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

static struct heard *next(struct peer *p, uint16_t type)
{
	settle(p->f);
	if (p->n_read == p->n_heard)
		fail_msg("message %u did not come", type);
	assert_int_equal(p->heard[p->n_read].type, type);
	return &p->heard[p->n_read++];
}

static void assert_quiet(struct peer *p)
{
	settle(p->f);
	assert_int_equal(p->n_read, p->n_heard);
}

static void tell(struct peer *p, uint16_t type, uint32_t id, struct hbt_wr *w,
                 int fd)
{
	assert_int_equal(w->status, HALIBUT_OK);
	assert_int_equal(
		hbt_ipc_send(p->ipc, type, id, w->buf.data, w->buf.len, fd),
		HALIBUT_OK);
	hbt_wr_fini(w);
	settle(p->f);
}

static void say(struct peer *p, uint16_t type, uint32_t id)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 16);
	tell(p, type, id, &w, -1);
}

static void die(struct peer *p)
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

static void put_message(struct hbt_wr *w, enum hbt_message_kind kind,
                        size_t streams)
{
	struct hbt_message *m = message(kind, streams);

	hbt_parcel_put(w, m);
	hbt_message_unref(&m);
}

static void ask_how(struct peer *p, uint32_t id, uint8_t how,
                    const char *destination, uint8_t origin, size_t streams,
                    int fd)
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

static void ask_as(struct peer *p, uint32_t id, const char *destination,
                   uint8_t origin, size_t streams, int fd)
{
	ask_how(p, id, HBT_CALL_ROUTE, destination, origin, streams, fd);
}

static void ask(struct peer *p, uint32_t id, const char *destination)
{
	ask_as(p, id, destination, HBT_ORIGIN_CLIENT, 0, -1);
}

static void answer(struct peer *p, uint32_t id)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 4096);
	put_message(&w, HBT_MESSAGE_RESPONSE, 0);
	tell(p, HBT_IPC_ANSWER, id, &w, -1);
}

static void subscribe(struct peer *p, uint32_t id, const char *uri)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 4096);
	hbt_wr_str(&w, uri, strlen(uri));
	hbt_wr_str(&w, PRINT1, strlen(PRINT1));
	hbt_wr_str(&w, "192.0.2.2:6", 11);
	hbt_wr_u32(&w, 0);
	tell(p, HBT_IPC_SUBSCRIBE, id, &w, -1);
}

static bool admitted(struct peer *p, uint32_t id)
{
	struct heard *h = next(p, HBT_IPC_SUBSCRIBED);

	assert_int_equal(h->id, id);
	assert_true(h->len > 1); /* and why not */
	return h->body[0] == 1;
}

static void offer(struct peer *p, uint32_t id, const char *uri)
{
	subscribe(p, id, uri);
	assert_true(admitted(p, id));
	say(p, HBT_IPC_OFFER, id);
}

/* A call that came to a polling connection; its id. */
static uint32_t delivered(struct peer *p, uint32_t connection)
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

static void assert_failed(struct peer *p, uint32_t id,
                          enum halibut_status status,
                          enum halibut_connection_state state,
                          const char *words)
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

/* Set-up */

static void drop_line(void *arg, enum hbt_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

static int setup(void **state)
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

static int teardown(void **state)
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

/* The tests */

static void a_request_reaches_a_poller_and_its_answer_the_caller(void **state)
{
	struct fixture *f = *state;
	struct heard *h;

	offer(&f->poller, 70, "poll://abc/");
	ask(&f->caller, 5, "poll://abc/");
	answer(&f->poller, delivered(&f->poller, 70));
	h = next(&f->caller, HBT_IPC_ANSWER);
	assert_int_equal(h->id, 5);
	assert_int_equal(hbt_calls_counts(f->calls)->answered, 1);
	assert_quiet(&f->caller);
	assert_quiet(&f->poller);
}

static void a_request_waits_for_a_poller(void **state)
{
	struct fixture *f = *state;

	ask(&f->caller, 5, "poll://abc/");
	assert_int_equal(hbt_calls_counts(f->calls)->waiting, 1);
	assert_int_equal(hbt_calls_counts(f->calls)->waiting_bytes, 8);
	offer(&f->poller, 70, "poll://abc/");
	assert_int_equal(hbt_calls_counts(f->calls)->waiting, 0);
	answer(&f->poller, delivered(&f->poller, 70));
	next(&f->caller, HBT_IPC_ANSWER);
}

static void a_second_answer_is_ignored(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	offer(&f->poller, 70, "poll://abc/");
	ask(&f->caller, 5, "poll://abc/");
	id = delivered(&f->poller, 70);
	answer(&f->poller, id);
	answer(&f->poller, id);
	assert_int_equal(f->poller.status, HALIBUT_OK);
	next(&f->caller, HBT_IPC_ANSWER);
	assert_quiet(&f->caller);
}

static void answers_to_ids_that_nobody_gave_are_ignored(void **state)
{
	struct fixture *f = *state;

	answer(&f->poller, 4711);
	say(&f->poller, HBT_IPC_FAIL, 4712);
	say(&f->poller, HBT_IPC_RETURN, 4713);
	say(&f->poller, HBT_IPC_CANCEL, 4714);
	say(&f->poller, HBT_IPC_OFFER, 4715);
	assert_int_equal(f->poller.status, HALIBUT_OK);
	assert_quiet(&f->poller);
}

static void a_worker_that_dies_fails_what_it_carried(void **state)
{
	struct fixture *f = *state;

	offer(&f->poller, 70, "poll://abc/");
	ask(&f->caller, 5, "poll://abc/");
	delivered(&f->poller, 70);
	die(&f->poller);
	assert_failed(&f->caller, 5, HALIBUT_EWORKER,
	              HALIBUT_CONNECTION_UNKNOWN, "worker 1 (pid 11)");
	assert_quiet(&f->caller);
}

static void what_a_dead_worker_had_not_taken_stays_queued(void **state)
{
	struct fixture *f = *state;

	offer(&f->poller, 70, "poll://abc/");
	ask(&f->caller, 5, "poll://abc/");
	delivered(&f->poller, 70);
	ask(&f->caller, 6, "poll://abc/");
	die(&f->poller);
	assert_failed(&f->caller, 5, HALIBUT_EWORKER,
	              HALIBUT_CONNECTION_UNKNOWN, "may have executed");
	assert_quiet(&f->caller);
	offer(&f->carrier, 1, "poll://abc/");
	answer(&f->carrier, delivered(&f->carrier, 1));
	assert_int_equal(next(&f->caller, HBT_IPC_ANSWER)->id, 6);
}

static void an_idle_connection_of_a_dead_worker_gets_nothing(void **state)
{
	struct fixture *f = *state;

	offer(&f->poller, 70, "poll://abc/");
	die(&f->poller);
	ask(&f->caller, 5, "poll://abc/");
	assert_int_equal(hbt_calls_counts(f->calls)->waiting, 1);
}

static void requests_of_a_dead_caller_are_withdrawn(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	offer(&f->poller, 70, "poll://abc/");
	ask(&f->caller, 5, "poll://abc/");
	ask(&f->caller, 6, "poll://abc/");
	ask(&f->caller, 7, "https://inner:10933/");
	id = delivered(&f->poller, 70);
	next(&f->carrier, HBT_IPC_CALL);
	die(&f->caller);
	assert_int_equal(hbt_calls_counts(f->calls)->waiting, 0);
	assert_int_equal(next(&f->poller, HBT_IPC_CANCEL)->id, id);
	next(&f->carrier, HBT_IPC_CANCEL);
	assert_quiet(&f->poller);
}

static void a_worker_may_die_with_both_ends_of_a_call(void **state)
{
	struct fixture *f = *state;

	offer(&f->caller, 70, "poll://abc/");
	ask(&f->caller, 5, "poll://abc/");
	delivered(&f->caller, 70);
	die(&f->caller);
	assert_int_equal(hbt_calls_counts(f->calls)->in_flight, 0);
}

static void a_waiting_request_can_be_cancelled(void **state)
{
	struct fixture *f = *state;

	ask(&f->caller, 5, "poll://abc/");
	say(&f->caller, HBT_IPC_CANCEL, 5);
	assert_failed(&f->caller, 5, HALIBUT_ECONNECTING_CANCELLED,
	              HALIBUT_CONNECTION_CONNECTING, "cancelled");
	say(&f->caller, HBT_IPC_CANCEL, 5);
	assert_quiet(&f->caller);
}

static void a_taken_request_can_be_cancelled(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	offer(&f->poller, 70, "poll://abc/");
	ask(&f->caller, 5, "poll://abc/");
	id = delivered(&f->poller, 70);
	say(&f->caller, HBT_IPC_CANCEL, 5);
	assert_failed(&f->caller, 5, HALIBUT_ETRANSFERRING_CANCELLED,
	              HALIBUT_CONNECTION_UNKNOWN, "cancelled");
	assert_int_equal(next(&f->poller, HBT_IPC_CANCEL)->id, id);
	/* The worker's own end of it is old news. */
	answer(&f->poller, id);
	assert_quiet(&f->caller);
}

static void a_dialled_request_is_cancelled_by_its_carrier(void **state)
{
	struct fixture *f = *state;
	struct halibut_error err = {0};
	struct hbt_wr w;
	uint32_t id;

	ask(&f->caller, 5, "https://inner:10933/");
	id = next(&f->carrier, HBT_IPC_CALL)->id;
	say(&f->caller, HBT_IPC_CANCEL, 5);
	assert_int_equal(next(&f->carrier, HBT_IPC_CANCEL)->id, id);
	assert_quiet(&f->caller);
	hbt_error_set(&err, HALIBUT_ECONNECTING_CANCELLED, "not begun");
	err.connection_state = HALIBUT_CONNECTION_CONNECTING;
	hbt_wr_init(&w, 4096);
	hbt_ipc_error_put(&w, &err);
	tell(&f->carrier, HBT_IPC_FAIL, id, &w, -1);
	assert_failed(&f->caller, 5, HALIBUT_ECONNECTING_CANCELLED,
	              HALIBUT_CONNECTION_CONNECTING, "not begun");
	halibut_error_clear(&err);
}

static void a_returned_request_goes_to_the_next_connection(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	offer(&f->poller, 70, "poll://abc/");
	ask(&f->caller, 5, "poll://abc/");
	ask(&f->caller, 6, "poll://abc/");
	id = delivered(&f->poller, 70);
	say(&f->poller, HBT_IPC_UNSUBSCRIBE, 70);
	say(&f->poller, HBT_IPC_RETURN, id);
	assert_int_equal(hbt_calls_counts(f->calls)->waiting, 2);
	offer(&f->carrier, 1, "poll://abc/");
	answer(&f->carrier, delivered(&f->carrier, 1));
	assert_int_equal(next(&f->caller, HBT_IPC_ANSWER)->id, 5);
}

static void a_connection_that_ends_mid_call_still_says_how(void **state)
{
	struct fixture *f = *state;
	struct halibut_error err = {0};
	struct hbt_wr w;
	uint32_t id;

	offer(&f->poller, 70, "poll://abc/");
	ask(&f->caller, 5, "poll://abc/");
	id = delivered(&f->poller, 70);
	say(&f->poller, HBT_IPC_UNSUBSCRIBE, 70);
	assert_quiet(&f->caller);
	hbt_error_set(&err, HALIBUT_ECLOSED, "it hung up");
	hbt_wr_init(&w, 4096);
	hbt_ipc_error_put(&w, &err);
	tell(&f->poller, HBT_IPC_FAIL, id, &w, -1);
	assert_failed(&f->caller, 5, HALIBUT_ECLOSED,
	              HALIBUT_CONNECTION_UNKNOWN, "it hung up");
	halibut_error_clear(&err);
}

static void a_hosted_request_goes_to_the_service_worker(void **state)
{
	struct fixture *f = *state;
	struct heard *h;

	ask(&f->caller, 5, "https://me:10943/");
	h = next(&f->carrier, HBT_IPC_CALL);
	assert_int_equal(h->body[0], HBT_CALL_SERVE);
	answer(&f->carrier, h->id);
	assert_int_equal(next(&f->caller, HBT_IPC_ANSWER)->id, 5);
}

static void a_routed_request_is_dialled_as_its_endpoint_says(void **state)
{
	struct hbt_endpoint_fields e = {0};
	struct fixture *f = *state;
	struct heard *h;
	struct hbt_rd r;

	ask(&f->caller, 5, "https://inner:10933");
	h = next(&f->carrier, HBT_IPC_CALL);
	r = hbt_rd_from(h->body, h->len);
	assert_int_equal(hbt_rd_u8(&r), HBT_CALL_DIAL);
	hbt_endpoint_fields_get(&r, &e);
	assert_string_equal(e.url, "https://inner:10933/");
	assert_string_equal(e.thumbprint, PRINT1);
	assert_string_equal(f->dialled, e.url);
	hbt_endpoint_fields_fini(&e);
	die(&f->carrier);
	assert_failed(&f->caller, 5, HALIBUT_EWORKER,
	              HALIBUT_CONNECTION_UNKNOWN, "worker 2 (pid 12)");
}

/* NULL: it goes to no queue. */
static void assert_routed(struct peer *p, uint32_t id, const char *key)
{
	struct heard *h = next(p, HBT_IPC_ROUTED);
	struct hbt_rd r = hbt_rd_from(h->body, h->len);
	char *told = hbt_rd_strdup(&r);

	assert_int_equal(h->id, id);
	if (key == NULL)
		assert_null(told);
	else
		assert_string_equal(told, key);
	free(told);
}

static void whoever_wants_to_know_hears_whose_queue_a_request_goes_to(
	void **state)
{
	const uint8_t tell_me = HBT_CALL_ROUTE_AND_TELL;
	struct fixture *f = *state;
	struct peer control = {.link.kind = HBT_PEER_CONTROL};

	ask_how(&f->caller, 5, tell_me, "POLL://ABC", HBT_ORIGIN_CLIENT, 0, -1);
	assert_routed(&f->caller, 5, "poll://abc/");
	assert_int_equal(f->caller.n_heard, 1); /* it waits */
	ask_how(&f->caller, 6, tell_me, "https://inner:10933",
	        HBT_ORIGIN_CLIENT, 0, -1);
	assert_routed(&f->caller, 6, NULL);
	ask_how(&f->caller, 7, tell_me, "nowhere", HBT_ORIGIN_CLIENT, 0, -1);
	assert_failed(&f->caller, 7, HALIBUT_ENO_ROUTE,
	              HALIBUT_CONNECTION_CONNECTING, "no URI");
	ask(&f->caller, 8, "poll://abc/");
	assert_quiet(&f->caller);
	connect_peer(f, &control, "control", HBT_PEER_CONTROL);
	ask_how(&control, 9, tell_me, "poll://abc/", HBT_ORIGIN_CONTROL, 0, -1);
	assert_int_equal(control.status, HALIBUT_EPROTO);
	die(&control);
}

static void without_a_worker_a_request_fails_as_not_executed(void **state)
{
	struct fixture *f = *state;

	f->carrier_runs = false;
	ask(&f->caller, 5, "https://me:10943/");
	assert_failed(&f->caller, 5, HALIBUT_EWORKER,
	              HALIBUT_CONNECTION_CONNECTING, "not executed");
	ask(&f->caller, 6, "https://inner:10933/");
	assert_failed(&f->caller, 6, HALIBUT_EWORKER,
	              HALIBUT_CONNECTION_CONNECTING, "not sent");
}

static void too_many_waiting_requests_fail_at_once(void **state)
{
	struct fixture *f = *state;

	ask(&f->caller, 1, "poll://abc/");
	ask(&f->caller, 2, "poll://abc/");
	ask(&f->caller, 3, "poll://abc/");
	assert_failed(&f->caller, 3, HALIBUT_ELIMIT,
	              HALIBUT_CONNECTION_CONNECTING,
	              "max_waiting_requests_per_endpoint");
	ask(&f->caller, 4, "poll://def/");
	ask(&f->caller, 5, "poll://ghi/");
	assert_failed(&f->caller, 5, HALIBUT_ELIMIT,
	              HALIBUT_CONNECTION_CONNECTING, "max_waiting_requests");
	assert_quiet(&f->caller);
}

static void connections_of_all_workers_count_for_the_limit(void **state)
{
	struct fixture *f = *state;

	offer(&f->poller, 70, "poll://abc/");
	offer(&f->carrier, 70, "poll://ABC");
	subscribe(&f->poller, 71, "poll://abc/");
	assert_false(admitted(&f->poller, 71));
	offer(&f->poller, 72, "poll://def/");
	say(&f->carrier, HBT_IPC_UNSUBSCRIBE, 70);
	subscribe(&f->poller, 73, "poll://abc/");
	assert_true(admitted(&f->poller, 73));
	die(&f->poller);
	subscribe(&f->carrier, 74, "poll://abc/");
	assert_true(admitted(&f->carrier, 74));
}

static void only_poll_uris_can_be_subscribed_to(void **state)
{
	struct fixture *f = *state;

	subscribe(&f->poller, 70, "https://abc/");
	assert_false(admitted(&f->poller, 70));
	subscribe(&f->poller, 71, "nonsense");
	assert_false(admitted(&f->poller, 71));
}

static void what_breaks_the_protocol_is_reported(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	ask(&f->caller, 5, "poll://abc/");
	ask(&f->caller, 5, "poll://abc/");
	assert_int_equal(f->caller.status, HALIBUT_EPROTO);
	ask_as(&f->poller, 6, "poll://abc/", HBT_ORIGIN_CONTROL, 0, -1);
	assert_int_equal(f->poller.status, HALIBUT_EPROTO);
	say(&f->poller, HBT_IPC_CALL, 7);
	assert_int_equal(f->poller.status, HALIBUT_EPROTO);
	offer(&f->poller, 70, "poll://abc/");
	id = delivered(&f->poller, 70);
	say(&f->poller, HBT_IPC_OFFER, 70);
	assert_int_equal(f->poller.status, HALIBUT_EPROTO);
	say(&f->poller, HBT_IPC_ANSWER, id);
	assert_int_equal(f->poller.status, HALIBUT_EPROTO);
	say(&f->poller, HBT_IPC_HELLO, 0);
	assert_int_equal(f->poller.status, HALIBUT_EPROTO);
	assert_quiet(&f->caller);
}

static void data_streams_travel_as_descriptors(void **state)
{
	struct fixture *f = *state;
	struct heard *h;
	struct hbt_wr w;
	int out[2], back[2];
	char text[8];

	assert_int_equal(pipe(out), 0);
	assert_int_equal(pipe(back), 0);
	assert_int_equal(write(out[1], "there", 5), 5);
	assert_int_equal(write(back[1], "back", 4), 4);
	offer(&f->poller, 70, "poll://abc/");
	ask_as(&f->caller, 5, "poll://abc/", HBT_ORIGIN_CLIENT, 1, out[0]);
	h = next(&f->poller, HBT_IPC_CALL);
	assert_int_equal(read(h->fd, text, sizeof(text)), 5);
	assert_memory_equal(text, "there", 5);
	hbt_wr_init(&w, 4096);
	put_message(&w, HBT_MESSAGE_RESPONSE, 1);
	tell(&f->poller, HBT_IPC_ANSWER, h->id, &w, back[0]);
	h = next(&f->caller, HBT_IPC_ANSWER);
	assert_int_equal(read(h->fd, text, sizeof(text)), 4);
	assert_memory_equal(text, "back", 4);
	close(out[1]);
	close(back[1]);
}

static void a_request_without_its_streams_fails(void **state)
{
	struct fixture *f = *state;

	ask_as(&f->caller, 5, "poll://abc/", HBT_ORIGIN_CLIENT, 1, -1);
	assert_failed(&f->caller, 5, HALIBUT_ELIMIT,
	              HALIBUT_CONNECTION_CONNECTING, "DataStreams");
}

/* For hbt_calls_end_unserved(). */
static bool has_connection(void *arg, const struct hbt_queue *q,
                           bool collected)
{
	const struct fixture *f = arg;

	(void)collected;
	return hbt_subscriptions_has(f->subscriptions, q);
}

static void stopping_fails_what_nobody_can_take_and_what_comes(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	offer(&f->poller, 70, "poll://abc/");
	ask(&f->caller, 5, "poll://abc/");
	ask(&f->caller, 6, "poll://abc/");
	id = delivered(&f->poller, 70);
	ask(&f->caller, 8, "poll://nobody/");
	hbt_calls_stop(f->calls);
	assert_quiet(&f->caller);
	hbt_calls_end_unserved(f->calls, has_connection, f, "We leave");
	assert_failed(&f->caller, 8, HALIBUT_ESHUTDOWN,
	              HALIBUT_CONNECTION_CONNECTING, "We leave");
	ask(&f->caller, 7, "poll://abc/");
	assert_failed(&f->caller, 7, HALIBUT_ESHUTDOWN,
	              HALIBUT_CONNECTION_CONNECTING,
	              "possibly because the node processing the request "
	              "shutdown");
	answer(&f->poller, id);
	assert_int_equal(next(&f->caller, HBT_IPC_ANSWER)->id, 5);
	/* The connection serves what waits, and then another still can. */
	say(&f->poller, HBT_IPC_OFFER, 70);
	id = delivered(&f->poller, 70);
	answer(&f->poller, id);
	assert_int_equal(next(&f->caller, HBT_IPC_ANSWER)->id, 6);
}

static void what_comes_back_while_stopping_waits_for_another_taker(
	void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	offer(&f->poller, 70, "poll://abc/");
	ask(&f->caller, 5, "poll://abc/");
	id = delivered(&f->poller, 70);
	hbt_calls_stop(f->calls);
	say(&f->poller, HBT_IPC_UNSUBSCRIBE, 70);
	say(&f->poller, HBT_IPC_RETURN, id);
	assert_quiet(&f->caller);
	hbt_calls_end_unserved(f->calls, has_connection, f, "We leave");
	assert_failed(&f->caller, 5, HALIBUT_ESHUTDOWN,
	              HALIBUT_CONNECTION_CONNECTING, "We leave");
}

static void failures_are_counted_by_class(void **state)
{
	struct fixture *f = *state;
	const struct hbt_calls_counts *n = hbt_calls_counts(f->calls);

	f->carrier_runs = false;
	ask(&f->caller, 5, "https://me:10943/");
	ask(&f->caller, 6, "nonsense");
	assert_int_equal(n->total, 2);
	assert_int_equal(n->failed[HALIBUT_EWORKER], 1);
	assert_int_equal(n->failed[HALIBUT_ENO_ROUTE], 1);
	assert_int_equal(n->in_flight, 0);
}

/* What the calls tell of themselves */

/* The only row of a table. */
static void only_row(struct fixture *f, enum hbt_table table, void *row)
{
	struct hbt_page page;
	struct hbt_rd r;
	uint64_t next = 0;

	hbt_page_init(&page, table);
	if (table == HBT_TABLE_CALLS)
		hbt_calls_fill(f->calls, 0, &page, &next);
	else
		hbt_calls_fill_past(f->calls, 0, &page, &next);
	assert_int_equal(page.n, 1);
	r = hbt_rd_from(page.rows.buf.data, page.rows.buf.len);
	hbt_row_get(&r, table, row);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	hbt_wr_fini(&page.rows);
}

static void assert_phase(struct fixture *f, const char *phase,
                         const char *carrier)
{
	struct hbt_call_row row;

	only_row(f, HBT_TABLE_CALLS, &row);
	assert_string_equal(row.phase, phase);
	if (carrier == NULL)
		assert_null(row.carrier);
	else
		assert_string_equal(row.carrier, carrier);
	hbt_row_fini(HBT_TABLE_CALLS, &row);
}

static void say_phase(struct peer *p, uint32_t id, enum hbt_call_phase phase)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 16);
	hbt_wr_u8(&w, (uint8_t)phase);
	tell(p, HBT_IPC_CALL_PHASE, id, &w, -1);
}

static void a_call_tells_who_has_it_and_how_far_it_is(void **state)
{
	struct fixture *f = *state;
	struct hbt_call_row row;
	uint32_t id;

	ask(&f->caller, 5, "poll://abc/");
	only_row(f, HBT_TABLE_CALLS, &row);
	assert_string_equal(row.asker, "192.0.2.1:5 " PRINT1);
	assert_string_equal(row.service, "IEcho");
	assert_string_equal(row.method, "Say");
	assert_int_equal(row.request_bytes, 8);
	assert_int_equal(row.number, 1);
	hbt_row_fini(HBT_TABLE_CALLS, &row);
	assert_phase(f, "waiting", NULL);
	offer(&f->poller, 70, "poll://abc/");
	id = delivered(&f->poller, 70);
	assert_phase(f, "taken", "worker 1 (pid 11)");
	only_row(f, HBT_TABLE_CALLS, &row);
	assert_int_equal(row.carrier_connection, 70);
	hbt_row_fini(HBT_TABLE_CALLS, &row);
	say_phase(&f->poller, id, HBT_PHASE_EXECUTING);
	assert_phase(f, "executing", "worker 1 (pid 11)");
	say(&f->poller, HBT_IPC_RETURN, id);
	assert_phase(f, "waiting", NULL);
}

static void a_phase_that_is_none_breaks_the_protocol(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	offer(&f->poller, 70, "poll://abc/");
	ask(&f->caller, 5, "poll://abc/");
	id = delivered(&f->poller, 70);
	say_phase(&f->poller, id, HBT_PHASES);
	assert_int_equal(f->poller.status, HALIBUT_EPROTO);
	say_phase(&f->poller, id, HBT_PHASE_WAITING);
	assert_int_equal(f->poller.status, HALIBUT_EPROTO);
	say(&f->poller, HBT_IPC_CALL_PHASE, id);
	assert_int_equal(f->poller.status, HALIBUT_EPROTO);
	say_phase(&f->poller, 4711, HBT_PHASE_SENDING);
	assert_int_equal(f->poller.status, HALIBUT_OK);
}

static void a_dialled_call_that_failed_is_remembered(void **state)
{
	struct fixture *f = *state;
	struct halibut_error err = {0};
	struct hbt_past_call_row row;
	struct hbt_wr w;
	uint32_t id;

	ask(&f->caller, 7, "https://inner:10933/");
	id = next(&f->carrier, HBT_IPC_CALL)->id;
	hbt_error_set(&err, HALIBUT_EREFUSED, "nobody listens there");
	hbt_wr_init(&w, 4096);
	hbt_ipc_error_put(&w, &err);
	tell(&f->carrier, HBT_IPC_FAIL, id, &w, -1);
	halibut_error_clear(&err);
	only_row(f, HBT_TABLE_PAST_CALLS, &row);
	assert_string_equal(row.endpoint, "https://inner:10933/");
	assert_string_equal(row.service, "IEcho");
	assert_string_equal(row.asker, "192.0.2.1:5 " PRINT1);
	assert_string_equal(row.carrier, "worker 2 (pid 12)");
	assert_string_equal(row.error, "EREFUSED");
	assert_string_equal(row.message, "nobody listens there");
	assert_false(row.slow);
	assert_true(row.ended_at >= row.started_at);
	hbt_row_fini(HBT_TABLE_PAST_CALLS, &row);
}

static void a_slow_call_is_remembered_though_it_was_answered(void **state)
{
	struct fixture *f = *state;
	const struct hbt_calls_counts *n = hbt_calls_counts(f->calls);
	struct hbt_past_call_row row;

	f->cfg->slow_call_time_ms = 20;
	ask(&f->caller, 5, "poll://abc/");
	let_pass_ms(20);
	offer(&f->poller, 70, "poll://abc/");
	answer(&f->poller, delivered(&f->poller, 70));
	only_row(f, HBT_TABLE_PAST_CALLS, &row);
	assert_true(row.slow);
	assert_null(row.error);
	assert_true(row.waiting_ms >= 20);
	assert_true(row.total_ms >= row.waiting_ms);
	hbt_row_fini(HBT_TABLE_PAST_CALLS, &row);
	assert_int_equal(n->slow, 1);
	assert_int_equal(n->time_waiting.count, 1);
	assert_true(n->time_waiting.sum_us >= 20000);
	assert_int_equal(n->time_executing.count, 1);
	assert_int_equal(n->time_total.count, 1);
}

static char audited[4096];

static void keep_line(void *arg, enum hbt_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	if (strstr(line, " called ") != NULL)
		snprintf(audited, sizeof(audited), "%s", line);
}

/* Its message is gone from the master long before it ends. */
static void a_dialled_call_is_audited(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	f->cfg->audit_calls = true;
	assert_int_equal(hbt_audit_open(f->cfg, NULL), HALIBUT_OK);
	hbt_log_set_sink(keep_line, NULL);
	ask(&f->caller, 7, "https://inner:10933/");
	id = next(&f->carrier, HBT_IPC_CALL)->id;
	answer(&f->carrier, id);
	next(&f->caller, HBT_IPC_ANSWER);
	f->cfg->audit_calls = false;
	assert_int_equal(hbt_audit_open(f->cfg, NULL), HALIBUT_OK);
	if (strstr(audited, "192.0.2.1:5 " PRINT1 " called Say of IEcho at "
	                    "https://inner:10933/: answered") == NULL)
		fail_msg("the audit log says \"%s\"", audited);
}

static void facts_of(struct fixture *f, const char *uri,
                     struct hbt_subscription_facts *facts)
{
	hbt_subscriptions_facts(f->subscriptions,
	                        hbt_switchboard_queue(f->switchboard, uri),
	                        facts);
}

static void two_machines_that_claim_one_subscription_are_seen(void **state)
{
	struct fixture *f = *state;
	struct hbt_subscription_facts facts;
	struct hbt_wr w;

	offer(&f->poller, 70, "poll://abc/");
	facts_of(f, "poll://abc/", &facts);
	assert_int_equal(facts.machines, 1);
	assert_string_equal(facts.thumbprints, PRINT1);
	hbt_wr_init(&w, 4096);
	hbt_wr_cstr(&w, "poll://abc/");
	hbt_wr_cstr(&w, PRINT2);
	hbt_wr_cstr(&w, "192.0.2.3:7");
	hbt_wr_u32(&w, 0);
	tell(&f->poller, HBT_IPC_SUBSCRIBE, 71, &w, -1);
	assert_true(admitted(&f->poller, 71));
	facts_of(f, "poll://abc/", &facts);
	assert_int_equal(facts.machines, 2);
	assert_string_equal(facts.thumbprints, PRINT1 " " PRINT2);
	say(&f->poller, HBT_IPC_UNSUBSCRIBE, 70);
	facts_of(f, "poll://abc/", &facts);
	assert_int_equal(facts.machines, 1);
	assert_string_equal(facts.thumbprints, PRINT2);
}

static void a_subscription_is_remembered_when_its_last_connection_goes(
	void **state)
{
	struct fixture *f = *state;
	struct hbt_subscription_facts facts;

	offer(&f->poller, 70, "poll://abc/");
	say(&f->poller, HBT_IPC_UNSUBSCRIBE, 70);
	hbt_subscriptions_trim(f->subscriptions);
	hbt_switchboard_trim(f->switchboard, 0);
	assert_non_null(
		hbt_switchboard_find(f->switchboard, "poll://abc/"));
	facts_of(f, "poll://abc/", &facts);
	assert_int_equal(facts.connections, 0);
	assert_int_equal(facts.machines, 0);
	assert_true(facts.last_seen_at > 0);
	facts_of(f, "poll://never/", &facts);
	assert_int_equal(facts.last_seen_at, 0);
}

static void assert_may_leave(struct peer *p, uint32_t id)
{
	assert_int_equal(next(p, HBT_IPC_MAY_LEAVE)->id, id);
}

static void the_only_connection_of_a_subscription_may_leave(void **state)
{
	struct fixture *f = *state;

	for (uint32_t id = 70; id < 73; id++) { /* and comes back each time */
		offer(&f->poller, id, "poll://abc/");
		say(&f->poller, HBT_IPC_LEAVE, id);
		assert_may_leave(&f->poller, id);
		say(&f->poller, HBT_IPC_UNSUBSCRIBE, id);
	}
	say(&f->poller, HBT_IPC_LEAVE, 4711); /* it went meanwhile */
	assert_quiet(&f->poller);
}

static void the_last_connection_stays_until_another_one_has_come(void **state)
{
	struct fixture *f = *state;

	offer(&f->poller, 70, "poll://abc/");
	offer(&f->carrier, 80, "poll://abc/");
	say(&f->poller, HBT_IPC_LEAVE, 70);
	assert_may_leave(&f->poller, 70);
	say(&f->carrier, HBT_IPC_LEAVE, 80);
	say(&f->poller, HBT_IPC_UNSUBSCRIBE, 70);
	offer(&f->poller, 71, "poll://other/");
	assert_quiet(&f->carrier);
	offer(&f->poller, 72, "poll://abc/");
	assert_may_leave(&f->carrier, 80);
	say(&f->carrier, HBT_IPC_LEAVE, 80); /* it was told already */
	assert_quiet(&f->carrier);
	/* Now that one is away. */
	say(&f->carrier, HBT_IPC_UNSUBSCRIBE, 80);
	say(&f->poller, HBT_IPC_LEAVE, 72);
	assert_quiet(&f->poller);
	let_pass_ms(HBT_RETURN_MS);
	say(&f->poller, HBT_IPC_LEAVE, 72);
	assert_may_leave(&f->poller, 72);
}

static void the_last_connection_may_break_while_it_is_to_stay(void **state)
{
	struct fixture *f = *state;

	offer(&f->poller, 70, "poll://abc/");
	offer(&f->carrier, 80, "poll://abc/");
	say(&f->poller, HBT_IPC_LEAVE, 70);
	assert_may_leave(&f->poller, 70);
	say(&f->carrier, HBT_IPC_LEAVE, 80);
	die(&f->carrier);
	offer(&f->poller, 71, "poll://abc/");
	say(&f->poller, HBT_IPC_UNSUBSCRIBE, 70);
	say(&f->poller, HBT_IPC_LEAVE, 71);
	assert_quiet(&f->poller); /* that is the last one now */
	subscribe(&f->poller, 72, "poll://abc/");
	assert_may_leave(&f->poller, 71);
	assert_true(admitted(&f->poller, 72));
}

static void requests_that_wait_since_all_are_busy_are_a_hint(void **state)
{
	struct fixture *f = *state;
	struct hbt_subscription_facts facts;

	offer(&f->poller, 70, "poll://abc/");
	ask(&f->caller, 1, "poll://abc/");
	for (uint32_t i = 2; i < 7; i++) {
		uint32_t id = delivered(&f->poller, 70);

		facts_of(f, "poll://abc/", &facts);
		assert_false(facts.wants_connections);
		ask(&f->caller, i, "poll://abc/");
		let_pass_ms(100);
		answer(&f->poller, id);
		next(&f->caller, HBT_IPC_ANSWER);
		say(&f->poller, HBT_IPC_OFFER, 70);
	}
	facts_of(f, "poll://abc/", &facts);
	assert_int_equal(facts.waited_busy, 5);
	assert_true(facts.waited_busy_at > 0);
	assert_true(facts.wants_connections);
}

static void a_refused_subscription_is_remembered_with_its_reason(void **state)
{
	struct fixture *f = *state;
	struct hbt_refused_row row;
	struct hbt_page page;
	struct hbt_rd r;
	uint64_t next = 0;

	for (uint32_t id = 1; id <= 3; id++) {
		subscribe(&f->poller, id, "poll://abc/");
		assert_int_equal(admitted(&f->poller, id), id <= 2);
	}
	hbt_page_init(&page, HBT_TABLE_REFUSED);
	hbt_refused_fill(f->refused, 0, &page, &next);
	assert_int_equal(page.n, 1);
	r = hbt_rd_from(page.rows.buf.data, page.rows.buf.len);
	hbt_row_get(&r, HBT_TABLE_REFUSED, &row);
	assert_string_equal(row.address, "192.0.2.2");
	assert_string_equal(row.thumbprint, PRINT1);
	assert_non_null(
		strstr(row.reason, "max_connections_per_subscription"));
	hbt_row_fini(HBT_TABLE_REFUSED, &row);
	hbt_wr_fini(&page.rows);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_request_reaches_a_poller_and_its_answer_the_caller),
		TEST(a_request_waits_for_a_poller),
		TEST(a_second_answer_is_ignored),
		TEST(answers_to_ids_that_nobody_gave_are_ignored),
		TEST(a_worker_that_dies_fails_what_it_carried),
		TEST(what_a_dead_worker_had_not_taken_stays_queued),
		TEST(an_idle_connection_of_a_dead_worker_gets_nothing),
		TEST(requests_of_a_dead_caller_are_withdrawn),
		TEST(a_worker_may_die_with_both_ends_of_a_call),
		TEST(a_waiting_request_can_be_cancelled),
		TEST(a_taken_request_can_be_cancelled),
		TEST(a_dialled_request_is_cancelled_by_its_carrier),
		TEST(a_returned_request_goes_to_the_next_connection),
		TEST(a_connection_that_ends_mid_call_still_says_how),
		TEST(a_hosted_request_goes_to_the_service_worker),
		TEST(a_routed_request_is_dialled_as_its_endpoint_says),
		TEST(whoever_wants_to_know_hears_whose_queue_a_request_goes_to),
		TEST(without_a_worker_a_request_fails_as_not_executed),
		TEST(too_many_waiting_requests_fail_at_once),
		TEST(connections_of_all_workers_count_for_the_limit),
		TEST(only_poll_uris_can_be_subscribed_to),
		TEST(what_breaks_the_protocol_is_reported),
		TEST(data_streams_travel_as_descriptors),
		TEST(a_request_without_its_streams_fails),
		TEST(stopping_fails_what_nobody_can_take_and_what_comes),
		TEST(what_comes_back_while_stopping_waits_for_another_taker),
		TEST(failures_are_counted_by_class),
		TEST(a_call_tells_who_has_it_and_how_far_it_is),
		TEST(a_phase_that_is_none_breaks_the_protocol),
		TEST(a_dialled_call_that_failed_is_remembered),
		TEST(a_slow_call_is_remembered_though_it_was_answered),
		TEST(a_dialled_call_is_audited),
		TEST(two_machines_that_claim_one_subscription_are_seen),
		TEST(a_subscription_is_remembered_when_its_last_connection_goes),
		TEST(the_only_connection_of_a_subscription_may_leave),
		TEST(the_last_connection_stays_until_another_one_has_come),
		TEST(the_last_connection_may_break_while_it_is_to_stay),
		TEST(requests_that_wait_since_all_are_busy_are_a_hint),
		TEST(a_refused_subscription_is_remembered_with_its_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
