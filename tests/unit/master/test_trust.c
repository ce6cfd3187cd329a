/* The trust list, and the file of what was trusted by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/trust.h"
#include "master/trust_added.h"
#include "text_file.h"

#define A "00000000000000000000000000000000000000AA"
#define B "00000000000000000000000000000000000000BB"
#define C "00000000000000000000000000000000000000CC"

static char *read_text(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = calloc(1, 4096);

	assert_non_null(f);
	assert_non_null(text);
	(void)!fread(text, 1, 4095, f);
	fclose(f);
	return text;
}

static void assert_text(const char *path, const char *expected)
{
	char *text = read_text(path);

	assert_string_equal(text, expected);
	free(text);
}

/* A directory of its own, and the name of a file in it. */
static char *new_directory(char path[64])
{
	char dir[] = "/tmp/halibut-trust.XXXXXX";

	assert_non_null(mkdtemp(dir));
	snprintf(path, 64, "%s/trusted", dir);
	return strdup(dir);
}

static void remove_all(char *dir, const char *path)
{
	unlink(path);
	assert_int_equal(rmdir(dir), 0); /* and nothing else was left there */
	free(dir);
}

static void each_thumbprint_knows_who_trusts_it(void **state)
{
	char *path = text_file("# header\n" A "\n" B " # web1\n");
	struct hbt_trust t = {.n = 0};
	const struct hbt_trusted *one;

	(void)state;
	assert_int_equal(hbt_trust_add(&t, B, HBT_TRUST_SETTING, NULL), 0);
	assert_int_equal(hbt_trust_add_file(&t, path, HBT_TRUST_FILE, NULL), 0);
	hbt_trust_finish(&t);
	assert_int_equal(t.n, 2);
	one = hbt_trust_find(&t, B);
	assert_non_null(one);
	assert_int_equal(one->sources, HBT_TRUST_SETTING | HBT_TRUST_FILE);
	assert_int_equal(one->line, 3);
	assert_string_equal(one->comment, "web1");
	one = hbt_trust_find(&t, A);
	assert_int_equal(one->sources, HBT_TRUST_FILE);
	assert_null(one->comment);
	assert_null(hbt_trust_find(&t, C));
	hbt_trust_fini(&t);
	unlink(path);
	free(path);
}

static void the_others_stay_when_one_source_is_taken_away(void **state)
{
	char *by_hand = text_file(A "\n" B "\n");
	struct hbt_trust t = {.n = 0}, others = {.n = 0};

	(void)state;
	assert_int_equal(hbt_trust_add(&t, B, HBT_TRUST_SETTING, NULL), 0);
	assert_int_equal(
		hbt_trust_add_file(&t, by_hand, HBT_TRUST_ADDED, NULL), 0);
	hbt_trust_finish(&t);
	assert_int_equal(hbt_trust_copy_others(&others, &t, HBT_TRUST_ADDED),
	                 0);
	hbt_trust_finish(&others);
	assert_int_equal(others.n, 1);
	assert_int_equal(hbt_trust_find(&others, B)->sources,
	                 HBT_TRUST_SETTING);
	hbt_trust_fini(&t);
	hbt_trust_fini(&others);
	unlink(by_hand);
	free(by_hand);
}

static void nothing_trusted_by_hand_needs_no_file(void **state)
{
	struct hbt_trust t = {.n = 0};

	(void)state;
	assert_int_equal(hbt_trust_add_file(&t, "/nonexistent/file",
	                                    HBT_TRUST_ADDED, NULL),
	                 0);
	assert_int_not_equal(hbt_trust_add_file(&t, "/nonexistent/file",
	                                        HBT_TRUST_FILE, NULL),
	                     0);
	assert_int_equal(t.n, 0);
}

static void the_first_one_makes_the_file_and_says_what_it_is(void **state)
{
	char path[64], *dir = new_directory(path), *text;

	(void)state;
	assert_int_equal(hbt_trust_added_put(path, A, "web1,\nat home", NULL),
	                 0);
	text = read_text(path);
	assert_int_equal(text[0], '#');
	assert_string_equal(strchr(text, '\n'), "\n" A "  # web1, at home\n");
	free(text);
	remove_all(dir, path);
}

static void what_others_wrote_stays_as_it_is(void **state)
{
	char path[64], *dir = new_directory(path);
	struct stat st;
	FILE *f = fopen(path, "w");

	(void)state;
	fputs("# ours\n\n" A " # a\n 00:00 " B "\n" C, f);
	fclose(f);
	chmod(path, 0604);
	assert_int_equal(hbt_trust_added_drop(path, A, NULL), 0);
	assert_int_equal(hbt_trust_added_put(path, A, NULL, NULL), 0);
	assert_text(path, "# ours\n\n 00:00 " B "\n" C "\n" A "\n");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0604);
	remove_all(dir, path);
}

static void a_thumbprint_is_found_however_it_is_written(void **state)
{
	char path[64], *dir = new_directory(path);
	FILE *f = fopen(path, "w");

	(void)state;
	fputs("00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:aa # x\n"
	      "# " A "\n",
	      f);
	fclose(f);
	assert_int_equal(hbt_trust_added_drop(path, A, NULL), 0);
	assert_text(path, "# " A "\n");
	remove_all(dir, path);
}

static void a_link_stays_a_link(void **state)
{
	char path[64], *dir = new_directory(path);
	char link[80];
	struct stat st;

	(void)state;
	snprintf(link, sizeof(link), "%s.link", path);
	assert_int_equal(hbt_trust_added_put(path, A, "a", NULL), 0);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(hbt_trust_added_drop(link, A, NULL), 0);
	assert_int_equal(lstat(link, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(hbt_trust_added_put(link, B, "b", NULL), 0);
	unlink(link);
	remove_all(dir, path);
}

static void a_directory_that_cannot_be_written_to_is_told(void **state)
{
	struct halibut_error err = {0};

	(void)state;
	assert_int_equal(hbt_trust_added_put("/proc/halibut/trusted", A, NULL,
	                                     &err),
	                 HALIBUT_ESYSTEM);
	assert_non_null(strstr(err.message, "/proc/halibut/trusted"));
	assert_non_null(strstr(err.message, "It is as it was"));
	halibut_error_clear(&err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_thumbprint_knows_who_trusts_it),
		cmocka_unit_test(the_others_stay_when_one_source_is_taken_away),
		cmocka_unit_test(nothing_trusted_by_hand_needs_no_file),
		cmocka_unit_test(
			the_first_one_makes_the_file_and_says_what_it_is),
		cmocka_unit_test(what_others_wrote_stays_as_it_is),
		cmocka_unit_test(a_thumbprint_is_found_however_it_is_written),
		cmocka_unit_test(a_link_stays_a_link),
		cmocka_unit_test(a_directory_that_cannot_be_written_to_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
