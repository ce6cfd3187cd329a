/* URIs as System.Uri reads and writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/uri.h"
#include "halibut/error.h"

static void assert_formats(const char *text, const char *expected)
{
	struct hbt_uri uri;
	char *formatted;

	if (hbt_uri_parse(text, &uri) != HALIBUT_OK)
		fail_msg("\"%s\" was refused", text);
	formatted = hbt_uri_format(&uri);
	assert_string_equal(formatted, expected);
	free(formatted);
	hbt_uri_fini(&uri);
}

static void assert_key(const char *text, bool keep_path, const char *expected)
{
	char *key = hbt_uri_key(text, keep_path);

	assert_non_null(key);
	assert_string_equal(key, expected);
	free(key);
}

static void the_parts_are_told_apart(void **state)
{
	struct hbt_uri uri;

	(void)state;
	assert_int_equal(hbt_uri_parse("HTTPS://me:pw@Host:8443/A?b=c#d", &uri),
	                 HALIBUT_OK);
	assert_string_equal(uri.scheme, "https");
	assert_string_equal(uri.host, "host");
	assert_int_equal(uri.port, 8443);
	assert_string_equal(uri.path, "/A?b=c");
	hbt_uri_fini(&uri);
	assert_null(uri.host);
}

static void a_port_that_is_not_given_is_the_scheme_s(void **state)
{
	static const struct {
		const char *text;
		int port;
	} rows[] = {
		{"https://h", 443}, {"wss://h", 443},     {"http://h", 80},
		{"poll://h", 0},    {"queue://h", 0},     {"https://h:/", 443},
		{"poll://h:1", 1},  {"poll://h:65535", 65535},
	};
	struct hbt_uri uri;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(hbt_uri_parse(rows[i].text, &uri),
		                 HALIBUT_OK);
		assert_int_equal(uri.port, rows[i].port);
		hbt_uri_fini(&uri);
	}
}

static void subscriptions_read_as_in_the_specification(void **state)
{
	(void)state;
	assert_formats("poll://test-endpoint", "poll://test-endpoint/");
	assert_formats("poll://SQ-TENTAPOLL", "poll://sq-tentapoll/");
	assert_formats("poll://Some_ID", "poll://some_id/");
	assert_formats("POLL://Foo", "poll://foo/");
	assert_formats("poll://123", "poll://123/");
	assert_formats("poll://abc:8080", "poll://abc:8080/");
	assert_formats("queue://test-worker", "queue://test-worker/");
}

static void a_default_port_is_left_out(void **state)
{
	(void)state;
	assert_formats("https://Host:443", "https://host/");
	assert_formats("https://host:10933/", "https://host:10933/");
	assert_formats("wss://host:443/path", "wss://host/path");
	assert_formats("poll://host:443", "poll://host:443/");
}

static void addresses_take_their_canonical_form(void **state)
{
	(void)state;
	assert_formats("https://[::1]:10933", "https://[::1]:10933/");
	assert_formats("https://[0:0::0:1]/", "https://[::1]/");
	assert_formats("https://[FE80::A]/", "https://[fe80::a]/");
	assert_formats("https://127.1/", "https://127.0.0.1/");
	assert_formats("poll://127.1/", "poll://127.1/");
}

static void printable_escapes_are_undone_and_others_kept(void **state)
{
	(void)state;
	assert_formats("wss://h/%41%2D%7e", "wss://h/A-~");
	assert_formats("wss://h/a%20b", "wss://h/a b");
	assert_formats("wss://h/a%2Fb%25%3f?q=%26", "wss://h/a%2Fb%25%3f?q=%26");
	assert_formats("wss://h/%00%0d%0A%7F%C3%A9",
	               "wss://h/%00%0d%0A%7F%C3%A9");
	assert_formats("wss://h/%2541", "wss://h/%2541");
}

static void a_percent_sign_that_begins_no_escape_becomes_one(void **state)
{
	(void)state;
	assert_formats("wss://h/%", "wss://h/%25");
	assert_formats("wss://h/%4", "wss://h/%254");
	assert_formats("wss://h/%4%37", "wss://h/%2547");
	assert_formats("wss://h/%%41", "wss://h/%25A");
}

static void dots_in_a_path_are_resolved(void **state)
{
	(void)state;
	assert_formats("wss://h/a/./b/../c", "wss://h/a/c");
	assert_formats("wss://h/../../x", "wss://h/x");
	assert_formats("wss://h/a/..", "wss://h/");
	assert_formats("wss://h/a/.", "wss://h/a/");
	assert_formats("wss://h/..a/...", "wss://h/..a/...");
	assert_formats("wss://h/a/%2E%2e/b/%2E", "wss://h/b/");
	assert_formats("wss://h/a\\..\\b?x\\y/..", "wss://h/b?x\\y/..");
}

static void a_query_without_a_path_gets_one(void **state)
{
	(void)state;
	assert_formats("wss://h?q=1", "wss://h/?q=1");
	assert_formats("wss://h#f", "wss://h/");
}

static void formatting_twice_changes_nothing(void **state)
{
	static const char *const texts[] = {
		"HTTPS://u@Host:443/a%2541/../b%20c?d#e",
		"poll://X", "https://[::0001]:1", "wss://h/%25%34%31",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char *once = hbt_uri_key(texts[i], true);
		char *twice = hbt_uri_key(once, true);

		assert_string_equal(once, twice);
		free(once);
		free(twice);
	}
}

static void other_texts_are_refused_and_leave_nothing_behind(void **state)
{
	static const char *const bad[] = {
		"", "host", "host:10933", "/path", "//host", "https:host",
		"https:/host", "https://", "https:///x", "1a://h", "://h",
		"https://h:x", "https://h:65536", "https://h:0",
		"https://h:99999999999999999999", "https://h:-1",
		"https://h h/", "https://h%41/", "https://[::1", "https://[]",
		"https://[::g]/", "https://[::1]x", "https://h\n/", "poll://h ",
		"poll://h/a\r\nMX-CLIENT 1.0", "poll://\xc3\xa9/",
		"poll://h/\xff", "https://::1/", "https://a:b@", "ht tp://h",
		"https://[1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17:18:19:20]",
	};
	struct hbt_uri uri;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(&uri, 0x5a, sizeof(uri));
		if (hbt_uri_parse(bad[i], &uri) != HALIBUT_EINVAL)
			fail_msg("\"%s\" was read", bad[i]);
		assert_null(uri.scheme);
		assert_null(uri.host);
		assert_null(uri.path);
		assert_null(hbt_uri_key(bad[i], true));
	}
}

static void a_uri_has_at_most_2048_bytes(void **state)
{
	char text[2100] = "poll://h/";
	struct hbt_uri uri;

	(void)state;
	memset(text + strlen(text), 'a', 2048 - strlen(text));
	assert_int_equal(strlen(text), 2048);
	assert_int_equal(hbt_uri_parse(text, &uri), HALIBUT_OK);
	hbt_uri_fini(&uri);
	text[2048] = 'a';
	assert_int_equal(hbt_uri_parse(text, &uri), HALIBUT_EINVAL);
}

static void an_endpoint_s_key_has_no_path_unless_it_is_a_web_socket(void **state)
{
	(void)state;
	assert_key("https://Host:10933/a?b", false, "https://host:10933/");
	assert_key("poll://Host/a", false, "poll://host/");
	assert_key("wss://Host:8433/Poll?x", false, "wss://host:8433/Poll?x");
}

static void a_subscription_s_key_keeps_its_path(void **state)
{
	(void)state;
	assert_key("poll://Host/A?b", true, "poll://host/A?b");
	assert_key("poll://Host", true, "poll://host/");
	assert_key("poll://u:p@Host/#f", true, "poll://host/");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_parts_are_told_apart),
		cmocka_unit_test(a_port_that_is_not_given_is_the_scheme_s),
		cmocka_unit_test(subscriptions_read_as_in_the_specification),
		cmocka_unit_test(a_default_port_is_left_out),
		cmocka_unit_test(addresses_take_their_canonical_form),
		cmocka_unit_test(printable_escapes_are_undone_and_others_kept),
		cmocka_unit_test(
			a_percent_sign_that_begins_no_escape_becomes_one),
		cmocka_unit_test(dots_in_a_path_are_resolved),
		cmocka_unit_test(a_query_without_a_path_gets_one),
		cmocka_unit_test(formatting_twice_changes_nothing),
		cmocka_unit_test(
			other_texts_are_refused_and_leave_nothing_behind),
		cmocka_unit_test(a_uri_has_at_most_2048_bytes),
		cmocka_unit_test(
			an_endpoint_s_key_has_no_path_unless_it_is_a_web_socket),
		cmocka_unit_test(a_subscription_s_key_keeps_its_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
