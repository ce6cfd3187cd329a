/*
 * What passes in either direction while all is well, byte by byte and record
 * by record. wire-protocol 5, 6, 18
 */
#include "owner.h"

/* ---- Transcripts: 5.6 ---- */

static void two_calls_of_a_client_read_like_the_transcript(void **state)
{
	struct owner *o = *state;
	const size_t records[] = {4,
	                          17,
	                          plain_request->deflated_len,
	                          6,
	                          plain_request->deflated_len,
	                          5};

	start_dialling(o, NULL);
	peer_hears_text(&o->peer, PREAMBLE CLIENT);
	peer_says_text(&o->peer, SERVER);
	ask_once_ready(o, plain_request);
	assert_int_equal(o->sents, 1);
	says(o, plain_response);
	WAIT(&o->peer, o->ends == 1);
	ask(o, plain_request);
	peer_hears_text(&o->peer, NEXT);
	some_turns(&o->peer);
	assert_int_equal(o->peer.len, 0); /* not before PROCEED */
	peer_says_text(&o->peer, PROCEED);
	hears(o, plain_request);
	says(o, plain_response);
	WAIT(&o->peer, o->ends == 2);
	hbt_exchange_finish(&o->ex);
	peer_hears_text(&o->peer, END);
	WAIT(&o->peer, o->peer.at_end);
	assert_int_equal(o->peer.n_records, 6);
	assert_memory_equal(o->peer.records, records, sizeof(records));
	assert_int_equal(o->closes, 0);
}

static void two_calls_of_a_service_read_like_the_transcript(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_service(o);
	says(o, request);
	hears(o, response);
	peer_says_text(&o->peer, NEXT);
	peer_hears_text(&o->peer, PROCEED);
	says(o, plain_request);
	hears(o, response);
	peer_says_text(&o->peer, END);
	expect_close(o, HALIBUT_OK);
	assert_int_equal(o->peer.records[0], 17);
	assert_int_equal(o->peer.records[1], response->deflated_len);
	assert_int_equal(o->messages, 2);
	assert_int_equal(o->sents, 2);
}

static void a_polling_service_answers_a_null_message_with_next(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	start_dialling(o, "poll://sq-test/");
	peer_hears_text(&o->peer, PREAMBLE SUBSCRIBER);
	peer_says_text(&o->peer, SERVER);
	says_null(o);
	peer_hears_text(&o->peer, NEXT);
	peer_says_text(&o->peer, PROCEED);
	says(o, request);
	hears(o, response);
	peer_hears_text(&o->peer, NEXT);
	assert_int_equal(o->messages, 1);
	hbt_exchange_finish(&o->ex);
	peer_hears_text(&o->peer, END);
}

static void a_subscriber_is_fed_request_after_request(void **state)
{
	struct owner *o = *state;

	as_polled(o);
	assert_string_equal(o->subscription, "poll://sq-test/");
	for (int i = 1; i <= 3; i++) {
		WAIT(&o->peer, o->ready == i);
		ask(o, i == 2 ? request : plain_request);
		hears(o, i == 2 ? request : plain_request);
		says(o, i == 2 ? response : plain_response);
		WAIT(&o->peer, o->ends == i);
		peer_says_text(&o->peer, NEXT);
		peer_hears_text(&o->peer, PROCEED);
	}
	peer_says_text(&o->peer, END);
	expect_close(o, HALIBUT_OK);
}

static void empty_lines_before_control_lines_are_skipped(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_service(o);
	says(o, plain_request);
	hears(o, response);
	peer_says_text(&o->peer, "\r\n\r\n" NEXT);
	peer_hears_text(&o->peer, PROCEED);
}

/* What follows in the same record is kept for the next step: 18, row 37. */
static void a_whole_conversation_may_come_at_once(void **state)
{
	struct owner *o = *state;
	uint8_t all[4096];
	size_t n = 0;

	o->answers = true;
	start_accepting(o);
	memcpy(all, PREAMBLE CLIENT, n = strlen(PREAMBLE CLIENT));
	for (int i = 0; i < 2; i++) {
		memcpy(all + n, request->deflated, request->deflated_len);
		n += request->deflated_len;
		memcpy(all + n, request_section, SECTION_LEN);
		n += SECTION_LEN;
		memcpy(all + n, NEXT, 6);
		n += 6;
	}
	peer_says(&o->peer, all, n);
	peer_hears_text(&o->peer, SERVER);
	hears(o, response);
	peer_hears_text(&o->peer, PROCEED);
	hears(o, response);
	peer_hears_text(&o->peer, PROCEED);
}

/* ---- Records of long messages: 6 ---- */

/* Text that does not compress, so that the message has about len bytes. */
static struct hbt_message *long_request(size_t len)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuv"
				     "wxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-";
	size_t n = len * 8 / 6;
	char *json = malloc(n + 3);
	struct hbt_message *m;
	uint32_t x = 12345;

	json[0] = json[n + 1] = '"';
	json[n + 2] = '\0';
	for (size_t i = 1; i <= n; i++) {
		x = x * 1664525 + 1013904223;
		json[i] = digits[x >> 26];
	}
	m = make_request(json, 0);
	free(json);
	return m;
}

static void the_last_record_of_a_long_message_is_not_tiny(void **state)
{
	struct owner *o = *state;
	struct hbt_message *m = NULL;
	size_t total = 0, i;

	/* One that would leave less than 16 bytes for its last record. */
	for (size_t len = 31000;; len += 4) {
		assert_true(len < 33500);
		m = long_request(len);
		if (m->deflated_len > 32768 && m->deflated_len < 32768 + 16)
			break;
		hbt_message_unref(&m);
	}
	as_client(o);
	ask_once_ready(o, m);
	for (i = 2; i < o->peer.n_records; i++)
		total += o->peer.records[i];
	assert_int_equal(total, m->deflated_len);
	assert_true(o->peer.records[i - 1] >= 16);
	hbt_message_unref(&m);
}

static void a_long_message_is_sent_when_it_has_left(void **state)
{
	struct owner *o = *state;
	struct hbt_message *m = long_request(12 << 20);

	as_client(o);
	WAIT(&o->peer, o->ready == 1);
	ask(o, m);
	for (int i = 0; i < 50; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(o->sents, 0); /* the peer has read nothing yet */
	assert_true(hbt_exchange_is_busy(o->ex));
	o->peer.forgets = true;
	WAIT(&o->peer, o->sents == 1);
	assert_string_equal(state_of(o), "waits for a message");
	hbt_message_unref(&m);
}

/* ---- Keep-alive: 5.4 ---- */

static void an_idle_subscriber_gets_null_messages(void **state)
{
	struct owner *o = *state;

	limits.polling_queue_wait_timeout_ms = 20;
	as_polled(o);
	for (int i = 0; i < 3; i++) {
		hears_null(o);
		peer_says_text(&o->peer, NEXT);
		peer_hears_text(&o->peer, PROCEED);
	}
	assert_int_equal(o->ready, 1); /* it stayed so all the time */
	assert_false(hbt_exchange_is_busy(o->ex));
}

static void a_request_during_a_keep_alive_waits_for_its_next(void **state)
{
	struct owner *o = *state;

	limits.polling_queue_wait_timeout_ms = 20;
	as_polled(o);
	hears_null(o);
	ask(o, request);
	assert_true(hbt_exchange_is_busy(o->ex));
	some_turns(&o->peer);
	assert_int_equal(o->peer.len, 0);
	assert_false(hbt_exchange_request_began(o->ex));
	peer_says_text(&o->peer, NEXT);
	peer_hears_text(&o->peer, PROCEED);
	hears(o, request);
	assert_true(hbt_exchange_request_began(o->ex));
	says(o, plain_response);
	WAIT(&o->peer, o->ends == 1);
}

static void a_request_that_waits_for_next_can_be_taken_back(void **state)
{
	struct owner *o = *state;
	struct hbt_source *streams = NULL;

	limits.polling_queue_wait_timeout_ms = 20;
	as_polled(o);
	hears_null(o);
	ask(o, request);
	assert_true(hbt_exchange_unsend(o->ex, &streams));
	assert_non_null(streams);
	hbt_source_free(&streams);
	assert_false(hbt_exchange_unsend(o->ex, &streams));
	peer_says_text(&o->peer, NEXT);
	peer_hears_text(&o->peer, PROCEED);
	hears_null(o); /* and life goes on */
}

static void a_request_that_waits_for_proceed_can_be_taken_back(void **state)
{
	struct owner *o = *state;
	struct hbt_source *streams = NULL;

	as_client(o);
	ask_once_ready(o, plain_request);
	says(o, plain_response);
	WAIT(&o->peer, o->ends == 1);
	ask(o, request);
	peer_hears_text(&o->peer, NEXT);
	assert_false(hbt_exchange_request_began(o->ex));
	assert_true(hbt_exchange_unsend(o->ex, &streams));
	hbt_source_free(&streams);
}

/* ---- DataStreams that nobody takes ---- */

/* The sender of a request is not cut off: it is to hear what went wrong. */
static void a_request_is_read_to_its_end_though_nobody_takes_it(void **state)
{
	struct owner *o = *state;

	sinks_fail_after = 3;
	o->answers = true;
	as_service(o);
	says(o, request);
	hears(o, response);
	assert_int_equal(o->sinks_ended, 1);
}

static void a_response_that_nobody_takes_ends_the_connection(void **state)
{
	struct owner *o = *state;

	sinks_fail_after = 3;
	as_client(o);
	ask_once_ready(o, plain_request);
	says(o, response);
	expect_close(o, HALIBUT_ESYSTEM);
	assert_int_equal(o->sinks_ended, 1);
}

/* ---- What others can see of it ---- */

static void an_exchange_shows_the_call_that_it_carries(void **state)
{
	struct owner *o = *state;
	struct hbt_exchange_facts f;
	uint64_t at = 0;

	as_polled(o);
	WAIT(&o->peer, o->ready == 1);
	hbt_exchange_facts(o->ex, &f);
	assert_int_equal(f.role, HBT_ROLE_FEED_SUBSCRIBER);
	assert_int_equal(f.id, hbt_exchange_id(o->ex));
	assert_true(f.is_known);
	assert_string_equal(f.subscription, "poll://sq-test/");
	assert_string_equal(f.state, "idle");
	assert_null(f.activity);
	assert_null(f.url);
	assert_int_equal(hbt_exchange_phase(o->ex), HBT_EXCHANGE_BEFORE);
	ask(o, plain_request);
	hears(o, plain_request);
	WAIT_STATE(o, "waits for a message");
	hbt_exchange_facts(o->ex, &f);
	assert_non_null(f.activity);
	assert_memory_equal(f.activity, &plain_request->env.activity_id,
	                    sizeof(*f.activity));
	assert_int_equal(f.idle_ms, 0);
	assert_int_equal(f.calls, 0);
	assert_int_equal(hbt_exchange_phase(o->ex), HBT_EXCHANGE_AWAITING);
	says(o, plain_response);
	WAIT(&o->peer, o->ends == 1);
	hbt_exchange_facts(o->ex, &f);
	assert_null(f.activity);
	assert_int_equal(f.calls, 1);
	assert_int_equal(f.messages_in, 1);
	assert_int_equal(f.messages_out, 1);
	assert_ptr_equal(hbt_slots_next(&o->env.all, &at), o->ex);
	assert_null(hbt_slots_next(&o->env.all, &at));
}

static void a_stranger_is_not_known(void **state)
{
	struct owner *o = *state;
	struct hbt_exchange_facts f;

	start_accepting(o);
	WAIT_STATE(o, "waits for the peer to open");
	hbt_exchange_facts(o->ex, &f);
	assert_int_equal(f.role, HBT_ROLE_ACCEPTED);
	assert_false(f.is_known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(two_calls_of_a_client_read_like_the_transcript),
		T(two_calls_of_a_service_read_like_the_transcript),
		T(a_polling_service_answers_a_null_message_with_next),
		T(a_subscriber_is_fed_request_after_request),
		T(empty_lines_before_control_lines_are_skipped),
		T(a_whole_conversation_may_come_at_once),
		T(the_last_record_of_a_long_message_is_not_tiny),
		T(a_long_message_is_sent_when_it_has_left),
		T(an_idle_subscriber_gets_null_messages),
		T(a_request_during_a_keep_alive_waits_for_its_next),
		T(a_request_that_waits_for_next_can_be_taken_back),
		T(a_request_that_waits_for_proceed_can_be_taken_back),
		T(a_request_is_read_to_its_end_though_nobody_takes_it),
		T(a_response_that_nobody_takes_ends_the_connection),
		T(an_exchange_shows_the_call_that_it_carries),
		T(a_stranger_is_not_known),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
