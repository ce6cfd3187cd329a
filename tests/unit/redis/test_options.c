/* URLs and connection strings of Redis servers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis/options.h"

/* What describe() says, then what it leaves out. */
static void show(const struct hbt_redis_options *o, char buf[1024])
{
	size_t n;

	hbt_redis_options_describe(o, buf, 1024);
	n = strlen(buf);
	if (o->password != NULL)
		n += (size_t)snprintf(buf + n, 1024 - n, " pw=%s", o->password);
	if (o->channel_prefix != NULL)
		n += (size_t)snprintf(buf + n, 1024 - n, " cp=%s",
		                      o->channel_prefix);
	if (o->tls_host != NULL)
		n += (size_t)snprintf(buf + n, 1024 - n, " sni=%s",
		                      o->tls_host);
	if (o->client_name != NULL)
		snprintf(buf + n, 1024 - n, " name=%s", o->client_name);
}

static const struct {
	const char *text, *means;
} good[] = {
	/* URLs */
	{"redis://localhost", "localhost:6379"},
	{"redis://", "localhost:6379"},
	{"redis:///3", "localhost:6379, database 3"},
	{"REDIS://h:1/2", "h:1, database 2"},
	{"redis://h/", "h:6379"},
	{" redis://h \n", "h:6379"},
	{"redis://:secret@h", "h:6379 pw=secret"},
	{"redis://secret@h", "h:6379 pw=secret"},
	{"redis://u:p%40%2c%2F%25@h", "h:6379, user 'u' pw=p@,/%"},
	{"redis://u:a@b@h:7", "h:7, user 'u' pw=a@b"},
	{"redis://[::1]:77", "[::1]:77"},
	{"redis://[fe80::1%25eth0]", "[fe80::1%eth0]:6379"},
	{"redis://a,b:2,[::1]:3/4", "a:6379, b:2, [::1]:3, database 4"},
	{"rediss://h", "h:6379 (TLS)"},
	{"rediss://h?sslHost=x.example&channelPrefix=p%3A",
         "h:6379 (TLS) cp=p: sni=x.example"},
	{"rediss://h?tlsInsecure=yes", "h:6379 (TLS, certificate not verified)"},
	{"redis://h?user=u&password=p&db=9", "h:6379, database 9, user 'u' pw=p"},
	{"redis://h?name=node&protocol=3&", "h:6379 name=node"},
	{"unix:///run/redis.sock", "/run/redis.sock"},
	{"unix:/run/redis.sock", "/run/redis.sock"},
	{"redis+unix:///a%20b?db=2", "/a b, database 2"},
	{"unix://u:p@/run/x", "/run/x, user 'u' pw=p"},
	{"redis+sentinel://a,b:5/main", "primary 'main' of the sentinels "
                                        "a:26379, b:5"},
	{"rediss+sentinel://a/main/3", "primary 'main' of the sentinel a:26379 "
                                       "(TLS), database 3"},
	/* Connection strings */
	{"localhost", "localhost:6379"},
	{"h:1234", "h:1234"},
	{"::1", NULL},
	{"[::1]", "[::1]:6379"},
	{"h,ssl=true", "h:6380 (TLS)"},
	{"ssl=True,h,h2:1", "h:6380, h2:1 (TLS)"},
	{"h , password = a=b , user=u", "h:6379, user 'u' pw=a=b"},
	{"h,PASSWORD=x,abortConnect=false,connectRetry=5", "h:6379 pw=x"},
	{"a:26379,serviceName=main,defaultDatabase=1",
         "primary 'main' of the sentinel a:26379, database 1"},
	{"a,serviceName=main", "primary 'main' of the sentinel a:26379"},
	{"h,$CONFIG=,$FLUSHALL=nope", "h:6379"},
	{"password=x,h:1,h2:1", "h:1, h2:1 pw=x"},
	{"h,channelPrefix=app:", "h:6379 cp=app:"},
	{"h,proxy=None,tunnel=x,version=7.0,keepAlive=-1", "h:6379"},
	{"!/run/redis.sock,password=x", "/run/redis.sock pw=x"},
	{"b\xc3\xbc" "cher.example", "b\xc3\xbc" "cher.example:6379"},
	{"a,,b,", "a:6379, b:6379"},
};

static void what_is_right_is_understood(void **state)
{
	struct hbt_redis_options o, copy;
	struct halibut_error err = {0};
	char buf[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		int rc;

		hbt_redis_options_init(&o);
		rc = hbt_redis_options_parse(&o, good[i].text, &err);
		if (good[i].means == NULL) {
			assert_int_equal(rc, HALIBUT_EINVAL);
			hbt_redis_options_fini(&o);
			continue;
		}
		if (rc != HALIBUT_OK)
			fail_msg("%s: %s", good[i].text, err.message);
		show(&o, buf);
		assert_string_equal(buf, good[i].means);
		assert_int_equal(hbt_redis_options_copy(&copy, &o), 0);
		hbt_redis_options_fini(&o);
		show(&copy, buf);
		assert_string_equal(buf, good[i].means);
		hbt_redis_options_fini(&copy);
	}
	halibut_error_clear(&err);
}

static const struct {
	const char *text, *says;
} bad[] = {
	{"", "No Redis server is named"},
	{",", "No Redis server is named"},
	{"ssl=true", "No Redis server is named"},
	{"http://h", "'http' is no scheme"},
	{"rediss+unix:///x", "'rediss+unix' is no scheme"},
	{"redis://h:0", "a port is a number from 1 to 65535"},
	{"redis://h:65536", "'h:65536'"},
	{"redis://h:6379x", "a port is a number"},
	{"h:+1", "a port is a number"},
	{"redis://a:b:c", "IPv6"},
	{"redis://[::1", "] is missing"},
	{"redis://[::1]x", "only :port may follow ]"},
	{"redis://a b", "this is no host name"},
	{"redis://h/x", "db=x: a database number is expected"},
	{"redis://h/-1", "a database number"},
	{"redis://h/1/2", "a database number"},
	{"redis://h/99999999999999999999", "a database number"},
	{"redis://h?x=1", "'x' is not a key"},
	{"redis://h?db", "db=: a database number"},
	{"redis://%zz", "not followed by two hexadecimal digits"},
	{"redis://h%0", "hexadecimal"},
	{"redis://%00", "%00 is not allowed"},
	{"redis://u:@h", "User 'u' has no password"},
	{"h,user=u", "User 'u' has no password"},
	{"h,ssl=maybe", "ssl=maybe: true or false is expected"},
	{"h,syncTimeout=0", "syncTimeout=0: a number of milliseconds"},
	{"h,connectTimeout=99999999999999999999", "connectTimeout="},
	{"h,keepAlive=x", "keepAlive=x: a number of seconds"},
	{"h,protocol=4", "resp2 or resp3"},
	{"h,proxy=Twemproxy", "cannot carry the queue"},
	{"h,$LPOP=pop", "$LPOP=: the queue needs this command"},
	{"h,frobnicate=1", "'frobnicate' is not a key"},
	{"h,tlsCaFile=/x", "TLS is off"},
	{"rediss://h?tlsKeyFile=/x", "given together"},
	{"unix://relative", "begins with /"},
	{"!relative", "begins with /"},
	{"redis+sentinel://h", "The name of the primary is missing"},
	{"redis+sentinel://h/", "The name of the primary is missing"},
	{"u:p@h", "it contains @"},
	{"h,password=a,b", "name servers first"},
};

static void what_is_wrong_is_named(void **state)
{
	struct hbt_redis_options o;
	struct halibut_error err = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int rc;

		hbt_redis_options_init(&o);
		rc = hbt_redis_options_parse(&o, bad[i].text, &err);
		hbt_redis_options_fini(&o);
		if (rc != HALIBUT_EINVAL)
			fail_msg("'%s' was accepted", bad[i].text);
		if (strstr(err.message, bad[i].says) == NULL)
			fail_msg("'%s': %s", bad[i].text, err.message);
		halibut_error_clear(&err);
	}
}

/* Each contains a password "hunter2", or a part of one, in a wrong place. */
static const char *const leaky[] = {
	"redis://u:hunter2/x@h", "redis://u:hunter2?x@h",
	"redis://u:hunter2#x@h", "redis://u:hun#hunter2@h:x",
	"redis://u:x/hunter2@h", "redis://u:x?hunter2=1@h",
	"redis://u:hunter2%zz@h", "redis://:hunter2@h:99999",
	"redis://h?password=a&hunter2=b", "redis://h?password=a&hunter2",
	"redis://h?passwrd=hunter2", "h,password=a,hunter2",
	"h,password=a,hunter2=b", "h,password=a,hunter2:b", "u:hunter2@h",
	"u:hunter2@h,ssl=x", "h,user=u,password=a,ssl=hunter2",
	"u:a=hunter2@h", "redis://u:a,hunter2@h", "http://u:hunter2@h",
	"redis://u:hunter2:@:@h:h:h", "redis://h?sentinelPassword=a&hunter2=1",
	"redis:u:hunter2@h", "redi://u:hunter2@h",
	"h,sentinelPassword=x,ssl=hunter2", "redis+sentinel://:hunter2@h",
	"redis+sentinel://:a/hunter2@h", "unix://u:hunter2@relative",
	"unix://u:hun/hunter2@/x?db=y", "unix://u:hunter2@/x?db=hunter2@",
	"redis//u:hunter2@h", "://u:hunter2@h", "h,pasword=hunter2",
};

static void no_password_is_ever_quoted(void **state)
{
	struct hbt_redis_options o;
	struct halibut_error err = {0};
	char buf[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(leaky) / sizeof(leaky[0]); i++) {
		hbt_redis_options_init(&o);
		if (hbt_redis_options_parse(&o, leaky[i], &err) == 0)
			hbt_redis_options_describe(&o, buf, sizeof(buf));
		else
			snprintf(buf, sizeof(buf), "%s", err.message);
		if (strstr(buf, "hunter2") != NULL)
			fail_msg("'%s': %s", leaky[i], buf);
		hbt_redis_options_fini(&o);
		halibut_error_clear(&err);
	}
}

static void times_are_taken_in_their_units(void **state)
{
	struct hbt_redis_options o;

	(void)state;
	hbt_redis_options_init(&o);
	assert_int_equal(o.connect_timeout_ms, 5000);
	assert_int_equal(o.command_timeout_ms, 5000);
	assert_int_equal(o.keep_alive_ms, 60000);
	assert_int_equal(
		hbt_redis_options_parse(&o,
	                                "h,connectTimeout=1500,syncTimeout="
	                                "700,asyncTimeout=1,keepAlive=9",
	                                NULL),
		0);
	assert_int_equal(o.connect_timeout_ms, 1500);
	assert_int_equal(o.command_timeout_ms, 700);
	assert_int_equal(o.keep_alive_ms, 9000);
	hbt_redis_options_fini(&o);
}

static void later_texts_add_to_earlier_ones(void **state)
{
	struct hbt_redis_options o;
	char buf[1024];

	(void)state;
	hbt_redis_options_init(&o);
	assert_int_equal(hbt_redis_options_parse(&o, "a,password=x", NULL), 0);
	assert_int_equal(hbt_redis_options_parse(&o, "redis://b/2", NULL), 0);
	show(&o, buf);
	assert_string_equal(buf, "a:6379, b:6379, database 2 pw=x");
	hbt_redis_options_fini(&o);
}

static void the_number_of_servers_and_the_length_are_limited(void **state)
{
	struct hbt_redis_options o;
	struct halibut_error err = {0};
	char text[9001];

	(void)state;
	hbt_redis_options_init(&o);
	for (size_t i = 0; i < 65; i++)
		memcpy(text + 2 * i, "a,", 3);
	assert_int_equal(hbt_redis_options_parse(&o, text, &err),
	                 HALIBUT_EINVAL);
	assert_non_null(strstr(err.message, "More than 64"));
	hbt_redis_options_fini(&o);
	memset(text, 'a', 9000);
	text[9000] = '\0';
	hbt_redis_options_init(&o);
	assert_int_equal(hbt_redis_options_parse(&o, text, &err),
	                 HALIBUT_EINVAL);
	assert_non_null(strstr(err.message, "longer than 8192 bytes"));
	hbt_redis_options_fini(&o);
	halibut_error_clear(&err);
}

static void a_description_is_cut_where_the_room_ends(void **state)
{
	struct hbt_redis_options o;
	char buf[8];

	(void)state;
	hbt_redis_options_init(&o);
	hbt_redis_options_describe(&o, buf, sizeof(buf));
	assert_string_equal(buf, "no serv");
	assert_int_equal(hbt_redis_options_parse(&o, "abcdef,ghi", NULL), 0);
	for (size_t cap = 0; cap <= sizeof(buf); cap++) {
		memset(buf, 'x', sizeof(buf));
		hbt_redis_options_describe(&o, buf, cap);
		if (cap > 0)
			assert_int_equal(strlen(buf), cap - 1);
		else
			assert_int_equal(buf[0], 'x');
	}
	hbt_redis_options_fini(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_right_is_understood),
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(no_password_is_ever_quoted),
		cmocka_unit_test(times_are_taken_in_their_units),
		cmocka_unit_test(later_texts_add_to_earlier_ones),
		cmocka_unit_test(
			the_number_of_servers_and_the_length_are_limited),
		cmocka_unit_test(a_description_is_cut_where_the_room_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
