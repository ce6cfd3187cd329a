/* Who may have how much: sources, certificates, by a clock of ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "master/admission.h"
#include "base/source.h"

#define ONE "1111111111111111111111111111111111111111"
#define TWO "2222222222222222222222222222222222222222"

struct fixture {
	struct hbt_config cfg;
	struct hbt_refused *refused;
	struct hbt_admission *adm;
	struct hbt_link link;
	int64_t now_ms;
	unsigned lines;
	char last[1024];
};

static void keep_line(void *arg, enum hbt_log_level level, const char *line)
{
	struct fixture *f = arg;

	(void)level;
	f->lines++;
	snprintf(f->last, sizeof(f->last), "%s", line);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->cfg.source_prefix_ipv4 = 32;
	f->cfg.source_prefix_ipv6 = 64;
	f->now_ms = 1000000;
	f->refused = hbt_refused_new();
	f->adm = hbt_admission_new(f->refused);
	hbt_log_set_sink(keep_line, f);
	*state = f;
	return hbt_admission_configure(f->adm, &f->cfg);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	hbt_admission_link_gone(f->adm, &f->link);
	assert_int_equal(hbt_admission_total(f->adm), 0);
	hbt_admission_free(&f->adm);
	hbt_refused_free(&f->refused);
	hbt_log_set_sink(NULL, NULL);
	free(f);
	return 0;
}

static uint32_t enter(struct fixture *f, const char *peer)
{
	return hbt_admission_enter(f->adm, &f->link, peer, f->now_ms);
}

static bool identify(struct fixture *f, uint32_t id, const char *thumbprint)
{
	return hbt_admission_identify(f->adm, &f->link, id, thumbprint,
	                              "192.0.2.1:1");
}

static void leave(struct fixture *f, uint32_t id)
{
	hbt_admission_leave(f->adm, &f->link, id);
}

static void a_source_has_no_more_connections_than_it_may(void **state)
{
	struct fixture *f = *state;
	uint32_t first;

	f->cfg.max_connections_per_source = 2;
	first = enter(f, "192.0.2.1:1");
	assert_int_not_equal(first, 0);
	assert_int_not_equal(enter(f, "192.0.2.1:2"), 0);
	assert_int_equal(enter(f, "192.0.2.1:3"), 0);
	assert_non_null(strstr(f->last, "max_connections_per_source"));
	assert_non_null(strstr(f->last, "192.0.2.1:3 refused"));
	assert_int_not_equal(enter(f, "192.0.2.2:1"), 0);
	leave(f, first);
	leave(f, first); /* told twice */
	assert_int_not_equal(enter(f, "192.0.2.1:4"), 0);
	assert_int_equal(enter(f, "192.0.2.1:5"), 0);
	assert_int_equal(
		hbt_admission_count(f->adm, HBT_LIMIT_SOURCE_CONNECTIONS), 2);
	assert_int_equal(f->lines, 1); /* a minute */
	assert_int_equal(hbt_refused_total(f->refused), 2);
	assert_int_equal(hbt_admission_total(f->adm), 3);
	assert_int_equal(hbt_admission_of(&f->link), 3);
}

static void the_addresses_of_one_network_are_one_source_and_one_line(void **state)
{
	struct fixture *f = *state;

	f->cfg.max_connections_per_source = 1;
	assert_int_not_equal(enter(f, "[2001:db8::1]:1"), 0);
	assert_int_equal(enter(f, "[2001:db8::2]:2"), 0);
	assert_non_null(strstr(f->last, "[2001:db8::/64]:2 refused"));
	assert_int_equal(enter(f, "[2001:db8::3]:3"), 0);
	assert_int_equal(f->lines, 1);
	assert_int_not_equal(enter(f, "[2001:db8:0:1::1]:1"), 0);
}

static void nothing_is_counted_of_sources_without_limits(void **state)
{
	static char ten[] = "10.0.0.0/8", six[] = "2001:db8::/32";
	static char *list[] = {ten, six};
	struct fixture *f = *state;

	f->cfg.max_connections_per_source = 1;
	f->cfg.max_handshakes_per_source = 1;
	f->cfg.max_handshakes_per_second_per_source = 1;
	f->cfg.unlimited_sources = (struct hbt_strings){list, 2};
	assert_int_equal(hbt_admission_configure(f->adm, &f->cfg), 0);
	for (int i = 0; i < 5; i++) {
		assert_int_not_equal(enter(f, "10.1.1.1:1"), 0);
		assert_int_not_equal(enter(f, "[2001:db8::1]:1"), 0);
	}
	assert_int_not_equal(enter(f, "11.1.1.1:1"), 0);
	assert_int_equal(enter(f, "11.1.1.1:2"), 0);
}

static void who_said_who_it_is_counts_as_no_handshake(void **state)
{
	struct fixture *f = *state;
	uint32_t a, b;

	f->cfg.max_handshakes_per_source = 2;
	a = enter(f, "192.0.2.1:1");
	b = enter(f, "192.0.2.1:2");
	assert_int_equal(enter(f, "192.0.2.1:3"), 0);
	assert_non_null(strstr(f->last, "max_handshakes_per_source"));
	assert_true(identify(f, a, ONE));
	assert_true(identify(f, a, ONE)); /* told twice */
	assert_int_not_equal(enter(f, "192.0.2.1:4"), 0);
	assert_int_equal(enter(f, "192.0.2.1:5"), 0);
	leave(f, b); /* gave up */
	assert_int_not_equal(enter(f, "192.0.2.1:6"), 0);
	leave(f, a); /* was none any more */
	assert_int_equal(enter(f, "192.0.2.1:7"), 0);
}

static void a_source_connects_only_so_often(void **state)
{
	struct fixture *f = *state;
	int n = 0;

	f->cfg.max_handshakes_per_second_per_source = 5;
	for (int i = 0; i < 20; i++)
		n += enter(f, "192.0.2.1:1") != 0;
	assert_int_equal(n, 5);
	assert_non_null(strstr(f->last,
	                       "max_handshakes_per_second_per_source"));
	assert_int_not_equal(enter(f, "192.0.2.2:1"), 0);
	f->now_ms += 400;
	for (int i = 0; i < 20; i++)
		n += enter(f, "192.0.2.1:1") != 0;
	assert_int_equal(n, 7);
	assert_int_equal(hbt_admission_count(f->adm, HBT_LIMIT_SOURCE_RATE),
	                 33);
}

static void a_certificate_has_no_more_connections_than_it_may(void **state)
{
	struct fixture *f = *state;
	uint32_t ids[4];

	f->cfg.max_connections_per_thumbprint = 2;
	for (int i = 0; i < 4; i++)
		ids[i] = enter(f, "192.0.2.1:1");
	assert_true(identify(f, ids[0], ONE));
	assert_true(identify(f, ids[1], ONE));
	assert_false(identify(f, ids[2], ONE));
	assert_non_null(strstr(f->last, "max_connections_per_thumbprint"));
	assert_true(identify(f, ids[3], TWO));
	leave(f, ids[2]); /* was never counted */
	ids[2] = enter(f, "192.0.2.1:1");
	assert_false(identify(f, ids[2], ONE));
	leave(f, ids[0]);
	ids[0] = enter(f, "192.0.2.1:1");
	assert_true(identify(f, ids[0], ONE));
}

static void a_worker_that_is_gone_gives_back_all_it_had(void **state)
{
	struct fixture *f = *state;
	struct hbt_link other = {.name = "other"};

	f->cfg.max_connections_per_source = 3;
	f->cfg.max_connections_per_thumbprint = 1;
	assert_true(identify(f, enter(f, "192.0.2.1:1"), ONE));
	assert_int_not_equal(enter(f, "192.0.2.1:2"), 0);
	assert_int_not_equal(hbt_admission_enter(f->adm, &other, "192.0.2.1:3",
	                                         f->now_ms),
	                     0);
	assert_int_equal(enter(f, "192.0.2.1:4"), 0);
	hbt_admission_link_gone(f->adm, &f->link);
	assert_int_equal(hbt_admission_total(f->adm), 1);
	assert_true(identify(f, enter(f, "192.0.2.1:5"), ONE));
	assert_int_not_equal(enter(f, "192.0.2.1:6"), 0);
	assert_int_equal(enter(f, "192.0.2.1:7"), 0);
	hbt_admission_link_gone(f->adm, &other);
}

static void the_node_has_room_again_when_some_have_left(void **state)
{
	struct fixture *f = *state;
	uint32_t ids[32];

	f->cfg.max_connections = 32;
	for (int i = 0; i < 32; i++) {
		assert_true(hbt_admission_has_room(f->adm, false));
		ids[i] = enter(f, "192.0.2.1:1");
	}
	assert_false(hbt_admission_has_room(f->adm, false));
	leave(f, ids[0]);
	assert_false(hbt_admission_has_room(f->adm, true));
	leave(f, ids[1]);
	leave(f, ids[2]);
	assert_true(hbt_admission_has_room(f->adm, true));
}

static enum hbt_limit ask(struct fixture *f, struct hbt_asker *a,
                          const char *address, const char *thumbprint,
                          size_t bytes)
{
	enum hbt_limit limit;

	memset(a, 0, sizeof(*a));
	hbt_asker_init(a, f->adm, address, thumbprint);
	limit = hbt_asker_limit(f->adm, a, bytes);
	if (limit == HBT_LIMIT_NONE)
		hbt_asker_waits(a, bytes, true);
	return limit;
}

static void done(struct hbt_asker *a, size_t bytes)
{
	hbt_asker_waits(a, bytes, false);
	hbt_asker_fini(a);
}

static void requests_that_wait_are_counted_for_who_asked(void **state)
{
	struct fixture *f = *state;
	struct hbt_asker a, b, c, d;

	f->cfg.max_waiting_requests_per_source = 2;
	f->cfg.max_waiting_bytes_per_thumbprint = 1000;
	assert_int_equal(ask(f, &a, "192.0.2.1:1", ONE, 600), HBT_LIMIT_NONE);
	assert_int_equal(ask(f, &b, "192.0.2.1:2", ONE, 600),
	                 HBT_LIMIT_THUMBPRINT_BYTES);
	hbt_asker_fini(&b);
	assert_int_equal(ask(f, &b, "192.0.2.1:2", ONE, 400), HBT_LIMIT_NONE);
	assert_int_equal(ask(f, &c, "192.0.2.1:3", TWO, 1),
	                 HBT_LIMIT_SOURCE_REQUESTS);
	hbt_asker_fini(&c);
	assert_int_equal(ask(f, &c, "192.0.2.2:3", TWO, 1), HBT_LIMIT_NONE);
	assert_int_equal(ask(f, &d, NULL, NULL, 1), HBT_LIMIT_NONE);
	done(&a, 600);
	assert_int_equal(ask(f, &a, "192.0.2.1:4", ONE, 600), HBT_LIMIT_NONE);
	done(&a, 600);
	done(&b, 400);
	done(&c, 1);
	done(&d, 1);
	f->cfg.max_waiting_bytes_per_source = 10;
	f->cfg.max_waiting_requests_per_thumbprint = 1;
	assert_int_equal(ask(f, &a, "192.0.2.1:1", ONE, 11),
	                 HBT_LIMIT_SOURCE_BYTES);
	hbt_asker_fini(&a);
	assert_int_equal(ask(f, &a, "192.0.2.1:1", ONE, 5), HBT_LIMIT_NONE);
	assert_int_equal(ask(f, &b, "192.0.2.1:1", ONE, 5),
	                 HBT_LIMIT_THUMBPRINT_REQUESTS);
	hbt_asker_fini(&b);
	done(&a, 5);
}

static void whoever_invents_sources_fills_no_memory(void **state)
{
	struct hbt_quotas *qs = hbt_quotas_new(100);
	struct hbt_quota *q, *kept = hbt_quota_take(qs, "kept");
	char key[32];

	(void)state;
	for (int i = 0; i < 10000; i++) { /* none is as good as new */
		snprintf(key, sizeof(key), "source %d", i);
		q = hbt_quota_take(qs, key);
		assert_true(hbt_rate_take(&q->rate, 1, 1, 5000));
		hbt_quota_drop(&q, 5000);
		assert_true(hbt_quotas_count(qs) <= 101);
	}
	q = hbt_quota_take(qs, "source 9999");
	assert_false(hbt_rate_take(&q->rate, 1, 1, 5000)); /* it is known */
	hbt_quota_drop(&q, 5000);
	for (int i = 0; i < 100; i++) { /* a second later all is forgotten */
		q = hbt_quota_take(qs, "one more");
		hbt_quota_drop(&q, 6001);
	}
	assert_int_equal(hbt_quotas_count(qs), 1);
	hbt_quota_drop(&kept, 6001);
	hbt_quotas_free(&qs);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_source_has_no_more_connections_than_it_may),
		TEST(the_addresses_of_one_network_are_one_source_and_one_line),
		TEST(nothing_is_counted_of_sources_without_limits),
		TEST(who_said_who_it_is_counts_as_no_handshake),
		TEST(a_source_connects_only_so_often),
		TEST(a_certificate_has_no_more_connections_than_it_may),
		TEST(a_worker_that_is_gone_gives_back_all_it_had),
		TEST(the_node_has_room_again_when_some_have_left),
		TEST(requests_that_wait_are_counted_for_who_asked),
		cmocka_unit_test(whoever_invents_sources_fills_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
