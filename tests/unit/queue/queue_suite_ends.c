/* Requests that end without an answer: by their time, cancelled, or with the
 * queue itself. */
#include "queue_suite_private.h"

static void an_uncollected_request_fails_with_its_time_in_the_text(void **state)
{
	struct origin o = {.answers = 0};
	int64_t start = hbt_now_ms();

	(void)state;
	ask(&o, 1000);
	await(o.failures == 1);
	assert_true(hbt_now_ms() - start >= 1000);
	assert_int_equal(o.status, HALIBUT_ENOT_COLLECTED);
	assert_int_equal(o.connection_state, HALIBUT_CONNECTION_CONNECTING);
	assert_string_equal(
		o.text,
		"A request was sent to a polling endpoint, but the polling "
		"endpoint did not collect the request within the allowed time "
		"(00:00:01), so the request timed out.");
	assert_int_equal(counts().not_collected, 1);
	assert_int_equal(counts().waiting, 0);
	forget(&o);
}

static void what_timed_out_is_never_handed_out(void **state)
{
	struct origin late = {.answers = 0}, next = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	ask(&late, 5);
	await(late.failures == 1);
	offer(&c);
	ask(&next, LONG_MS);
	await(c.delivered == 1);
	assert_carries(&c, &next);
	answer_to(&c, &next);
	assert_int_equal(late.answers, 0);
	forget(&late);
	forget(&next);
}

static void a_collected_request_has_no_queue_timeout(void **state)
{
	struct origin o = {.answers = 0}, clock = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	ask(&o, 300);
	take(&c, &o);
	ask(&clock, 400); /* its end shows that 300 ms are over */
	await(clock.failures == 1);
	assert_int_equal(o.failures + c.cancelled, 0);
	answer_to(&c, &o);
	assert_int_equal(counts().waiting + counts().taken, 0);
	forget(&o);
	forget(&clock);
}

static struct origin *ended[3];
static int n_ended;

static void note_end(struct origin *o)
{
	ended[n_ended++] = o;
}

static void each_request_has_a_time_of_its_own(void **state)
{
	struct origin o[3] = {{.answers = 0}};
	static const int64_t ms[3] = {90, 30, 60};

	(void)state;
	n_ended = 0;
	for (int i = 0; i < 3; i++) {
		o[i].then = note_end;
		ask(&o[i], ms[i]);
	}
	await(n_ended == 3);
	assert_ptr_equal(ended[0], &o[1]);
	assert_ptr_equal(ended[1], &o[2]);
	assert_ptr_equal(ended[2], &o[0]);
	for (int i = 0; i < 3; i++)
		forget(&o[i]);
}

static void without_any_time_it_fails_but_not_inside_push(void **state)
{
	struct origin o = {.answers = 0};

	(void)state;
	ask(&o, 0);
	assert_int_equal(o.failures, 0);
	await(o.failures == 1);
	assert_int_equal(o.status, HALIBUT_ENOT_COLLECTED);
	forget(&o);
}

static void an_endless_time_is_no_overflow(void **state)
{
	struct origin o = {.answers = 0}, clock = {.answers = 0};

	(void)state;
	ask(&o, INT64_MAX);
	ask(&clock, 5);
	await(clock.failures == 1);
	assert_int_equal(o.failures, 0);
	hbt_pending_cancel(&o.p);
	forget(&o);
	forget(&clock);
}

static void cancelled_while_waiting_it_is_gone_and_was_connecting(void **state)
{
	struct origin o = {.answers = 0}, next = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	ask(&o, LONG_MS);
	ask(&next, LONG_MS);
	hbt_pending_cancel(&o.p);
	assert_int_equal(o.failures, 1);
	assert_int_equal(o.status, HALIBUT_ECONNECTING_CANCELLED);
	assert_int_equal(o.connection_state, HALIBUT_CONNECTION_CONNECTING);
	assert_string_equal(o.text,
	                    "The Request was cancelled while Connecting.");
	hbt_pending_cancel(&o.p); /* no-op */
	assert_int_equal(o.failures, 1);
	take(&c, &next);
	answer_to(&c, &next);
	assert_int_equal(counts().cancelled, 1);
	forget(&o);
	forget(&next);
}

static void cancelled_when_taken_both_hear_of_it(void **state)
{
	struct origin o = {.answers = 0};
	struct carrier c = {.began = true};

	(void)state;
	ask(&o, LONG_MS);
	take(&c, &o);
	hbt_pending_cancel(&o.p);
	assert_int_equal(o.failures, 1);
	await(c.cancelled == 1);
	assert_int_equal(o.status, HALIBUT_ETRANSFERRING_CANCELLED);
	assert_int_equal(o.connection_state, HALIBUT_CONNECTION_UNKNOWN);
	assert_string_equal(o.text,
	                    "The Request was cancelled while Transferring.");
	assert_int_equal(counts().taken + counts().waiting, 0);
	forget(&o);
}

static void cancelled_before_a_byte_was_sent_it_was_connecting(void **state)
{
	struct origin o = {.answers = 0};
	struct carrier c = {.began = false};

	(void)state;
	ask(&o, LONG_MS);
	take(&c, &o);
	hbt_pending_cancel(&o.p);
	await(c.cancelled == 1);
	if (suite->remote) { /* nobody knows here */
		assert_int_equal(o.status, HALIBUT_ETRANSFERRING_CANCELLED);
	} else {
		assert_int_equal(o.status, HALIBUT_ECONNECTING_CANCELLED);
		assert_int_equal(o.connection_state,
		                 HALIBUT_CONNECTION_CONNECTING);
	}
	forget(&o);
}

static void the_time_of_what_is_put_back_ran_on(void **state)
{
	struct origin o = {.answers = 0}, clock = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	ask(&o, 300);
	take(&c, &o);
	ask(&clock, 400);
	await(clock.failures == 1);
	assert_int_equal(o.failures, 0);
	put_back(&c);
	assert_int_equal(o.failures, 0); /* not before it returned */
	await(o.failures + o.answers == 1);
	if (suite->remote)
		assert_true(o.response->env.is_error);
	else
		assert_int_equal(o.status, HALIBUT_ENOT_COLLECTED);
	forget(&o);
	forget(&clock);
}

static void a_freed_queue_cancels_what_it_has(void **state)
{
	struct origin waiting = {.answers = 0}, taken = {.answers = 0};
	struct carrier c = {.began = true}, idle = {.delivered = 0};

	(void)state;
	ask(&taken, LONG_MS);
	take(&c, &taken);
	ask(&waiting, LONG_MS);
	hbt_queue_free(&queue);
	assert_null(queue);
	assert_int_equal(waiting.failures, 1);
	assert_int_equal(taken.failures, 1);
	if (suite->remote) {
		assert_int_equal(waiting.status, HALIBUT_ESHUTDOWN);
		assert_int_equal(taken.status, HALIBUT_ESHUTDOWN);
	} else {
		assert_int_equal(waiting.status, HALIBUT_ECONNECTING_CANCELLED);
		assert_int_equal(taken.status, HALIBUT_ETRANSFERRING_CANCELLED);
	}
	assert_int_equal(c.cancelled, 1);
	forget(&waiting);
	forget(&taken);

	queue = suite->make(base, "poll://tests/");
	offer(&idle);
	hbt_queue_free(&queue);
	assert_null(idle.t.queue);
}

static const struct CMUnitTest ends_tests[] = {
	TEST(an_uncollected_request_fails_with_its_time_in_the_text),
	TEST(what_timed_out_is_never_handed_out),
	TEST(a_collected_request_has_no_queue_timeout),
	TEST(each_request_has_a_time_of_its_own),
	TEST(without_any_time_it_fails_but_not_inside_push),
	TEST(an_endless_time_is_no_overflow),
	TEST(cancelled_while_waiting_it_is_gone_and_was_connecting),
	TEST(cancelled_when_taken_both_hear_of_it),
	TEST(cancelled_before_a_byte_was_sent_it_was_connecting),
	TEST(the_time_of_what_is_put_back_ran_on),
	TEST(a_freed_queue_cancels_what_it_has),
};

const struct queue_suite_part queue_suite_ends = PART(ends_tests);
