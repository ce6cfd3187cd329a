#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "master/config_units.h"

static void times_with_units_are_read(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} cases[] = {
		{"0", 0},         {"500ms", 500},       {"30s", 30000},
		{"30 s", 30000},  {"2min", 120000},     {"1h", 3600000},
		{"1d", 86400000}, {"1h30min", 5400000}, {"1h 1ms", 3600001},
	};
	int64_t ms;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(hbt_parse_duration(cases[i].text, &ms, NULL),
		                 HALIBUT_OK);
		assert_int_equal(ms, cases[i].ms);
	}
}

static void what_is_no_time_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"s",
		"10",
		"10 parsecs",
		"-1s",
		"1.5s",
		"1s ",
		"1s2",
		"99999999999999999999s",
		"9999999999999999d",
		"5S",
	};
	int64_t ms;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(hbt_parse_duration(texts[i], &ms, NULL),
		                 HALIBUT_EINVAL);
}

static void the_message_says_what_would_be_right(void **state)
{
	struct halibut_error err = {0};
	int64_t ms;

	(void)state;
	hbt_parse_duration("10 parsecs", &ms, &err);
	assert_non_null(strstr(err.message, "\"parsecs\""));
	assert_non_null(strstr(err.message, "\"30s\""));
	halibut_error_clear(&err);
}

static void sizes_with_units_are_read(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {
		{"0", 0},           {"512B", 512},        {"64KiB", 65536},
		{"64kib", 65536},   {"1GiB", 1ull << 30}, {"2TiB", 2ull << 40},
		{"10MB", 10000000},
	};
	uint64_t bytes;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(hbt_parse_size(cases[i].text, &bytes, NULL),
		                 HALIBUT_OK);
		assert_int_equal(bytes, cases[i].bytes);
	}
	assert_int_equal(hbt_parse_size("64", &bytes, NULL), HALIBUT_EINVAL);
	assert_int_equal(hbt_parse_size("64M", &bytes, NULL), HALIBUT_EINVAL);
}

static void values_are_written_in_the_largest_unit_that_fits(void **state)
{
	char text[32];

	(void)state;
	hbt_format_duration(90000, text);
	assert_string_equal(text, "90s");
	hbt_format_duration(120000, text);
	assert_string_equal(text, "2min");
	hbt_format_duration(0, text);
	assert_string_equal(text, "0");
	hbt_format_size(3 << 20, text);
	assert_string_equal(text, "3MiB");
	hbt_format_size(1025, text);
	assert_string_equal(text, "1025B");
}

static void hosts_with_ports_are_split(void **state)
{
	char *host;
	uint16_t port;

	(void)state;
	assert_int_equal(
		hbt_parse_host_port("a.b:10943", 0, &host, &port, NULL),
		HALIBUT_OK);
	assert_string_equal(host, "a.b");
	assert_int_equal(port, 10943);
	free(host);
	assert_int_equal(hbt_parse_host_port("[::1]:0", 0, &host, &port, NULL),
	                 HALIBUT_OK);
	assert_string_equal(host, "::1");
	assert_int_equal(port, 0);
	free(host);
	assert_int_equal(hbt_parse_host_port("a", 443, &host, &port, NULL),
	                 HALIBUT_OK);
	assert_int_equal(port, 443);
	free(host);
}

static void what_is_no_host_with_port_is_refused(void **state)
{
	static const char *const texts[] = {
		"",    ":1",   "a",      "a:",   "a:x",  "a:65536",
		"::1", "[::1", "[::1]x", "a:-1", "[]:1",
	};
	char *host;
	uint16_t port;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(
			hbt_parse_host_port(texts[i], 0, &host, &port, NULL),
			HALIBUT_EINVAL);
		assert_null(host);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_with_units_are_read),
		cmocka_unit_test(what_is_no_time_is_refused),
		cmocka_unit_test(the_message_says_what_would_be_right),
		cmocka_unit_test(sizes_with_units_are_read),
		cmocka_unit_test(
			values_are_written_in_the_largest_unit_that_fits),
		cmocka_unit_test(hosts_with_ports_are_split),
		cmocka_unit_test(what_is_no_host_with_port_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
