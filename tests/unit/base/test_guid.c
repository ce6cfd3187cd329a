/* GUID texts and the byte order that .NET puts on the wire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/guid.h"
#include "halibut/error.h"

/* The example of wire-protocol 11.2. */
#define TEXT "9a4b47b7-7463-4740-842e-eb1da0ade39b"
static const uint8_t wire[16] = {0xb7, 0x47, 0x4b, 0x9a, 0x63, 0x74,
                                 0x40, 0x47, 0x84, 0x2e, 0xeb, 0x1d,
                                 0xa0, 0xad, 0xe3, 0x9b};

static void the_example_of_the_specification_is_parsed(void **state)
{
	struct hbt_guid g;

	(void)state;
	assert_int_equal(hbt_guid_parse(TEXT, &g), HALIBUT_OK);
	assert_memory_equal(g.wire, wire, 16);
}

static void the_example_of_the_specification_is_formatted(void **state)
{
	char text[HBT_GUID_TEXT];
	struct hbt_guid g;

	(void)state;
	memcpy(g.wire, wire, 16);
	hbt_guid_format(&g, text);
	assert_string_equal(text, TEXT);
}

static void any_case_and_no_hyphens_are_parsed_too(void **state)
{
	struct hbt_guid g;

	(void)state;
	assert_int_equal(hbt_guid_parse("9A4B47B7746347408"
	                                "42EEB1DA0ADE39b", &g), HALIBUT_OK);
	assert_memory_equal(g.wire, wire, 16);
}

static void other_texts_are_refused_and_leave_the_guid_alone(void **state)
{
	static const char *const bad[] = {
		"",
		"9a4b47b7",
		"9a4b47b7-7463-4740-842e-eb1da0ade39",
		"9a4b47b7-7463-4740-842e-eb1da0ade39b0",
		"9a4b47b7-7463-4740-842e-eb1da0ade39g",
		"9a4b47b77-463-4740-842e-eb1da0ade39b",
		"9a4b47b7-7463-4740-842e+eb1da0ade39b",
		"{9a4b47b7-7463-4740-842e-eb1da0ade3}",
		"9a4b47b774634740842eeb1da0ade3-b",
		"                                ",
	};
	struct hbt_guid g, before;

	(void)state;
	memset(&g, 0x5a, sizeof(g));
	before = g;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(hbt_guid_parse(bad[i], &g), HALIBUT_EINVAL);
		assert_memory_equal(&g, &before, sizeof(g));
	}
}

static void a_new_guid_is_random_and_says_version_4(void **state)
{
	struct hbt_guid a = hbt_guid_new(), b = hbt_guid_new();
	char text[HBT_GUID_TEXT];

	(void)state;
	assert_memory_not_equal(&a, &b, sizeof(a));
	hbt_guid_format(&a, text);
	assert_int_equal(text[14], '4');
	assert_non_null(strchr("89ab", text[19]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_of_the_specification_is_parsed),
		cmocka_unit_test(the_example_of_the_specification_is_formatted),
		cmocka_unit_test(any_case_and_no_hyphens_are_parsed_too),
		cmocka_unit_test(
			other_texts_are_refused_and_leave_the_guid_alone),
		cmocka_unit_test(a_new_guid_is_random_and_says_version_4),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
