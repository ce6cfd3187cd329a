/* Bytes both ways: records, back-pressure, and how long a side waits. */
#include "conn_sides.h"

#include <linux/tcp.h> /* glibc's tcp_info is too short */

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
	uint8_t data[4096];
	unsigned int before;
	ssize_t n;

	(void)state;
	raw_handshake();
	before = segments_in(raw.fd);
	text(&s, "NEXT\r\n\r\n");
	text(&s, "a message");
	assert_int_equal(recv(raw.fd, data, sizeof(data), MSG_PEEK), -1);
	WAIT((n = recv(raw.fd, data, sizeof(data), MSG_PEEK)) > 0);
	assert_int_equal(count_records(data, (size_t)n), 2);
	assert_int_equal(segments_in(raw.fd) - before, 1);
	assert_int_equal(SSL_read(raw.ssl, data, sizeof(data)), 8);
	assert_int_equal(SSL_read(raw.ssl, data, sizeof(data)), 9);
}

static void flush_sends_at_once(void **state)
{
	uint8_t data[64];

	(void)state;
	raw_handshake();
	text(&s, "now");
	assert_true(hbt_conn_unsent(s.conn) > 0);
	hbt_conn_flush(s.conn);
	assert_int_equal(hbt_conn_unsent(s.conn), 0);
	assert_int_equal(SSL_read(raw.ssl, data, sizeof(data)), 3);
}

static void records_hold_no_more_than_16_kib(void **state)
{
	static uint8_t data[40000], got[40000];
	size_t have = 0;
	int n;

	(void)state;
	raw_handshake();
	hbt_conn_write(s.conn, data, sizeof(data));
	WAIT((n = SSL_read(raw.ssl, got, sizeof(got))) > 0);
	assert_int_equal(n, 16384);
	have = (size_t)n;
	WAIT((n = SSL_read(raw.ssl, got, sizeof(got))) > 0);
	assert_int_equal(n, 16384);
	have += (size_t)n;
	WAIT((n = SSL_read(raw.ssl, got, sizeof(got))) > 0);
	assert_int_equal(have + (size_t)n, sizeof(data));
}

/* Bulk data whose every byte can be checked. */
enum { BULK = 8 * 1024 * 1024, PIECE = 50000 };
static uint8_t pattern[PIECE];
static size_t written_c, written_s;

static void pump(struct side *side, size_t *written)
{
	while (*written < BULK) {
		size_t n = BULK - *written < PIECE ? BULK - *written : PIECE;

		*written += n;
		if (hbt_conn_write(side->conn, pattern, n) == HALIBUT_EAGAIN)
			return;
	}
}

static void pump_c(struct side *side)
{
	pump(side, &written_c);
}

static void pump_s(struct side *side)
{
	pump(side, &written_s);
}

static void start_bulk(void)
{
	size_t i;

	for (i = 0; i < PIECE; i++)
		pattern[i] = (uint8_t)(i * 7 + i / 251);
	written_c = written_s = 0;
}

static void assert_bulk(const struct side *side)
{
	size_t at;

	assert_int_equal(side->len, BULK);
	for (at = 0; at < BULK; at += PIECE)
		assert_memory_equal(side->data + at, pattern,
		                    BULK - at < PIECE ? BULK - at : PIECE);
}

static void large_transfers_both_ways_arrive_whole(void **state)
{
	(void)state;
	start_bulk();
	c.on_opened = c.on_drained = pump_c;
	s.on_opened = s.on_drained = pump_s;
	start_pair(&c, &s);
	WAIT(c.len == BULK && s.len == BULK);
	assert_bulk(&c);
	assert_bulk(&s);
	assert_true(c.drains > 1);
	assert_int_equal(hbt_conn_unsent(c.conn), 0);
}

static void a_reader_that_stops_stops_the_writer(void **state)
{
	size_t stood;

	(void)state;
	start_bulk();
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
}

static void pause_now(struct side *side)
{
	hbt_conn_pause(side->conn);
}

static void a_reader_that_pauses_after_each_piece_loses_nothing(void **state)
{
	(void)state;
	start_bulk();
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
}

static void what_input_leaves_is_offered_again_after_resume(void **state)
{
	(void)state;
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
}

static void resume_now(struct side *side)
{
	hbt_conn_resume(side->conn);
}

static void resuming_inside_input_goes_on_in_the_next_turn(void **state)
{
	(void)state;
	s.take = 1;
	s.on_input = resume_now;
	open_pair(&c, &s);
	text(&c, "0123456789");
	WAIT(s.len == 10);
	assert_string_equal(s.data, "0123456789");
	assert_int_equal(s.calls, 10);
}

static void a_silent_peer_fails_by_the_read_timeout(void **state)
{
	int64_t start;

	(void)state;
	open_pair(&c, &s);
	start = hbt_now_ms();
	hbt_conn_read_timeout(s.conn, 40, "the weather report");
	WAIT(s.failures == 1);
	assert_true(hbt_now_ms() - start >= 40);
	assert_int_equal(s.err.status, HALIBUT_ETIMEOUT);
	assert_non_null(
		strstr(s.err.message, "while waiting for the weather report"));
	WAIT(c.eofs == 1 || c.failures == 1);
}

static void each_read_restarts_the_read_timeout(void **state)
{
	int i;

	(void)state;
	open_pair(&c, &s);
	hbt_conn_read_timeout(s.conn, 1500, "more");
	for (i = 0; i < 8; i++) {
		int64_t until = hbt_now_ms() + 250;

		text(&c, "x");
		WAIT(hbt_now_ms() >= until);
	}
	assert_int_equal(s.failures, 0);
	assert_int_equal(s.len, 8);
}

static void a_longer_timeout_replaces_a_shorter_one(void **state)
{
	int64_t until;

	(void)state;
	open_pair(&c, &s);
	hbt_conn_read_timeout(s.conn, 60, "this");
	hbt_conn_read_timeout(s.conn, 60000, "that");
	until = hbt_now_ms() + 150;
	WAIT(hbt_now_ms() >= until);
	assert_int_equal(s.failures, 0);
	hbt_conn_read_timeout(s.conn, 20, "a short one");
	WAIT(s.failures == 1);
	assert_non_null(strstr(s.err.message, "a short one"));
}

static void paused_time_does_not_count(void **state)
{
	int64_t until;

	(void)state;
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
}

static void a_peer_that_reads_nothing_fails_by_the_write_timeout(void **state)
{
	(void)state;
	start_bulk();
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
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(two_writes_are_two_records_in_one_segment),
		T(flush_sends_at_once),
		T(records_hold_no_more_than_16_kib),
		T(large_transfers_both_ways_arrive_whole),
		T(a_reader_that_stops_stops_the_writer),
		T(a_reader_that_pauses_after_each_piece_loses_nothing),
		T(what_input_leaves_is_offered_again_after_resume),
		T(resuming_inside_input_goes_on_in_the_next_turn),
		T(a_silent_peer_fails_by_the_read_timeout),
		T(each_read_restarts_the_read_timeout),
		T(a_longer_timeout_replaces_a_shorter_one),
		T(paused_time_does_not_count),
		T(a_peer_that_reads_nothing_fails_by_the_write_timeout),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
