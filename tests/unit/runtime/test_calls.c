/*
 * Two runtimes in one process call one another over loopback, in every
 * arrangement that needs no gateway.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* cmocka wants those four before it */
#include <cmocka.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "halibut/halibut.h"
#include "base/timespan.h"
#include "runtime/runtime.h"

struct pair {
	struct event_base *base;
	struct halibut_runtime *client, *service;
	struct halibut_runtime *host; /* the one that has the services */
	uint16_t port; /* of whichever listens */
	struct halibut_endpoint *e;
	struct halibut_polling *polling;
};

static char *cert[2], *key[2];

static int make_certificates(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++)
		if (halibut_certificate_create("test", 7, &cert[i], &key[i],
		                               NULL) != 0)
			return -1;
	return 0;
}

static int drop_certificates(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		free(cert[i]);
		free(key[i]);
	}
	return 0;
}

static void say_hello(void *arg, struct halibut_request *req)
{
	char *name = halibut_request_argument_text(req, 0);
	char *json;

	(void)arg;
	assert_int_not_equal(asprintf(&json, "\"%s...\"", name), -1);
	assert_int_equal(halibut_reply_json(req, json, NULL, 0, NULL), 0);
	free(json);
	free(name);
}

static void crash(void *arg, struct halibut_request *req)
{
	(void)arg;
	halibut_reply_error(req, "it broke", "at Service.Crash()");
}

/* Gives the bytes of its DataStream back in the opposite order. */
static void reverse(void *arg, struct halibut_request *req)
{
	struct halibut_stream *in = halibut_request_stream(req, 0), *out;
	size_t len = (size_t)halibut_stream_length(in), have = 0;
	uint8_t *data = malloc(len + 1);
	ssize_t n;

	(void)arg;
	while ((n = halibut_stream_read(in, data + have, len - have)) > 0)
		have += (size_t)n;
	assert_int_equal(have, len);
	for (size_t i = 0; i < len / 2; i++) {
		uint8_t b = data[i];

		data[i] = data[len - 1 - i];
		data[len - 1 - i] = b;
	}
	out = halibut_stream_from_memory(data, len);
	free(data);
	assert_int_equal(halibut_reply_json(req, "{\"$dataStream\":0}", &out,
	                                    1, NULL),
	                 0);
}

static void add_services(struct halibut_runtime *rt)
{
	assert_int_equal(halibut_service_add(rt, "IEcho", "SayHello", say_hello,
	                                     NULL),
	                 0);
	assert_int_equal(halibut_service_add(rt, "IEcho", "Crash", crash, NULL),
	                 0);
	assert_int_equal(halibut_service_add(rt, "IEcho", "Reverse", reverse,
	                                     NULL),
	                 0);
}

static struct pair *pair_new(void)
{
	struct pair *p = calloc(1, sizeof(*p));

	p->base = event_base_new();
	assert_int_equal(halibut_runtime_new(&p->client, p->base, cert[0],
	                                     key[0], NULL),
	                 0);
	assert_int_equal(halibut_runtime_new(&p->service, p->base, cert[1],
	                                     key[1], NULL),
	                 0);
	halibut_trust_add(p->client, halibut_runtime_thumbprint(p->service));
	halibut_trust_add(p->service, halibut_runtime_thumbprint(p->client));
	add_services(p->service);
	p->host = p->service;
	return p;
}

static int listening(void **state)
{
	struct pair *p = pair_new();
	char url[64];

	assert_int_equal(halibut_listen(p->service, "127.0.0.1", 0, &p->port,
	                                NULL),
	                 0);
	snprintf(url, sizeof(url), "https://127.0.0.1:%u", p->port);
	assert_int_equal(
		halibut_endpoint_new(&p->e, p->client, url,
	                             halibut_runtime_thumbprint(p->service),
	                             NULL),
		0);
	*state = p;
	return 0;
}

static int polling(void **state)
{
	struct pair *p = pair_new();
	struct halibut_endpoint *server;
	char url[64];

	assert_int_equal(halibut_listen(p->client, "127.0.0.1", 0, &p->port,
	                                NULL),
	                 0);
	snprintf(url, sizeof(url), "https://127.0.0.1:%u", p->port);
	assert_int_equal(
		halibut_endpoint_new(&server, p->service, url,
	                             halibut_runtime_thumbprint(p->client),
	                             NULL),
		0);
	assert_int_equal(halibut_poll(&p->polling, p->service, server,
	                              "poll://SQ-Test", 2, NULL),
	                 0);
	halibut_endpoint_free(&server);
	assert_int_equal(halibut_endpoint_new(&p->e, p->client,
	                                      "poll://sq-test", NULL, NULL),
	                 0);
	*state = p;
	return 0;
}

/* Caller and service in one runtime, without a connection. */
static int queued(void **state)
{
	struct pair *p = pair_new();

	add_services(p->client);
	p->host = p->client;
	assert_int_equal(halibut_serve_queue(NULL, p->client,
	                                     "queue://Worker-1", 3, NULL),
	                 0);
	assert_int_equal(halibut_endpoint_new(&p->e, p->client,
	                                      "queue://worker-1/", NULL, NULL),
	                 0);
	*state = p;
	return 0;
}

static int pair_free(void **state)
{
	struct pair *p = *state;

	halibut_endpoint_free(&p->e);
	halibut_runtime_free(&p->client);
	halibut_runtime_free(&p->service);
	event_base_loop(p->base, EVLOOP_NONBLOCK);
	event_base_free(p->base);
	free(p);
	return 0;
}

static struct halibut_call *new_call(struct pair *p, const char *method)
{
	struct halibut_call *call;

	assert_int_equal(halibut_call_new(&call, p->client, p->e, "IEcho",
	                                  method, NULL),
	                 0);
	return call;
}

static void expect_ok(struct halibut_call *call, const char *json)
{
	char *result;

	if (halibut_call_wait(call) != 0)
		fail_msg("the call failed: %s",
		         halibut_call_error(call)->message);
	result = halibut_call_result_json(call);
	assert_string_equal(result, json);
	free(result);
}

static void a_text_comes_back(void **state)
{
	for (int i = 0; i < 20; i++) {
		struct halibut_call *call = new_call(*state, "sayhello");

		halibut_call_add_json(call, "\"World\"", NULL);
		expect_ok(call, "\"World...\"");
		halibut_call_free(&call);
	}
}

static void a_stream_comes_back(struct pair *p, size_t len)
{
	struct halibut_call *call = new_call(p, "Reverse");
	uint8_t *data = malloc(len + 1), *back = malloc(len + 1);
	struct halibut_stream *s;
	size_t have = 0;
	ssize_t n;

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 31 >> 3);
	s = halibut_stream_from_memory(data, len);
	halibut_call_add_stream(call, s, true, NULL);
	if (halibut_call_wait(call) != 0)
		fail_msg("the call failed: %s",
		         halibut_call_error(call)->message);
	assert_int_equal(halibut_call_streams(call), 1);
	s = halibut_call_stream(call, 0);
	assert_int_equal(halibut_stream_length(s), len);
	while ((n = halibut_stream_read(s, back + have, len - have)) > 0)
		have += (size_t)n;
	assert_int_equal(have, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(back[i], data[len - 1 - i]);
	free(data);
	free(back);
	halibut_call_free(&call);
}

static void streams_of_any_length_come_back(void **state)
{
	a_stream_comes_back(*state, 0);
	a_stream_comes_back(*state, 1);
	a_stream_comes_back(*state, 70000);
	a_stream_comes_back(*state, 5 << 20);
}

static void expect_error(struct pair *p, const char *method, int status,
                         const char *text)
{
	struct halibut_call *call = new_call(p, method);
	const struct halibut_error *err;

	assert_int_equal(halibut_call_wait(call), status);
	err = halibut_call_error(call);
	if (strstr(err->message, text) == NULL)
		fail_msg("'%s' is not in '%s'", text, err->message);
	halibut_call_free(&call);
}

static void errors_have_the_class_of_their_cause(void **state)
{
	expect_error(*state, "Crash", HALIBUT_EINVOCATION, "it broke");
	expect_error(*state, "Nope", HALIBUT_EMETHOD_NOT_FOUND, "Nope");
}

struct many {
	int left, right;
};

static void one_of_many(void *arg, struct halibut_call *call)
{
	struct many *m = arg;
	char *json = halibut_call_result_json(call);

	m->left--;
	m->right += json != NULL && strcmp(json, "\"x...\"") == 0;
	free(json);
	halibut_call_free(&call);
}

static void call_in_parallel(struct pair *p, int n)
{
	struct many m = {.left = n};

	for (int i = 0; i < n; i++) {
		struct halibut_call *call = new_call(p, "SayHello");

		halibut_call_add_json(call, "\"x\"", NULL);
		halibut_call_start(call, one_of_many, &m);
	}
	while (m.left > 0)
		event_base_loop(p->base, EVLOOP_ONCE);
	assert_int_equal(m.right, n);
}

static void parallel_calls_all_get_their_answers(void **state)
{
	call_in_parallel(*state, 32);
}

static struct hbt_dialler_counts counts(const struct pair *p)
{
	struct hbt_dialler_counts c;

	hbt_dialler_counts(p->client->dialler, &c);
	return c;
}

static void parallel_calls_do_not_dial_anew_each_time(void **state)
{
	struct pair *p = *state;
	uint64_t dialled;
	int64_t began;

	/* What has nothing to do for a second ends: on a machine with much
	 * else to do, while the slowest of 16 handshakes is still going on. */
	do {
		began = hbt_now_ms();
		call_in_parallel(p, 16);
		dialled = counts(p).dialled;
		call_in_parallel(p, 16);
	} while (hbt_now_ms() - began >= 1000);
	assert_int_equal(counts(p).dialled, dialled);
}

static void five_idle_connections_survive(void **state)
{
	struct pair *p = *state;

	call_in_parallel(p, 10);
	while (counts(p).pooled > 5)
		event_base_loop(p->base, EVLOOP_ONCE);
	assert_int_equal(counts(p).pooled, 5);
}

static void an_unreachable_service_is_a_network_error(void **state)
{
	struct pair *p = *state;
	struct halibut_call *call;

	halibut_endpoint_free(&p->e);
	assert_int_equal(
		halibut_endpoint_new(&p->e, p->client, "https://127.0.0.1:1",
	                             halibut_runtime_thumbprint(p->service),
	                             NULL),
		0);
	halibut_endpoint_set_limit(p->e, "RetryListeningSleepInterval", 1);
	call = new_call(p, "SayHello");
	assert_int_equal(halibut_call_wait(call), HALIBUT_EREFUSED);
	assert_int_equal(halibut_error_is_network(halibut_call_error(call)),
	                 HALIBUT_YES);
	assert_non_null(strstr(halibut_call_error(call)->message,
	                       "before the request could begin"));
	halibut_call_free(&call);
}

static void nobody_polls(void **state)
{
	struct pair *p = *state;
	struct halibut_call *call;

	halibut_poll_stop(&p->polling);
	halibut_endpoint_free(&p->e);
	assert_int_equal(halibut_endpoint_new(&p->e, p->client,
	                                      "poll://nobody", NULL, NULL),
	                 0);
	halibut_endpoint_set_limit(p->e, "PollingRequestQueueTimeout", 20);
	call = new_call(p, "SayHello");
	assert_int_equal(halibut_call_wait(call), HALIBUT_ENOT_COLLECTED);
	halibut_call_free(&call);
}

static void a_wrong_certificate_is_named_and_not_retried(void **state)
{
	struct pair *p = *state;
	struct halibut_call *call;
	char url[64];

	halibut_endpoint_free(&p->e);
	snprintf(url, sizeof(url), "https://127.0.0.1:%u", p->port);
	assert_int_equal(
		halibut_endpoint_new(&p->e, p->client, url,
	                             halibut_runtime_thumbprint(p->client),
	                             NULL),
		0);
	call = new_call(p, "SayHello");
	assert_int_equal(halibut_call_wait(call), HALIBUT_ECERTIFICATE);
	assert_non_null(strstr(halibut_call_error(call)->message,
	                       halibut_runtime_thumbprint(p->service)));
	halibut_call_free(&call);
}

static void an_untrusted_client_is_refused(void **state)
{
	struct pair *p = *state;
	struct halibut_call *call;

	halibut_trust_only(p->service, NULL, 0);
	halibut_endpoint_set_limit(p->e, "RetryListeningSleepInterval", 1);
	call = new_call(p, "SayHello");
	assert_int_equal(halibut_call_wait(call), HALIBUT_ECLOSED);
	assert_non_null(strstr(halibut_call_error(call)->message,
	                       "before the request could begin"));
	assert_non_null(strstr(halibut_call_error(call)->message,
	                       "may not trust"));
	assert_non_null(strstr(halibut_call_error(call)->message,
	                       halibut_runtime_thumbprint(p->client)));
	halibut_call_free(&call);
}

static void keep_silent(void *arg, struct halibut_request *req)
{
	struct halibut_request **kept = arg;

	*kept = req;
}

static void a_cancelled_call_ends_at_once(void **state)
{
	struct pair *p = *state;
	struct halibut_request *kept = NULL;
	struct halibut_call *call;

	halibut_service_add(p->host, "IEcho", "Wait", keep_silent, &kept);
	call = new_call(p, "Wait");
	halibut_call_start(call, NULL, NULL);
	while (kept == NULL)
		event_base_loop(p->base, EVLOOP_ONCE);
	halibut_call_cancel(call);
	assert_int_equal(halibut_call_wait(call),
	                 HALIBUT_ETRANSFERRING_CANCELLED);
	halibut_call_free(&call);
	halibut_reply_json(kept, "1", NULL, 0, NULL);
}

static void discovery_tells_the_thumbprint(void **state)
{
	struct pair *p = *state;
	char url[64], thumbprint[HALIBUT_THUMBPRINT_SIZE];

	snprintf(url, sizeof(url), "https://127.0.0.1:%u", p->port);
	assert_int_equal(halibut_discover(p->client, url, thumbprint, NULL), 0);
	assert_string_equal(thumbprint,
	                    halibut_runtime_thumbprint(p->service));
}

static struct discovering {
	struct halibut_runtime *rt;
	char url[64];
	struct halibut_error err;
	int status;
} discovering;

static void discover_now(evutil_socket_t fd, short what, void *arg)
{
	struct discovering *d = arg;
	char thumbprint[HALIBUT_THUMBPRINT_SIZE];

	(void)fd;
	(void)what;
	d->status = halibut_discover(d->rt, d->url, thumbprint, &d->err);
}

static void discovery_inside_of_a_callback_is_refused(void **state)
{
	struct pair *p = *state;
	struct discovering *d = &discovering;

	d->rt = p->client;
	snprintf(d->url, sizeof(d->url), "https://127.0.0.1:%u", p->port);
	event_base_once(p->base, -1, EV_TIMEOUT, discover_now, d,
	                &(struct timeval){0});
	event_base_loop(p->base, EVLOOP_ONCE);
	assert_int_equal(d->status, HALIBUT_EINVAL);
	assert_non_null(strstr(d->err.message, "callback"));
	halibut_error_clear(&d->err);
	discover_now(-1, 0, d); /* and life goes on */
	assert_int_equal(d->status, HALIBUT_OK);
}

static void wait_now(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	discovering.status = halibut_call_wait(arg);
}

static void so_is_the_wait_for_a_call(void **state)
{
	struct pair *p = *state;
	struct halibut_call *call = new_call(p, "SayHello");

	event_base_once(p->base, -1, EV_TIMEOUT, wait_now, call,
	                &(struct timeval){0});
	event_base_loop(p->base, EVLOOP_ONCE);
	assert_int_equal(discovering.status, HALIBUT_EINVAL);
	halibut_call_free(&call);
}

static void stop_now(evutil_socket_t fd, short what, void *arg)
{
	struct pair *p = arg;

	(void)fd;
	if (what == EV_TIMEOUT)
		halibut_runtime_stop(p->client);
	else
		event_base_loopexit(p->base, NULL);
}

/* The port is open, but nobody speaks: it would take a minute. */
static void whoever_ends_the_loop_ends_discovery(void **state)
{
	struct pair *p = *state;
	struct discovering *d = &discovering;
	struct sockaddr_in sa = {.sin_family = AF_INET,
	                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, size), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &size), 0);
	d->rt = p->client;
	snprintf(d->url, sizeof(d->url), "https://127.0.0.1:%u",
	         ntohs(sa.sin_port));
	for (int i = 0; i < 2; i++) {
		struct event *ev = event_new(p->base, -1, 0, stop_now, p);

		event_active(ev, i == 0 ? EV_TIMEOUT : EV_READ, 0);
		discover_now(-1, 0, d);
		assert_int_equal(d->status, HALIBUT_ECONNECTING_CANCELLED);
		assert_non_null(strstr(d->err.message, d->url));
		halibut_error_clear(&d->err);
		event_free(ev);
	}
	close(fd);
}

struct kept_requests {
	struct halibut_request *req[3];
	int n;
};

static void keep_another(void *arg, struct halibut_request *req)
{
	struct kept_requests *kept = arg;

	kept->req[kept->n++] = req;
}

static void as_many_requests_at_a_time_as_were_asked_for(void **state)
{
	struct pair *p = *state;
	struct kept_requests kept = {.n = 0};
	struct halibut_call *call[4];

	halibut_service_add(p->host, "IEcho", "Wait", keep_another, &kept);
	for (int i = 0; i < 4; i++) {
		call[i] = new_call(p, i < 3 ? "Wait" : "SayHello");
		if (i == 3)
			halibut_call_add_json(call[i], "\"x\"", NULL);
		halibut_call_start(call[i], NULL, NULL);
	}
	event_base_loop(p->base, EVLOOP_NONBLOCK);
	assert_int_equal(kept.n, 3);
	assert_null(halibut_call_result_json(call[3]));
	assert_int_equal(halibut_reply_json(kept.req[1], "1", NULL, 0, NULL),
	                 0);
	expect_ok(call[3], "\"x...\"");
	for (int i = 0; i < 4; i++)
		halibut_call_free(&call[i]);
	/* Nobody is there any more who wants these. */
	halibut_reply_json(kept.req[0], "1", NULL, 0, NULL);
	halibut_reply_json(kept.req[2], "1", NULL, 0, NULL);
}

static void a_reply_may_come_after_the_serving_has_stopped(void **state)
{
	struct pair *p = *state;
	struct halibut_queue_serving *serving;
	struct halibut_request *kept = NULL;
	struct halibut_endpoint *e;
	struct halibut_call *call;

	halibut_service_add(p->host, "IEcho", "Wait", keep_silent, &kept);
	assert_int_equal(halibut_serve_queue(&serving, p->client,
	                                     "queue://other", 1, NULL),
	                 0);
	assert_int_equal(halibut_endpoint_new(&e, p->client, "queue://other/",
	                                      NULL, NULL),
	                 0);
	assert_int_equal(halibut_call_new(&call, p->client, e, "IEcho", "Wait",
	                                  NULL),
	                 0);
	halibut_call_start(call, NULL, NULL);
	while (kept == NULL)
		event_base_loop(p->base, EVLOOP_ONCE);
	halibut_serve_queue_stop(&serving);
	assert_int_equal(halibut_reply_json(kept, "5", NULL, 0, NULL), 0);
	expect_ok(call, "5");
	halibut_call_free(&call);
	halibut_endpoint_free(&e);
}

static void only_queue_endpoints_are_served_so(void **state)
{
	struct pair *p = *state;
	struct halibut_error err = {0};

	assert_int_equal(halibut_serve_queue(NULL, p->client, "poll://x/", 1,
	                                     &err),
	                 HALIBUT_EINVAL);
	assert_non_null(strstr(err.message, "poll://x/"));
	halibut_error_clear(&err);
	assert_int_equal(halibut_serve_queue(NULL, p->client, "queue://x/", 0,
	                                     NULL),
	                 HALIBUT_EINVAL);
}

#define L(f) cmocka_unit_test_setup_teardown(f, listening, pair_free)
#define P(f) cmocka_unit_test_setup_teardown(f, polling, pair_free)
#define Q(f) cmocka_unit_test_setup_teardown(f, queued, pair_free)

/* The same behaviour, whoever dials, if anybody: a name tells which. */
#define ALL(f)                                                                 \
	{"listening: " #f, f, listening, pair_free, NULL},                     \
	{"polling: " #f, f, polling, pair_free, NULL},                         \
	{                                                                      \
		"queue: " #f, f, queued, pair_free, NULL                       \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALL(a_text_comes_back),
		ALL(streams_of_any_length_come_back),
		ALL(errors_have_the_class_of_their_cause),
		ALL(parallel_calls_all_get_their_answers),
		ALL(a_cancelled_call_ends_at_once),
		L(parallel_calls_do_not_dial_anew_each_time),
		L(five_idle_connections_survive),
		L(an_unreachable_service_is_a_network_error),
		P(nobody_polls),
		L(a_wrong_certificate_is_named_and_not_retried),
		L(an_untrusted_client_is_refused),
		L(discovery_tells_the_thumbprint),
		L(discovery_inside_of_a_callback_is_refused),
		L(so_is_the_wait_for_a_call),
		L(whoever_ends_the_loop_ends_discovery),
		Q(as_many_requests_at_a_time_as_were_asked_for),
		Q(a_reply_may_come_after_the_serving_has_stopped),
		Q(only_queue_endpoints_are_served_so),
	};

	halibut_set_log(NULL, NULL, 0);
	return cmocka_run_group_tests(tests, make_certificates,
	                              drop_certificates);
}
