/* Who pays for what waits in spools: what is charged is given back, nobody is
 * above a limit, and who waits longest is woken first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "descriptors.h"
#include "ipc/proto.h"

#define KIB ((int64_t)1024)
#define MIB (1024 * KIB)
#define ONE "1111111111111111111111111111111111111111"
#define TWO "2222222222222222222222222222222222222222"
#define SENDERS 6

/* A message on its way: who pays, its sink, and the pipe's other end. */
struct sender {
	struct hbt_spool_payer *payer;
	struct hbt_sink *sink;
	int fd;
	bool told; /* it may go on */
	size_t written, got;
};

static struct event_base *base;
static struct hbt_limits limits;
static struct hbt_source_rule rule;
static struct hbt_spool_accounts *all;
static struct sender senders[SENDERS];
static char order[64]; /* of the first that were woken, by their letters */
static unsigned lines;
static char last_line[1024];
static int descriptors_before;

static void keep_line(void *arg, enum hbt_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	lines++;
	snprintf(last_line, sizeof(last_line), "%s", line);
}

static int set_up(void **state)
{
	(void)state;
	hbt_log_set_sink(keep_line, NULL);
	hbt_log_set_level(HBT_LOG_INFO);
	descriptors_before = open_descriptors();
	base = event_base_new();
	hbt_limits_init(&limits);
	limits.spool_memory_bytes = (size_t)(256 * KIB);
	limits.spool_max_bytes_a_stream_section = 64 * MIB;
	limits.spool_max_bytes_total = 256 * MIB;
	assert_int_equal(hbt_source_rule_set(&rule, 24, 64, NULL, 0), 0);
	memset(senders, 0, sizeof(senders));
	for (int i = 0; i < SENDERS; i++)
		senders[i].fd = -1;
	order[0] = last_line[0] = '\0';
	lines = 0;
	return 0;
}

/* Once the limits are set. */
static void open_accounts(void)
{
	all = hbt_spool_accounts_new(base, &limits, &rule);
	assert_non_null(all);
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
}

static void turns(int n)
{
	while (n-- > 0)
		turn();
}

static void on_wake(void *arg)
{
	struct sender *s = arg;
	size_t n = strlen(order);

	s->told = true;
	if (n + 1 == sizeof(order))
		return;
	order[n] = (char)('a' + (s - senders));
	order[n + 1] = '\0';
}

static struct sender *begin(int i, const char *peer, const char *thumbprint,
                            const char *subscription)
{
	struct sender *s = &senders[i];

	s->payer = hbt_spool_payer_new(all, peer, thumbprint, subscription);
	assert_non_null(s->payer);
	assert_int_equal(hbt_pipe_sink_new(&s->sink, base, &limits, "/tmp",
	                                   s->payer, &s->fd),
	                 HALIBUT_OK);
	s->sink->wake = on_wake;
	s->sink->wake_arg = s;
	return s;
}

static uint8_t byte_at(size_t offset)
{
	return (uint8_t)(offset * 131 + (offset >> 8) * 17 + (offset >> 16));
}

/* Up to n bytes; how many were taken. */
static size_t put(struct sender *s, size_t n)
{
	static uint8_t data[128 * 1024];
	size_t done = 0;

	s->told = false;
	while (done < n) {
		size_t len = n - done < sizeof(data) ? n - done : sizeof(data);
		ssize_t taken;

		for (size_t i = 0; i < len; i++)
			data[i] = byte_at(s->written + i);
		taken = s->sink->ops->write(s->sink, data, len, NULL);
		assert_true(taken >= 0 && (size_t)taken <= len);
		s->written += (size_t)taken;
		done += (size_t)taken;
		if ((size_t)taken < len)
			break;
	}
	return done;
}

/* As much as there is room for. */
static void fill(struct sender *s)
{
	put(s, SIZE_MAX);
}

/* The reader takes up to n bytes, and they are the right ones. */
static size_t take(struct sender *s, size_t n)
{
	static uint8_t data[64 * 1024];
	size_t done = 0;

	while (done < n) {
		size_t len = n - done < sizeof(data) ? n - done : sizeof(data);
		ssize_t got = read(s->fd, data, len);

		if (got <= 0)
			break;
		for (ssize_t i = 0; i < got; i++)
			if (data[i] != byte_at(s->got + (size_t)i))
				fail_msg("byte %zu is wrong",
				         s->got + (size_t)i);
		s->got += (size_t)got;
		done += (size_t)got;
	}
	return done;
}

static void take_all(struct sender *s)
{
	for (int i = 0; i < 100000 && s->got < s->written; i++) {
		turn();
		take(s, SIZE_MAX);
	}
	assert_int_equal(s->got, s->written);
	turn();
}

static void end(struct sender *s, bool broken)
{
	struct halibut_error why = {.status = HALIBUT_ECLOSED};

	if (s->sink != NULL)
		hbt_sink_end(&s->sink, broken ? &why : NULL);
	hbt_spool_payer_unref(&s->payer);
}

static void hang_up(struct sender *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static int tear_down(void **state)
{
	(void)state;
	for (int i = 0; i < SENDERS; i++) {
		end(&senders[i], true);
		hang_up(&senders[i]);
	}
	turns(3);
	assert_int_equal(hbt_spool_bytes(), 0);
	assert_int_equal(hbt_spool_accounts_count(all), 0);
	hbt_spool_accounts_free(&all);
	hbt_source_rule_fini(&rule);
	event_base_free(base);
	hbt_log_limit_tick(INT64_MAX); /* the next test has lines of its own */
	hbt_log_set_sink(NULL, NULL);
	assert_int_equal(open_descriptors(), descriptors_before);
	return 0;
}

/* What one more message of that kind could put into its spool. */
static int64_t room(const char *peer, const char *thumbprint,
                    const char *subscription)
{
	struct hbt_spool_payer *p =
		hbt_spool_payer_new(all, peer, thumbprint, subscription);
	int64_t n = hbt_spool_payer_room(p);

	hbt_spool_payer_unref(&p);
	return n;
}

static void a_source_has_no_more_than_it_may(void **state)
{
	struct sender *a, *b, *c;

	(void)state;
	limits.spool_max_bytes_a_source = 3 * MIB + 5;
	open_accounts();
	a = begin(0, "192.0.2.1:1", ONE, NULL);
	b = begin(1, "192.0.2.9:2", TWO, NULL); /* of the same network */
	c = begin(2, "192.0.3.1:3", ONE, NULL);
	put(a, (size_t)(2 * MIB));
	assert_int_equal(room("192.0.2.7:9", NULL, NULL),
	                 3 * MIB + 5 - (int64_t)hbt_spool_bytes());
	fill(b);
	assert_int_equal(hbt_spool_bytes(), 3 * MIB + 5);
	assert_int_equal(put(a, 1), 0);
	assert_int_equal(room("192.0.2.7:9", NULL, NULL), 0);
	fill(c);
	assert_int_equal(hbt_spool_bytes(), 2 * (3 * MIB + 5));
	take_all(a);
	take_all(b);
	assert_int_equal(hbt_spool_bytes(), 3 * MIB + 5);
	assert_int_equal(room("192.0.2.7:9", NULL, NULL), 3 * MIB + 5);
	assert_int_equal(room("192.0.3.7:9", NULL, NULL), 0);
}

static void sources_without_limits_are_not_counted(void **state)
{
	static const char *const networks[] = {"192.0.2.0/24"};

	(void)state;
	limits.spool_max_bytes_a_source = MIB;
	assert_int_equal(hbt_source_rule_set(&rule, 32, 64, networks, 1), 0);
	open_accounts();
	assert_int_equal(put(begin(0, "192.0.2.1:1", ONE, NULL),
	                     (size_t)(5 * MIB)),
	                 5 * MIB);
	assert_int_equal(room("192.0.2.1:1", ONE, NULL),
	                 256 * MIB - (int64_t)hbt_spool_bytes());
	assert_int_equal(room("192.0.3.1:1", ONE, NULL), MIB);
}

static void a_certificate_and_a_subscription_have_limits(void **state)
{
	(void)state;
	limits.spool_max_bytes_a_thumbprint = 3 * MIB;
	limits.spool_max_bytes_a_subscription = 2 * MIB;
	open_accounts();
	fill(begin(0, "192.0.2.1:1", ONE, "poll://a/"));
	assert_int_equal(hbt_spool_bytes(), 2 * MIB);
	assert_true(strstr(last_line, "spool_max_per_subscription") != NULL);
	assert_true(strstr(last_line, "poll://a/") != NULL);
	fill(begin(1, "192.0.2.1:1", ONE, NULL));
	assert_int_equal(hbt_spool_bytes(), 3 * MIB);
	assert_true(strstr(last_line, "spool_max_per_thumbprint") != NULL);
	assert_true(strstr(last_line, ONE) != NULL);
	fill(begin(2, "192.0.2.1:1", TWO, "poll://b/"));
	assert_int_equal(hbt_spool_bytes(), 5 * MIB);
	assert_int_equal(room("192.0.2.1:1", TWO, NULL), MIB);
	assert_int_equal(room("192.0.2.1:1", TWO, "poll://b/"), 0);
	assert_int_equal(
		hbt_spool_accounts_full(all, HBT_SPOOL_OF_SUBSCRIPTION), 2);
	assert_int_equal(
		hbt_spool_accounts_full(all, HBT_SPOOL_OF_THUMBPRINT), 1);
	assert_int_equal(hbt_spool_accounts_full(all, HBT_SPOOL_OF_SOURCE), 0);
}

/* In memory and in a file, all at once and in pieces with holes behind. */
static void what_is_taken_is_given_back_exactly(void **state)
{
	struct sender *a;

	(void)state;
	limits.spool_max_bytes_a_source = 20 * MIB;
	open_accounts();
	a = begin(0, "192.0.2.1:1", ONE, NULL);
	put(a, (size_t)(16 * MIB));
	while (a->got < a->written) {
		turn();
		take(a, 300000);
		assert_int_equal(room("192.0.2.1:2", ONE, NULL),
		                 20 * MIB - (int64_t)hbt_spool_bytes());
		assert_true((int64_t)hbt_spool_bytes() + (int64_t)a->got >=
		            15 * MIB);
		if (a->written < (size_t)(40 * MIB))
			put(a, 100000);
	}
	turn();
	assert_int_equal(room("192.0.2.1:2", ONE, NULL), 20 * MIB);
}

static void what_breaks_off_is_given_back(void **state)
{
	(void)state;
	limits.spool_max_bytes_a_source = 3 * MIB;
	open_accounts();
	fill(begin(0, "192.0.2.1:1", ONE, NULL));
	assert_int_equal(room("192.0.2.1:2", ONE, NULL), 0);
	end(&senders[0], true); /* its sender is gone */
	assert_int_equal(room("192.0.2.1:2", ONE, NULL), 3 * MIB);

	fill(begin(1, "192.0.2.1:1", ONE, NULL));
	hang_up(&senders[1]); /* its reader is; its sender does not write */
	for (int i = 0; i < 1000 && !senders[1].told; i++)
		turn();
	assert_true(senders[1].told);
	assert_int_equal(room("192.0.2.1:2", ONE, NULL), 3 * MIB);

	fill(begin(2, "192.0.2.1:1", ONE, NULL));
	end(&senders[2], false); /* all was sent, and waits */
	assert_int_equal(room("192.0.2.1:2", ONE, NULL), 0);
	hang_up(&senders[2]);
	turns(3);
	assert_int_equal(room("192.0.2.1:2", ONE, NULL), 3 * MIB);
}

static void who_waits_longest_is_woken_first(void **state)
{
	struct sender *s = senders;

	(void)state;
	limits.spool_max_bytes_a_source = MIB;
	open_accounts();
	for (int i = 0; i < 4; i++) {
		begin(i, "192.0.2.1:1", ONE, NULL);
		fill(&s[i]);
	}
	assert_int_equal(hbt_spool_bytes(), MIB); /* all of it a's */
	fill(&s[2]); /* asks again, and keeps its place */
	end(&s[2], true);
	turns(3);
	assert_string_equal(order, "");
	end(&s[0], true); /* a gives it back */
	turn();
	assert_string_equal(order, "b");
	assert_int_equal(put(&s[1], 1000), 1000);
	turns(3);
	assert_string_equal(order, "bd");
	fill(&s[3]);
	assert_int_equal(hbt_spool_bytes(), MIB);
	turns(3);
	assert_string_equal(order, "bd");
}

static void who_is_woken_in_vain_keeps_his_place(void **state)
{
	struct sender *s = senders;

	(void)state;
	limits.spool_max_bytes_a_source = MIB;
	open_accounts();
	for (int i = 0; i < 3; i++) {
		begin(i, "192.0.2.1:1", ONE, NULL);
		fill(&s[i]);
	}
	begin(3, "192.0.2.1:1", ONE, NULL);
	end(&s[0], true);
	turn();
	assert_string_equal(order, "b");
	fill(&s[3]); /* was faster: there is nothing left for b and c */
	fill(&s[1]);
	assert_int_equal(hbt_spool_bytes(), MIB);
	end(&s[3], true);
	turn();
	assert_string_equal(order, "bb");
	fill(&s[1]);
	turns(3);
	assert_string_equal(order, "bb");
}

/* Not in the line of the account that has room, but in that of the other. */
static void room_in_one_account_is_not_enough(void **state)
{
	struct sender *s = senders;

	(void)state;
	limits.spool_max_bytes_a_source = MIB;
	limits.spool_max_bytes_a_thumbprint = MIB;
	open_accounts();
	fill(begin(0, "192.0.2.1:1", ONE, NULL));
	fill(begin(1, "192.0.3.1:1", TWO, NULL));
	fill(begin(2, "192.0.2.1:1", TWO, NULL)); /* waits for both */
	fill(begin(3, "192.0.2.1:1", "3", NULL)); /* behind it */
	end(&s[0], true);
	turn();
	assert_string_equal(order, "c");
	assert_int_equal(put(&s[2], 1), 0);
	turns(3);
	assert_string_equal(order, "cd"); /* d need not wait for TWO */
	end(&s[1], true);
	turns(3);
	assert_string_equal(order, "cdc");
	fill(&s[2]);
	assert_int_equal(hbt_spool_bytes(), MIB);
}

static void all_senders_together_wait_in_line_too(void **state)
{
	struct sender *s = senders;

	(void)state;
	limits.spool_max_bytes_total = MIB;
	open_accounts();
	fill(begin(0, "192.0.2.1:1", ONE, NULL));
	fill(begin(1, "192.0.3.1:1", TWO, NULL));
	assert_int_equal(hbt_spool_bytes(), MIB);
	assert_int_equal(hbt_spool_accounts_full(all, HBT_SPOOL_OF_ALL), 2);
	assert_true(strstr(last_line, "of all senders") != NULL);
	take_all(&s[0]);
	turns(3);
	assert_true(s[1].told);
	assert_true(put(&s[1], 1000) > 0);
}

static void until_the_subscription_is_known_only_the_pipe_takes(void **state)
{
	struct sender *s = senders;

	(void)state;
	limits.spool_max_bytes_a_subscription = MIB;
	open_accounts();
	for (int i = 0; i < 4; i++)
		begin(i, "192.0.2.1:1", ONE, NULL);
	for (int i = 0; i < 3; i++) {
		assert_true(hbt_spool_payer_defer(s[i].payer));
		assert_true(put(&s[i], SIZE_MAX) > 0);
	}
	assert_int_equal(hbt_spool_bytes(), 0);
	turns(3);
	assert_string_equal(order, "");
	hbt_spool_payer_decide(s[0].payer, "poll://a/");
	hbt_spool_payer_decide(s[1].payer, NULL);
	hbt_spool_payer_decide(s[1].payer, "poll://a/"); /* too late */
	assert_string_equal(order, ""); /* from the loop, not from inside */
	turns(3);
	assert_string_equal(order, "ab");
	put(&s[1], (size_t)(2 * MIB));
	assert_int_equal(hbt_spool_bytes(), 2 * MIB);
	fill(&s[0]);
	assert_int_equal(hbt_spool_bytes(), 3 * MIB);
	hbt_spool_payer_decide(s[2].payer, "poll://a/"); /* c is late */
	turns(3);
	assert_true(put(&s[2], 100) == 0);
	take_all(&s[0]);
	turns(3);
	assert_string_equal(order + strlen(order) - 1, "c");
	/* It is known before anything had to wait. */
	assert_true(hbt_spool_payer_defer(s[3].payer));
	hbt_spool_payer_decide(s[3].payer, "poll://b/");
	fill(&s[3]);
	assert_int_equal(room("192.0.2.1:1", ONE, "poll://b/"), 0);
}

static void without_a_limit_nothing_is_deferred(void **state)
{
	struct sender *a;

	(void)state;
	open_accounts();
	a = begin(0, "192.0.2.1:1", ONE, NULL);
	assert_false(hbt_spool_payer_defer(a->payer));
	put(a, (size_t)MIB);
	assert_true(hbt_spool_bytes() > 0);
	assert_int_equal(hbt_spool_accounts_count(all), 1); /* all senders */
}

static void one_line_a_minute_tells_who_waits_and_why(void **state)
{
	(void)state;
	limits.spool_max_bytes_a_source = 300 * KIB;
	open_accounts();
	for (int i = 0; i < 4; i++)
		fill(begin(i, "192.0.2.1:1", ONE, NULL));
	assert_int_equal(lines, 1);
	assert_true(strstr(last_line, "192.0.2.1:1 has to wait") != NULL);
	assert_true(strstr(last_line, "307200 bytes of 192.0.2.0/24") != NULL);
	assert_true(strstr(last_line, "spool_max_per_source") != NULL);
	fill(begin(4, "192.0.9.1:1", ONE, NULL));
	assert_int_equal(lines, 2);
	assert_int_equal(hbt_spool_accounts_full(all, HBT_SPOOL_OF_SOURCE), 5);
	hbt_log_limit_tick(hbt_now_ms() + 100000);
	assert_int_equal(lines, 3);
	assert_true(strstr(last_line, "3 more like this") != NULL);
}

/* A message that is larger than all limits; its reader takes little. */
static void what_fits_nowhere_flows_as_fast_as_it_is_read(void **state)
{
	struct sender *a;
	size_t most = 0;

	(void)state;
	limits.spool_max_bytes_a_source = 1; /* byte */
	open_accounts();
	a = begin(0, "192.0.2.1:1", ONE, NULL);
	for (int i = 0; i < 1000000 && a->got < (size_t)(8 * MIB); i++) {
		if (a->written < (size_t)(8 * MIB) && (i == 0 || a->told))
			put(a, (size_t)(8 * MIB) - a->written);
		if (hbt_spool_bytes() > most)
			most = (size_t)hbt_spool_bytes();
		turn();
		take(a, 70000);
	}
	assert_int_equal(a->got, 8 * MIB);
	assert_int_equal(most, 1);
}

/* Everybody who waits was told when there was room, whatever the others do. */
static void nobody_waits_for_ever(void **state)
{
	static const char *const peers[] = {"192.0.2.1:1", "192.0.3.1:1"};
	static const char *const prints[] = {ONE, TWO};
	static const char *const subs[] = {"poll://a/", "poll://b/", NULL};
	const size_t each = (size_t)(3 * MIB);
	unsigned seed = 7;
	int begun = 0, over = 0;

	(void)state;
	limits.spool_max_bytes_total = 1500 * KIB;
	limits.spool_max_bytes_a_source = 1200 * KIB;
	limits.spool_max_bytes_a_thumbprint = 900 * KIB;
	limits.spool_max_bytes_a_subscription = 600 * KIB;
	open_accounts();
	for (long n = 0; over < 60; n++) {
		struct sender *s = &senders[rand_r(&seed) % SENDERS];

		assert_true(n < 20000000);
		if (s->payer == NULL && begun < 60) {
			memset(s, 0, sizeof(*s));
			begin((int)(s - senders), peers[begun % 2],
			      prints[begun / 2 % 2], subs[begun / 4 % 3]);
			s->told = true;
			begun++;
		}
		if (s->payer == NULL)
			continue;
		if (s->told && s->written < each)
			put(s, each - s->written);
		if (rand_r(&seed) % 4 == 0)
			take(s, (size_t)(rand_r(&seed) % 200000));
		assert_true((int64_t)hbt_spool_bytes() <= 1500 * KIB);
		turn();
		if (s->written == each && s->sink != NULL)
			hbt_sink_end(&s->sink, NULL);
		if (s->got == each || rand_r(&seed) % 5000 == 0) {
			end(s, s->got < each);
			hang_up(s);
			over++;
		}
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_source_has_no_more_than_it_may),
		TEST(sources_without_limits_are_not_counted),
		TEST(a_certificate_and_a_subscription_have_limits),
		TEST(what_is_taken_is_given_back_exactly),
		TEST(what_breaks_off_is_given_back),
		TEST(who_waits_longest_is_woken_first),
		TEST(who_is_woken_in_vain_keeps_his_place),
		TEST(room_in_one_account_is_not_enough),
		TEST(all_senders_together_wait_in_line_too),
		TEST(until_the_subscription_is_known_only_the_pipe_takes),
		TEST(without_a_limit_nothing_is_deferred),
		TEST(one_line_a_minute_tells_who_waits_and_why),
		TEST(what_fits_nowhere_flows_as_fast_as_it_is_read),
		TEST(nobody_waits_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
