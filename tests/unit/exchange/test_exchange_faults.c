/*
 * Peers that do not say in time what they should, or say what they must not.
 * wire-protocol 5, 18
 */
#include "owner.h"

/* ---- Deadlines: 5 ---- */

static void expect_timeout(struct owner *o, const char *what)
{
	expect_close(o, HALIBUT_ETIMEOUT);
	assert_non_null(strstr(o->err.message, what));
}

static void a_client_waits_for_a_response_only_so_long(void **state)
{
	struct owner *o = *state;

	as_client(o);
	WAIT(&o->peer, o->ready == 1);
	limits.tcp_client_receive_response_timeout_ms = 50;
	ask(o, plain_request);
	expect_timeout(o, "the response");
}

static void the_rest_of_a_response_has_a_limit_of_its_own(void **state)
{
	struct owner *o = *state;

	as_client(o);
	ask_once_ready(o, plain_request);
	limits.tcp_client_receive_timeout_ms = 50;
	peer_says(&o->peer, response->deflated, 1);
	expect_timeout(o, "the rest of a message");
}

static void a_used_connection_has_to_prove_soon_that_it_lives(void **state)
{
	struct owner *o = *state;

	limits.tcp_client_heartbeat_receive_timeout_ms = 50;
	as_client(o);
	ask_once_ready(o, plain_request);
	says(o, plain_response);
	WAIT(&o->peer, o->ends == 1);
	ask(o, plain_request);
	expect_timeout(o, "PROCEED");
	assert_false(o->began);
}

static void a_service_waits_for_the_next_request_only_so_long(void **state)
{
	struct owner *o = *state;

	limits.tcp_listening_next_request_idle_timeout_ms = 50;
	as_service(o);
	expect_timeout(o, "the next request");
}

static void a_client_that_never_says_next_is_let_go_quietly(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_service(o);
	WAIT_STATE(o, "waits for a message");
	limits.tcp_listening_next_request_idle_timeout_ms = 50;
	says(o, plain_request);
	WAIT_CLOSED(o);
	assert_int_equal(o->ends, 1);
	assert_int_equal(o->err.status, HALIBUT_OK);
}

static void a_poller_gives_up_a_server_that_says_nothing(void **state)
{
	struct owner *o = *state;

	limits.tcp_client_receive_request_timeout_for_polling_ms = 50;
	as_poller(o);
	expect_timeout(o, "the next request");
}

static void a_poller_that_does_not_say_next_is_let_go_quietly(void **state)
{
	struct owner *o = *state;

	limits.tcp_client_heartbeat_receive_timeout_ms = 50;
	as_polled(o);
	ask_once_ready(o, plain_request);
	says(o, plain_response);
	WAIT_CLOSED(o);
	assert_int_equal(o->ends, 1);
	assert_int_equal(o->err.status, HALIBUT_OK);
}

static void the_opening_has_a_limit_for_all_of_it(void **state)
{
	struct owner *o = *state;

	limits.handshake_total_timeout_ms = 200;
	start_accepting(o);
	WAIT(&o->peer, o->peer.open || o->closes == 1);
	if (o->closes == 0) /* else a busy machine took all the time */
		peer_says_text(&o->peer, PREAMBLE "MX-CLI");
	expect_timeout(o, "the opening");
}

static void so_has_the_wait_for_admission(void **state)
{
	struct owner *o = *state;

	/* A busy machine may need longer to get as far as that. */
	limits.handshake_total_timeout_ms = 100;
	for (;;) {
		o->waits = true;
		start_accepting(o);
		WAIT(&o->peer, o->peer.open || o->closes == 1);
		if (o->closes == 0)
			peer_says_text(&o->peer, PREAMBLE CLIENT);
		WAIT(&o->peer, o->identified == 1 || o->closes == 1);
		if (o->identified == 1)
			break;
		owner_fini(o);
		owner_init(o);
		limits.handshake_total_timeout_ms *= 2;
	}
	expect_timeout(o, "the opening");
}

/* ---- What a peer must not say ---- */

static void a_client_gets_no_requests(void **state)
{
	struct owner *o = *state;

	as_client(o);
	ask_once_ready(o, plain_request);
	says(o, plain_request);
	expect_close(o, HALIBUT_EPROTO);
	assert_int_equal(o->messages, 0);
}

static void a_service_gets_no_responses(void **state)
{
	struct owner *o = *state;

	as_service(o);
	says(o, plain_response);
	expect_close(o, HALIBUT_EPROTO);
	assert_int_equal(o->messages, 0);
}

static void a_service_closes_on_a_null_request(void **state)
{
	struct owner *o = *state;

	as_service(o);
	says_null(o);
	expect_close(o, HALIBUT_OK);
	assert_int_equal(o->messages, 0);
}

static void a_null_response_is_no_response(void **state)
{
	struct owner *o = *state;

	as_client(o);
	ask_once_ready(o, plain_request);
	says_null(o);
	expect_close(o, HALIBUT_ENO_RESPONSE);
}

static void a_null_response_of_a_poller_fails_the_call(void **state)
{
	struct owner *o = *state;

	as_polled(o);
	ask_once_ready(o, plain_request);
	says_null(o);
	expect_close(o, HALIBUT_EPROTO);
}

static void an_idle_peer_that_speaks_is_let_go(void **state)
{
	struct owner *o = *state;

	as_polled(o);
	WAIT(&o->peer, o->ready == 1);
	peer_says_text(&o->peer, NEXT);
	expect_close(o, HALIBUT_EPROTO);
}

static void anything_but_proceed_ends_a_poller(void **state)
{
	struct owner *o = *state;

	as_poller(o);
	says_null(o);
	peer_hears_text(&o->peer, NEXT);
	peer_says_text(&o->peer, END);
	expect_close(o, HALIBUT_EPROTO);
}

static void a_dialler_that_claims_to_be_a_server_gets_one_line(void **state)
{
	struct owner *o = *state;

	start_accepting(o);
	peer_says_text(&o->peer, PREAMBLE SERVER);
	peer_hears_text(&o->peer, SERVER);
	expect_close(o, HALIBUT_EPROTO);
}

static void a_server_that_is_none_is_refused(void **state)
{
	struct owner *o = *state;

	start_dialling(o, NULL);
	peer_says_text(&o->peer, CLIENT);
	expect_close(o, HALIBUT_EPROTO);
	assert_int_equal(o->identified, 0);
}

static void damaged_compression_ends_the_exchange(void **state)
{
	struct owner *o = *state;

	as_service(o);
	peer_says(&o->peer, "\x07\xff\xff", 3);
	expect_close(o, HALIBUT_EPROTO);
}

static void a_stream_of_another_length_ends_the_exchange(void **state)
{
	struct owner *o = *state;
	uint8_t section[64];

	as_service(o);
	memcpy(section, request_section, SECTION_LEN);
	section[SECTION_LEN - 8] = 6; /* the length behind the data */
	peer_says(&o->peer, request->deflated, request->deflated_len);
	peer_says(&o->peer, section, SECTION_LEN);
	expect_close(o, HALIBUT_EPROTO);
	assert_int_equal(o->sinks_ended, 1);
	assert_int_equal(o->ends, 0);
}

static void an_untrusted_peer_hears_nothing(void **state)
{
	struct owner *o = *state;

	o->refuses = true;
	start_accepting(o);
	peer_says_text(&o->peer, PREAMBLE CLIENT);
	WAIT_CLOSED(o);
	WAIT(&o->peer, o->peer.at_end);
	assert_int_equal(o->err.status, HALIBUT_EUNTRUSTED);
	assert_non_null(strstr(o->err.message, theirs->thumbprint));
	assert_int_equal(o->peer.n_records, 0);
}

static void who_is_not_admitted_hears_nothing(void **state)
{
	struct owner *o = *state;

	o->waits = true;
	start_accepting(o);
	peer_says_text(&o->peer, PREAMBLE SUBSCRIBER);
	WAIT(&o->peer, o->identified == 1);
	hbt_exchange_admit(o->ex, "it is one too many");
	assert_int_equal(o->closes, 1);
	assert_int_equal(o->err.status, HALIBUT_ELIMIT);
	WAIT(&o->peer, o->peer.at_end);
	assert_int_equal(o->peer.n_records, 0);
}

static void a_browser_gets_the_friendly_page(void **state)
{
	struct owner *o = *state;

	start_accepting(o);
	peer_says_text(&o->peer, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	WAIT(&o->peer, o->peer.at_end);
	assert_int_equal(o->closes, 1);
	assert_int_equal(o->err.status, HALIBUT_OK);
	assert_memory_equal(o->peer.heard, "HTTP/1.0 200 OK\r\n", 17);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_client_waits_for_a_response_only_so_long),
		T(the_rest_of_a_response_has_a_limit_of_its_own),
		T(a_used_connection_has_to_prove_soon_that_it_lives),
		T(a_service_waits_for_the_next_request_only_so_long),
		T(a_client_that_never_says_next_is_let_go_quietly),
		T(a_poller_gives_up_a_server_that_says_nothing),
		T(a_poller_that_does_not_say_next_is_let_go_quietly),
		T(the_opening_has_a_limit_for_all_of_it),
		T(so_has_the_wait_for_admission),
		T(a_client_gets_no_requests),
		T(a_service_gets_no_responses),
		T(a_service_closes_on_a_null_request),
		T(a_null_response_is_no_response),
		T(a_null_response_of_a_poller_fails_the_call),
		T(an_idle_peer_that_speaks_is_let_go),
		T(anything_but_proceed_ends_a_poller),
		T(a_dialler_that_claims_to_be_a_server_gets_one_line),
		T(a_server_that_is_none_is_refused),
		T(damaged_compression_ends_the_exchange),
		T(a_stream_of_another_length_ends_the_exchange),
		T(an_untrusted_peer_hears_nothing),
		T(who_is_not_admitted_hears_nothing),
		T(a_browser_gets_the_friendly_page),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
