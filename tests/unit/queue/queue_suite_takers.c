/* Who gets a request, in which order, and how its answer comes back. */
#include "queue_suite_private.h"

#include <string.h>

#include "wire/writer.h"

static void a_request_waits_until_it_is_taken_and_answered(void **state)
{
	struct origin o = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	ask(&o, LONG_MS);
	await(counts().waiting == 1);
	assert_int_equal(o.p.state, HBT_PENDING_WAITING);
	take(&c, &o);
	assert_int_equal(o.answers, 0);
	answer_to(&c, &o);
	assert_string_equal(o.response->env.id, o.p.msg->env.id);
	assert_int_equal(o.failures, 0);
	assert_int_equal(counts().waiting + counts().taken, 0);
	forget(&o);
}

static void a_waiting_taker_gets_a_request_as_soon_as_it_comes(void **state)
{
	struct origin o = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	offer(&c);
	await(counts().takers == 1);
	ask(&o, LONG_MS);
	await(c.delivered == 1);
	answer_to(&c, &o);
	forget(&o);
}

static void a_failure_of_the_taker_is_the_origins(void **state)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	struct origin o = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	ask(&o, LONG_MS);
	take(&c, &o);
	hbt_error_set(&err, HALIBUT_ECLOSED, "the line went dead");
	hbt_pending_fail(c.got, &err);
	halibut_error_clear(&err);
	await(o.failures + o.answers == 1);
	if (suite->remote) { /* what the carrier's node writes is a response */
		assert_true(o.response->env.is_error);
		forget(&o);
		return;
	}
	assert_int_equal(o.status, HALIBUT_ECLOSED);
	assert_int_equal(o.connection_state, HALIBUT_CONNECTION_UNKNOWN);
	assert_string_equal(o.text, "the line went dead");
	assert_int_equal(counts().failed, 1);
	forget(&o);
}

static void requests_are_taken_first_in_first_out(void **state)
{
	struct origin o[10] = {{.answers = 0}};
	struct carrier c = {.delivered = 0};

	(void)state;
	for (int i = 0; i < 10; i++)
		ask(&o[i], LONG_MS + i % 3);
	for (int i = 0; i < 10; i++) {
		take(&c, &o[i]);
		answer(&c);
	}
	for (int i = 0; i < 10; i++) {
		await(o[i].answers == 1);
		forget(&o[i]);
	}
}

/* A queue may have to wait for something before the first. */
static void requests_of_one_moment_keep_their_order(void **state)
{
	struct origin first = {.answers = 0}, o[40] = {{.answers = 0}};
	struct carrier c = {.delivered = 0};

	(void)state;
	ask(&first, LONG_MS);
	take(&c, &first);
	answer_to(&c, &first);
	for (int i = 0; i < 40; i++)
		ask(&o[i], LONG_MS);
	for (int i = 0; i < 40; i++) {
		take(&c, &o[i]);
		answer(&c);
	}
	for (int i = 0; i < 40; i++) {
		await(o[i].answers == 1);
		forget(&o[i]);
	}
	forget(&first);
}

static void takers_are_served_in_the_order_of_their_offers(void **state)
{
	struct origin o[10] = {{.answers = 0}};
	struct carrier c[10] = {{.delivered = 0}};

	(void)state;
	for (int i = 0; i < 10; i++)
		offer(&c[i]);
	for (int i = 0; i < 10; i++) {
		ask(&o[i], LONG_MS);
		await(c[i].delivered == 1);
		assert_carries(&c[i], &o[i]);
	}
	for (int i = 0; i < 10; i++) {
		answer_to(&c[i], &o[i]);
		forget(&o[i]);
	}
}

static void of_thirty_takers_one_gets_the_only_request(void **state)
{
	struct origin o = {.answers = 0};
	struct carrier c[30] = {{.delivered = 0}};
	int delivered = 0;

	(void)state;
	for (int i = 0; i < 30; i++)
		offer(&c[i]);
	ask(&o, LONG_MS);
	await(o.p.state == HBT_PENDING_TAKEN && c[0].got != NULL);
	for (int i = 0; i < 30; i++)
		delivered += c[i].delivered;
	assert_int_equal(delivered, 1);
	assert_int_equal(counts().takers, 29);
	answer_to(&c[0], &o);
	for (int i = 0; i < 30; i++)
		hbt_queue_withdraw(&c[i].t);
	assert_int_equal(counts().takers, 0);
	forget(&o);
}

static void a_withdrawn_taker_gets_nothing(void **state)
{
	struct origin o = {.answers = 0};
	struct carrier gone = {.delivered = 0}, here = {.delivered = 0};

	(void)state;
	offer(&gone);
	offer(&here);
	hbt_queue_withdraw(&gone.t);
	assert_null(gone.t.queue);
	hbt_queue_withdraw(&gone.t); /* no-op */
	ask(&o, LONG_MS);
	await(here.delivered == 1);
	assert_int_equal(gone.delivered, 0);
	answer_to(&here, &o);
	forget(&o);
}

static void what_is_put_back_comes_first_again(void **state)
{
	struct origin a = {.answers = 0}, b = {.answers = 0};
	struct carrier broken = {.delivered = 0}, good = {.delivered = 0};

	(void)state;
	ask(&a, LONG_MS);
	ask(&b, LONG_MS);
	take(&broken, &a);
	put_back(&broken);
	if (!suite->remote)
		assert_int_equal(a.p.state, HBT_PENDING_WAITING);
	take(&good, &a);
	answer(&good);
	take(&good, &b);
	answer(&good);
	await(a.answers == 1 && b.answers == 1);
	assert_int_equal(broken.delivered, 1);
	assert_int_equal(counts().collected, 3);
	forget(&a);
	forget(&b);
}

static void what_is_put_back_goes_to_who_waits_already(void **state)
{
	struct origin o = {.answers = 0};
	struct carrier broken = {.delivered = 0}, good = {.delivered = 0};

	(void)state;
	offer(&broken);
	offer(&good);
	ask(&o, LONG_MS);
	await(broken.delivered == 1);
	put_back(&broken);
	await(good.delivered == 1);
	answer_to(&good, &o);
	forget(&o);
}

static void streams_of_a_response_always_have_a_sink(void **state)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	struct origin o = {.sink = NULL}; /* does not want them */
	struct carrier c = {.delivered = 0};
	struct hbt_sink *sink = NULL;
	struct hbt_pending *p;
	uint8_t section[24 + 3 + 8];

	(void)state;
	ask(&o, LONG_MS);
	take(&c, &o);
	p = c.got;
	hbt_pending_answer(p, response("x", true), NULL, &sink);
	assert_non_null(sink);
	hbt_section_head(&stream_id, 3, section);
	memcpy(section + 24, STREAM, 3);
	hbt_section_tail(3, section + 27);
	assert_int_equal(sink->ops->write(sink, section, sizeof(section), &err),
	                 sizeof(section));
	hbt_sink_end(&sink, NULL);
	await(o.answers == 1);
	forget(&o);
}

static void counts_tell_what_is_there(void **state)
{
	struct origin a = {.answers = 0}, b = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	assert_int_equal(counts().oldest_waiting_ms, 0);
	ask(&a, LONG_MS);
	ask(&b, LONG_MS);
	await(counts().waiting == 2);
	assert_int_equal(counts().waiting_bytes,
	                 a.p.msg->deflated_len + b.p.msg->deflated_len);
	await(counts().oldest_waiting_ms > 0);
	offer(&c);
	await(counts().taken == 1);
	assert_int_equal(counts().waiting, 1);
	assert_int_equal(counts().waiting_bytes, b.p.msg->deflated_len);
	assert_int_equal(counts().collected, 1);
	answer_to(&c, &a);
	assert_int_equal(counts().answered, 1);
	hbt_pending_cancel(&b.p);
	assert_int_equal(counts().cancelled, 1);
	assert_int_equal(counts().waiting_bytes, 0);
	forget(&a);
	forget(&b);
}

static void a_request_that_finds_no_memory_fails_alone(void **state)
{
	struct origin o = {.answers = 0}, next = {.answers = 0};
	struct carrier c = {.delivered = 0};

	(void)state;
	*suite->no_table = true;
	ask(&o, LONG_MS);
	await(o.failures == 1);
	assert_false(*suite->no_table);
	assert_non_null(strstr(o.text, "preparing request for queue"));
	ask(&next, LONG_MS);
	take(&c, &next);
	answer_to(&c, &next);
	forget(&o);
	forget(&next);
}

static const struct CMUnitTest takers_tests[] = {
	TEST(a_request_waits_until_it_is_taken_and_answered),
	TEST(a_waiting_taker_gets_a_request_as_soon_as_it_comes),
	TEST(a_failure_of_the_taker_is_the_origins),
	TEST(requests_are_taken_first_in_first_out),
	TEST(requests_of_one_moment_keep_their_order),
	TEST(takers_are_served_in_the_order_of_their_offers),
	TEST(of_thirty_takers_one_gets_the_only_request),
	TEST(a_withdrawn_taker_gets_nothing),
	TEST(what_is_put_back_comes_first_again),
	TEST(what_is_put_back_goes_to_who_waits_already),
	TEST(streams_of_a_response_always_have_a_sink),
	TEST(counts_tell_what_is_there),
};

const struct queue_suite_part queue_suite_takers = PART(takers_tests);

static const struct CMUnitTest no_table_tests[] = {
	TEST(a_request_that_finds_no_memory_fails_alone),
};

const struct queue_suite_part queue_suite_no_table = PART(no_table_tests);
