/*
 * A call goes to a taker and its answer back to the caller: once, and one
 * end whatever becomes of either.
 */
#include "calls_fixture.h"

#include <unistd.h>

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
	uint32_t id;

	ask(&f->caller, 5, "https://inner:10933/");
	id = next(&f->carrier, HBT_IPC_CALL)->id;
	say(&f->caller, HBT_IPC_CANCEL, 5);
	assert_int_equal(next(&f->carrier, HBT_IPC_CANCEL)->id, id);
	assert_quiet(&f->caller);
	fail_call(&f->carrier, id, HALIBUT_ECONNECTING_CANCELLED,
	          HALIBUT_CONNECTION_CONNECTING, "not begun");
	assert_failed(&f->caller, 5, HALIBUT_ECONNECTING_CANCELLED,
	              HALIBUT_CONNECTION_CONNECTING, "not begun");
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
	uint32_t id;

	offer(&f->poller, 70, "poll://abc/");
	ask(&f->caller, 5, "poll://abc/");
	id = delivered(&f->poller, 70);
	say(&f->poller, HBT_IPC_UNSUBSCRIBE, 70);
	assert_quiet(&f->caller);
	fail_call(&f->poller, id, HALIBUT_ECLOSED,
	          HALIBUT_CONNECTION_UNKNOWN, "it hung up");
	assert_failed(&f->caller, 5, HALIBUT_ECLOSED,
	              HALIBUT_CONNECTION_UNKNOWN, "it hung up");
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
		TEST(data_streams_travel_as_descriptors),
		TEST(a_request_without_its_streams_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
