/* Handshakes, of those who do well and of those who do not. */
#include "conn_sides.h"

static void both_sides_see_each_others_thumbprint(void **state)
{
	(void)state;
	open_pair(&c, &s);
	assert_string_equal(hbt_conn_peer_thumbprint(c.conn),
	                    server_tls->thumbprint);
	assert_string_equal(hbt_conn_peer_thumbprint(s.conn),
	                    client_tls->thumbprint);
	assert_string_equal(hbt_conn_own_thumbprint(c.conn),
	                    client_tls->thumbprint);
	assert_string_equal(hbt_conn_own_thumbprint(s.conn),
	                    server_tls->thumbprint);
	assert_non_null(hbt_conn_peer_certificate(s.conn));
	assert_string_equal(hbt_conn_tls_version(c.conn), "TLSv1.3");
	assert_ptr_equal(strstr(hbt_conn_peer_address(c.conn), "127.0.0.1:"),
	                 hbt_conn_peer_address(c.conn));
	text(&c, "ping");
	WAIT(s.len == 4);
	assert_string_equal(s.data, "ping");
	text(&s, "pong");
	WAIT(c.len == 4);
	assert_string_equal(c.data, "pong");
	assert_int_equal(hbt_conn_bytes_in(c.conn), 4);
	assert_int_equal(hbt_conn_bytes_out(c.conn), 4);
}

static void talk_with_version(struct hbt_tls *limited)
{
	SSL_CTX *ctx =
		limited == server_tls ? limited->server : limited->client;

	SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	open_pair(&c, &s);
	assert_string_equal(hbt_conn_tls_version(c.conn), "TLSv1.2");
	assert_string_equal(hbt_conn_peer_thumbprint(s.conn),
	                    client_tls->thumbprint);
	text(&c, "ping");
	WAIT(s.len == 4);
	sides_fini();
	SSL_CTX_set_max_proto_version(ctx, 0);
}

static void a_peer_with_only_tls_1_2_is_served(void **state)
{
	(void)state;
	talk_with_version(client_tls);
	talk_with_version(server_tls);
}

static void say_hello(struct side *side)
{
	text(side, "MX\n\n");
	text(side, "MX-CLIENT 1.0\r\n\r\n");
}

static void words_written_in_opened_arrive(void **state)
{
	(void)state;
	c.on_opened = say_hello;
	start_pair(&c, &s);
	WAIT(s.len == 21);
	assert_string_equal(s.data, "MX\n\nMX-CLIENT 1.0\r\n\r\n");
	assert_int_equal(s.calls, 1);
}

/* The dialler shows no certificate, or expects one with this thumbprint. */
static void dial_with(bool no_certificate, const char *thumbprint)
{
	uint16_t port;
	int listener = listen_on_loopback(&port, 1);
	struct hbt_dial dial = dial_to(port);

	dial.without_certificate = no_certificate;
	dial.thumbprint = thumbprint;
	start_client(&c, &dial);
	start_server(&s, accept(listener, NULL, NULL));
	close(listener);
}

static void a_dialler_without_certificate_is_let_in(void **state)
{
	(void)state;
	dial_with(true, NULL);
	WAIT(c.opened && s.opened);
	assert_null(hbt_conn_peer_thumbprint(s.conn));
	assert_null(hbt_conn_peer_certificate(s.conn));
	assert_null(hbt_conn_own_thumbprint(c.conn));
	assert_string_equal(hbt_conn_peer_thumbprint(c.conn),
	                    server_tls->thumbprint);
}

static void a_server_with_the_wrong_thumbprint_gets_nothing(void **state)
{
	(void)state;
	dial_with(false, client_tls->thumbprint);
	WAIT(c.failures && s.failures);
	assert_int_equal(c.opened, 0);
	assert_int_equal(s.opened, 0);
	assert_int_equal(c.err.status, HALIBUT_ECERTIFICATE);
	assert_non_null(strstr(c.err.message,
	                       "The server at https://127.0.0.1/ presented an "
	                       "unexpected security certificate. We expected "
	                       "the server to present a certificate with the "
	                       "thumbprint '"));
	assert_non_null(strstr(c.err.message, client_tls->thumbprint));
	assert_non_null(strstr(c.err.message, server_tls->thumbprint));
	assert_non_null(strstr(c.err.message, "CN = server"));
	assert_int_equal(s.err.status, HALIBUT_ETLS);
}

static void a_server_with_the_right_thumbprint_is_taken(void **state)
{
	(void)state;
	dial_with(false, server_tls->thumbprint);
	WAIT(c.opened && s.opened);
}

static void fail_handshake_with(const char *bytes, const char *reason)
{
	raw_connect();
	assert_int_equal(write(raw.fd, bytes, strlen(bytes)), strlen(bytes));
	WAIT(s.failures == 1);
	assert_int_equal(s.err.status, HALIBUT_ETLS);
	assert_non_null(strstr(s.err.message, "127.0.0.1:"));
	assert_non_null(strstr(s.err.message, reason));
	side_fini(&s);
	raw_close();
}

static void what_is_not_tls_fails_at_once(void **state)
{
	(void)state;
	fail_handshake_with("GET / HTTP/1.1\r\n\r\n", "plain HTTP");
	fail_handshake_with("MX\n\nMX-CLIENT 1.0\r\n\r\n", "not TLS");
	fail_handshake_with("\x16\x03\x01\x7f\xff\x01\x02\x03\x04\x05\x06\x07",
	                    "");
}

static void a_handshake_cut_short_fails(void **state)
{
	(void)state;
	raw_connect();
	raw_close();
	WAIT(s.failures == 1);
	assert_int_equal(s.err.status, HALIBUT_ECLOSED);
	assert_non_null(strstr(s.err.message, "closed the connection during"));
	side_fini(&s);
	raw_connect();
	raw_reset();
	WAIT(s.failures == 1);
	assert_int_equal(s.err.status, HALIBUT_ECLOSED);
	assert_non_null(strstr(s.err.message, "reset"));
}

static void a_stalled_handshake_is_given_up(void **state)
{
	(void)state;
	limits.handshake_total_timeout_ms = 30;
	raw_connect();
	assert_int_equal(write(raw.fd, "\x16\x03\x01", 3), 3);
	WAIT(s.failures == 1);
	assert_int_equal(s.err.status, HALIBUT_ETIMEOUT);
	assert_non_null(strstr(s.err.message, "TLS handshake within"));
}

static void an_accepted_descriptor_that_is_no_socket_is_closed(void **state)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(hbt_conn_accept(&s.conn, base, server_tls, &limits, fd,
	                                 &side_ops, &s),
	                 HALIBUT_ESYSTEM);
	assert_null(s.conn);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static long resident_kib(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long size, resident = 0;

	if (f == NULL || fscanf(f, "%ld %ld", &size, &resident) != 2)
		resident = 0;
	if (f != NULL)
		fclose(f);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Prints; the number is for people. */
static void many_idle_connections_need_little_memory(void **state)
{
	enum { PAIRS = 100 };
	static struct side clients[PAIRS], servers[PAIRS];
	long before = resident_kib();
	int i;

	(void)state;
	for (i = 0; i < PAIRS; i++) {
		side_init(&clients[i]);
		side_init(&servers[i]);
		servers[i].keep_none = clients[i].keep_none = true;
		open_pair(&clients[i], &servers[i]);
		hbt_conn_read_timeout(clients[i].conn, 100000, "x");
		text(&clients[i], "ping");
		WAIT(servers[i].len == 4);
		text(&servers[i], "pong");
		WAIT(clients[i].len == 4);
	}
	print_message("%d pairs: %.1f KiB a connection\n", PAIRS,
	              (double)(resident_kib() - before) / PAIRS / 2);
	for (i = 0; i < PAIRS; i++) {
		side_fini(&clients[i]);
		side_fini(&servers[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(both_sides_see_each_others_thumbprint),
		T(a_peer_with_only_tls_1_2_is_served),
		T(words_written_in_opened_arrive),
		T(a_dialler_without_certificate_is_let_in),
		T(a_server_with_the_wrong_thumbprint_gets_nothing),
		T(a_server_with_the_right_thumbprint_is_taken),
		T(what_is_not_tls_fails_at_once),
		T(a_handshake_cut_short_fails),
		T(a_stalled_handshake_is_given_up),
		T(an_accepted_descriptor_that_is_no_socket_is_closed),
		T(many_idle_connections_need_little_memory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
