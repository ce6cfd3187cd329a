/* Handshakes, bytes both ways, back-pressure, ends. */
#include "harness.h"

static void text(struct side *s, const char *words)
{
	hbt_conn_write(s->conn, words, strlen(words));
}

static void both_sides_see_each_others_thumbprint(void **state)
{
	struct side c, s;

	(void)state;
	side_init(&c);
	side_init(&s);
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
	side_fini(&c);
	side_fini(&s);
}

static void talk_with_version(struct hbt_tls *limited)
{
	SSL_CTX *ctx =
		limited == server_tls ? limited->server : limited->client;
	struct side c, s;

	side_init(&c);
	side_init(&s);
	SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	open_pair(&c, &s);
	assert_string_equal(hbt_conn_tls_version(c.conn), "TLSv1.2");
	assert_string_equal(hbt_conn_peer_thumbprint(s.conn),
	                    client_tls->thumbprint);
	text(&c, "ping");
	WAIT(s.len == 4);
	side_fini(&c);
	side_fini(&s);
	SSL_CTX_set_max_proto_version(ctx, 0);
}

static void a_peer_with_only_tls_1_2_is_served(void **state)
{
	(void)state;
	talk_with_version(client_tls);
	talk_with_version(server_tls);
}

static void say_hello(struct side *s)
{
	text(s, "MX\n\n");
	text(s, "MX-CLIENT 1.0\r\n\r\n");
}

static void words_written_in_opened_arrive(void **state)
{
	struct side c, s;

	(void)state;
	side_init(&c);
	side_init(&s);
	c.on_opened = say_hello;
	start_pair(&c, &s);
	WAIT(s.len == 21);
	assert_string_equal(s.data, "MX\n\nMX-CLIENT 1.0\r\n\r\n");
	assert_int_equal(s.calls, 1);
	side_fini(&c);
	side_fini(&s);
}

static void a_dialler_without_certificate_is_let_in(void **state)
{
	uint16_t port;
	int listener = listen_on_loopback(&port, 1);
	struct hbt_dial dial = dial_to(port);
	struct side c, s;

	(void)state;
	side_init(&c);
	side_init(&s);
	dial.without_certificate = true;
	start_client(&c, &dial);
	start_server(&s, accept(listener, NULL, NULL));
	WAIT(c.opened && s.opened);
	assert_null(hbt_conn_peer_thumbprint(s.conn));
	assert_null(hbt_conn_peer_certificate(s.conn));
	assert_null(hbt_conn_own_thumbprint(c.conn));
	assert_string_equal(hbt_conn_peer_thumbprint(c.conn),
	                    server_tls->thumbprint);
	side_fini(&c);
	side_fini(&s);
	close(listener);
}

static void a_server_with_the_wrong_thumbprint_gets_nothing(void **state)
{
	uint16_t port;
	int listener = listen_on_loopback(&port, 1);
	struct hbt_dial dial = dial_to(port);
	struct side c, s;

	(void)state;
	side_init(&c);
	side_init(&s);
	dial.thumbprint = client_tls->thumbprint;
	start_client(&c, &dial);
	start_server(&s, accept(listener, NULL, NULL));
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
	side_fini(&c);
	side_fini(&s);
	close(listener);
}

static void a_server_with_the_right_thumbprint_is_taken(void **state)
{
	uint16_t port;
	int listener = listen_on_loopback(&port, 1);
	struct hbt_dial dial = dial_to(port);
	struct side c, s;

	(void)state;
	side_init(&c);
	side_init(&s);
	dial.thumbprint = server_tls->thumbprint;
	start_client(&c, &dial);
	start_server(&s, accept(listener, NULL, NULL));
	WAIT(c.opened && s.opened);
	side_fini(&c);
	side_fini(&s);
	close(listener);
}

/* A TLS client by hand, whose socket can be looked at. */
static SSL *raw_client(struct side *s, int *fd)
{
	SSL *ssl = SSL_new(client_tls->client);
	int acceptor, on = 1;

	bare_pair(fd, &acceptor);
	/* What it writes shall be there, not held back for an ACK. */
	setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	fcntl(*fd, F_SETFL, O_NONBLOCK);
	SSL_set_read_ahead(ssl, 0);
	SSL_set_fd(ssl, *fd);
	start_server(s, acceptor);
	WAIT(SSL_connect(ssl) == 1);
	WAIT(s->opened);
	return ssl;
}

static void raw_free(SSL *ssl, int fd)
{
	SSL_free(ssl);
	close(fd);
}

static unsigned int segments_in(int fd)
{
	struct tcp_info info;
	socklen_t size = sizeof(info);

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size),
	                 0);
	return info.tcpi_data_segs_in;
}

static int count_records(const uint8_t *data, size_t len)
{
	size_t at = 0;
	int n = 0;

	while (at + 5 <= len) {
		assert_int_equal(data[at], 23);
		at += 5 + ((size_t)data[at + 3] << 8) + data[at + 4];
		n++;
	}
	assert_int_equal(at, len);
	return n;
}

static void two_writes_are_two_records_in_one_segment(void **state)
{
	struct side s;
	uint8_t data[4096];
	unsigned int before;
	ssize_t n;
	SSL *ssl;
	int fd;

	(void)state;
	side_init(&s);
	ssl = raw_client(&s, &fd);
	before = segments_in(fd);
	text(&s, "NEXT\r\n\r\n");
	text(&s, "a message");
	assert_int_equal(recv(fd, data, sizeof(data), MSG_PEEK), -1);
	WAIT((n = recv(fd, data, sizeof(data), MSG_PEEK)) > 0);
	assert_int_equal(count_records(data, (size_t)n), 2);
	assert_int_equal(segments_in(fd) - before, 1);
	assert_int_equal(SSL_read(ssl, data, sizeof(data)), 8);
	assert_int_equal(SSL_read(ssl, data, sizeof(data)), 9);
	side_fini(&s);
	raw_free(ssl, fd);
}

static void flush_sends_at_once(void **state)
{
	struct side s;
	uint8_t data[64];
	SSL *ssl;
	int fd;

	(void)state;
	side_init(&s);
	ssl = raw_client(&s, &fd);
	text(&s, "now");
	assert_true(hbt_conn_unsent(s.conn) > 0);
	hbt_conn_flush(s.conn);
	assert_int_equal(hbt_conn_unsent(s.conn), 0);
	assert_int_equal(SSL_read(ssl, data, sizeof(data)), 3);
	side_fini(&s);
	raw_free(ssl, fd);
}

static void records_hold_no_more_than_16_kib(void **state)
{
	static uint8_t data[40000], got[40000];
	struct side s;
	size_t have = 0;
	SSL *ssl;
	int fd, n;

	(void)state;
	side_init(&s);
	ssl = raw_client(&s, &fd);
	hbt_conn_write(s.conn, data, sizeof(data));
	WAIT((n = SSL_read(ssl, got, sizeof(got))) > 0);
	assert_int_equal(n, 16384);
	have = (size_t)n;
	WAIT((n = SSL_read(ssl, got, sizeof(got))) > 0);
	assert_int_equal(n, 16384);
	have += (size_t)n;
	WAIT((n = SSL_read(ssl, got, sizeof(got))) > 0);
	assert_int_equal(have + (size_t)n, sizeof(data));
	side_fini(&s);
	raw_free(ssl, fd);
}

/* Bulk data whose every byte can be checked. */
enum { BULK = 8 * 1024 * 1024, PIECE = 50000 };
static uint8_t pattern[PIECE];
static size_t written_c, written_s;

static void pump(struct side *s, size_t *written)
{
	while (*written < BULK) {
		size_t n = BULK - *written < PIECE ? BULK - *written : PIECE;

		*written += n;
		if (hbt_conn_write(s->conn, pattern, n) == HALIBUT_EAGAIN)
			return;
	}
}

static void pump_c(struct side *s)
{
	pump(s, &written_c);
}

static void pump_s(struct side *s)
{
	pump(s, &written_s);
}

static void start_bulk(void)
{
	size_t i;

	for (i = 0; i < PIECE; i++)
		pattern[i] = (uint8_t)(i * 7 + i / 251);
	written_c = written_s = 0;
}

static void assert_bulk(const struct side *s)
{
	size_t at;

	assert_int_equal(s->len, BULK);
	for (at = 0; at < BULK; at += PIECE)
		assert_memory_equal(s->data + at, pattern,
		                    BULK - at < PIECE ? BULK - at : PIECE);
}

static void large_transfers_both_ways_arrive_whole(void **state)
{
	struct side c, s;

	(void)state;
	start_bulk();
	side_init(&c);
	side_init(&s);
	c.on_opened = c.on_drained = pump_c;
	s.on_opened = s.on_drained = pump_s;
	start_pair(&c, &s);
	WAIT(c.len == BULK && s.len == BULK);
	assert_bulk(&c);
	assert_bulk(&s);
	assert_true(c.drains > 1);
	assert_int_equal(hbt_conn_unsent(c.conn), 0);
	side_fini(&c);
	side_fini(&s);
}

static void a_reader_that_stops_stops_the_writer(void **state)
{
	struct side c, s;
	size_t stood;

	(void)state;
	start_bulk();
	side_init(&c);
	side_init(&s);
	open_pair(&c, &s);
	hbt_conn_pause(s.conn);
	c.on_drained = pump_c;
	pump_c(&c);
	/* The kernel takes as much as it likes first; how much of the rest is
	 * left with us, between drained and full, is its business as well. */
	do {
		stood = written_c;
		some_turns();
	} while (written_c != stood);
	assert_true(hbt_conn_unsent(c.conn) > 0);
	assert_true(stood < BULK);
	some_turns();
	assert_int_equal(written_c, stood);
	assert_true(hbt_conn_unsent(c.conn) < 512 * 1024);
	assert_int_equal(s.len, 0);
	hbt_conn_resume(s.conn);
	assert_int_equal(s.calls, 0);
	WAIT(s.len == BULK);
	assert_bulk(&s);
	side_fini(&c);
	side_fini(&s);
}

static void pause_now(struct side *s)
{
	hbt_conn_pause(s->conn);
}

static void a_reader_that_pauses_after_each_piece_loses_nothing(void **state)
{
	struct side c, s;

	(void)state;
	start_bulk();
	side_init(&c);
	side_init(&s);
	s.on_input = pause_now;
	c.on_opened = c.on_drained = pump_c;
	start_pair(&c, &s);
	while (s.len < BULK) {
		size_t calls = s.calls;

		WAIT(s.calls > calls);
		assert_int_equal(s.calls, calls + 1);
		hbt_conn_resume(s.conn);
	}
	assert_bulk(&s);
	side_fini(&c);
	side_fini(&s);
}

static void what_input_leaves_is_offered_again_after_resume(void **state)
{
	struct side c, s;

	(void)state;
	side_init(&c);
	side_init(&s);
	s.take = 3;
	open_pair(&c, &s);
	text(&c, "0123456789");
	WAIT(s.calls == 1);
	text(&c, "abc");
	some_turns();
	assert_int_equal(s.calls, 1);
	hbt_conn_resume(s.conn);
	WAIT(s.calls == 2);
	some_turns();
	assert_int_equal(s.calls, 2);
	s.take = SIZE_MAX;
	hbt_conn_resume(s.conn);
	WAIT(s.len == 13);
	assert_string_equal(s.data, "0123456789abc");
	side_fini(&c);
	side_fini(&s);
}

static void resume_now(struct side *s)
{
	hbt_conn_resume(s->conn);
}

static void resuming_inside_input_goes_on_in_the_next_turn(void **state)
{
	struct side c, s;

	(void)state;
	side_init(&c);
	side_init(&s);
	s.take = 1;
	s.on_input = resume_now;
	open_pair(&c, &s);
	text(&c, "0123456789");
	WAIT(s.len == 10);
	assert_string_equal(s.data, "0123456789");
	assert_int_equal(s.calls, 10);
	side_fini(&c);
	side_fini(&s);
}

static void eof_without_close_notify_is_eof(void **state)
{
	struct side s;
	SSL *ssl;
	int fd;

	(void)state;
	side_init(&s);
	ssl = raw_client(&s, &fd);
	SSL_write(ssl, "END\r\n\r\n", 7);
	shutdown(fd, SHUT_WR);
	WAIT(s.eofs == 1);
	assert_int_equal(s.len, 7);
	some_turns();
	assert_int_equal(s.eofs, 1);
	assert_int_equal(s.failures, 0);
	/* The other direction still works. */
	text(&s, "bye");
	WAIT(SSL_read(ssl, (char[8]){0}, 8) == 3);
	side_fini(&s);
	raw_free(ssl, fd);
}

static void eof_with_close_notify_is_eof(void **state)
{
	struct side s;
	SSL *ssl;
	int fd;

	(void)state;
	side_init(&s);
	ssl = raw_client(&s, &fd);
	SSL_shutdown(ssl);
	WAIT(s.eofs == 1);
	some_turns();
	assert_int_equal(s.eofs, 1);
	assert_int_equal(s.failures, 0);
	side_fini(&s);
	raw_free(ssl, fd);
}

static void abort_socket(int fd)
{
	struct linger linger = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

static void a_reset_is_a_failure(void **state)
{
	struct side s;
	SSL *ssl;
	int fd;

	(void)state;
	side_init(&s);
	ssl = raw_client(&s, &fd);
	SSL_write(ssl, "last words", 10);
	abort_socket(fd);
	WAIT(s.failures == 1);
	assert_int_equal(s.len, 10);
	assert_int_equal(s.err.status, HALIBUT_ECLOSED);
	assert_non_null(strstr(s.err.message, "The client at 127.0.0.1:"));
	assert_non_null(strstr(s.err.message, "reset the connection"));
	assert_int_equal(s.eofs, 0);
	side_fini(&s);
	SSL_free(ssl);
}

static void eof_is_noticed_while_paused(void **state)
{
	struct side s;
	SSL *ssl;
	int fd;

	(void)state;
	side_init(&s);
	ssl = raw_client(&s, &fd);
	hbt_conn_pause(s.conn);
	some_turns();
	close(fd);
	WAIT(s.eofs == 1);
	assert_int_equal(s.calls, 0);
	side_fini(&s);
	SSL_free(ssl);
}

static void eof_behind_data_waits_for_the_data_to_be_taken(void **state)
{
	struct side s;
	SSL *ssl;
	int fd;

	(void)state;
	side_init(&s);
	ssl = raw_client(&s, &fd);
	hbt_conn_pause(s.conn);
	SSL_write(ssl, "data", 4);
	some_turns();
	close(fd);
	some_turns();
	assert_int_equal(s.eofs, 0);
	assert_int_equal(s.calls, 0);
	hbt_conn_resume(s.conn);
	WAIT(s.eofs == 1);
	assert_int_equal(s.len, 4);
	side_fini(&s);
	SSL_free(ssl);
}

static void a_reset_is_noticed_while_paused(void **state)
{
	struct side s;
	SSL *ssl;
	int fd;

	(void)state;
	side_init(&s);
	ssl = raw_client(&s, &fd);
	hbt_conn_pause(s.conn);
	SSL_write(ssl, "data", 4);
	some_turns();
	abort_socket(fd);
	WAIT(s.failures == 1);
	assert_int_equal(s.err.status, HALIBUT_ECLOSED);
	side_fini(&s);
	SSL_free(ssl);
}

static void a_reset_is_noticed_while_input_is_held(void **state)
{
	struct side s;
	SSL *ssl;
	int fd;

	(void)state;
	side_init(&s);
	s.take = 0;
	ssl = raw_client(&s, &fd);
	SSL_write(ssl, "END\r\n\r\n", 7);
	WAIT(s.calls == 1);
	abort_socket(fd);
	WAIT(s.failures == 1);
	side_fini(&s);
	SSL_free(ssl);
}

static void a_broken_record_is_a_failure(void **state)
{
	struct side s;
	SSL *ssl;
	int fd;

	(void)state;
	side_init(&s);
	ssl = raw_client(&s, &fd);
	SSL_write(ssl, "good", 4);
	assert_int_equal(write(fd,
	                       "\x17\x03\x03\x00\x20"
	                       "01234567890123456789012345678901",
	                       37),
	                 37);
	WAIT(s.failures == 1);
	assert_int_equal(s.len, 4);
	assert_int_equal(s.err.status, HALIBUT_ETLS);
	side_fini(&s);
	raw_free(ssl, fd);
}

static void fail_handshake_with(const char *bytes, const char *reason)
{
	struct side s;
	int fd, acceptor;

	side_init(&s);
	bare_pair(&fd, &acceptor);
	start_server(&s, acceptor);
	assert_int_equal(write(fd, bytes, strlen(bytes)), strlen(bytes));
	WAIT(s.failures == 1);
	assert_int_equal(s.err.status, HALIBUT_ETLS);
	assert_non_null(strstr(s.err.message, "127.0.0.1:"));
	assert_non_null(strstr(s.err.message, reason));
	side_fini(&s);
	close(fd);
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
	struct side s;
	int fd, acceptor;

	(void)state;
	side_init(&s);
	bare_pair(&fd, &acceptor);
	start_server(&s, acceptor);
	close(fd);
	WAIT(s.failures == 1);
	assert_int_equal(s.err.status, HALIBUT_ECLOSED);
	assert_non_null(strstr(s.err.message, "closed the connection during"));
	side_fini(&s);
	bare_pair(&fd, &acceptor);
	start_server(&s, acceptor);
	abort_socket(fd);
	WAIT(s.failures == 1);
	assert_int_equal(s.err.status, HALIBUT_ECLOSED);
	assert_non_null(strstr(s.err.message, "reset"));
	side_fini(&s);
}

static void a_stalled_handshake_is_given_up(void **state)
{
	struct side s;
	int fd, acceptor;

	(void)state;
	side_init(&s);
	limits.handshake_total_timeout_ms = 30;
	bare_pair(&fd, &acceptor);
	start_server(&s, acceptor);
	assert_int_equal(write(fd, "\x16\x03\x01", 3), 3);
	WAIT(s.failures == 1);
	assert_int_equal(s.err.status, HALIBUT_ETIMEOUT);
	assert_non_null(strstr(s.err.message, "TLS handshake within"));
	side_fini(&s);
	close(fd);
}

static void a_silent_peer_fails_by_the_read_timeout(void **state)
{
	struct side c, s;
	int64_t start;

	(void)state;
	side_init(&c);
	side_init(&s);
	open_pair(&c, &s);
	start = hbt_now_ms();
	hbt_conn_read_timeout(s.conn, 40, "the weather report");
	WAIT(s.failures == 1);
	assert_true(hbt_now_ms() - start >= 40);
	assert_int_equal(s.err.status, HALIBUT_ETIMEOUT);
	assert_non_null(
		strstr(s.err.message, "while waiting for the weather report"));
	WAIT(c.eofs == 1 || c.failures == 1);
	side_fini(&c);
	side_fini(&s);
}

static void each_read_restarts_the_read_timeout(void **state)
{
	struct side c, s;
	int i;

	(void)state;
	side_init(&c);
	side_init(&s);
	open_pair(&c, &s);
	hbt_conn_read_timeout(s.conn, 1500, "more");
	for (i = 0; i < 8; i++) {
		int64_t until = hbt_now_ms() + 250;

		text(&c, "x");
		WAIT(hbt_now_ms() >= until);
	}
	assert_int_equal(s.failures, 0);
	assert_int_equal(s.len, 8);
	side_fini(&c);
	side_fini(&s);
}

static void a_longer_timeout_replaces_a_shorter_one(void **state)
{
	struct side c, s;
	int64_t until;

	(void)state;
	side_init(&c);
	side_init(&s);
	open_pair(&c, &s);
	hbt_conn_read_timeout(s.conn, 60, "this");
	hbt_conn_read_timeout(s.conn, 60000, "that");
	until = hbt_now_ms() + 150;
	WAIT(hbt_now_ms() >= until);
	assert_int_equal(s.failures, 0);
	hbt_conn_read_timeout(s.conn, 20, "a short one");
	WAIT(s.failures == 1);
	assert_non_null(strstr(s.err.message, "a short one"));
	side_fini(&c);
	side_fini(&s);
}

static void paused_time_does_not_count(void **state)
{
	struct side c, s;
	int64_t until;

	(void)state;
	side_init(&c);
	side_init(&s);
	open_pair(&c, &s);
	hbt_conn_read_timeout(s.conn, 700, "x");
	hbt_conn_pause(s.conn);
	until = hbt_now_ms() + 900;
	WAIT(hbt_now_ms() >= until);
	assert_int_equal(s.failures, 0);
	hbt_conn_resume(s.conn);
	some_turns();
	assert_int_equal(s.failures, 0);
	WAIT(s.failures == 1);
	side_fini(&c);
	side_fini(&s);
}

static void a_peer_that_reads_nothing_fails_by_the_write_timeout(void **state)
{
	struct side c, s;

	(void)state;
	start_bulk();
	side_init(&c);
	side_init(&s);
	open_pair(&c, &s);
	hbt_conn_write_timeout(c.conn, 50);
	hbt_conn_pause(s.conn);
	c.on_drained = pump_c;
	pump_c(&c);
	WAIT(c.failures == 1);
	assert_int_equal(c.err.status, HALIBUT_ETIMEOUT);
	assert_non_null(strstr(c.err.message, "took nothing"));
	/* What is written from here on goes nowhere and harms nobody. */
	assert_int_equal(hbt_conn_write(c.conn, "x", 1), HALIBUT_EAGAIN);
	hbt_conn_flush(c.conn);
	hbt_conn_resume(c.conn);
	side_fini(&c);
	side_fini(&s);
}

static void closing_with_flush_sends_all(void **state)
{
	static uint8_t data[3 * 1024 * 1024];
	struct side c, s;

	(void)state;
	side_init(&c);
	side_init(&s);
	open_pair(&c, &s);
	s.keep_none = true;
	hbt_conn_pause(s.conn);
	hbt_conn_write(s.conn, "unread", 6);
	hbt_conn_write(c.conn, data, sizeof(data));
	hbt_conn_close(&c.conn, true);
	assert_null(c.conn);
	some_turns();
	hbt_conn_resume(s.conn);
	WAIT(s.eofs == 1);
	assert_int_equal(s.len, sizeof(data));
	assert_int_equal(s.failures, 0);
	assert_int_equal(c.eofs + c.failures + c.drains + (int)c.calls, 0);
	side_fini(&s);
	some_turns();
}

static void closing_with_flush_gives_up_in_time(void **state)
{
	static uint8_t data[8 * 1024 * 1024];
	struct side c, s;

	(void)state;
	limits.tcp_client_heartbeat_send_timeout_ms = 40;
	side_init(&c);
	side_init(&s);
	open_pair(&c, &s);
	hbt_conn_pause(s.conn);
	hbt_conn_write(c.conn, data, sizeof(data));
	hbt_conn_close(&c.conn, true);
	WAIT(s.failures == 1); /* the reset */
	side_fini(&s);
}

static void closing_without_flush_resets(void **state)
{
	struct side c, s;

	(void)state;
	side_init(&c);
	side_init(&s);
	open_pair(&c, &s);
	text(&c, "never sent");
	hbt_conn_close(&c.conn, false);
	WAIT(s.failures == 1);
	assert_int_equal(s.len, 0);
	assert_int_equal(s.err.status, HALIBUT_ECLOSED);
	side_fini(&s);
}

static void a_dialler_that_heard_nothing_is_told_what_may_be_wrong(void **state)
{
	struct side c, s;

	(void)state;
	side_init(&c);
	side_init(&s);
	open_pair(&c, &s);
	hbt_conn_close(&s.conn, false);
	WAIT(c.failures == 1);
	assert_non_null(strstr(c.err.message, "may not trust"));
	assert_non_null(strstr(c.err.message, client_tls->thumbprint));
	side_fini(&c);
}

static void close_now(struct side *s)
{
	hbt_conn_close(&s->conn, false);
}

static void close_and_flush(struct side *s)
{
	hbt_conn_close(&s->conn, true);
}

static void close_in_each_callback(void (*how)(struct side *s))
{
	static uint8_t data[1024 * 1024];
	struct side c, s;

	side_init(&c);
	side_init(&s);
	c.on_opened = how;
	start_pair(&c, &s);
	WAIT(c.opened && s.failures + s.eofs > 0);
	side_fini(&s);

	side_init(&c);
	c.on_input = how;
	open_pair(&c, &s);
	hbt_conn_write(s.conn, data, sizeof(data));
	WAIT(c.conn == NULL);
	WAIT(s.failures + s.eofs > 0);
	assert_int_equal(c.calls, 1);
	side_fini(&s);
	side_fini(&c);

	c.take = 10;
	c.on_input = how;
	open_pair(&c, &s);
	hbt_conn_write(s.conn, data, 100);
	WAIT(c.conn == NULL);
	side_fini(&s);
	side_fini(&c);

	c.on_drained = how;
	open_pair(&c, &s);
	s.keep_none = true;
	while (hbt_conn_write(c.conn, data, sizeof(data)) != HALIBUT_EAGAIN)
		;
	WAIT(c.conn == NULL);
	assert_int_equal(c.drains, 1);
	side_fini(&s);
	side_fini(&c);

	c.on_eof = how;
	open_pair(&c, &s);
	hbt_conn_close(&s.conn, true);
	WAIT(c.conn == NULL);
	assert_int_equal(c.eofs, 1);
	side_fini(&c);

	c.on_failed = how;
	open_pair(&c, &s);
	hbt_conn_close(&s.conn, false);
	WAIT(c.conn == NULL);
	assert_int_equal(c.failures, 1);
	side_fini(&c);
	some_turns();
}

static void it_may_be_closed_in_every_callback(void **state)
{
	(void)state;
	close_in_each_callback(close_now);
	close_in_each_callback(close_and_flush);
}

static void closing_before_anything_happened_is_silent(void **state)
{
	struct side c, s;

	(void)state;
	side_init(&c);
	side_init(&s);
	start_pair(&c, &s);
	side_fini(&c);
	side_fini(&s);
	hbt_conn_close(&c.conn, true);
	some_turns();
}

static void an_accepted_descriptor_that_is_no_socket_is_closed(void **state)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct side s;

	(void)state;
	side_init(&s);
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
	static struct side c[PAIRS], s[PAIRS];
	long before = resident_kib();
	int i;

	(void)state;
	for (i = 0; i < PAIRS; i++) {
		side_init(&c[i]);
		side_init(&s[i]);
		s[i].keep_none = c[i].keep_none = true;
		open_pair(&c[i], &s[i]);
		hbt_conn_read_timeout(c[i].conn, 100000, "x");
		text(&c[i], "ping");
		WAIT(s[i].len == 4);
		text(&s[i], "pong");
		WAIT(c[i].len == 4);
	}
	print_message("%d pairs: %.1f KiB a connection\n", PAIRS,
	              (double)(resident_kib() - before) / PAIRS / 2);
	for (i = 0; i < PAIRS; i++) {
		side_fini(&c[i]);
		side_fini(&s[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(both_sides_see_each_others_thumbprint),
		TEST(a_peer_with_only_tls_1_2_is_served),
		TEST(words_written_in_opened_arrive),
		TEST(a_dialler_without_certificate_is_let_in),
		TEST(a_server_with_the_wrong_thumbprint_gets_nothing),
		TEST(a_server_with_the_right_thumbprint_is_taken),
		TEST(two_writes_are_two_records_in_one_segment),
		TEST(flush_sends_at_once),
		TEST(records_hold_no_more_than_16_kib),
		TEST(large_transfers_both_ways_arrive_whole),
		TEST(a_reader_that_stops_stops_the_writer),
		TEST(a_reader_that_pauses_after_each_piece_loses_nothing),
		TEST(what_input_leaves_is_offered_again_after_resume),
		TEST(resuming_inside_input_goes_on_in_the_next_turn),
		TEST(eof_without_close_notify_is_eof),
		TEST(eof_with_close_notify_is_eof),
		TEST(a_reset_is_a_failure),
		TEST(eof_is_noticed_while_paused),
		TEST(eof_behind_data_waits_for_the_data_to_be_taken),
		TEST(a_reset_is_noticed_while_paused),
		TEST(a_reset_is_noticed_while_input_is_held),
		TEST(a_broken_record_is_a_failure),
		TEST(what_is_not_tls_fails_at_once),
		TEST(a_handshake_cut_short_fails),
		TEST(a_stalled_handshake_is_given_up),
		TEST(a_silent_peer_fails_by_the_read_timeout),
		TEST(each_read_restarts_the_read_timeout),
		TEST(a_longer_timeout_replaces_a_shorter_one),
		TEST(paused_time_does_not_count),
		TEST(a_peer_that_reads_nothing_fails_by_the_write_timeout),
		TEST(closing_with_flush_sends_all),
		TEST(closing_with_flush_gives_up_in_time),
		TEST(closing_without_flush_resets),
		TEST(a_dialler_that_heard_nothing_is_told_what_may_be_wrong),
		TEST(it_may_be_closed_in_every_callback),
		TEST(closing_before_anything_happened_is_silent),
		TEST(an_accepted_descriptor_that_is_no_socket_is_closed),
		TEST(many_idle_connections_need_little_memory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
