/*
 * How exchanges end: by a word, without one, by our own will, and in time
 * when they retire. wire-protocol 5, runtime-behaviour 3.11
 */
#include "owner.h"

#include "exchange/private.h"

/* ---- The end ---- */

static void end_is_heard_while_we_execute(void **state)
{
	struct owner *o = *state;

	as_service(o);
	says(o, plain_request);
	WAIT_STATE(o, "executes");
	peer_says_text(&o->peer, END);
	expect_close(o, HALIBUT_ECLOSED);
}

static void end_is_heard_while_a_subscriber_is_idle(void **state)
{
	struct owner *o = *state;

	as_polled(o);
	WAIT(&o->peer, o->ready == 1);
	peer_says_text(&o->peer, END);
	expect_close(o, HALIBUT_OK);
}

static void end_is_heard_instead_of_next_after_a_null_message(void **state)
{
	struct owner *o = *state;

	limits.polling_queue_wait_timeout_ms = 20;
	as_polled(o);
	hears_null(o);
	ask(o, plain_request);
	peer_says_text(&o->peer, END);
	expect_close(o, HALIBUT_OK);
	assert_false(o->began); /* it can go to somebody else */
}

static void end_instead_of_a_response_breaks_the_call(void **state)
{
	struct owner *o = *state;

	as_polled(o);
	ask_once_ready(o, plain_request);
	peer_says_text(&o->peer, END);
	peer_leaves(&o->peer, false);
	WAIT_CLOSED(o);
	assert_int_not_equal(o->err.status, HALIBUT_OK);
}

static void a_peer_that_leaves_while_we_execute_is_noticed(void **state)
{
	struct owner *o = *state;

	as_service(o);
	says(o, plain_request);
	WAIT_STATE(o, "executes");
	peer_leaves(&o->peer, false);
	expect_close(o, HALIBUT_ECLOSED);
}

static void a_peer_that_leaves_behind_its_mx_is_noticed(void **state)
{
	struct owner *o = *state;

	start_accepting(o);
	peer_says_text(&o->peer, "MX");
	peer_leaves(&o->peer, false);
	expect_close(o, HALIBUT_ECLOSED);
}

static void expect_mistrust(struct owner *o)
{
	expect_close(o, HALIBUT_ECLOSED);
	assert_non_null(strstr(o->err.message, "may not trust"));
	assert_non_null(strstr(o->err.message, ours->thumbprint));
}

/* All that a peer does who does not trust us: runtime-behaviour 3.11. */
static void a_server_that_leaves_without_a_word_may_not_trust_us(void **state)
{
	struct owner *o = *state;

	start_dialling(o, NULL);
	peer_skips(&o->peer, strlen(PREAMBLE CLIENT));
	peer_leaves(&o->peer, false);
	expect_mistrust(o);
}

static void one_that_resets_the_connection_neither(void **state)
{
	struct owner *o = *state;

	start_dialling(o, "poll://sq-test/");
	WAIT_STATE(o, "waits for the peer's identification");
	peer_leaves(&o->peer, true);
	expect_mistrust(o);
}

static void one_that_has_spoken_does_trust_us(void **state)
{
	struct owner *o = *state;

	as_client(o);
	ask_once_ready(o, plain_request);
	peer_leaves(&o->peer, false);
	expect_close(o, HALIBUT_ECLOSED);
	assert_null(strstr(o->err.message, "trust"));
}

static void an_aborted_exchange_tells_so_from_the_loop(void **state)
{
	struct owner *o = *state;

	as_service(o);
	hbt_exchange_abort(o->ex);
	hbt_exchange_abort(o->ex);
	assert_int_equal(o->closes, 0);
	WAIT_CLOSED(o);
}

static void idle_connections_end_in_good_order_others_at_once(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_service(o);
	says(o, plain_request);
	WAIT(&o->peer, o->sents == 1);
	hbt_exchange_finish(&o->ex);
	hears(o, response); /* was still on its way */
	WAIT(&o->peer, o->peer.at_end);
}

/* ---- Why it ended, for whoever wants to know ---- */

static char ended_why[256];
static int n_ended;

static void keep_end(void *arg, const struct hbt_exchange *ex, const char *why)
{
	(void)arg;
	assert_non_null(hbt_exchange_conn(ex));
	snprintf(ended_why, sizeof(ended_why), "%s", why);
	n_ended++;
}

/* Ends what is there, and begins anew. */
static void expect_end(struct owner *o, const char *why)
{
	hbt_exchange_free(&o->ex);
	assert_int_equal(n_ended, 1);
	if (strstr(ended_why, why) == NULL)
		fail_msg("it ended because \"%s\", not \"%s\"", ended_why,
		         why);
	assert_int_equal(o->env.all.used, 0);
	owner_fini(o);
	owner_init(o);
	o->env.ended = keep_end;
	n_ended = 0;
}

static void whoever_wants_to_know_hears_why_an_exchange_ended(void **state)
{
	struct owner *o = *state;

	o->env.ended = keep_end;
	n_ended = 0;
	as_polled(o);
	WAIT(&o->peer, o->ready == 1);
	peer_says_text(&o->peer, END);
	WAIT_CLOSED(o);
	expect_end(o, "the peer ended it");
	as_client(o);
	peer_says_text(&o->peer, "nonsense");
	WAIT_CLOSED(o);
	expect_end(o, "spoke out of turn");
}

static void an_end_of_ours_can_be_explained_once(void **state)
{
	struct owner *o = *state;

	o->env.ended = keep_end;
	n_ended = 0;
	as_service(o);
	hbt_exchange_explain(o->ex, "its certificate is not trusted any more");
	hbt_exchange_explain(o->ex, "something else");
	expect_end(o, "not trusted any more");
	as_service(o);
	expect_end(o, "this side ended it");
	as_service(o);
	hbt_exchange_abort(o->ex);
	WAIT_CLOSED(o);
	expect_end(o, "gave the connection up");
}

/* ---- Retiring: no request may be lost, and no peer wait in vain ---- */

static void a_retiring_service_answers_the_request_that_may_be_on_its_way(
	void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_service(o);
	hbt_exchange_retire(o->ex);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(o->closes, 0);
	says(o, plain_request);
	hears(o, response);
	expect_close(o, HALIBUT_OK);
	WAIT(&o->peer, o->peer.at_end);
}

static void one_that_retires_before_it_knows_its_peer_serves_one_request(
	void **state)
{
	struct owner *o = *state;

	o->answers = true;
	start_accepting(o);
	hbt_exchange_retire(o->ex);
	peer_says_text(&o->peer, PREAMBLE);
	peer_says_text(&o->peer, CLIENT);
	peer_hears_text(&o->peer, SERVER);
	says(o, plain_request);
	hears(o, response);
	WAIT_CLOSED(o);
}

static void next_at_a_retiring_service_gets_no_proceed(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_service(o);
	says(o, plain_request);
	hears(o, response);
	o->ex->retiring = true; /* NEXT and retire() cross */
	peer_says_text(&o->peer, NEXT);
	expect_close(o, HALIBUT_OK);
	WAIT(&o->peer, o->peer.at_end);
	assert_int_equal(o->peer.len, 0);
}

static void a_retiring_service_ends_what_a_client_keeps_idle(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_service(o);
	says(o, plain_request);
	hears(o, response);
	WAIT_STATE(o, "waits for NEXT");
	hbt_exchange_retire(o->ex);
	WAIT_CLOSED(o);
	WAIT(&o->peer, o->peer.at_end);
}

static void a_retiring_poller_ends_with_its_turn(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_poller(o);
	hbt_exchange_retire(o->ex);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(o->closes, 0); /* a request may be on its way */
	says(o, plain_request);
	hears(o, response);
	peer_hears_text(&o->peer, END);
	expect_close(o, HALIBUT_OK);
}

static void a_null_message_is_such_a_turn(void **state)
{
	struct owner *o = *state;

	as_poller(o);
	hbt_exchange_retire(o->ex);
	says_null(o);
	peer_hears_text(&o->peer, END);
	WAIT_CLOSED(o);
}

static void a_poller_that_retires_while_it_dials_ends_at_once(void **state)
{
	struct owner *o = *state;

	start_dialling(o, "poll://sq-test/");
	hbt_exchange_retire(o->ex);
	WAIT_CLOSED(o);
	assert_int_equal(o->identified, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(end_is_heard_while_we_execute),
		T(end_is_heard_while_a_subscriber_is_idle),
		T(end_is_heard_instead_of_next_after_a_null_message),
		T(end_instead_of_a_response_breaks_the_call),
		T(a_peer_that_leaves_while_we_execute_is_noticed),
		T(a_peer_that_leaves_behind_its_mx_is_noticed),
		T(a_server_that_leaves_without_a_word_may_not_trust_us),
		T(one_that_resets_the_connection_neither),
		T(one_that_has_spoken_does_trust_us),
		T(an_aborted_exchange_tells_so_from_the_loop),
		T(idle_connections_end_in_good_order_others_at_once),
		T(whoever_wants_to_know_hears_why_an_exchange_ended),
		T(an_end_of_ours_can_be_explained_once),
		T(a_retiring_service_answers_the_request_that_may_be_on_its_way),
		T(one_that_retires_before_it_knows_its_peer_serves_one_request),
		T(next_at_a_retiring_service_gets_no_proceed),
		T(a_retiring_service_ends_what_a_client_keeps_idle),
		T(a_retiring_poller_ends_with_its_turn),
		T(a_null_message_is_such_a_turn),
		T(a_poller_that_retires_while_it_dials_ends_at_once),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
