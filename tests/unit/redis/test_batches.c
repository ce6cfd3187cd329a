/* Batches, against a server that misbehaves as told. */
#include "base/timespan.h"
#include "fake_redis.h"

static struct fake f;

static int set_up(void **state)
{
	if (harness_start(state) != 0)
		return -1;
	fake_open(&f);
	return 0;
}

static int tear_down(void **state)
{
	hbt_redis_free(&h.redis);
	fake_close(&f);
	return harness_stop(state);
}

/* "x N": N; else OK. */
static void echo(struct fake_conn *c, const char *line)
{
	const char *space = strchr(line, ' ');

	if (space != NULL)
		fake_say(c, "$%zu\r\n%s\r\n", strlen(space + 1), space + 1);
	else
		fake_say(c, "+OK\r\n");
}

static void start(void)
{
	harness_connect(f.url);
	AWAIT(harness_is_up());
}

static void many_batches_of_a_turn_are_answered_in_order(void **state)
{
	struct outcome out[64] = {{0}};
	char expected[32];

	(void)state;
	f.answer = echo;
	start();
	for (int i = 0; i < 64; i++)
		harness_send(&out[i], 1000, "GET %d", i);
	AWAIT(out[63].done);
	for (int i = 0; i < 64; i++) {
		snprintf(expected, sizeof(expected), "%d ", i);
		assert_true(out[i].done);
		assert_string_equal(out[i].text, expected);
	}
}

static void commands_wait_for_the_connection(void **state)
{
	struct outcome a, b;

	(void)state;
	f.answer = echo;
	harness_connect(f.url);
	harness_send(&a, 1000, "GET a");
	harness_send(&b, 0, "GET b");
	AWAIT(a.done && b.done);
	assert_string_equal(a.text, "a ");
	assert_string_equal(b.text, "b ");
}

static struct hbt_redis_batch *three(void)
{
	struct hbt_redis_batch *b = hbt_redis_batch_new(h.redis);

	hbt_redis_batch_add(b, "GET 1");
	hbt_redis_batch_add(b, "GET 22");
	hbt_redis_batch_publish(b, "channel", "333", 3);
	return b;
}

/* $1 1, $2 22, $11 "channel 333" */
#define ANSWER_BYTES (7 + 8 + 18)

static void replies_cut_at_any_byte_are_asked_for_again(void **state)
{
	struct outcome out, next;

	(void)state;
	f.answer = echo;
	start();
	for (long cut = 1; cut < 2 * ANSWER_BYTES; cut++) {
		int accepted = f.accepted;

		memset(&out, 0, sizeof(out));
		f.cut = cut;
		f.dribble = cut % 2 == 0;
		hbt_redis_batch_send(three(), 20000, harness_done, &out);
		memset(&next, 0, sizeof(next));
		hbt_redis_batch_send(three(), 20000, harness_done, &next);
		AWAIT(out.done && next.done);
		assert_string_equal(out.text, "1 22 channel 333 ");
		assert_string_equal(next.text, "1 22 channel 333 ");
		AWAIT(harness_is_up());
		assert_int_equal(f.accepted, accepted + 1);
		assert_int_equal(f.cut, -1);
	}
}

static void a_byte_at_a_time_is_understood(void **state)
{
	struct outcome out = {0};

	(void)state;
	f.answer = echo;
	f.dribble = true;
	start();
	hbt_redis_batch_send(three(), 0, harness_done, &out);
	AWAIT(out.done);
	assert_string_equal(out.text, "1 22 channel 333 ");
}

/* Refuses each line once. */
static void refuse_once(struct fake_conn *c, const char *line)
{
	char whole[128];

	snprintf(whole, sizeof(whole), "%s\n", line);
	if (fake_count(c->fake, whole) == 1)
		fake_say(c, "-%s now\r\n", strchr(line, ' ') + 1);
	else
		fake_say(c, "+done\r\n");
}

static void what_is_refused_is_tried_again_a_second_later(void **state)
{
	static const char *const errors[] = {"LOADING", "OOM",     "NOPERM",
	                                     "BUSY",    "MISCONF", "ERR",
	                                     "NOREPLICAS"};
	struct outcome out[7];
	struct hbt_redis_state s;
	int64_t begin = hbt_now_ms();

	(void)state;
	f.answer = refuse_once;
	start();
	for (int i = 0; i < 7; i++)
		harness_send(&out[i], 20000, "GET %s", errors[i]);
	for (int i = 0; i < 7; i++) {
		AWAIT(out[i].done);
		assert_string_equal(out[i].text, "done ");
		assert_in_range(out[i].at_ms - begin, 1000, 10000);
	}
	hbt_redis_state(h.redis, &s);
	assert_int_equal(s.failures, 7);
	assert_int_equal(s.retries, 7);
	assert_int_equal(s.outages, 0);
	assert_int_equal(h.warnings, 1); /* of those that stand for no room */
}

static void readonly_and_masterdown_mean_another_connection(void **state)
{
	struct outcome out;

	(void)state;
	f.answer = refuse_once;
	start();
	harness_send(&out, 20000, "SET READONLY");
	AWAIT(out.done);
	assert_string_equal(out.text, "done ");
	assert_int_equal(f.accepted, 3);
	AWAIT(harness_is_up());
	harness_send(&out, 20000, "SET MASTERDOWN");
	AWAIT(out.done);
	assert_string_equal(out.text, "done ");
	assert_int_equal(f.accepted, 4);
}

/* MULTI, SET, EXPIRE, EXEC, and something after it. */
static struct hbt_redis_batch *transaction(void)
{
	struct hbt_redis_batch *b = hbt_redis_batch_new(h.redis);

	hbt_redis_batch_begin(b);
	hbt_redis_batch_add(b, "SET a b");
	hbt_redis_batch_add(b, "EXPIRE a 1");
	hbt_redis_batch_commit(b);
	hbt_redis_batch_publish(b, "channel", "x", 1);
	return b;
}

static void run_transaction(struct outcome *out, int64_t window_ms)
{
	memset(out, 0, sizeof(*out));
	hbt_redis_batch_send(transaction(), window_ms, harness_done, out);
	AWAIT(out->done);
}

/* As Redis does; EXPIRE fails in its end if it is the fake's second. */
static void transact(struct fake_conn *c, const char *line)
{
	if (strcmp(line, "MULTI") == 0 || strncmp(line, "PUBLISH", 7) == 0)
		fake_say(c, "+OK\r\n");
	else if (strcmp(line, "EXEC") != 0)
		fake_say(c, "+QUEUED\r\n");
	else if (fake_count(c->fake, "EXEC\n") == 2)
		fake_say(c, "*2\r\n+OK\r\n-WRONGTYPE in the end\r\n");
	else
		fake_say(c, "*2\r\n+OK\r\n:1\r\n");
}

static void what_is_one_transaction_is_sent_as_one(void **state)
{
	struct outcome out;

	(void)state;
	f.answer = transact;
	start();
	run_transaction(&out, 0);
	assert_int_equal(out.status, HALIBUT_OK);
	assert_int_equal(out.n, 5);
	assert_int_equal(fake_count(&f, "MULTI\nSET a b\nEXPIRE a 1\nEXEC\n"
	                                "PUBLISH channel x\n"),
	                 1);
}

static void what_fails_in_the_end_of_a_transaction_fails_it(void **state)
{
	struct outcome out;

	(void)state;
	f.answer = transact;
	start();
	run_transaction(&out, 0);
	run_transaction(&out, 0);
	assert_int_equal(out.status, HALIBUT_ESYSTEM);
	assert_non_null(strstr(out.text, "WRONGTYPE in the end"));
	run_transaction(&out, 0);
	assert_int_equal(out.status, HALIBUT_OK);
}

/* An ACL without MULTI and EXEC; the first SET fails. */
static void forbid_multi(struct fake_conn *c, const char *line)
{
	if (strcmp(line, "MULTI") == 0 || strcmp(line, "EXEC") == 0)
		fake_say(c, "-NOPERM no permissions to run '%s'\r\n", line);
	else if (fake_count(c->fake, "SET a b\n") == 1 && line[0] == 'S')
		fake_say(c, "-OOM command not allowed\r\n");
	else
		fake_say(c, "+OK\r\n");
}

static void who_may_not_use_multi_does_without(void **state)
{
	struct outcome out;

	(void)state;
	f.answer = forbid_multi;
	start();
	run_transaction(&out, 0);
	assert_int_equal(out.status, HALIBUT_ESYSTEM);
	assert_non_null(strstr(out.text, "SET"));
	assert_non_null(strstr(out.text, "OOM"));
	run_transaction(&out, 0);
	assert_int_equal(out.status, HALIBUT_OK);
	assert_int_equal(fake_count(&f, "MULTI\n"), 2);
	assert_non_null(strstr(h.info, "+multi"));
	run_transaction(&out, 0);
	assert_int_equal(out.status, HALIBUT_OK);
	assert_int_equal(out.n, 3);
	assert_int_equal(fake_count(&f, "MULTI\n"), 2);
}

static void refuse(struct fake_conn *c, const char *line)
{
	if (strncmp(line, "GET", 3) == 0)
		fake_say(c, "-OOM command not allowed\r\n");
	else
		fake_say(c, "+OK\r\n");
}

static void the_window_ends_with_the_last_failure_and_its_remedy(void **state)
{
	struct outcome once, longer, whole = {0};
	struct hbt_redis_batch *b;

	(void)state;
	f.answer = refuse;
	start();
	harness_send(&once, 0, "GET once");
	harness_send(&longer, 1500, "GET longer");
	b = hbt_redis_batch_new(h.redis);
	hbt_redis_batch_add(b, "SET a %b", "\r\n*\0$", (size_t)5);
	hbt_redis_batch_add(b, "GET c");
	hbt_redis_batch_add(b, "SET d e");
	hbt_redis_batch_send(b, 0, harness_done, &whole);
	AWAIT(once.done && longer.done && whole.done);
	assert_int_equal(once.status, HALIBUT_ESYSTEM);
	assert_int_equal(whole.status, HALIBUT_ESYSTEM);
	assert_non_null(strstr(once.text, "GET at Redis "));
	assert_non_null(strstr(whole.text, "GET at Redis "));
	assert_non_null(strstr(once.text, "OOM command not allowed; raise "
	                                  "maxmemory"));
	assert_int_equal(fake_count(&f, "GET once\n"), 1);
	assert_int_equal(fake_count(&f, "GET longer\n"), 3);
	assert_non_null(strstr(longer.text, "Tried for 2 s. "));
}

/* What is written is refused; what is read is not. */
static const char *no_room;

static void full(struct fake_conn *c, const char *line)
{
	if (strncmp(line, "GET", 3) != 0 && no_room != NULL)
		fake_say(c, "-%s\r\n", no_room);
	else
		fake_say(c, "+OK\r\n");
}

static void send_one(const char *command)
{
	struct outcome out = {0};

	harness_send(&out, 0, "%s", command);
	AWAIT(out.done);
}

static void a_server_that_stores_nothing_is_one_line_until_it_does(void **state)
{
	static const char *const replies[] = {
		"OOM command not allowed when used memory > 'maxmemory'.",
		"MISCONF Redis is unable to persist to disk",
		"NOREPLICAS Not enough good replicas to write.",
	};
	struct hbt_redis_state s;

	(void)state;
	f.answer = full;
	start();
	for (size_t i = 0; i < sizeof(replies) / sizeof(*replies); i++) {
		h.warnings = h.infos = 0;
		no_room = replies[i];
		send_one("SET");
		send_one("HMSET");
		send_one("GET"); /* says nothing about room */
		hbt_redis_state(h.redis, &s);
		assert_int_not_equal(s.refusing_since_ms, 0);
		assert_non_null(strstr(s.refusal, "HMSET at Redis"));
		assert_int_equal(h.warnings, 1);
		assert_non_null(strstr(h.warning, "SET at Redis"));
		assert_null(strstr(h.warning, ".;"));
		assert_int_equal(h.infos, 0);
		no_room = NULL;
		send_one("GET");
		hbt_redis_state(h.redis, &s);
		assert_int_not_equal(s.refusing_since_ms, 0);
		send_one("RPUSH");
		hbt_redis_state(h.redis, &s);
		assert_int_equal(s.refusing_since_ms, 0);
		assert_string_equal(s.refusal, "");
		assert_int_equal(h.warnings, 1);
		assert_int_equal(h.infos, 1);
		assert_non_null(strstr(h.info, "it stores what comes again"));
	}
}

static void away(void)
{
	start();
	fake_listen(&f, false);
	AWAIT(!harness_is_up());
}

static void the_window_also_ends_while_the_server_is_away(void **state)
{
	struct outcome once, longer;
	int64_t begin;

	(void)state;
	away();
	begin = hbt_now_ms();
	harness_send(&longer, 400, "GET longer");
	harness_send(&once, 0, "GET once");
	AWAIT(once.done);
	assert_false(longer.done);
	AWAIT(longer.done);
	assert_int_equal(once.status, HALIBUT_ESYSTEM);
	assert_non_null(strstr(once.text, "cannot connect"));
	assert_non_null(strstr(longer.text, f.socket));
	assert_in_range(longer.at_ms - begin, 400, 5000);
	assert_int_equal(h.warnings, 1);
}

static void what_waits_goes_out_when_the_server_is_back(void **state)
{
	struct outcome out[3];

	(void)state;
	f.answer = echo;
	away();
	AWAIT(h.warnings == 1);
	for (int i = 0; i < 3; i++)
		harness_send(&out[i], 20000, "GET %d", i);
	h.infos = 0;
	fake_listen(&f, true);
	AWAIT(out[0].done && out[1].done && out[2].done);
	assert_non_null(strstr(f.log, "GET 0\nGET 1\nGET 2\n"));
	AWAIT(harness_is_up());
	assert_int_equal(h.warnings, 1);
	assert_int_equal(h.infos, 1);
	assert_non_null(strstr(h.info, "again after"));
}

static void silence_is_a_lost_connection_and_a_replay(void **state)
{
	struct hbt_redis_options o = harness_options(f.url);
	struct outcome once, longer;

	(void)state;
	f.answer = echo;
	o.command_timeout_ms = 200;
	harness_connect_with(&o);
	AWAIT(harness_is_up());
	f.mute = true;
	harness_send(&once, 0, "GET once");
	harness_send(&longer, 20000, "GET longer");
	AWAIT(once.done);
	assert_int_equal(once.status, HALIBUT_ETIMEOUT);
	assert_non_null(strstr(once.text, "no answer within 200 ms"));
	assert_false(longer.done);
	assert_int_equal(h.warnings, 1);
	f.mute = false;
	fake_hang_up(&f);
	AWAIT(longer.done);
	assert_string_equal(longer.text, "longer ");
	assert_int_equal(h.warnings, 1);
}

static void cancelled_batches_keep_their_place_in_the_answers(void **state)
{
	struct outcome out[4] = {{0}}, never = {0};
	struct hbt_redis_batch *sent, *paused, *built;

	(void)state;
	f.answer = refuse_once;
	start();
	paused = hbt_redis_batch_new(h.redis);
	hbt_redis_batch_add(paused, "GET PAUSED");
	hbt_redis_batch_send(paused, 20000, harness_done, &never);
	AWAIT(fake_count(&f, "PAUSED") == 1);
	harness_settle();
	f.answer = echo;
	harness_send(&out[0], 0, "GET 0");
	sent = three();
	hbt_redis_batch_send(sent, 20000, harness_done, &never);
	harness_send(&out[1], 0, "GET 1");
	hbt_redis_batch_cancel(&sent);
	assert_null(sent);
	hbt_redis_batch_cancel(&sent);
	hbt_redis_batch_cancel(&paused);
	built = three();
	hbt_redis_batch_cancel(&built);
	AWAIT(out[1].done);
	assert_string_equal(out[0].text, "0 ");
	assert_string_equal(out[1].text, "1 ");
	/* Lost with the connection; what was cancelled is not replayed. */
	f.mute = true;
	sent = three();
	hbt_redis_batch_send(sent, 20000, harness_done, &never);
	harness_send(&out[2], 20000, "GET 2");
	hbt_redis_batch_cancel(&sent);
	AWAIT(fake_count(&f, "GET 2\n") == 1);
	f.mute = false;
	f.log[0] = '\0';
	fake_hang_up(&f);
	AWAIT(out[2].done);
	assert_string_equal(f.log, "GET 2\n");
	assert_false(never.done);
}

static void batches_without_a_sound_command_end_at_once(void **state)
{
	struct outcome empty = {0}, bad = {0};
	struct hbt_redis_batch *b;

	(void)state;
	harness_connect("unix:///nonexistent/x");
	hbt_redis_batch_send(hbt_redis_batch_new(h.redis), 0, harness_done,
	                     &empty);
	b = hbt_redis_batch_new(h.redis);
	hbt_redis_batch_add(b, "SET %q", 1);
	hbt_redis_batch_add(b, "PING");
	hbt_redis_batch_send(b, 0, harness_done, &bad);
	assert_false(empty.done || bad.done);
	AWAIT(empty.done && bad.done);
	assert_int_equal(empty.status, 0);
	assert_int_equal(empty.n, 0);
	assert_int_equal(bad.status, HALIBUT_EINVAL);
}

static void nonsense(struct fake_conn *c, const char *line)
{
	static const char *const said[] = {
		"!what\r\n", "*99999999999\r\n", "*1000001\r\n",
		"$99999999999999999999\r\n", "HTTP/1.1 400 Bad\r\n\r\n",
		"+OK\r\n+and more\r\n", "\r\n", "$-2\r\n",
	};
	int i = atoi(strchr(line, ' ') + 1);

	if (fake_count(c->fake, line) == 1)
		fake_say(c, "%s", said[i]);
	else
		fake_say(c, "+done\r\n");
}

static void nonsense_is_a_lost_connection(void **state)
{
	struct outcome out;

	(void)state;
	f.answer = nonsense;
	start();
	for (int i = 0; i < 8; i++) {
		int accepted = f.accepted;

		harness_send(&out, 20000, "GET %d", i);
		AWAIT(out.done);
		if (i != 5)
			assert_string_equal(out.text, "done ");
		AWAIT(harness_is_up() && f.accepted == accepted + 1);
	}
}

static int chain;

static void next_of_chain(void *arg, redisReply **replies, size_t n,
                          const struct halibut_error *err)
{
	struct hbt_redis_batch *b;

	(void)replies;
	(void)n;
	(void)arg;
	assert_null(err);
	if (++chain == 5)
		return;
	b = hbt_redis_batch_new(h.redis);
	hbt_redis_batch_add(b, "GET %d", chain);
	hbt_redis_batch_send(b, 0, next_of_chain, NULL);
}

static void done_may_send_again(void **state)
{
	(void)state;
	start();
	chain = -1;
	next_of_chain(NULL, NULL, 0, NULL);
	AWAIT(chain == 5);
}

static int ended;

static void free_all(void *arg, redisReply **replies, size_t n,
                     const struct halibut_error *err)
{
	(void)arg;
	(void)replies;
	(void)n;
	ended++;
	if (err == NULL || err->status != HALIBUT_ESHUTDOWN)
		hbt_redis_free(&h.redis);
	else
		assert_int_equal(err->status, HALIBUT_ESHUTDOWN);
}

static void done_may_free_the_connection(void **state)
{
	(void)state;
	/* From a reply, from the end of a window, from a refusal. */
	for (int i = 0; i < 3; i++) {
		f.answer = i == 1 ? refuse : echo;
		start();
		if (i == 2)
			fake_listen(&f, false);
		ended = 0;
		for (int k = 0; k < 3; k++)
			hbt_redis_batch_send(three(), 0, free_all, NULL);
		AWAIT(ended > 0);
		assert_int_equal(ended, 3);
		assert_null(h.redis);
		harness_settle();
	}
}

static void the_observer_may_free_the_connection(void *arg, bool up)
{
	if (up == *(bool *)arg)
		hbt_redis_free(&h.redis);
}

static void an_observer_may_free_the_connection(void **state)
{
	bool when;

	(void)state;
	for (int i = 0; i < 2; i++) {
		when = i == 0;
		harness_connect(f.url);
		hbt_redis_observe(h.redis, the_observer_may_free_the_connection,
		                  &when);
		if (i == 1) {
			AWAIT(harness_is_up());
			fake_hang_up(&f);
		}
		AWAIT(h.redis == NULL);
		harness_settle();
	}
}

static void more_than_the_connection_takes_waits_its_turn(void **state)
{
	enum { N = 40 };
	struct outcome out[N] = {{0}};
	char *value = calloc(1, 1 << 20);

	(void)state;
	start();
	for (int i = 0; i < N; i++) {
		struct hbt_redis_batch *b = hbt_redis_batch_new(h.redis);

		hbt_redis_batch_add(b, "SET k %b", value, (size_t)1 << 20);
		hbt_redis_batch_send(b, 20000, harness_done, &out[i]);
	}
	free(value);
	AWAIT(out[N - 1].done);
	for (int i = 0; i < N; i++)
		assert_true(out[i].done && out[i].status == 0);
}

int main(void)
{
#define TEST(x) cmocka_unit_test_setup_teardown(x, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(many_batches_of_a_turn_are_answered_in_order),
		TEST(commands_wait_for_the_connection),
		TEST(replies_cut_at_any_byte_are_asked_for_again),
		TEST(what_is_one_transaction_is_sent_as_one),
		TEST(what_fails_in_the_end_of_a_transaction_fails_it),
		TEST(who_may_not_use_multi_does_without),
		TEST(a_byte_at_a_time_is_understood),
		TEST(what_is_refused_is_tried_again_a_second_later),
		TEST(readonly_and_masterdown_mean_another_connection),
		TEST(a_server_that_stores_nothing_is_one_line_until_it_does),
		TEST(the_window_ends_with_the_last_failure_and_its_remedy),
		TEST(the_window_also_ends_while_the_server_is_away),
		TEST(what_waits_goes_out_when_the_server_is_back),
		TEST(silence_is_a_lost_connection_and_a_replay),
		TEST(cancelled_batches_keep_their_place_in_the_answers),
		TEST(batches_without_a_sound_command_end_at_once),
		TEST(nonsense_is_a_lost_connection),
		TEST(done_may_send_again),
		TEST(done_may_free_the_connection),
		TEST(an_observer_may_free_the_connection),
		TEST(more_than_the_connection_takes_waits_its_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
