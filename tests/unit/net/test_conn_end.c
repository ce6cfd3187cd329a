/* How connections end: the peer's leaving, and ours. */
#include "conn_sides.h"

static void eof_without_close_notify_is_eof(void **state)
{
	(void)state;
	raw_handshake();
	SSL_write(raw.ssl, "END\r\n\r\n", 7);
	shutdown(raw.fd, SHUT_WR);
	WAIT(s.eofs == 1);
	assert_int_equal(s.len, 7);
	some_turns();
	assert_int_equal(s.eofs, 1);
	assert_int_equal(s.failures, 0);
	/* The other direction still works. */
	text(&s, "bye");
	WAIT(SSL_read(raw.ssl, (char[8]){0}, 8) == 3);
}

static void eof_with_close_notify_is_eof(void **state)
{
	(void)state;
	raw_handshake();
	SSL_shutdown(raw.ssl);
	WAIT(s.eofs == 1);
	some_turns();
	assert_int_equal(s.eofs, 1);
	assert_int_equal(s.failures, 0);
}

static void a_reset_is_a_failure(void **state)
{
	(void)state;
	raw_handshake();
	SSL_write(raw.ssl, "last words", 10);
	raw_reset();
	WAIT(s.failures == 1);
	assert_int_equal(s.len, 10);
	assert_int_equal(s.err.status, HALIBUT_ECLOSED);
	assert_non_null(strstr(s.err.message, "The client at 127.0.0.1:"));
	assert_non_null(strstr(s.err.message, "reset the connection"));
	assert_int_equal(s.eofs, 0);
}

static void eof_is_noticed_while_paused(void **state)
{
	(void)state;
	raw_handshake();
	hbt_conn_pause(s.conn);
	some_turns();
	raw_close();
	WAIT(s.eofs == 1);
	assert_int_equal(s.calls, 0);
}

static void eof_behind_data_waits_for_the_data_to_be_taken(void **state)
{
	(void)state;
	raw_handshake();
	hbt_conn_pause(s.conn);
	SSL_write(raw.ssl, "data", 4);
	some_turns();
	raw_close();
	some_turns();
	assert_int_equal(s.eofs, 0);
	assert_int_equal(s.calls, 0);
	hbt_conn_resume(s.conn);
	WAIT(s.eofs == 1);
	assert_int_equal(s.len, 4);
}

static void a_reset_is_noticed_while_paused(void **state)
{
	(void)state;
	raw_handshake();
	hbt_conn_pause(s.conn);
	SSL_write(raw.ssl, "data", 4);
	some_turns();
	raw_reset();
	WAIT(s.failures == 1);
	assert_int_equal(s.err.status, HALIBUT_ECLOSED);
}

static void a_reset_is_noticed_while_input_is_held(void **state)
{
	(void)state;
	s.take = 0;
	raw_handshake();
	SSL_write(raw.ssl, "END\r\n\r\n", 7);
	WAIT(s.calls == 1);
	raw_reset();
	WAIT(s.failures == 1);
}

static void a_broken_record_is_a_failure(void **state)
{
	(void)state;
	raw_handshake();
	SSL_write(raw.ssl, "good", 4);
	assert_int_equal(write(raw.fd,
	                       "\x17\x03\x03\x00\x20"
	                       "01234567890123456789012345678901",
	                       37),
	                 37);
	WAIT(s.failures == 1);
	assert_int_equal(s.len, 4);
	assert_int_equal(s.err.status, HALIBUT_ETLS);
}

static void closing_with_flush_sends_all(void **state)
{
	static uint8_t data[3 * 1024 * 1024];

	(void)state;
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
	sides_fini();
	some_turns();
}

static void closing_with_flush_gives_up_in_time(void **state)
{
	static uint8_t data[8 * 1024 * 1024];

	(void)state;
	limits.tcp_client_heartbeat_send_timeout_ms = 40;
	open_pair(&c, &s);
	hbt_conn_pause(s.conn);
	hbt_conn_write(c.conn, data, sizeof(data));
	hbt_conn_close(&c.conn, true);
	WAIT(s.failures == 1); /* the reset */
}

static void closing_without_flush_resets(void **state)
{
	(void)state;
	open_pair(&c, &s);
	text(&c, "never sent");
	hbt_conn_close(&c.conn, false);
	WAIT(s.failures == 1);
	assert_int_equal(s.len, 0);
	assert_int_equal(s.err.status, HALIBUT_ECLOSED);
}

static void a_dialler_that_heard_nothing_is_told_what_may_be_wrong(void **state)
{
	(void)state;
	open_pair(&c, &s);
	hbt_conn_close(&s.conn, false);
	WAIT(c.failures == 1);
	assert_non_null(strstr(c.err.message, "may not trust"));
	assert_non_null(strstr(c.err.message, client_tls->thumbprint));
}

static void close_now(struct side *side)
{
	hbt_conn_close(&side->conn, false);
}

static void close_and_flush(struct side *side)
{
	hbt_conn_close(&side->conn, true);
}

static void close_in_each_callback(void (*how)(struct side *side))
{
	static uint8_t data[1024 * 1024];

	c.on_opened = how;
	start_pair(&c, &s);
	WAIT(c.opened && s.failures + s.eofs > 0);
	sides_fini();

	c.on_input = how;
	open_pair(&c, &s);
	hbt_conn_write(s.conn, data, sizeof(data));
	WAIT(c.conn == NULL);
	WAIT(s.failures + s.eofs > 0);
	assert_int_equal(c.calls, 1);
	sides_fini();

	c.take = 10;
	c.on_input = how;
	open_pair(&c, &s);
	hbt_conn_write(s.conn, data, 100);
	WAIT(c.conn == NULL);
	sides_fini();

	c.on_drained = how;
	open_pair(&c, &s);
	s.keep_none = true;
	while (hbt_conn_write(c.conn, data, sizeof(data)) != HALIBUT_EAGAIN)
		;
	WAIT(c.conn == NULL);
	assert_int_equal(c.drains, 1);
	sides_fini();

	c.on_eof = how;
	open_pair(&c, &s);
	hbt_conn_close(&s.conn, true);
	WAIT(c.conn == NULL);
	assert_int_equal(c.eofs, 1);
	sides_fini();

	c.on_failed = how;
	open_pair(&c, &s);
	hbt_conn_close(&s.conn, false);
	WAIT(c.conn == NULL);
	assert_int_equal(c.failures, 1);
	sides_fini();
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
	(void)state;
	start_pair(&c, &s);
	sides_fini();
	hbt_conn_close(&c.conn, true);
	some_turns();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(eof_without_close_notify_is_eof),
		T(eof_with_close_notify_is_eof),
		T(a_reset_is_a_failure),
		T(eof_is_noticed_while_paused),
		T(eof_behind_data_waits_for_the_data_to_be_taken),
		T(a_reset_is_noticed_while_paused),
		T(a_reset_is_noticed_while_input_is_held),
		T(a_broken_record_is_a_failure),
		T(closing_with_flush_sends_all),
		T(closing_with_flush_gives_up_in_time),
		T(closing_without_flush_resets),
		T(a_dialler_that_heard_nothing_is_told_what_may_be_wrong),
		T(it_may_be_closed_in_every_callback),
		T(closing_before_anything_happened_is_silent),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
