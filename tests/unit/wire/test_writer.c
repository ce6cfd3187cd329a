#include "vectors.h"

#include <stdlib.h>
#include <string.h>

#include "halibut/error.h"
#include "wire/writer.h"

static void the_fixed_lines_are_those_of_the_specification(void **state)
{
	static const struct {
		const struct hbt_line *line;
		const char *hex;
	} lines[] = {
		{&hbt_line_preamble, "4D580A0A"},
		{&hbt_line_hello, "48454C4C4F0A0A"},
		{&hbt_line_client, "4D582D434C49454E5420312E300D0A0D0A"},
		{&hbt_line_server, "4D582D53455256455220312E300D0A0D0A"},
		{&hbt_line_next, "4E4558540D0A"},
		{&hbt_line_proceed, "50524F434545440D0A"},
		{&hbt_line_end, "454E440D0A"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct bytes b = unhex(lines[i].hex);

		assert_bytes_equal(lines[i].line->bytes, lines[i].line->len,
		                   b.data, b.len);
		free(b.data);
	}
}

static void a_subscriber_line_has_both_lines(void **state)
{
	static const char want[] = "MX-SUBSCRIBER 1.0 poll://sub-abc/\r\n\r\n";
	struct hbt_buf b;

	(void)state;
	hbt_buf_init(&b, 100);
	assert_int_equal(hbt_line_subscriber(&b, "poll://sub-abc/"),
	                 HALIBUT_OK);
	assert_bytes_equal(b.data, b.len, want, sizeof(want) - 1);
	hbt_buf_fini(&b);
}

static void a_subscription_that_the_line_cannot_carry_is_refused(void **state)
{
	static const char *const bad[] = {"", "poll://a b/", "poll://a/\r\n",
	                                  "poll://\xc3\xa6/", "poll://\x7f/"};
	struct hbt_buf b;

	(void)state;
	hbt_buf_init(&b, 100);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(hbt_line_subscriber(&b, bad[i]),
		                 HALIBUT_EINVAL);
	assert_int_equal(b.len, 0);
	hbt_buf_fini(&b);
}

static void a_line_that_does_not_fit_leaves_nothing_behind(void **state)
{
	struct hbt_buf b;

	(void)state;
	hbt_buf_init(&b, 30);
	assert_int_equal(hbt_line_subscriber(&b, "poll://sub-abc/"),
	                 HALIBUT_ELIMIT);
	assert_int_equal(b.len, 0);
	hbt_buf_fini(&b);
}

static void section_framing_is_that_of_vector_13(void **state)
{
	struct bytes want = spec_vector(13, "section");
	uint8_t got[24 + 5 + 8];
	struct hbt_guid id;

	(void)state;
	assert_int_equal(
		hbt_guid_parse("9a4b47b7-7463-4740-842e-eb1da0ade39b", &id),
		HALIBUT_OK);
	hbt_section_head(&id, 5, got);
	memcpy(got + 24, "hello", 5);
	hbt_section_tail(5, got + 29);
	assert_bytes_equal(got, sizeof(got), want.data, want.len);
	free(want.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			the_fixed_lines_are_those_of_the_specification),
		cmocka_unit_test(a_subscriber_line_has_both_lines),
		cmocka_unit_test(
			a_subscription_that_the_line_cannot_carry_is_refused),
		cmocka_unit_test(
			a_line_that_does_not_fit_leaves_nothing_behind),
		cmocka_unit_test(section_framing_is_that_of_vector_13),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
