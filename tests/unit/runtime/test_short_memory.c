/*
 * Memory that runs short at each single allocation of a table that grows:
 * what is added fails, what was there stays. Linked with --wrap, for our own
 * calls and for those that uthash makes in our files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka wants those four before it */
#include <cmocka.h>
#include <event2/event.h>

#include "runtime/pool.h"
#include "runtime/runtime.h"
#include "runtime/trust_set.h"
#include "../short_memory.h"

WRAP(void *, malloc, (size_t n), (n))
WRAP(void *, calloc, (size_t n, size_t size), (n, size))

/* Once per allocation that add() makes; then it succeeds. */
static void fail_each(int (*add)(unsigned i), unsigned i)
{
	int rc = HALIBUT_ENOMEM;

	for (int n = 0; rc != HALIBUT_OK; n++) {
		failed = false;
		countdown = n;
		rc = add(i);
		countdown = -1;
		assert_int_equal(rc, failed ? HALIBUT_ENOMEM : HALIBUT_OK);
		assert_in_range(n, 0, 10);
	}
}

enum { MANY = 500 }; /* enough for tables that grow several times */

/* Thumbprints */

static struct hbt_trust_set *trust;

static const char *thumbprint(unsigned i)
{
	static char text[41];

	snprintf(text, sizeof(text), "%040X", i);
	return text;
}

static int trust_one(unsigned i)
{
	int rc = hbt_trust_set_add(trust, thumbprint(i));

	assert_int_equal(hbt_trust_set_has(trust, thumbprint(i)),
	                 rc == HALIBUT_OK);
	return rc;
}

static void a_thumbprint_is_trusted_or_not_and_nothing_else_changes(
	void **state)
{
	(void)state;
	trust = hbt_trust_set_new();
	for (unsigned i = 0; i < MANY; i++) {
		fail_each(trust_one, i);
		assert_int_equal(hbt_trust_set_count(trust), i + 1);
	}
	for (unsigned i = 0; i < MANY; i++)
		assert_true(hbt_trust_set_has(trust, thumbprint(i)));
	hbt_trust_set_free(&trust);
}

/* Services */

static struct halibut_runtime rt;

static void nothing(void *arg, struct halibut_request *req)
{
	(void)arg;
	(void)req;
}

static int add_service(unsigned i)
{
	char method[16];

	snprintf(method, sizeof(method), "Method%u", i);
	return halibut_service_add(&rt, "IService", method, nothing, NULL);
}

static void a_method_that_could_not_be_added_can_be_added_again(void **state)
{
	(void)state;
	LIST_INIT(&rt.requests);
	for (unsigned i = 0; i < MANY; i++)
		fail_each(add_service, i);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(add_service(i), HALIBUT_EINVAL);
	hbt_services_free(&rt);
}

/* Idle connections; what the pool does with them is counted. */

static struct event_base *base;
static struct hbt_pool *pool;
static struct hbt_limits limits;
static unsigned finished;

void __wrap_hbt_exchange_finish(struct hbt_exchange **ex);
void __wrap_hbt_exchange_finish(struct hbt_exchange **ex)
{
	finished++;
	*ex = NULL;
}

void __wrap_hbt_exchange_set_owner(struct hbt_exchange *ex,
                                   const struct hbt_exchange_ops *ops,
                                   void *arg);
void __wrap_hbt_exchange_set_owner(struct hbt_exchange *ex,
                                   const struct hbt_exchange_ops *ops,
                                   void *arg)
{
	(void)ex;
	(void)ops;
	(void)arg;
}

void __wrap_hbt_exchange_explain(struct hbt_exchange *ex, const char *why);
void __wrap_hbt_exchange_explain(struct hbt_exchange *ex, const char *why)
{
	(void)ex;
	(void)why;
}

static int pool_one(unsigned i)
{
	static char exchange; /* nobody looks into it */
	unsigned ended = finished;
	size_t n = hbt_pool_count(pool);
	char key[32];
	struct hbt_endpoint e = {.key = key};

	snprintf(key, sizeof(key), "https://host%u:1/", i);
	hbt_pool_put(pool, &e, (struct hbt_exchange *)&exchange);
	if (hbt_pool_count(pool) > n) {
		assert_int_equal(finished, ended);
		return HALIBUT_OK;
	}
	assert_int_equal(finished, ended + 1);
	return HALIBUT_ENOMEM;
}

static void a_connection_is_kept_or_ended(void **state)
{
	(void)state;
	hbt_limits_init(&limits);
	base = event_base_new();
	pool = hbt_pool_new(base, &limits);
	for (unsigned i = 0; i < MANY; i++)
		fail_each(pool_one, i);
	assert_int_equal(hbt_pool_count(pool), MANY);
	finished = 0;
	hbt_pool_free(&pool);
	assert_int_equal(finished, MANY);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_thumbprint_is_trusted_or_not_and_nothing_else_changes),
		cmocka_unit_test(
			a_method_that_could_not_be_added_can_be_added_again),
		cmocka_unit_test(a_connection_is_kept_or_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
