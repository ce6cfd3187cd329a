#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alike.h"

static void edits_are_counted(void **state)
{
	(void)state;
	assert_int_equal(hbt_edits("listen", "listen"), 0);
	assert_int_equal(hbt_edits("lisen", "listen"), 1);
	assert_int_equal(hbt_edits("listen", "lisen"), 1);
	assert_int_equal(hbt_edits("wbe1", "web1"), 2);
	assert_int_equal(hbt_edits("kitten", "sitting"), 3);
	assert_int_equal(hbt_edits("", "abc"), 3);
	assert_int_equal(hbt_edits("abc", ""), 3);
	assert_int_equal(hbt_edits("", ""), 0);
}

static void what_is_very_long_is_like_nothing(void **state)
{
	char name[300];

	(void)state;
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(hbt_edits("a", name), 299);
	assert_int_equal(hbt_edits(name, "a"), 298);
	name[255] = '\0';
	assert_int_equal(hbt_edits("a", name), 254);
}

static void a_slip_is_a_third_of_the_name_at_most(void **state)
{
	(void)state;
	assert_true(hbt_edits("web1", "web2") < hbt_edits_of_a_slip("web1"));
	assert_false(hbt_edits("web1", "mail") < hbt_edits_of_a_slip("web1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(edits_are_counted),
		cmocka_unit_test(what_is_very_long_is_like_nothing),
		cmocka_unit_test(a_slip_is_a_third_of_the_name_at_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
