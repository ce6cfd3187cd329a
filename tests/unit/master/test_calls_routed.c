/* Where a request goes, and what is not taken: limits, nonsense, the end. */
#include "calls_fixture.h"

#include <stdlib.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_hosted_request_goes_to_the_service_worker),
		TEST(a_routed_request_is_dialled_as_its_endpoint_says),
		TEST(whoever_wants_to_know_hears_whose_queue_a_request_goes_to),
		TEST(without_a_worker_a_request_fails_as_not_executed),
		TEST(too_many_waiting_requests_fail_at_once),
		TEST(what_breaks_the_protocol_is_reported),
		TEST(stopping_fails_what_nobody_can_take_and_what_comes),
		TEST(what_comes_back_while_stopping_waits_for_another_taker),
		TEST(failures_are_counted_by_class),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
