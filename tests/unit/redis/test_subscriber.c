/* Subscriptions, against a server that misbehaves as told. */
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

static void start(void)
{
	harness_connect(f.url);
	AWAIT(harness_is_up());
}

static void message(const char *channel, const char *payload)
{
	fake_say(fake_subscriber(&f),
	         "*3\r\n$7\r\nmessage\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n",
	         strlen(channel), channel, strlen(payload), payload);
}

static void channels_of_a_turn_share_a_command(void **state)
{
	static struct ear a, b, c, p;

	(void)state;
	start();
	ear_open(&a, "a", false);
	ear_open(&b, "b", false);
	ear_open(&p, "p*", true);
	ear_open(&c, "c", false);
	assert_int_equal(a.established, 0);
	AWAIT(a.established && b.established && c.established &&
	      p.established);
	assert_string_equal(f.log, "SUBSCRIBE a b c\nPSUBSCRIBE p*\n");
	message("b", "hello");
	AWAIT(b.messages == 1);
	assert_string_equal(b.channel, "b");
	assert_string_equal(b.payload, "hello");
	assert_int_equal(a.messages + c.messages + p.messages, 0);
	fake_say(fake_subscriber(&f), "*4\r\n$8\r\npmessage\r\n$2\r\np*\r\n$3"
	                              "\r\npxy\r\n$0\r\n\r\n");
	AWAIT(p.messages == 1);
	assert_string_equal(p.channel, "pxy");
	assert_string_equal(p.payload, "");
}

static void listeners_of_a_channel_are_counted(void **state)
{
	static struct ear a, b;

	(void)state;
	start();
	ear_open(&a, "x", false);
	AWAIT(a.established == 1);
	ear_open(&b, "x", false);
	assert_true(hbt_redis_is_established(&b.l));
	assert_int_equal(b.established, 0);
	AWAIT(b.established == 1);
	assert_int_equal(a.established, 1);
	message("x", "1");
	AWAIT(a.messages == 1 && b.messages == 1);
	hbt_redis_unlisten(h.redis, &a.l);
	hbt_redis_unlisten(h.redis, &a.l);
	message("x", "2");
	AWAIT(b.messages == 2);
	assert_int_equal(a.messages, 1);
	/* Left and taken again within a second: the server hears nothing. */
	hbt_redis_unlisten(h.redis, &b.l);
	ear_open(&a, "x", false);
	AWAIT(a.established == 2);
	harness_idle(1300);
	assert_string_equal(f.log, "SUBSCRIBE x\n");
	hbt_redis_unlisten(h.redis, &a.l);
	ear_open(&b, "y", false);
	AWAIT(b.established == 2);
	hbt_redis_unlisten(h.redis, &b.l);
	AWAIT(fake_count(&f, "UNSUBSCRIBE") > 0);
	assert_string_equal(f.log, "SUBSCRIBE x\nSUBSCRIBE y\n"
	                           "UNSUBSCRIBE x y\n");
	/* Taken again while the answer is under way. */
	ear_open(&a, "x", false);
	AWAIT(a.established == 3);
	message("x", "3");
	AWAIT(a.messages == 2);
}

static void all_are_established_again_after_a_loss(void **state)
{
	static struct ear all[4];
	struct hbt_redis_state s;

	(void)state;
	start();
	for (int i = 0; i < 3; i++)
		ear_open(&all[i], i == 2 ? "p*" : i == 1 ? "b" : "a", i == 2);
	AWAIT(all[2].established == 1);
	for (int round = 2; round < 5; round++) {
		f.dribble = round == 3;
		f.cut = round == 4 ? 150 : -1;
		fake_hang_up(&f);
		AWAIT(!harness_is_up());
		assert_false(hbt_redis_is_established(&all[0].l));
		AWAIT(all[0].established >= round &&
		      all[1].established >= round &&
		      all[2].established >= round && harness_is_up());
	}
	message("a", "x");
	AWAIT(all[0].messages == 1);
	hbt_redis_state(h.redis, &s);
	assert_int_equal(s.channels, 3);
	assert_true(s.outages >= 3);
	assert_int_equal(s.outages, s.reconnects);
	/* While it is away. */
	fake_listen(&f, false);
	AWAIT(!harness_is_up());
	hbt_redis_unlisten(h.redis, &all[0].l);
	ear_open(&all[3], "d", false);
	f.log[0] = '\0';
	fake_listen(&f, true);
	AWAIT(all[3].established == 1);
	assert_int_equal(fake_count(&f, "SUBSCRIBE a"), 0);
}

/* An ACL that forbids "bad". */
static void guard(struct fake_conn *c, const char *line)
{
	char copy[1024], *rest = copy, *name;

	snprintf(copy, sizeof(copy), "%s", line);
	if (strcmp(line, "ROLE") == 0) {
		fake_say(c, "*1\r\n$6\r\nmaster\r\n");
	} else if (strstr(line, "SUBSCRIBE") == NULL) {
		fake_say(c, "+PONG\r\n");
	} else if (strstr(line, "bad") != NULL) {
		fake_say(c, "-NOPERM no access to a channel\r\n");
	} else {
		c->subscriber = true;
		strsep(&rest, " ");
		while ((name = strsep(&rest, " ")) != NULL)
			fake_say(c,
			         "*3\r\n$9\r\nsubscribe\r\n$%zu\r\n%s\r\n:1\r\n",
			         strlen(name), name);
	}
}

static void what_is_refused_does_not_take_others_with_it(void **state)
{
	static struct ear a, b, c, d;

	(void)state;
	f.raw = true;
	f.answer = guard;
	start();
	ear_open(&a, "a", false);
	ear_open(&b, "bad", false);
	ear_open(&c, "c", false);
	AWAIT(a.established && c.established && b.refused);
	assert_int_equal(b.refused, 1);
	assert_int_equal(a.refused + c.refused + b.established, 0);
	assert_string_equal(b.why, "NOPERM no access to a channel");
	ear_open(&d, "d", false);
	AWAIT(d.established);
	/* The next connection is asked again. */
	fake_hang_up(&f);
	AWAIT(b.refused == 2 && a.established == 2 && d.established == 2);
	hbt_redis_unlisten(h.redis, &b.l);
	harness_settle();
	assert_int_equal(h.warnings, 0);
}

static struct ear ears[8];

static void leave_all(struct ear *e)
{
	(void)e;
	for (int i = 0; i < 8; i++)
		hbt_redis_unlisten(h.redis, &ears[i].l);
}

static void leave_and_join(struct ear *e)
{
	hbt_redis_unlisten(h.redis, &e->l);
	hbt_redis_unlisten(h.redis, &ears[3].l);
	if (e->messages + e->established < 10)
		ear_open(e, "x", false);
}

static void listeners_may_leave_and_join_in_callbacks(void **state)
{
	(void)state;
	start();
	memset(ears, 0, sizeof(ears));
	for (int i = 0; i < 8; i++)
		ear_open(&ears[i], "x", false);
	AWAIT(ears[0].established);
	ears[4].hook = leave_all; /* the last joined is called first */
	message("x", "1");
	AWAIT(ears[4].messages == 1);
	harness_settle();
	assert_int_equal(ears[3].messages, 0);
	assert_int_equal(ears[7].messages, 1);
	memset(ears, 0, sizeof(ears));
	for (int i = 0; i < 8; i++) {
		ears[i].hook = i == 5 ? leave_and_join : NULL;
		ear_open(&ears[i], "x", false);
	}
	AWAIT(ears[5].established >= 10);
	assert_int_equal(ears[3].established, 0);
	assert_int_equal(ears[7].established, 1);
	leave_all(NULL);
}

static void free_it(struct ear *e)
{
	(void)e;
	hbt_redis_free(&h.redis);
}

static void listeners_may_free_the_connection(void **state)
{
	(void)state;
	for (int round = 0; round < 2; round++) {
		start();
		memset(ears, 0, sizeof(ears));
		for (int i = 0; i < 8; i++)
			ear_open(&ears[i], "x", false);
		if (round == 1) {
			AWAIT(ears[0].established);
			message("x", "1");
		}
		ears[4].hook = free_it;
		AWAIT(h.redis == NULL);
		assert_null(ears[0].l.channel);
		harness_settle();
	}
}

static void channel_prefixes_are_put_and_taken(void **state)
{
	struct hbt_redis_options o = harness_options(f.url);
	struct hbt_redis_batch *b;
	struct outcome out = {0};
	static struct ear a, p;

	(void)state;
	o.channel_prefix = strdup("pre:");
	harness_connect_with(&o);
	ear_open(&a, "a", false);
	ear_open(&p, "b*", true);
	AWAIT(a.established && p.established);
	b = hbt_redis_batch_new(h.redis);
	hbt_redis_batch_publish(b, "a", "x\0y", 3);
	hbt_redis_batch_send(b, 0, harness_done, &out);
	AWAIT(out.done);
	assert_string_equal(f.log, "SUBSCRIBE pre:a\nPSUBSCRIBE pre:b*\n"
	                           "PUBLISH pre:a x\n");
	message("pre:a", "1");
	AWAIT(a.messages == 1);
	assert_string_equal(a.channel, "a");
}

static void thousands_of_channels_go_out_in_chunks(void **state)
{
	enum { N = 2100 };
	struct ear *many = calloc(N, sizeof(*many));
	char name[16];

	(void)state;
	start();
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		ear_open(&many[i], name, false);
	}
	AWAIT(many[N - 1].established);
	assert_int_equal(fake_count(&f, "SUBSCRIBE"), 5);
	for (int i = 0; i < N; i++)
		hbt_redis_unlisten(h.redis, &many[i].l);
	f.log[0] = '\0';
	AWAIT(fake_count(&f, "UNSUBSCRIBE") == 5);
	harness_settle();
	assert_true(harness_is_up());
	hbt_redis_free(&h.redis);
	free(many);
}

static void nonsense_is_a_lost_connection(void **state)
{
	static const char *const said[] = {
		"*3\r\n$9\r\nsubscribe\r\n$1\r\nz\r\n:1\r\n",
		"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n",
		"*1\r\n$7\r\nmessage\r\n",
		"*3\r\n:1\r\n:2\r\n:3\r\n",
		"*0\r\n",
		"-ERR what\r\n",
		"*3\r\n$7\r\nmessage\r\n$-1\r\n$1\r\nx\r\n",
		"garbage\r\n",
	};
	static struct ear a;

	(void)state;
	start();
	ear_open(&a, "a", false);
	AWAIT(a.established == 1);
	for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
		int before = a.established;

		fake_say(fake_subscriber(&f), "%s", said[i]);
		AWAIT(a.established == before + 1);
	}
	/* Harmless. */
	message("unknown", "x");
	fake_say(fake_subscriber(&f), "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n:1"
	                              "\r\n+OK\r\n*3\r\n$5\r\nhello\r\n$1\r\n"
	                              "a\r\n$-1\r\n");
	message("a", "still here");
	AWAIT(a.messages == 1);
	assert_string_equal(a.payload, "still here");
}

static void idle_connections_are_asked_whether_they_live(void **state)
{
	struct hbt_redis_options o = harness_options(f.url);
	static struct ear a;

	(void)state;
	o.keep_alive_ms = 60;
	o.command_timeout_ms = 1000;
	harness_connect_with(&o);
	ear_open(&a, "a", false);
	AWAIT(a.established == 1 && harness_is_up());
	f.pings = 0;
	AWAIT(f.pings >= 6); /* of both, several times */
	assert_int_equal(a.established, 1);
	assert_int_equal(f.accepted, 2);
	f.mute = true;
	AWAIT(!harness_is_up());
	assert_non_null(strstr(h.warning, "no answer within 1000 ms"));
	f.mute = false;
	fake_hang_up(&f);
	AWAIT(a.established == 2 && harness_is_up());
	assert_int_equal(h.warnings, 1);
}

int main(void)
{
#define TEST(x) cmocka_unit_test_setup_teardown(x, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(channels_of_a_turn_share_a_command),
		TEST(listeners_of_a_channel_are_counted),
		TEST(all_are_established_again_after_a_loss),
		TEST(what_is_refused_does_not_take_others_with_it),
		TEST(listeners_may_leave_and_join_in_callbacks),
		TEST(listeners_may_free_the_connection),
		TEST(channel_prefixes_are_put_and_taken),
		TEST(thousands_of_channels_go_out_in_chunks),
		TEST(nonsense_is_a_lost_connection),
		TEST(idle_connections_are_asked_whether_they_live),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
