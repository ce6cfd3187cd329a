/* Requests that go from their origin straight to a taker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "queue/queue.h"

static int answers, failures, status, cancelled;
static bool freed_source;

static void on_answered(struct hbt_pending *p, struct hbt_message *msg,
                        struct hbt_source *streams, struct hbt_sink **sink)
{
	(void)p;
	(void)streams;
	assert_null(*sink);
	answers++;
	hbt_message_unref(&msg);
}

static void on_failed(struct hbt_pending *p, const struct halibut_error *err)
{
	(void)p;
	failures++;
	status = err->status;
}

static bool on_cancelled(struct hbt_taker *t, struct hbt_pending *p)
{
	(void)t;
	(void)p;
	cancelled++;
	return true;
}

static void source_free(struct hbt_source *src)
{
	(void)src;
	freed_source = true;
}

static struct hbt_pending new_pending(void)
{
	answers = failures = status = cancelled = 0;
	freed_source = false;
	return (struct hbt_pending){
		.msg = hbt_message_null(),
		.answered = on_answered,
		.failed = on_failed,
	};
}

static void an_assigned_request_is_answered_without_a_queue(void **state)
{
	struct hbt_pending p = new_pending();
	struct hbt_taker t = {.cancelled = on_cancelled};

	(void)state;
	hbt_pending_assign(&p, &t);
	assert_int_equal(p.state, HBT_PENDING_TAKEN);
	assert_ptr_equal(p.taker, &t);
	hbt_pending_answer(&p, hbt_message_null(), NULL, NULL);
	assert_int_equal(answers, 1);
	assert_int_equal(p.state, HBT_PENDING_IDLE);
	hbt_pending_fini(&p);
}

static void an_assigned_request_is_cancelled_at_its_taker(void **state)
{
	struct hbt_pending p = new_pending();
	struct hbt_taker t = {.cancelled = on_cancelled};

	(void)state;
	hbt_pending_assign(&p, &t);
	hbt_pending_cancel(&p);
	assert_int_equal(cancelled, 1);
	assert_int_equal(failures, 1);
	assert_int_equal(status, HALIBUT_ETRANSFERRING_CANCELLED);
	hbt_pending_cancel(&p);
	assert_int_equal(failures, 1);
	hbt_pending_fini(&p);
}

static void fini_frees_streams_that_nobody_took(void **state)
{
	static const struct hbt_source_ops ops = {.free = source_free};
	struct hbt_source src = {.ops = &ops};
	struct hbt_pending p = new_pending();

	(void)state;
	p.streams = &src;
	hbt_pending_fini(&p);
	assert_true(freed_source);
	assert_null(p.streams);
	assert_null(p.msg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			an_assigned_request_is_answered_without_a_queue),
		cmocka_unit_test(
			an_assigned_request_is_cancelled_at_its_taker),
		cmocka_unit_test(fini_frees_streams_that_nobody_took),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
