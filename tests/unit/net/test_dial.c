/* Names, addresses, connect(), proxies: the way to a server. */
#include "harness.h"
#include <event2/dns_struct.h>
#include <netdb.h>

static struct side c, s;
static int listener;
static uint16_t port;
static struct hbt_dial dial;

static int start(void **state)
{
	fresh_limits(state);
	side_init(&c);
	side_init(&s);
	listener = listen_on_loopback(&port, 8);
	dial = dial_to(port);
	return 0;
}

static int finish(void **state)
{
	(void)state;
	side_fini(&c);
	side_fini(&s);
	if (listener >= 0)
		close(listener);
	return 0;
}

static int accept_one(void)
{
	int fd;

	fcntl(listener, F_SETFL, O_NONBLOCK);
	WAIT((fd = accept(listener, NULL, NULL)) >= 0);
	return fd;
}

static void accept_and_open(void)
{
	start_server(&s, accept_one());
	WAIT(c.opened && s.opened);
}

static void assert_failed(int status, const char *words)
{
	WAIT(c.failures == 1);
	assert_int_equal(c.err.status, status);
	assert_int_equal(c.err.connection_state, HALIBUT_CONNECTION_CONNECTING);
	if (strstr(c.err.message, words) == NULL)
		fail_msg("'%s' is not in '%s'", words, c.err.message);
	assert_int_equal(c.opened, 0);
}

static void a_refused_connection_says_what_may_be_wrong(void **state)
{
	(void)state;
	close(listener);
	listener = -1;
	start_client(&c, &dial);
	assert_int_equal(c.failures, 0);
	assert_failed(HALIBUT_EREFUSED, "refused the connection");
	assert_non_null(strstr(c.err.message, "https://127.0.0.1/"));
	assert_string_equal(c.steps, "cu");
}

static void fill_backlog(int *fds, int n)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
	                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	                         .sin_port = htons(port)};
	int i;

	close(listener);
	listener = listen_on_loopback(&port, 0);
	sa.sin_port = htons(port);
	for (i = 0; i < n; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fds[i], (struct sockaddr *)&sa, sizeof(sa));
	}
	dial.port = port;
}

static void a_connect_without_answer_ends_by_its_timeout(void **state)
{
	int fds[4], i;

	(void)state;
	fill_backlog(fds, 4);
	dial.connect_timeout_ms = 1000;
	start_client(&c, &dial);
	assert_failed(HALIBUT_ECONNECT_TIMEOUT,
	              "The client was unable to establish the initial "
	              "connection within the timeout 00:00:01.");
	for (i = 0; i < 4; i++)
		close(fds[i]);
}

static void a_server_that_never_speaks_ends_by_the_receive_timeout(void **state)
{
	int fd;

	(void)state;
	limits.tcp_client_receive_timeout_ms = 50;
	start_client(&c, &dial);
	fd = accept_one();
	assert_failed(HALIBUT_ECONNECT_TIMEOUT, "TLS handshake within");
	close(fd);
}

static void a_server_that_hangs_up_may_not_trust_us(void **state)
{
	(void)state;
	start_client(&c, &dial);
	close(accept_one()); /* unread bytes make this a reset */
	WAIT(c.failures == 1);
	assert_failed(HALIBUT_ECONNECT, client_tls->thumbprint);
}

static void a_server_that_speaks_something_else_fails(void **state)
{
	int fd;

	(void)state;
	start_client(&c, &dial);
	fd = accept_one();
	assert_int_equal(write(fd, "220 mail ESMTP\r\n", 16), 16);
	assert_failed(HALIBUT_ETLS, "not TLS");
	close(fd);
}

static void another_host_may_be_dialled_than_is_named(void **state)
{
	(void)state;
	dial.host = "named.example";
	dial.port = 1;
	dial.connect_host = "127.0.0.1";
	dial.connect_port = port;
	start_client(&c, &dial);
	accept_and_open();
}

static const char *sni;

static int keep_sni(SSL *ssl, int *alert, void *arg)
{
	static char kept[64];
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)alert;
	(void)arg;
	sni = NULL;
	if (name != NULL)
		sni = strcpy(kept, name);
	return SSL_TLSEXT_ERR_OK;
}

static void the_server_name_is_sent_for_names_only(void **state)
{
	(void)state;
	SSL_CTX_set_tlsext_servername_callback(server_tls->server, keep_sni);
	dial.host = "named.example";
	dial.connect_host = "127.0.0.1";
	start_client(&c, &dial);
	accept_and_open();
	assert_string_equal(sni, "named.example");
	side_fini(&c);
	side_fini(&s);
	dial.host = "127.0.0.1";
	start_client(&c, &dial);
	accept_and_open();
	assert_null(sni);
	SSL_CTX_set_tlsext_servername_callback(server_tls->server, NULL);
}

static void localhost_is_found_without_evdns(void **state)
{
	struct addrinfo *found = NULL;

	(void)state;
	if (getaddrinfo("localhost", NULL, NULL, &found) != 0)
		skip(); /* as in a root without /etc/hosts */
	freeaddrinfo(found);
	dial.host = "localhost";
	start_client(&c, &dial);
	accept_and_open();
}

static void an_ipv6_address_is_dialled_without_dns(void **state)
{
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6,
	                          .sin6_addr = in6addr_loopback};
	socklen_t size = sizeof(sa);

	(void)state;
	close(listener);
	listener = socket(AF_INET6, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&sa, size) != 0)
		skip(); /* this machine has no IPv6 */
	listen(listener, 1);
	getsockname(listener, (struct sockaddr *)&sa, &size);
	dial.host = "::1";
	dial.port = ntohs(sa.sin6_port);
	start_client(&c, &dial);
	accept_and_open();
	assert_memory_equal(hbt_conn_peer_address(c.conn), "[::1]:", 6);
}

static struct evdns_base *dns;

static void dial_with_dns(void)
{
	assert_int_equal(hbt_conn_dial(&c.conn, base, dns, client_tls, &limits,
	                               &dial, &side_ops, &c),
	                 0);
}

static void load_hosts(const char *lines)
{
	char path[] = "/tmp/hbt-hosts-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, lines, strlen(lines)), strlen(lines));
	close(fd);
	dns = evdns_base_new(base, 0);
	assert_int_equal(evdns_base_load_hosts(dns, path), 0);
	unlink(path);
}

static void a_name_is_found_by_evdns(void **state)
{
	(void)state;
	load_hosts("127.0.0.1 here.example\n");
	dial.host = "here.example";
	dial_with_dns();
	accept_and_open();
	evdns_base_free(dns, 1);
}

static void each_address_of_a_name_is_tried(void **state)
{
	(void)state;
	load_hosts("127.0.0.3 here.example\n127.0.0.2 here.example\n"
	           "127.0.0.1 here.example\n");
	dial.host = "here.example";
	dial_with_dns();
	accept_and_open();
	assert_string_equal(c.steps, "cucuct");
	side_fini(&c);
	close(listener);
	listener = -1;
	dial_with_dns();
	assert_failed(HALIBUT_EREFUSED, "refused");
	evdns_base_free(dns, 1);
}

static void a_name_server(struct evdns_server_request *request, void *arg)
{
	const int *answer = arg;

	if (*answer < 0)
		evdns_server_request_drop(request);
	else
		evdns_server_request_respond(request, *answer);
}

static struct evdns_server_port *start_name_server(int *answer)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
	                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(sa);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	char address[32];

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, size), 0);
	getsockname(fd, (struct sockaddr *)&sa, &size);
	snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(sa.sin_port));
	dns = evdns_base_new(base, 0);
	assert_int_equal(evdns_base_nameserver_ip_add(dns, address), 0);
	return evdns_add_server_port_with_base(base, fd, 0, a_name_server,
	                                       answer);
}

static void an_unknown_name_is_not_found(void **state)
{
	int answer = 3; /* NXDOMAIN */
	struct evdns_server_port *server = start_name_server(&answer);

	(void)state;
	dial.host = "no.such.example";
	dial_with_dns();
	assert_failed(HALIBUT_ERESOLVE, "'no.such.example'");
	evdns_base_free(dns, 1);
	evdns_close_server_port(server);
}

static void a_lookup_without_answer_ends_by_the_connect_timeout(void **state)
{
	int answer = -1;
	struct evdns_server_port *server = start_name_server(&answer);

	(void)state;
	dial.host = "no.such.example";
	dial.connect_timeout_ms = 60;
	dial_with_dns();
	assert_failed(HALIBUT_ECONNECT_TIMEOUT, "initial connection");
	side_fini(&c);
	/* And it may be closed meanwhile. */
	dial_with_dns();
	some_turns();
	side_fini(&c);
	some_turns();
	evdns_base_free(dns, 1);
	some_turns();
	evdns_close_server_port(server);
}

/* The far end of a proxied connection. */
static int accept_proxied(char *request, size_t size)
{
	int fd = accept_one();
	ssize_t n;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	memset(request, 0, size);
	WAIT((n = recv(fd, request, size - 1, MSG_PEEK)) > 0 &&
	     strstr(request, "\r\n\r\n") != NULL);
	assert_int_equal(recv(fd, request, size - 1, 0), n);
	return fd;
}

static void use_proxy(void)
{
	dial.host = "inside.example";
	dial.port = 10933;
	dial.url = "https://inside.example:10933/";
	dial.proxy_host = "127.0.0.1";
	dial.proxy_port = port;
}

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void a_proxy_that_agrees_carries_the_connection(void **state)
{
	char request[1000];
	int fd;

	(void)state;
	use_proxy();
	dial.proxy_user = "Aladdin";
	dial.proxy_password = "open sesame";
	start_client(&c, &dial);
	fd = accept_proxied(request, sizeof(request));
	assert_string_equal(request, "CONNECT inside.example:10933 HTTP/1.0\r\n"
	                             "Host: inside.example:10933\r\n"
	                             "Proxy-Authorization: Basic "
	                             "QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"
	                             "\r\n");
	say(fd, "HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n");
	start_server(&s, fd);
	WAIT(c.opened && s.opened);
	assert_string_equal(hbt_conn_peer_thumbprint(c.conn),
	                    server_tls->thumbprint);
	assert_string_equal(c.steps, "cpt");
}

static void a_proxy_reply_in_pieces_is_put_together(void **state)
{
	static const char reply[] = "HTTP/1.1 200\r\nA: b\r\n\r\n";
	char request[1000];
	size_t i;
	int fd;

	(void)state;
	use_proxy();
	dial.connect_host = "forced.example";
	dial.connect_port = 77;
	start_client(&c, &dial);
	fd = accept_proxied(request, sizeof(request));
	assert_memory_equal(request, "CONNECT forced.example:77 HTTP", 30);
	for (i = 0; i < sizeof(reply) - 1; i++) {
		assert_int_equal(write(fd, reply + i, 1), 1);
		some_turns();
	}
	start_server(&s, fd);
	WAIT(c.opened && s.opened);
}

static void a_proxy_that_refuses_is_quoted(void **state)
{
	char request[1000];
	int fd;

	(void)state;
	use_proxy();
	start_client(&c, &dial);
	fd = accept_proxied(request, sizeof(request));
	say(fd, "HTTP/1.1 407 Who are you\r\n\r\n");
	assert_failed(HALIBUT_EPROXY, "407");
	assert_non_null(strstr(c.err.message, "Who are you"));
	assert_non_null(strstr(c.err.message, "'127.0.0.1' on port"));
	close(fd);
}

static void a_proxy_that_hangs_up_fails_at_once(void **state)
{
	char request[1000];
	int fd;

	(void)state;
	use_proxy();
	start_client(&c, &dial);
	fd = accept_proxied(request, sizeof(request));
	say(fd, "HTTP/1.1 200 OK\r\n");
	close(fd);
	assert_failed(HALIBUT_ECONNECT, "before its reply was complete");
}

static void a_proxy_that_is_down_is_a_network_error(void **state)
{
	(void)state;
	use_proxy();
	close(listener);
	listener = -1;
	start_client(&c, &dial);
	assert_failed(HALIBUT_ECONNECT, "Connection refused");
}

static void a_proxy_that_is_silent_is_given_up(void **state)
{
	int fd;

	(void)state;
	use_proxy();
	limits.tcp_client_receive_timeout_ms = 60;
	start_client(&c, &dial);
	fd = accept_one();
	assert_failed(HALIBUT_ECONNECT_TIMEOUT, "did not answer in time");
	close(fd);
}

static void a_proxy_that_makes_no_sense_is_not_dialled(void **state)
{
	(void)state;
	use_proxy();
	dial.proxy_host = "http://proxy";
	start_client(&c, &dial);
	assert_int_equal(c.failures, 0);
	assert_failed(HALIBUT_EPROXY, "http://");
}

static void closing_while_dialling_is_silent(void **state)
{
	char request[1000];
	int fd;

	(void)state;
	start_client(&c, &dial);
	hbt_conn_close(&c.conn, false);
	use_proxy();
	start_client(&c, &dial);
	close(accept_one());
	fd = accept_proxied(request, sizeof(request));
	hbt_conn_close(&c.conn, true);
	some_turns();
	assert_int_equal(c.failures, 0);
	close(fd);
}

#define DIAL_TEST(name) cmocka_unit_test_setup_teardown(name, start, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DIAL_TEST(a_refused_connection_says_what_may_be_wrong),
		DIAL_TEST(a_connect_without_answer_ends_by_its_timeout),
		DIAL_TEST(
			a_server_that_never_speaks_ends_by_the_receive_timeout),
		DIAL_TEST(a_server_that_hangs_up_may_not_trust_us),
		DIAL_TEST(a_server_that_speaks_something_else_fails),
		DIAL_TEST(another_host_may_be_dialled_than_is_named),
		DIAL_TEST(the_server_name_is_sent_for_names_only),
		DIAL_TEST(localhost_is_found_without_evdns),
		DIAL_TEST(an_ipv6_address_is_dialled_without_dns),
		DIAL_TEST(a_name_is_found_by_evdns),
		DIAL_TEST(each_address_of_a_name_is_tried),
		DIAL_TEST(an_unknown_name_is_not_found),
		DIAL_TEST(a_lookup_without_answer_ends_by_the_connect_timeout),
		DIAL_TEST(a_proxy_that_agrees_carries_the_connection),
		DIAL_TEST(a_proxy_reply_in_pieces_is_put_together),
		DIAL_TEST(a_proxy_that_refuses_is_quoted),
		DIAL_TEST(a_proxy_that_hangs_up_fails_at_once),
		DIAL_TEST(a_proxy_that_is_down_is_a_network_error),
		DIAL_TEST(a_proxy_that_is_silent_is_given_up),
		DIAL_TEST(a_proxy_that_makes_no_sense_is_not_dialled),
		DIAL_TEST(closing_while_dialling_is_silent),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
