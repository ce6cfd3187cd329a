/* Who does its TLS handshake when, of many that come at once. */
#include "harness.h"

/* A dialler of bare OpenSSL, which does a step when it is told to. */
struct dialler {
	int fd;
	SSL *ssl;
	struct side side; /* of the acceptor */
};

static void say_client_hello(struct dialler *d)
{
	int acceptor;

	side_init(&d->side);
	bare_pair(&d->fd, &acceptor);
	fcntl(d->fd, F_SETFL, O_NONBLOCK);
	fcntl(acceptor, F_SETFL, O_NONBLOCK);
	d->ssl = SSL_new(client_tls->client);
	SSL_set_fd(d->ssl, d->fd);
	SSL_set_connect_state(d->ssl);
	SSL_set_verify(d->ssl, SSL_VERIFY_NONE, NULL);
	assert_int_equal(SSL_do_handshake(d->ssl), -1);
	start_server(&d->side, acceptor);
}

static void go_on(struct dialler *d)
{
	if (d->ssl != NULL)
		SSL_do_handshake(d->ssl);
}

static void hang_up(struct dialler *d)
{
	SSL_free(d->ssl);
	d->ssl = NULL;
	close(d->fd);
}

static bool was_answered(const struct dialler *d)
{
	uint8_t byte;

	return recv(d->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void dialler_fini(struct dialler *d)
{
	if (d->ssl != NULL)
		hang_up(d);
	side_fini(&d->side);
}

static void say_client_hellos(struct dialler *d, size_t n)
{
	for (size_t i = 0; i < n; i++)
		say_client_hello(&d[i]);
}

static uint64_t begun(void)
{
	return hbt_conn_handshakes()->begun;
}

static size_t waiting(void)
{
	return hbt_conn_handshakes()->waiting;
}

static void those_above_the_limit_wait_in_the_order_of_arrival(void **state)
{
	struct dialler d[5];

	(void)state;
	limits.max_handshakes = 1;
	say_client_hellos(d, 5);
	for (size_t i = 0; i < 5; i++) {
		WAIT(was_answered(&d[i]));
		assert_int_equal(waiting(), 4 - i);
		for (size_t j = i + 1; j < 5; j++)
			assert_false(was_answered(&d[j]));
		go_on(&d[i]);
		WAIT(d[i].side.opened);
	}
	for (size_t i = 0; i < 5; i++)
		dialler_fini(&d[i]);
}

static void who_hung_up_meanwhile_costs_no_handshake(void **state)
{
	uint64_t before = begun(), given_up = hbt_conn_handshakes()->given_up;
	struct dialler d[3];

	(void)state;
	limits.max_handshakes = 1;
	say_client_hellos(d, 3);
	WAIT(was_answered(&d[0]) && waiting() == 2);
	hang_up(&d[1]);
	go_on(&d[0]);
	WAIT(d[0].side.opened && d[1].side.failures && was_answered(&d[2]));
	assert_int_equal(d[1].side.err.status, HALIBUT_ECLOSED);
	assert_non_null(strstr(d[1].side.err.message,
	                       "hung up while it waited for its turn"));
	assert_int_equal(begun() - before, 2);
	assert_int_equal(hbt_conn_handshakes()->given_up - given_up, 1);
	for (size_t i = 0; i < 3; i++)
		dialler_fini(&d[i]);
}

static void who_says_nothing_holds_up_nobody(void **state)
{
	struct side silent;
	struct dialler d;
	int fd, acceptor;

	(void)state;
	limits.max_handshakes = 1;
	side_init(&silent);
	bare_pair(&fd, &acceptor);
	start_server(&silent, acceptor);
	some_turns();
	say_client_hello(&d);
	WAIT(was_answered(&d));
	go_on(&d);
	WAIT(d.side.opened);
	assert_int_equal(silent.failures, 0);
	dialler_fini(&d);
	side_fini(&silent);
	close(fd);
}

static void who_stops_in_the_middle_holds_up_nobody_for_long(void **state)
{
	struct dialler d[2];

	(void)state;
	limits.max_handshakes = 1;
	say_client_hellos(d, 2);
	WAIT(was_answered(&d[0]));
	WAIT(was_answered(&d[1])); /* though the first one does not go on */
	go_on(&d[1]);
	WAIT(d[1].side.opened);
	go_on(&d[0]); /* and is served all the same when it does */
	WAIT(d[0].side.opened);
	dialler_fini(&d[0]);
	dialler_fini(&d[1]);
}

static void of_too_many_that_stop_in_the_middle_the_oldest_is_dropped(void **state)
{
	struct dialler d[19];

	(void)state;
	limits.max_handshakes = 1;
	say_client_hellos(d, 19); /* 16 may stop, and one is at work */
	WAIT(was_answered(&d[18]));
	assert_int_equal(d[0].side.failures, 1);
	assert_int_equal(d[0].side.err.status, HALIBUT_ETIMEOUT);
	for (size_t i = 2; i < 19; i++)
		assert_int_equal(d[i].side.failures, 0);
	for (size_t i = 0; i < 19; i++)
		dialler_fini(&d[i]);
}

static void whoever_is_connected_is_served_between_two_steps(void **state)
{
	struct dialler d[20];
	struct side c, s;
	uint64_t before;

	(void)state;
	limits.max_handshakes = 0;
	side_init(&c);
	side_init(&s);
	open_pair(&c, &s);
	before = begun();
	say_client_hellos(d, 20);
	hbt_conn_write(c.conn, "ping", 4);
	WAIT(s.len == 4);
	assert_in_range(begun() - before, 0, 3);
	hbt_conn_write(s.conn, "pong", 4);
	WAIT(c.len == 4);
	assert_in_range(begun() - before, 0, 6);
	WAIT(begun() - before == 20);
	for (size_t i = 0; i < 20; i++)
		dialler_fini(&d[i]);
	side_fini(&c);
	side_fini(&s);
}

static void keep_busy(evutil_socket_t fd, short what, void *arg)
{
	struct event *e = *(struct event **)arg;
	static const struct timeval at_once;

	(void)fd;
	(void)what;
	evtimer_add(e, &at_once);
}

static void a_loop_that_is_always_busy_goes_on_with_them(void **state)
{
	struct event *busy = NULL;
	struct dialler d[3];

	(void)state;
	busy = evtimer_new(base, keep_busy, &busy);
	event_active(busy, EV_TIMEOUT, 0);
	say_client_hellos(d, 3);
	for (size_t i = 0; i < 3; i++) {
		WAIT(was_answered(&d[i]));
		go_on(&d[i]);
		WAIT(d[i].side.opened);
		dialler_fini(&d[i]);
	}
	event_free(busy);
}

static void only_so_many_begin_a_second_and_waiting_is_no_timeout(void **state)
{
	int64_t since = hbt_now_ms();
	struct dialler d[4];

	(void)state;
	limits.max_handshakes_per_second = 1;
	limits.handshake_total_timeout_ms = 2500;
	say_client_hellos(d, 4);
	for (size_t i = 0; i < 4; i++) {
		WAIT(was_answered(&d[i]));
		assert_true(hbt_now_ms() - since >= 1000 * (int64_t)i);
		go_on(&d[i]);
		WAIT(d[i].side.opened);
	}
	assert_true(hbt_conn_waited_ms(d[3].side.conn) >
	            limits.handshake_total_timeout_ms);
	for (size_t i = 0; i < 4; i++)
		dialler_fini(&d[i]);
}

/* Its timer and its last words come in one turn, after another step. */
static void who_went_on_in_time_is_served_though_we_were_busy(void **state)
{
	const struct timespec a_while = {.tv_nsec = 10000000};
	int64_t due;
	struct dialler d;

	(void)state;
	limits.handshake_total_timeout_ms = 1500;
	say_client_hello(&d);
	WAIT(was_answered(&d));
	due = hbt_now_ms() + limits.handshake_total_timeout_ms;
	go_on(&d);
	while (hbt_now_ms() <= due)
		nanosleep(&a_while, NULL);
	WAIT(d.side.opened || d.side.failures);
	assert_int_equal(d.side.failures, 0);
	dialler_fini(&d);
}

static void a_loop_can_end_while_some_wait(void **state)
{
	struct dialler d[3];

	(void)state;
	limits.max_handshakes = 1;
	say_client_hellos(d, 3);
	WAIT(was_answered(&d[0]) && waiting() == 2);
	for (size_t i = 0; i < 3; i++)
		dialler_fini(&d[i]);
	assert_int_equal(waiting(), 0);
}

/* As processes of ours have them; without, the tests of test_conn_*.c run. */
static int setup_with_priorities(void **state)
{
	return setup(state) != 0 || event_base_priority_init(base, 3) != 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(those_above_the_limit_wait_in_the_order_of_arrival),
		TEST(who_hung_up_meanwhile_costs_no_handshake),
		TEST(who_says_nothing_holds_up_nobody),
		TEST(who_stops_in_the_middle_holds_up_nobody_for_long),
		TEST(of_too_many_that_stop_in_the_middle_the_oldest_is_dropped),
		TEST(whoever_is_connected_is_served_between_two_steps),
		TEST(a_loop_that_is_always_busy_goes_on_with_them),
		TEST(only_so_many_begin_a_second_and_waiting_is_no_timeout),
		TEST(who_went_on_in_time_is_served_though_we_were_busy),
		TEST(a_loop_can_end_while_some_wait),
	};

	return cmocka_run_group_tests(tests, setup_with_priorities, teardown);
}
