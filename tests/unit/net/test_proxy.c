/* HTTP CONNECT as bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "net/proxy.h"

static struct hbt_proxy_reply reply;
static struct halibut_error err;
static size_t used;

static int feed(const char *text)
{
	hbt_proxy_reply_init(&reply);
	return hbt_proxy_reply_feed(&reply, text, strlen(text), &used, &err);
}

static int forget_error(void **state)
{
	(void)state;
	halibut_error_clear(&err);
	return 0;
}

static void assert_request(const char *host, const char *user,
                           const char *password, const char *want)
{
	char *text = hbt_proxy_request(host, 443, user, password);

	assert_string_equal(text, want);
	free(text);
}

static void a_request_without_user_has_no_credentials(void **state)
{
	(void)state;
	assert_request("h", NULL, NULL,
	               "CONNECT h:443 HTTP/1.0\r\nHost: h:443\r\n\r\n");
	assert_request("h", " ", "secret",
	               "CONNECT h:443 HTTP/1.0\r\nHost: h:443\r\n\r\n");
}

static void an_ipv6_target_stands_in_brackets(void **state)
{
	(void)state;
	assert_request("::1", "", NULL,
	               "CONNECT [::1]:443 HTTP/1.0\r\n"
	               "Host: [::1]:443\r\n\r\n");
	assert_request("[::1]", "", NULL,
	               "CONNECT [::1]:443 HTTP/1.0\r\n"
	               "Host: [::1]:443\r\n\r\n");
}

static void credentials_are_ascii_in_base64(void **state)
{
	(void)state;
	assert_request("h", "u", NULL,
	               "CONNECT h:443 HTTP/1.0\r\nHost: h:443\r\n"
	               "Proxy-Authorization: Basic dTo=\r\n\r\n"); /* u: */
	assert_request("h", "\xc3\xa4", "p",
	               "CONNECT h:443 HTTP/1.0\r\nHost: h:443\r\n"
	               "Proxy-Authorization: Basic Pzpw\r\n\r\n"); /* ?:p */
}

static void only_200_opens_the_tunnel(void **state)
{
	(void)state;
	assert_int_equal(feed("HTTP/1.1 200 OK\r\n\r\n"), HALIBUT_OK);
	assert_int_equal(feed("HTTP/1.1 200\r\n\r\n"), HALIBUT_OK);
	assert_int_equal(feed("HTTP/1.1 204 No\r\n\r\n"), HALIBUT_EPROXY);
	assert_non_null(strstr(err.message, "204"));
	assert_int_equal(feed("HTTP/1.1 502 Bad\r\n\r\n"), HALIBUT_EPROXY);
	assert_non_null(strstr(err.message, "502"));
	assert_int_equal(feed("HTTP/1.1 2000 OK\r\n\r\n"), HALIBUT_EPROXY);
	assert_int_equal(feed("HTTP/1.1 20 OK\r\n\r\n"), HALIBUT_EPROXY);
	assert_int_equal(feed("HTTP/1.1\r\n\r\n"), HALIBUT_EPROXY);
	assert_int_equal(feed("\r\n\r\n"), HALIBUT_EPROXY);
	assert_int_equal(feed("SSH-2.0 200 OK\r\n\r\n"), HALIBUT_EPROXY);
	assert_non_null(strstr(err.message, "SSH-2.0 200 OK"));
}

static void what_follows_the_header_is_left(void **state)
{
	(void)state;
	assert_int_equal(feed("HTTP/1.1 200 OK\r\nA: b\r\n\r\nTLS"),
	                 HALIBUT_OK);
	assert_int_equal(used, 25);
}

static void the_end_is_found_behind_extra_returns(void **state)
{
	(void)state;
	assert_int_equal(feed("HTTP/1.1 200 OK\r\r\n\r\n"), HALIBUT_OK);
	assert_int_equal(feed("HTTP/1.1 200 OK\r\n\r\r\n\r\n"), HALIBUT_OK);
	assert_int_equal(feed("HTTP/1.1 200 OK\n\n"), HALIBUT_EAGAIN);
}

static void a_header_without_end_is_given_up(void **state)
{
	char text[1000];
	int i, rc;

	(void)state;
	memset(text, 'x', sizeof(text));
	hbt_proxy_reply_init(&reply);
	for (i = 0; i < 100; i++) {
		rc = hbt_proxy_reply_feed(&reply, text, sizeof(text), &used,
		                          &err);
		if (rc != HALIBUT_EAGAIN)
			break;
	}
	assert_int_equal(rc, HALIBUT_EPROXY);
	assert_int_equal(i, HBT_PROXY_HEADER_MAX / 1000);
}

static void control_characters_do_not_reach_the_message(void **state)
{
	(void)state;
	assert_int_equal(feed("HTTP/1.1 500 \x1b[31m\x80\r\n\r\n"),
	                 HALIBUT_EPROXY);
	assert_non_null(strstr(err.message, "500 ?[31m?"));
}

static void a_proxy_needs_a_plain_host_and_a_port(void **state)
{
	(void)state;
	assert_int_equal(hbt_proxy_check("p", 8080, &err), HALIBUT_OK);
	assert_int_equal(hbt_proxy_check("", 8080, &err), HALIBUT_EPROXY);
	assert_int_equal(hbt_proxy_check(" ", 8080, &err), HALIBUT_EPROXY);
	assert_int_equal(hbt_proxy_check("p", 0, &err), HALIBUT_EPROXY);
	assert_int_equal(hbt_proxy_check("http://p", 1, &err), HALIBUT_EPROXY);
}

#define TEST(name) cmocka_unit_test_teardown(name, forget_error)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_request_without_user_has_no_credentials),
		TEST(an_ipv6_target_stands_in_brackets),
		TEST(credentials_are_ascii_in_base64),
		TEST(only_200_opens_the_tunnel),
		TEST(what_follows_the_header_is_left),
		TEST(the_end_is_found_behind_extra_returns),
		TEST(a_header_without_end_is_given_up),
		TEST(control_characters_do_not_reach_the_message),
		TEST(a_proxy_needs_a_plain_host_and_a_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
