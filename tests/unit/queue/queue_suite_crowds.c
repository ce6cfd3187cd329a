/* Many at once, and callbacks that do what they like. */
#include "queue_suite_private.h"

#include <stdlib.h>

static void after_mass_cancellation_only_the_others_are_taken(void **state)
{
	struct origin o[200] = {{.answers = 0}};
	struct carrier c[100] = {{.delivered = 0}};

	(void)state;
	for (int i = 0; i < 200; i++)
		ask(&o[i], LONG_MS);
	for (int i = 0; i < 100; i++) {
		hbt_pending_cancel(&o[2 * i].p);
		offer(&c[i]);
	}
	for (int i = 0; i < 100; i++) {
		await(c[i].delivered == 1);
		answer(&c[i]);
	}
	for (int i = 0; i < 200; i++) {
		await(o[i].answers + o[i].failures == 1);
		assert_int_equal(o[i].answers, i % 2);
		forget(&o[i]);
	}
}

/* Counts how deep deliver() is inside itself. */
static int depth, deepest;

static void answer_and_offer_again(struct carrier *c)
{
	if (++depth > deepest)
		deepest = depth;
	answer(c);
	offer(c);
	depth--;
}

static void five_thousand_requests_leave_the_stack_alone(void **state)
{
	struct origin *o = calloc(5000, sizeof(*o));
	struct carrier c = {.then = answer_and_offer_again};

	(void)state;
	depth = deepest = 0;
	for (int i = 0; i < 5000; i++)
		ask(&o[i], LONG_MS + (i * 7919) % 5000);
	offer(&c);
	await(c.delivered == 5000);
	assert_int_equal(deepest, 1);
	for (int i = 0; i < 5000; i++) {
		await(o[i].answers == 1);
		forget(&o[i]);
	}
	assert_int_equal(counts().answered, 5000);
	hbt_queue_withdraw(&c.t);
	free(o);
}

static void twenty_thousand_takers_come_and_go(void **state)
{
	struct origin *o = calloc(5000, sizeof(*o));
	struct carrier *c = calloc(20000, sizeof(*c));
	int answered = 0;

	(void)state;
	for (int i = 0; i < 20000; i++)
		offer(&c[i]);
	for (int i = 1; i < 20000; i += 2)
		hbt_queue_withdraw(&c[i].t);
	for (int i = 0; i < 5000; i++)
		ask(&o[i], LONG_MS);
	await(counts().collected == 5000);
	for (int i = 0; i < 20000; i++) {
		if (c[i].got != NULL) {
			assert_int_equal(i % 2, 0);
			answer(&c[i]);
			answered++;
		} else {
			hbt_queue_withdraw(&c[i].t);
		}
	}
	assert_int_equal(answered, 5000);
	for (int i = 0; i < 5000; i++) {
		await(o[i].answers == 1);
		forget(&o[i]);
	}
	assert_int_equal(counts().takers, 0);
	free(o);
	free(c);
}

static void ask_again(struct origin *o)
{
	if (o->answers == 3)
		return;
	hbt_message_unref(&o->response);
	ask(o, LONG_MS);
}

static void an_origin_may_ask_again_from_its_callback(void **state)
{
	struct origin o = {.then = ask_again};
	struct carrier c = {.then = answer_and_offer_again};

	(void)state;
	depth = deepest = 0;
	offer(&c);
	ask(&o, LONG_MS);
	await(o.answers == 3);
	assert_int_equal(c.delivered, 3);
	assert_int_equal(deepest, 1);
	hbt_queue_withdraw(&c.t);
	forget(&o);
}

static int freed;

static void free_origin(struct origin *o)
{
	forget(o);
	free(o);
	freed++;
}

static void an_origin_may_free_itself_in_its_callback(void **state)
{
	struct origin *o[4];
	struct carrier c[2] = {{.delivered = 0}};

	(void)state;
	freed = 0;
	for (int i = 0; i < 4; i++) {
		o[i] = calloc(1, sizeof(*o[i]));
		o[i]->then = free_origin;
		ask(o[i], i == 3 ? 5 : LONG_MS);
	}
	offer(&c[0]);
	offer(&c[1]);
	await(c[0].got != NULL && c[1].got != NULL);
	hbt_pending_cancel(&o[0]->p); /* taken */
	hbt_pending_cancel(&o[2]->p); /* waiting */
	answer(&c[1]);
	await(freed == 4); /* the last by its time */
	await(c[0].cancelled == 1);
	assert_int_equal(counts().waiting + counts().taken, 0);
}

static struct origin *victim;

static void cancel_victim(struct origin *o)
{
	(void)o;
	hbt_pending_cancel(&victim->p);
}

static void a_failing_request_may_cancel_another(void **state)
{
	struct origin a = {.then = cancel_victim}, b = {.answers = 0};

	(void)state;
	victim = &b;
	ask(&a, 5);
	ask(&b, 5);
	await(a.failures == 1 && b.failures == 1);
	assert_int_equal(a.status, HALIBUT_ENOT_COLLECTED);
	if (!suite->remote)
		assert_int_equal(b.status, HALIBUT_ECONNECTING_CANCELLED);
	forget(&a);
	forget(&b);
}

static const struct CMUnitTest crowds_tests[] = {
	TEST(after_mass_cancellation_only_the_others_are_taken),
	TEST(five_thousand_requests_leave_the_stack_alone),
	TEST(twenty_thousand_takers_come_and_go),
	TEST(an_origin_may_ask_again_from_its_callback),
	TEST(an_origin_may_free_itself_in_its_callback),
	TEST(a_failing_request_may_cancel_another),
};

const struct queue_suite_part queue_suite_crowds = PART(crowds_tests);
