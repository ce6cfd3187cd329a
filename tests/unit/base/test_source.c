/* Where connections come from: addresses, networks, and what is one source. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/source.h"

static void check_source(const char *peer, int v4, int v6, const char *wanted)
{
	struct hbt_network source;
	char text[HBT_SOURCE_TEXT];

	assert_true(hbt_source_parse(peer, &source));
	hbt_source_format(&source, v4, v6, text);
	assert_string_equal(text, wanted);
}

static void a_source_is_an_address_or_its_network(void **state)
{
	struct hbt_network source;

	(void)state;
	check_source("192.0.2.7:443", 32, 64, "192.0.2.7");
	check_source("192.0.2.7:443", 24, 64, "192.0.2.0/24");
	check_source("192.0.2.255:1", 27, 64, "192.0.2.224/27");
	check_source("[2001:db8:1:2:3:4:5:6]:443", 32, 64,
	             "2001:db8:1:2::/64");
	check_source("[2001:db8::1]:443", 32, 128, "2001:db8::1");
	check_source("[::ffff:192.0.2.7]:443", 24, 64, "192.0.2.0/24");
	assert_false(hbt_source_parse("", &source));
	assert_false(hbt_source_parse("unix", &source));
	assert_false(hbt_source_parse("?:1", &source));
	assert_false(hbt_source_parse("[]:1", &source));
}

static bool is_in(const char *network, const char *peer)
{
	struct hbt_network n, source;

	assert_int_equal(hbt_network_parse(network, &n, NULL), HALIBUT_OK);
	assert_true(hbt_source_parse(peer, &source));
	return hbt_network_has(&n, &source);
}

static void networks_are_read(void **state)
{
	static const char *const bad[] = {
		"", "x", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1",
		"10.0.0.0/8x", "10.0.0/8", "::/129", "10.0.0.0/0008",
		"localhost/8"};
	struct hbt_network n;

	(void)state;
	assert_true(is_in("10.0.0.0/8", "10.255.0.1:1"));
	assert_false(is_in("10.0.0.0/8", "11.0.0.1:1"));
	assert_true(is_in("10.1.2.3/8", "10.255.0.1:1"));
	assert_true(is_in("0.0.0.0/0", "192.0.2.1:1"));
	assert_false(is_in("0.0.0.0/0", "[2001:db8::1]:1"));
	assert_true(is_in("192.0.2.1", "192.0.2.1:1"));
	assert_false(is_in("192.0.2.1", "192.0.2.2:1"));
	assert_true(is_in("2001:db8::/33", "[2001:db8:7fff::1]:1"));
	assert_false(is_in("2001:db8::/33", "[2001:db8:8000::1]:1"));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (hbt_network_parse(bad[i], &n, NULL) != HALIBUT_EINVAL)
			fail_msg("\"%s\" was read", bad[i]);
}

static void a_rule_says_who_is_one_source_and_who_is_none(void **state)
{
	static const char *const networks[] = {"10.0.0.0/8", "2001:db8::1"};
	struct hbt_source_rule rule = {0};
	char text[HBT_SOURCE_TEXT];

	(void)state;
	assert_false(hbt_source_of(&rule, "192.0.2.7:1", text));
	assert_int_equal(hbt_source_rule_set(&rule, 24, 64, networks, 2),
	                 HALIBUT_OK);
	assert_true(hbt_source_of(&rule, "192.0.2.7:1", text));
	assert_string_equal(text, "192.0.2.0/24");
	assert_false(hbt_source_of(&rule, "10.2.3.4:1", text));
	assert_false(hbt_source_of(&rule, "[2001:db8::1]:1", text));
	assert_true(hbt_source_of(&rule, "[2001:db8::2]:1", text));
	assert_string_equal(text, "2001:db8::/64");
	assert_false(hbt_source_of(&rule, "a process", text));
	assert_int_equal(hbt_source_rule_set(&rule, 32, 64, NULL, 0),
	                 HALIBUT_OK);
	assert_true(hbt_source_of(&rule, "10.2.3.4:1", text));
	assert_string_equal(text, "10.2.3.4");
	hbt_source_rule_fini(&rule);
	assert_false(hbt_source_of(&rule, "10.2.3.4:1", text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_source_is_an_address_or_its_network),
		cmocka_unit_test(networks_are_read),
		cmocka_unit_test(a_rule_says_who_is_one_source_and_who_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
