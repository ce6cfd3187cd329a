/* What the doctor says of real servers. */
#include "harness.h"
#include "redis/doctor.h"
#include "redis_server.h"

static struct redis_server server;

struct report {
	bool done, usable;
	int ok, hints, errors;
	char text[16384]; /* a line a finding, "error: what | remedy" */
};

static void on_found(void *arg, const struct hbt_finding *f)
{
	static const char *const names[] = {"ok", "hint", "error"};
	struct report *r = arg;
	size_t n = strlen(r->text);

	assert_false(r->done);
	assert_true(f->level != HBT_FINDING_ERROR || r->ok + r->hints == 0);
	*(f->level == HBT_FINDING_OK     ? &r->ok
	  : f->level == HBT_FINDING_HINT ? &r->hints
	                                 : &r->errors) += 1;
	snprintf(r->text + n, sizeof(r->text) - n, "%s: %s | %s\n",
	         names[f->level], f->what,
	         f->remedy != NULL ? f->remedy : "-");
}

static void on_done(void *arg, bool usable)
{
	struct report *r = arg;

	assert_false(r->done);
	r->done = true;
	r->usable = usable;
	assert_int_equal(usable, r->errors == 0);
}

static struct report report;

static void examine_within(int64_t ms)
{
	memset(&report, 0, sizeof(report));
	hbt_redis_examine(h.redis, "app", ms, on_found, on_done, &report);
	assert_false(report.done);
	AWAIT(report.done);
	if (getenv("HBT_TEST_VERBOSE") != NULL)
		fprintf(stderr, "%s\n", report.text);
}

static void examine(const char *url)
{
	harness_connect(url);
	examine_within(20000);
}

static void says(const char *level, const char *what)
{
	const char *p = strstr(report.text, what), *line = p;

	while (line != NULL && line > report.text && line[-1] != '\n')
		line--;
	if (p == NULL || strncmp(line, level, strlen(level)) != 0)
		fail_msg("no %s of '%s' in:\n%s", level, what, report.text);
}

static void ask(const char *command)
{
	char *answer = redis_server_ask(&server, command);

	assert_non_null(answer);
	if (strncmp(answer, "OK", 2) != 0)
		fail_msg("%s: %s", command, answer);
	free(answer);
}

static void a_plain_server_is_fit_and_left_as_it_was(void **state)
{
	char *keys;

	(void)state;
	examine(server.url);
	assert_true(report.usable);
	assert_int_equal(report.hints, 0);
	says("ok", "Redis ");
	says("ok", "a round trip takes");
	says("ok", "it does not save to disk");
	keys = redis_server_ask(&server, "DBSIZE");
	assert_string_equal(keys, "0");
	free(keys);
}

static void eviction_and_full_memory_are_hints_with_their_command(void **state)
{
	(void)state;
	ask("CONFIG SET maxmemory 1mb");
	ask("CONFIG SET maxmemory-policy allkeys-lru");
	examine(server.url);
	ask("CONFIG SET maxmemory-policy noeviction");
	says("hint", "maxmemory-policy is allkeys-lru");
	says("hint", "redis-cli CONFIG SET maxmemory-policy noeviction");
	says("hint", "90 % of its memory or more are used (maxmemory is 1 MiB)");
	/* Now it refuses to write. */
	examine_within(20000);
	ask("CONFIG SET maxmemory 0");
	assert_false(report.usable);
	says("error", "set fails: OOM");
	says("error", "raise maxmemory");
}

static void saving_to_disk_is_a_hint(void **state)
{
	(void)state;
	free(redis_server_ask(&server, "CONFIG SET save %s", "60 1"));
	examine(server.url);
	free(redis_server_ask(&server, "CONFIG SET save %s", ""));
	assert_true(report.usable);
	says("hint", "it saves to disk (save)");
	says("hint", "redis-cli CONFIG SET save \"\"");
}

#define QUEUE_ACL                                                              \
	"ACL SETUSER app reset on >pw +@connection +set +get +expire +pexpire " \
	"+del +unlink +hmset +hset +hmget +hexists +rpush +lpop +publish "     \
	"+subscribe +unsubscribe +ping ~app:HalibutRedis:* "                   \
	"&app:HalibutRedis:channel:*"

static char user_url[200];

static void the_smallest_acl_is_enough(void **state)
{
	(void)state;
	ask(QUEUE_ACL);
	examine(user_url);
	assert_true(report.usable);
	says("hint", "not looked at, because the server does not let us: "
	             "version");
	says("hint", "+config|get");
	says("hint", "a DataStream store of the kind redis would not work");
	says("hint", "'~app:HalibutStreams:*' +hset ");
	assert_int_equal(report.hints, 3);
	/* What it proposes is enough. */
	ask(QUEUE_ACL " ~app:HalibutStreams:* +hset +hget +hdel +hlen "
	              "+pexpire +expire +unlink +zadd +zrem +zrange "
	              "+zremrangebyscore");
	examine_within(20000);
	assert_int_equal(report.hints, 2);
}

static void a_missing_command_is_named_with_its_remedy(void **state)
{
	(void)state;
	ask(QUEUE_ACL " -lpop -publish");
	examine(user_url);
	assert_false(report.usable);
	assert_int_equal(report.errors, 2);
	says("error", "lpop on app:HalibutRedis:list:Doctor::");
	says("error", "redis-cli ACL SETUSER app +lpop\n");
	says("error", "redis-cli ACL SETUSER app +publish\n");
}

static void a_missing_key_pattern_is_named_once(void **state)
{
	(void)state;
	ask(QUEUE_ACL " resetkeys ~other:*");
	examine(user_url);
	assert_false(report.usable);
	assert_int_equal(report.errors, 1);
	says("error", "redis-cli ACL SETUSER app '~app:HalibutRedis:*'");
}

static void a_missing_channel_is_named(void **state)
{
	(void)state;
	ask(QUEUE_ACL " resetchannels");
	examine(user_url);
	assert_false(report.usable);
	says("error", "subscribe to app:HalibutRedis:channel:Doctor::");
	says("error", "publish is forbidden");
	says("error", "'&app:HalibutRedis:channel:*'");
}

static void a_wrong_password_is_an_error(void **state)
{
	char url[200];

	(void)state;
	ask(QUEUE_ACL);
	snprintf(url, sizeof(url), "unix://app:wrong@%s", server.socket);
	examine(url);
	assert_false(report.usable);
	assert_int_equal(report.errors, 1);
	says("error", "WRONGPASS");
	says("error", "user and password");
}

static void a_replica_is_an_error(void **state)
{
	(void)state;
	ask("REPLICAOF 127.0.0.1 1");
	examine(server.url);
	ask("REPLICAOF NO ONE");
	assert_false(report.usable);
	says("error", "replica of 127.0.0.1:1");
	says("error", "REPLICAOF NO ONE");
}

static void no_server_and_a_frozen_one_end_in_time(void **state)
{
	struct hbt_redis_options o;

	(void)state;
	examine("unix:///nonexistent/socket");
	assert_false(report.usable);
	says("error", "/nonexistent/socket");
	hbt_redis_free(&h.redis);

	o = harness_options(server.url);
	harness_connect_with(&o);
	AWAIT(harness_is_up());
	redis_server_freeze(&server);
	examine_within(100);
	redis_server_thaw(&server);
	assert_false(report.usable);
	says("error", "did not answer in time");
}

static void an_end_in_the_middle_ends_the_examination(void **state)
{
	(void)state;
	memset(&report, 0, sizeof(report));
	harness_connect(server.url);
	hbt_redis_examine(h.redis, "app", 20000, on_found, on_done, &report);
	hbt_redis_free(&h.redis);
	assert_true(report.done);
	assert_false(report.usable);
}

static void a_node_of_a_cluster_is_told(void **state)
{
	struct redis_server s;
	char port[8], bus[8];
	const char *more[] = {"--cluster-enabled", "yes", "--port", port,
	                      "--cluster-port", bus, NULL};

	(void)state;
	snprintf(port, sizeof(port), "%d", redis_server_free_port());
	snprintf(bus, sizeof(bus), "%d", redis_server_free_port());
	assert_int_equal(redis_server_start(&s, more), 0);
	examine(s.url);
	redis_server_stop(&s);
	assert_false(report.usable);
	says("error", "CLUSTERDOWN");
	says("hint", "a node of a Redis Cluster");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_start, harness_stop)
	const struct CMUnitTest tests[] = {
		TEST(a_plain_server_is_fit_and_left_as_it_was),
		TEST(eviction_and_full_memory_are_hints_with_their_command),
		TEST(saving_to_disk_is_a_hint),
		TEST(the_smallest_acl_is_enough),
		TEST(a_missing_command_is_named_with_its_remedy),
		TEST(a_missing_key_pattern_is_named_once),
		TEST(a_missing_channel_is_named),
		TEST(a_wrong_password_is_an_error),
		TEST(a_replica_is_an_error),
		TEST(no_server_and_a_frozen_one_end_in_time),
		TEST(an_end_in_the_middle_ends_the_examination),
		TEST(a_node_of_a_cluster_is_told),
	};
	int failed;

	if (redis_server_start(&server, NULL) != 0) {
		printf("1..0 # SKIP there is no redis-server\n");
		return 0;
	}
	snprintf(user_url, sizeof(user_url), "unix://app:pw@%s", server.socket);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	redis_server_stop(&server);
	return failed;
}
