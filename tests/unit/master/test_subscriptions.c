/* Polling connections: which are admitted, which may leave, what is known. */
#include "calls_fixture.h"

#include <string.h>

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

	offer(&f->poller, 70, "poll://abc/");
	facts_of(f, "poll://abc/", &facts);
	assert_int_equal(facts.machines, 1);
	assert_string_equal(facts.thumbprints, PRINT1);
	subscribe_as(&f->poller, 71, "poll://abc/", PRINT2, "192.0.2.3:7");
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

/* Of two connections 70 may leave; 80, the last then, hears nothing. */
static void both_want_to_leave(struct fixture *f)
{
	offer(&f->poller, 70, "poll://abc/");
	offer(&f->carrier, 80, "poll://abc/");
	say(&f->poller, HBT_IPC_LEAVE, 70);
	assert_may_leave(&f->poller, 70);
	say(&f->carrier, HBT_IPC_LEAVE, 80);
}

static void the_last_connection_stays_until_another_one_has_come(void **state)
{
	struct fixture *f = *state;

	both_want_to_leave(f);
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

	both_want_to_leave(f);
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
	uint64_t next = 0;

	for (uint32_t id = 1; id <= 3; id++) {
		subscribe(&f->poller, id, "poll://abc/");
		assert_int_equal(admitted(&f->poller, id), id <= 2);
	}
	hbt_page_init(&page, HBT_TABLE_REFUSED);
	hbt_refused_fill(f->refused, 0, &page, &next);
	read_only_row(&page, &row);
	assert_string_equal(row.address, "192.0.2.2");
	assert_string_equal(row.thumbprint, PRINT1);
	assert_non_null(
		strstr(row.reason, "max_connections_per_subscription"));
	hbt_row_fini(HBT_TABLE_REFUSED, &row);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(connections_of_all_workers_count_for_the_limit),
		TEST(only_poll_uris_can_be_subscribed_to),
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
