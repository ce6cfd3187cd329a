/* What all roles share: life, state, deadlines, and the end. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "exchange/private.h"

static const char *const state_text[EX_STATES] = {
	[EX_OPENING] = "connects",
	[EX_PREAMBLE] = "waits for the peer to open",
	[EX_IDENTITY] = "waits for the peer's identification",
	[EX_ADMISSION] = "waits to be admitted",
	[EX_READY] = "idle",
	[EX_PROBING] = "waits for PROCEED",
	[EX_SENDING] = "sends",
	[EX_AWAIT_MESSAGE] = "waits for a message",
	[EX_RECEIVING] = "receives",
	[EX_ANSWERING] = "executes",
	[EX_AWAIT_NEXT] = "waits for NEXT",
	[EX_AWAIT_PROCEED] = "waits for PROCEED",
	[EX_CLOSED] = "closed",
};

/* Which state may follow which; a hole here is a defect of ours. */
static const uint16_t may_follow[EX_STATES] = {
	[EX_OPENING] = 1 << EX_PREAMBLE | 1 << EX_IDENTITY,
	[EX_PREAMBLE] = 1 << EX_IDENTITY,
	[EX_IDENTITY] = 1 << EX_ADMISSION | 1 << EX_READY |
	                1 << EX_AWAIT_MESSAGE,
	[EX_ADMISSION] = 1 << EX_READY | 1 << EX_AWAIT_MESSAGE,
	[EX_READY] = 1 << EX_PROBING | 1 << EX_SENDING,
	[EX_PROBING] = 1 << EX_SENDING,
	[EX_SENDING] = 1 << EX_AWAIT_MESSAGE | 1 << EX_AWAIT_NEXT |
	               1 << EX_AWAIT_PROCEED,
	[EX_AWAIT_MESSAGE] = 1 << EX_RECEIVING,
	[EX_RECEIVING] = 1 << EX_ANSWERING | 1 << EX_READY |
	                 1 << EX_AWAIT_NEXT | 1 << EX_AWAIT_PROCEED,
	[EX_ANSWERING] = 1 << EX_SENDING,
	[EX_AWAIT_NEXT] = 1 << EX_READY | 1 << EX_AWAIT_MESSAGE,
	[EX_AWAIT_PROCEED] = 1 << EX_AWAIT_MESSAGE,
};

static const enum hbt_expect expectation[EX_STATES] = {
	[EX_OPENING] = HBT_EXPECT_NOTHING,
	[EX_PREAMBLE] = HBT_EXPECT_PREAMBLE,
	[EX_IDENTITY] = HBT_EXPECT_IDENTITY,
	[EX_ADMISSION] = HBT_EXPECT_NOTHING,
	[EX_READY] = HBT_EXPECT_NOTHING,
	[EX_PROBING] = HBT_EXPECT_PROCEED,
	[EX_SENDING] = HBT_EXPECT_NOTHING,
	[EX_AWAIT_MESSAGE] = HBT_EXPECT_MESSAGE,
	[EX_RECEIVING] = HBT_EXPECT_MESSAGE,
	[EX_ANSWERING] = HBT_EXPECT_NOTHING,
	[EX_AWAIT_NEXT] = HBT_EXPECT_NEXT_OR_END,
	[EX_AWAIT_PROCEED] = HBT_EXPECT_PROCEED,
	[EX_CLOSED] = HBT_EXPECT_NOTHING,
};

/* The first byte of a message may take longer than the rest: 5. */
static int64_t await_message_ms(const struct hbt_exchange *ex)
{
	const struct hbt_limits *l = ex->env->limits;

	switch (ex->role->role) {
	case HBT_ROLE_SERVE_CLIENT:
		return l->tcp_listening_next_request_idle_timeout_ms;
	case HBT_ROLE_SERVE_POLLED:
		return l->tcp_client_receive_request_timeout_for_polling_ms;
	default:
		return l->tcp_client_receive_response_timeout_ms;
	}
}

/*
 * A listening service waits for NEXT as long as for a request: the original's
 * general time-out there is an accident (runtime-behaviour 2.3).
 */
static int64_t await_next_ms(const struct hbt_exchange *ex)
{
	const struct hbt_limits *l = ex->env->limits;

	if (ex->role->role == HBT_ROLE_SERVE_CLIENT)
		return l->tcp_listening_next_request_idle_timeout_ms;
	if (l->tcp_client_heartbeat_timeout_should_actually_be_used)
		return l->tcp_client_heartbeat_receive_timeout_ms;
	return l->tcp_client_receive_timeout_ms;
}

static void set_deadlines(struct hbt_exchange *ex)
{
	const struct hbt_limits *l = ex->env->limits;
	int64_t read_ms = 0;
	const char *what = "";

	switch (ex->state) {
	case EX_PREAMBLE:
		read_ms = l->tcp_client_receive_timeout_ms;
		what = "the opening MX";
		break;
	case EX_IDENTITY:
		read_ms = l->tcp_client_receive_timeout_ms;
		what = "the identification";
		break;
	case EX_PROBING:
	case EX_AWAIT_PROCEED:
		read_ms = l->tcp_client_heartbeat_receive_timeout_ms;
		what = "PROCEED";
		break;
	case EX_AWAIT_MESSAGE:
		read_ms = await_message_ms(ex);
		what = ex->role->role == HBT_ROLE_FEED_SUBSCRIBER ||
		                       ex->role->role == HBT_ROLE_ASK_SERVICE
		               ? "the response"
		               : "the next request";
		break;
	case EX_RECEIVING:
		read_ms = l->tcp_client_receive_timeout_ms;
		what = "the rest of a message";
		break;
	case EX_AWAIT_NEXT:
		read_ms = await_next_ms(ex);
		what = "NEXT";
		break;
	default:
		break;
	}
	hbt_conn_read_timeout(ex->conn, read_ms, what);
}

void ex_set_state(struct hbt_exchange *ex, enum ex_state to)
{
	bool same_message = ex->state == EX_AWAIT_MESSAGE &&
	                    to == EX_RECEIVING;

	assert(may_follow[ex->state] & 1 << to);
	ex->state = to;
	if (!same_message)
		hbt_reader_expect(ex->reader, expectation[to]);
	set_deadlines(ex);
	hbt_conn_await_peer(ex->conn, expectation[to] != HBT_EXPECT_NOTHING);
	hbt_conn_resume(ex->conn); /* what came out of turn may be due now */
}

static void free_now(struct hbt_exchange *ex)
{
	hbt_reader_free(&ex->reader);
	free(ex->subscription);
	free(ex->url);
	free(ex->why);
	free(ex);
}

/* Frees between turns: our callers up the stack may still look at ex. */
static void retire(struct hbt_exchange *ex)
{
	ex->next_retired = ex->env->retired;
	ex->env->retired = ex;
	event_active(ex->env->reaper, EV_TIMEOUT, 0);
}

static void reap(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_exchange_env *env = arg;
	struct hbt_exchange *ex;

	(void)fd;
	(void)what;
	while ((ex = env->retired) != NULL) {
		env->retired = ex->next_retired;
		free_now(ex);
	}
}

int hbt_exchange_env_init(struct hbt_exchange_env *env,
                          struct event_base *base,
                          const struct hbt_limits *limits)
{
	memset(env, 0, sizeof(*env));
	env->base = base;
	env->limits = limits;
	env->reaper = event_new(base, -1, 0, reap, env);
	return env->reaper == NULL ? HALIBUT_ENOMEM : HALIBUT_OK;
}

void hbt_exchange_env_fini(struct hbt_exchange_env *env)
{
	reap(-1, 0, env);
	if (env->reaper != NULL)
		event_free(env->reaper);
	env->reaper = NULL;
	hbt_slots_fini(&env->all);
}

static void stop_timers(struct hbt_exchange *ex)
{
	ex_stop_timer(ex);
	if (ex->aborting != NULL)
		event_free(ex->aborting);
	ex->aborting = NULL;
}

static void release(struct hbt_exchange *ex, const struct halibut_error *why,
                    bool flush)
{
	ex->state = EX_CLOSED;
	stop_timers(ex);
	ex_send_clear(ex);
	ex_receive_clear(ex, why);
	hbt_conn_close(&ex->conn, flush);
}

void ex_close(struct hbt_exchange *ex, const struct halibut_error *err)
{
	static const struct halibut_error orderly;

	if (ex->state == EX_CLOSED)
		return;
	ex_note_end(ex, err);
	ex->state = EX_CLOSED;
	stop_timers(ex);
	ex_receive_clear(ex, err);
	ex->ops->closed(ex->arg, err == NULL ? &orderly : err);
}

void ex_close_with(struct hbt_exchange *ex, int status, const char *fmt, ...)
{
	struct halibut_error err = {0};
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	hbt_error_set(&err, status, "%s", text);
	ex_close(ex, &err);
	halibut_error_clear(&err);
}

bool ex_met_server(struct hbt_exchange *ex, const struct hbt_event *ev)
{
	if (ev->identity == HBT_IDENTITY_SERVER)
		return true;
	ex_close_with(ex, HALIBUT_EPROTO,
	              "%s did not identify itself as a server",
	              hbt_conn_peer_address(ex->conn));
	return false;
}

void ex_write_line(struct hbt_exchange *ex, const struct hbt_line *line)
{
	hbt_conn_write(ex->conn, line->bytes, line->len);
}

static void conn_opened(void *arg)
{
	struct hbt_exchange *ex = arg;

	ex->role->opened(ex);
}

static size_t conn_input(void *arg, const uint8_t *data, size_t len)
{
	return ex_receive(arg, data, len);
}

static void conn_drained(void *arg)
{
	ex_send_pump(arg);
}

static void conn_eof(void *arg)
{
	ex_receive_eof(arg);
}

static void conn_failed(void *arg, const struct halibut_error *err)
{
	struct hbt_exchange *ex = arg;

	/* A pooled or polling peer that falls silent between calls is
	 * ordinary: 5.1 L7, 5.4 Q4. */
	if (err->status == HALIBUT_ETIMEOUT && ex->state == EX_AWAIT_NEXT)
		ex_close(ex, NULL);
	else
		ex_close(ex, err);
}

static const struct hbt_conn_ops conn_ops = {
	.opened = conn_opened,
	.input = conn_input,
	.drained = conn_drained,
	.eof = conn_eof,
	.failed = conn_failed,
};

static struct hbt_exchange *exchange_new(struct hbt_exchange_env *env,
                                         const struct ex_role *role,
                                         const struct hbt_exchange_ops *ops,
                                         void *arg)
{
	struct hbt_exchange *ex = calloc(1, sizeof(*ex));

	if (ex == NULL)
		return NULL;
	ex->env = env;
	ex->role = role;
	ex->ops = ops;
	ex->arg = arg;
	if ((ex->reader = hbt_reader_new(env->limits)) == NULL) {
		free(ex);
		return NULL;
	}
	if (ex_enter(ex) != HALIBUT_OK) {
		free_now(ex);
		return NULL;
	}
	return ex;
}

static void opening_took_too_long(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_exchange *ex = arg;
	int64_t more = hbt_conn_waited_ms(ex->conn) - ex->waited_ms;
	const struct timeval tv = {more / 1000, more % 1000 * 1000};

	(void)fd;
	(void)what;
	if (more > 0) { /* that was our delay, not the peer's */
		ex->waited_ms += more;
		evtimer_add(ex->tick, &tv);
		return;
	}
	ex_close_with(ex, HALIBUT_ETIMEOUT,
	              "%s did not get through the opening within %lld ms: "
	              "this side %s",
	              hbt_conn_peer_address(ex->conn),
	              (long long)ex->env->limits->handshake_total_timeout_ms,
	              hbt_exchange_state_text(ex));
}

void ex_start_timer(struct hbt_exchange *ex, int64_t ms, event_callback_fn fn)
{
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};
	/* One list for all connections with this interval, not a heap. */
	const struct timeval *common =
		event_base_init_common_timeout(ex->env->base, &tv);

	if (ex->tick != NULL && event_get_callback(ex->tick) != fn) {
		event_free(ex->tick);
		ex->tick = NULL;
	}
	if (ex->tick == NULL)
		ex->tick = evtimer_new(ex->env->base, fn, ex);
	if (ex->tick != NULL)
		evtimer_add(ex->tick, common != NULL ? common : &tv);
}

void ex_stop_timer(struct hbt_exchange *ex)
{
	if (ex->tick != NULL)
		event_free(ex->tick);
	ex->tick = NULL;
}

int hbt_exchange_accept(struct hbt_exchange **out,
                        struct hbt_exchange_env *env, struct hbt_tls *tls,
                        int fd, const struct hbt_exchange_ops *ops, void *arg)
{
	struct hbt_exchange *ex = exchange_new(env, &ex_accepted, ops, arg);
	int rc;

	*out = NULL;
	if (ex == NULL) {
		evutil_closesocket(fd);
		return HALIBUT_ENOMEM;
	}
	rc = hbt_conn_accept(&ex->conn, env->base, tls, env->limits, fd,
	                     &conn_ops, ex);
	if (rc != 0) {
		ex_leave(ex);
		free_now(ex);
		return rc;
	}
	/* A byte now and then may not hold a place for ever. */
	ex_start_timer(ex, env->limits->handshake_total_timeout_ms,
	               opening_took_too_long);
	hbt_conn_write_timeout(ex->conn,
	                       env->limits->tcp_client_send_timeout_ms);
	*out = ex;
	return 0;
}

int hbt_exchange_dial(struct hbt_exchange **out, struct hbt_exchange_env *env,
                      struct evdns_base *dns, struct hbt_tls *tls,
                      const struct hbt_dial *dial, const char *subscription,
                      const struct hbt_exchange_ops *ops, void *arg)
{
	struct hbt_exchange *ex;
	int rc = HALIBUT_ENOMEM;

	*out = NULL;
	ex = exchange_new(env,
	                  subscription == NULL ? &ex_ask_service
	                                       : &ex_serve_polled,
	                  ops, arg);
	if (ex == NULL)
		return HALIBUT_ENOMEM;
	if (subscription != NULL &&
	    (ex->subscription = strdup(subscription)) == NULL)
		goto fail;
	if (dial->url != NULL && (ex->url = strdup(dial->url)) == NULL)
		goto fail;
	ex->is_known = true;
	rc = hbt_conn_dial(&ex->conn, env->base, dns, tls, env->limits, dial,
	                   &conn_ops, ex);
	if (rc != 0)
		goto fail;
	hbt_conn_write_timeout(ex->conn,
	                       env->limits->tcp_client_send_timeout_ms);
	*out = ex;
	return 0;
fail:
	ex_leave(ex);
	free_now(ex);
	return rc;
}

void hbt_exchange_set_owner(struct hbt_exchange *ex,
                            const struct hbt_exchange_ops *ops, void *arg)
{
	ex->ops = ops;
	ex->arg = arg;
}

static void abort_now(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ex_close_with(arg, HALIBUT_ECLOSED, "this side gave the connection up");
}

void hbt_exchange_abort(struct hbt_exchange *ex)
{
	if (ex->state == EX_CLOSED || ex->aborting != NULL)
		return;
	ex->aborting = evtimer_new(ex->env->base, abort_now, ex);
	if (ex->aborting != NULL)
		event_active(ex->aborting, EV_TIMEOUT, 0);
}

/* Not before the last response has left: the process may end next. */
static void end_now(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval a_moment = {0, 10000};
	struct hbt_exchange *ex = arg;

	(void)fd;
	(void)what;
	if (hbt_conn_unsent(ex->conn) > 0)
		evtimer_add(ex->aborting, &a_moment);
	else
		ex_close(ex, NULL);
}

void ex_end_soon(struct hbt_exchange *ex)
{
	if (ex->state == EX_CLOSED || ex->aborting != NULL)
		return;
	ex->aborting = evtimer_new(ex->env->base, end_now, ex);
	if (ex->aborting != NULL)
		event_active(ex->aborting, EV_TIMEOUT, 0);
}

void hbt_exchange_retire(struct hbt_exchange *ex)
{
	enum hbt_role role = ex->role->role;

	ex->retiring = true;
	if ((role == HBT_ROLE_SERVE_CLIENT && ex->state == EX_AWAIT_NEXT) ||
	    (role == HBT_ROLE_SERVE_POLLED && ex->state == EX_OPENING))
		ex_end_soon(ex);
}

static void let_go(struct hbt_exchange **exp, bool orderly)
{
	struct hbt_exchange *ex = *exp;

	*exp = NULL;
	ex_leave(ex);
	release(ex, NULL, orderly);
	retire(ex);
}

bool ex_is_between_calls(const struct hbt_exchange *ex)
{
	switch (ex->state) {
	case EX_READY:
	case EX_AWAIT_PROCEED:
		return true;
	case EX_AWAIT_NEXT:
		return !ex->out_held;
	case EX_AWAIT_MESSAGE:
		return ex->role->role == HBT_ROLE_SERVE_CLIENT ||
		       ex->role->role == HBT_ROLE_SERVE_POLLED;
	default:
		return false;
	}
}

bool hbt_exchange_is_busy(const struct hbt_exchange *ex)
{
	return (ex->state >= EX_READY && ex->state != EX_CLOSED &&
	        !ex_is_between_calls(ex)) ||
	       hbt_conn_unsent(ex->conn) > 0;
}

void hbt_exchange_finish(struct hbt_exchange **exp)
{
	struct hbt_exchange *ex = *exp;
	bool dialled;

	if (ex == NULL)
		return;
	dialled = ex->role->role == HBT_ROLE_ASK_SERVICE ||
	          ex->role->role == HBT_ROLE_SERVE_POLLED;
	if (dialled && (ex->state == EX_READY || ex->state == EX_AWAIT_MESSAGE ||
	                ex->state == EX_AWAIT_PROCEED))
		ex_write_line(ex, &hbt_line_end);
	let_go(exp, ex_is_between_calls(ex) || ex->state == EX_CLOSED);
}

void hbt_exchange_free(struct hbt_exchange **exp)
{
	if (*exp != NULL)
		let_go(exp, false);
}

enum hbt_role hbt_exchange_role(const struct hbt_exchange *ex)
{
	return ex->role->role;
}

const char *hbt_exchange_state_text(const struct hbt_exchange *ex)
{
	return state_text[ex->state];
}

struct hbt_conn *hbt_exchange_conn(const struct hbt_exchange *ex)
{
	return ex->conn;
}
