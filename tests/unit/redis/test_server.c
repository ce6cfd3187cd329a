/* Both connections with real servers: killed, frozen, demoted, guarded. */
#include <signal.h>
#include <unistd.h>

#include "base/timespan.h"
#include "harness.h"
#include "redis_server.h"

static struct redis_server server;

static void ask(const struct redis_server *s, const char *command)
{
	char *answer = redis_server_ask(s, command);

	assert_non_null(answer);
	if (strncmp(answer, "OK", 2) != 0)
		fail_msg("%s: %s", command, answer);
	free(answer);
}

static void a_killed_server_is_one_outage_of_two_lines(void **state)
{
	static struct ear ear;
	struct outcome out;

	(void)state;
	harness_connect(server.url);
	ear_open(&ear, "x", false);
	AWAIT(harness_is_up() && ear.established == 1);
	harness_works();
	h.infos = 0;
	redis_server_kill(&server);
	AWAIT(h.warnings > 0);
	harness_send(&out, 25000, "SET k v");
	harness_idle(300);
	assert_false(out.done);
	assert_int_equal(redis_server_restart(&server, NULL), 0);
	AWAIT(out.done && ear.established == 2 && harness_is_up());
	assert_string_equal(out.text, "OK ");
	assert_int_equal(h.warnings, 1);
	assert_int_equal(h.infos, 1);
	assert_non_null(strstr(h.warning, "requests wait"));
	assert_non_null(strstr(h.info, "again after"));
	harness_works();
	hbt_redis_unlisten(h.redis, &ear.l);
}

static void a_frozen_server_is_noticed_in_the_command_timeout(void **state)
{
	struct hbt_redis_options o = harness_options(server.url);
	struct outcome out;
	int64_t begin;

	(void)state;
	o.command_timeout_ms = 1500;
	o.connect_timeout_ms = 1500;
	o.keep_alive_ms = 400;
	harness_connect_with(&o);
	AWAIT(harness_is_up());
	h.infos = 0;
	redis_server_freeze(&server);
	begin = hbt_now_ms();
	harness_send(&out, 25000, "SET k v");
	AWAIT(!harness_is_up());
	assert_in_range(hbt_now_ms() - begin, 1000, 10000);
	assert_int_equal(h.warnings, 1);
	assert_non_null(strstr(h.warning, "no answer within 1500 ms"));
	harness_idle(2000); /* attempts go on, and fail */
	redis_server_thaw(&server);
	AWAIT(out.done && harness_is_up());
	assert_string_equal(out.text, "OK ");
	assert_int_equal(h.warnings, 1);
	assert_int_equal(h.infos, 1);
}

static void connections_that_are_killed_come_back_unnoticed(void **state)
{
	struct outcome out;

	(void)state;
	harness_connect(server.url);
	AWAIT(harness_is_up());
	for (int i = 0; i < 5; i++) {
		free(redis_server_ask(&server, "CLIENT KILL TYPE normal"));
		free(redis_server_ask(&server, "CLIENT KILL TYPE pubsub"));
		harness_send(&out, 20000, "SET k %d", i);
		AWAIT(out.done);
		assert_string_equal(out.text, "OK ");
		AWAIT(harness_is_up());
	}
	assert_int_equal(h.warnings, 0);
}

#define QUEUE_ACL                                                              \
	"ACL SETUSER app reset on >p@ss +@connection +set +get +expire "       \
	"+pexpire +del +unlink +hmset +hset +hmget +hexists +rpush +lpop "     \
	"+publish +subscribe +unsubscribe +ping ~app:HalibutRedis:* "          \
	"&app:HalibutRedis:channel:*"

static void the_smallest_acl_of_the_manual_is_enough(void **state)
{
	static struct ear ear;
	char url[128];
	struct outcome out;

	(void)state;
	ask(&server, QUEUE_ACL);
	snprintf(url, sizeof(url), "unix://app:p%%40ss@%s?name=node",
	         server.socket);
	harness_connect(url);
	harness_works();
	ear_open(&ear, "other", false);
	AWAIT(ear.refused == 1);
	harness_send(&out, 0, "GET other");
	AWAIT(out.done);
	assert_non_null(strstr(out.text, "GET at Redis"));
	assert_non_null(strstr(out.text, "NOPERM"));
	assert_non_null(strstr(out.text, "ACL SETUSER"));
	harness_works();
	hbt_redis_unlisten(h.redis, &ear.l);
}

static void a_wrong_password_is_told_with_its_remedy(void **state)
{
	char url[128];

	(void)state;
	ask(&server, QUEUE_ACL);
	snprintf(url, sizeof(url), "unix://app:hunter2@%s", server.socket);
	harness_connect(url);
	harness_fails_with("WRONGPASS", "check user and password");
	assert_null(strstr(h.warning, "hunter2"));
	/* It is tried again, and works once the server is put right. */
	ask(&server, "ACL SETUSER app >hunter2");
	AWAIT(harness_is_up());
	harness_works();
}

static void a_missing_password_is_told(void **state)
{
	(void)state;
	ask(&server, "CONFIG SET requirepass secret");
	harness_connect(server.url);
	harness_fails_with("NOAUTH", "give its password");
	hbt_redis_free(&h.redis);
	free(redis_server_ask(&server, "PING"));
	redis_server_kill(&server);
	assert_int_equal(redis_server_restart(&server, NULL), 0);
}

static void a_password_that_is_not_needed_does_no_harm(void **state)
{
	char url[128];

	(void)state;
	snprintf(url, sizeof(url), "unix://:any@%s", server.socket);
	harness_connect(url);
	harness_works();
}

static void the_database_is_chosen_and_checked(void **state)
{
	char url[128];
	struct outcome out;
	char *answer;

	(void)state;
	snprintf(url, sizeof(url), "unix://%s?db=3", server.socket);
	harness_connect(url);
	harness_send(&out, 0, "SET only-in-3 x");
	AWAIT(out.done);
	harness_works();
	answer = redis_server_ask(&server, "EXISTS only-in-3");
	assert_string_equal(answer, "0");
	free(answer);
	hbt_redis_free(&h.redis);
	snprintf(url, sizeof(url), "unix://%s?db=99", server.socket);
	harness_connect(url);
	harness_fails_with("database 99 cannot be selected", "raise databases");
}

static void too_many_clients_are_told(void **state)
{
	(void)state;
	ask(&server, "CONFIG SET maxclients 1");
	/* One that is there already. */
	harness_connect(server.url);
	AWAIT(h.warnings == 1);
	assert_non_null(strstr(h.warning, "max number of clients"));
	assert_non_null(strstr(h.warning, "raise maxclients"));
	hbt_redis_free(&h.redis);
	harness_settle();
	redis_server_kill(&server);
	assert_int_equal(redis_server_restart(&server, NULL), 0);
}

static void a_large_value_goes_there_and_back(void **state)
{
	enum { N = 40 << 20 };
	char *value = malloc(N);
	struct hbt_redis_batch *b;
	struct outcome out = {0}, other = {0};

	(void)state;
	for (size_t i = 0; i < N; i++)
		value[i] = (char)('a' + i % 23);
	harness_connect(server.url);
	b = hbt_redis_batch_new(h.redis);
	hbt_redis_batch_add(b, "SET big %b", value, (size_t)N);
	hbt_redis_batch_add(b, "STRLEN big");
	hbt_redis_batch_send(b, 20000, harness_done, &out);
	free(value);
	harness_send(&other, 20000, "GETRANGE big 41943035 -1");
	AWAIT(out.done && other.done);
	assert_string_equal(out.text, "OK 41943040 ");
	assert_string_equal(other.text, "fghij ");
	harness_send(&other, 20000, "GET big");
	AWAIT(other.done);
	assert_int_equal(other.status, 0);
	harness_send(&other, 20000, "DEL big");
	AWAIT(other.done);
}

static void a_replica_alone_is_refused_with_its_primary(void **state)
{
	(void)state;
	ask(&server, "REPLICAOF 127.0.0.1 1");
	harness_connect(server.url);
	harness_fails_with("this is a replica of 127.0.0.1:1", "REPLICAOF NO ONE");
	ask(&server, "REPLICAOF NO ONE");
	AWAIT(harness_is_up());
	harness_works();
}

static void of_two_servers_the_primary_is_used_and_followed(void **state)
{
	static struct ear ear;
	struct redis_server second;
	struct hbt_redis_options o;
	struct hbt_redis_state s;
	struct outcome out;

	(void)state;
	assert_int_equal(redis_server_start(&second, NULL), 0);
	ask(&server, "REPLICAOF 127.0.0.1 1");
	o = harness_options(server.url);
	assert_int_equal(hbt_redis_options_parse(&o, second.url, NULL), 0);
	harness_connect_with(&o);
	ear_open(&ear, "x", false);
	AWAIT(harness_is_up() && ear.established == 1);
	hbt_redis_state(h.redis, &s);
	assert_string_equal(s.server, second.socket);
	/* The other way round: the next write finds out. */
	ask(&server, "REPLICAOF NO ONE");
	ask(&second, "REPLICAOF 127.0.0.1 1");
	harness_send(&out, 20000, "SET k v");
	AWAIT(out.done && ear.established == 2 && harness_is_up());
	assert_string_equal(out.text, "OK ");
	hbt_redis_state(h.redis, &s);
	assert_string_equal(s.server, server.socket);
	harness_works();
	hbt_redis_unlisten(h.redis, &ear.l);
	hbt_redis_free(&h.redis);
	redis_server_stop(&second);
}

static void a_cluster_is_refused_with_the_reason(void **state)
{
	struct redis_server node;
	char port[8], bus[8];
	const char *more[] = {"--cluster-enabled", "yes", "--port", port,
	                      "--cluster-port", bus, NULL};
	struct outcome out;

	(void)state;
	snprintf(port, sizeof(port), "%d", redis_server_free_port());
	snprintf(bus, sizeof(bus), "%d", redis_server_free_port());
	assert_int_equal(redis_server_start(&node, more), 0);
	harness_connect(node.url);
	harness_send(&out, 0, "SET k v");
	AWAIT(out.done);
	redis_server_stop(&node);
	assert_int_equal(out.status, HALIBUT_ESYSTEM);
	assert_non_null(strstr(out.text, "CLUSTERDOWN"));
	assert_non_null(strstr(out.text, "does not support"));
}

/* ---- Sentinels ---- */

static struct redis_server primary, replica, sentinel;

static void wait_until(const struct redis_server *s, const char *command,
                       const char *expected)
{
	int64_t until = hbt_now_ms() + DEADLINE_MS;

	for (;;) {
		char *answer = redis_server_ask(s, command);
		bool found = answer != NULL &&
		             strstr(answer, expected) != NULL;

		free(answer);
		if (found)
			return;
		if (hbt_now_ms() > until)
			fail_msg("%s never says %s", command, expected);
		harness_idle(50);
	}
}

static void sentinels_lead_to_the_new_primary(void **state)
{
	static struct ear ear;
	char p1[8], p2[8], p3[8], url[160], first[256];
	const char *one[] = {"--port", p1, "--repl-diskless-sync-delay", "0",
	                     NULL};
	const char *two[] = {"--port", p2, "--replicaof", "127.0.0.1", p1,
	                     NULL};
	int port = redis_server_free_port();
	struct hbt_redis_state s;
	struct outcome out;

	(void)state;
	snprintf(p1, sizeof(p1), "%d", redis_server_free_port());
	snprintf(p2, sizeof(p2), "%d", redis_server_free_port());
	snprintf(p3, sizeof(p3), "%d", port);
	assert_int_equal(redis_server_start(&primary, one), 0);
	assert_int_equal(redis_server_start(&replica, two), 0);
	wait_until(&replica, "INFO replication", "master_link_status:up");
	assert_int_equal(redis_server_start_sentinel(&sentinel, port, atoi(p1)),
	                 0);
	wait_until(&sentinel, "SENTINEL replicas halibut", p2);

	/* The first sentinel is not there. */
	snprintf(url, sizeof(url), "127.0.0.1:1,127.0.0.1:%d,serviceName=%s",
	         port, "unknown");
	harness_connect(url);
	AWAIT(h.warnings == 1);
	assert_non_null(strstr(h.warning, "knows no primary of the name"));
	hbt_redis_free(&h.redis);

	snprintf(url, sizeof(url), "redis+sentinel://127.0.0.1:1,127.0.0.1:%d"
	                           "/halibut",
	         port);
	harness_connect(url);
	ear_open(&ear, "x", false);
	AWAIT(harness_is_up() && ear.established == 1);
	hbt_redis_state(h.redis, &s);
	snprintf(first, sizeof(first), "127.0.0.1:%s", p1);
	assert_string_equal(s.server, first);
	harness_works();
	redis_server_kill(&primary);
	harness_send(&out, 29000, "SET k v");
	AWAIT(out.done && ear.established == 2 && harness_is_up());
	assert_string_equal(out.text, "OK ");
	hbt_redis_state(h.redis, &s);
	snprintf(first, sizeof(first), "127.0.0.1:%s", p2);
	assert_string_equal(s.server, first);
	harness_works();
	hbt_redis_unlisten(h.redis, &ear.l);
}

static int stop_sentinels(void **state)
{
	int rc = harness_stop(state);

	redis_server_stop(&sentinel);
	redis_server_stop(&replica);
	redis_server_stop(&primary);
	return rc;
}

int main(void)
{
#define TEST(x) cmocka_unit_test_setup_teardown(x, harness_start, harness_stop)
	const struct CMUnitTest tests[] = {
		TEST(a_killed_server_is_one_outage_of_two_lines),
		TEST(a_frozen_server_is_noticed_in_the_command_timeout),
		TEST(connections_that_are_killed_come_back_unnoticed),
		TEST(the_smallest_acl_of_the_manual_is_enough),
		TEST(a_wrong_password_is_told_with_its_remedy),
		TEST(a_missing_password_is_told),
		TEST(a_password_that_is_not_needed_does_no_harm),
		TEST(the_database_is_chosen_and_checked),
		TEST(too_many_clients_are_told),
		TEST(a_large_value_goes_there_and_back),
		TEST(a_replica_alone_is_refused_with_its_primary),
		TEST(of_two_servers_the_primary_is_used_and_followed),
		TEST(a_cluster_is_refused_with_the_reason),
		cmocka_unit_test_setup_teardown(
			sentinels_lead_to_the_new_primary, harness_start,
			stop_sentinels),
	};
	int failed;

	if (redis_server_start(&server, NULL) != 0) {
		printf("1..0 # SKIP there is no redis-server\n");
		return 0;
	}
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	redis_server_stop(&server);
	return failed;
}
