#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "master/address.h"
#include "master/listen.h"

struct fixture {
	struct event_base *base;
	struct hbt_listeners *listeners;
	unsigned accepted;
	bool refuse;
	char peer[HBT_ADDRESS_TEXT];
	char log[2048];
};

static bool on_accepted(void *arg, int fd, const char *peer,
                        const char *listen, const char *address)
{
	struct fixture *f = arg;

	assert_non_null(listen);
	assert_non_null(address);

	close(fd);
	f->accepted++;
	snprintf(f->peer, sizeof(f->peer), "%s", peer);
	if (f->refuse)
		hbt_listeners_pause(f->listeners, NULL);
	return !f->refuse;
}

static void keep_line(void *arg, enum hbt_log_level level, const char *line)
{
	struct fixture *f = arg;
	size_t n = strlen(f->log);

	(void)level;
	snprintf(f->log + n, sizeof(f->log) - n, "%s\n", line);
}

static int setup(void **state)
{
	static char address[] = "127.0.0.1:0";
	static char *v[] = {address};
	const struct hbt_strings addresses = {v, 1};
	struct fixture *f = calloc(1, sizeof(*f));
	const struct hbt_listen_ops ops = {on_accepted, f};

	hbt_log_set_sink(keep_line, f);
	f->base = event_base_new();
	*state = f;
	return hbt_listeners_new(&f->listeners, f->base, &addresses, 0, &ops,
	                         NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	hbt_listeners_free(&f->listeners);
	event_base_free(f->base);
	hbt_log_set_sink(NULL, NULL);
	free(f);
	return 0;
}

static void turn(struct fixture *f)
{
	for (int i = 0; i < 5; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
}

static int try_to_dial(struct fixture *f)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	const char *address = hbt_listeners_address(f->listeners, 0);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sa.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	assert_int_equal(errno, ECONNREFUSED);
	close(fd);
	return -1;
}

static int dial(struct fixture *f)
{
	int fd = try_to_dial(f);

	assert_true(fd >= 0);
	return fd;
}

static void the_port_that_was_chosen_is_logged(void **state)
{
	struct fixture *f = *state;
	char line[128];

	assert_int_equal(hbt_listeners_count(f->listeners), 1);
	snprintf(line, sizeof(line), "listening on %s\n",
	         hbt_listeners_address(f->listeners, 0));
	assert_string_equal(f->log, line);
	assert_null(strstr(line, ":0\n"));
}

static void nothing_is_accepted_before_it_may_be(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);

	turn(f);
	assert_int_equal(f->accepted, 0);
	hbt_listeners_resume(f->listeners);
	turn(f);
	assert_int_equal(f->accepted, 1);
	assert_int_equal(strncmp(f->peer, "127.0.0.1:", 10), 0);
	close(fd);
}

static void a_reason_to_pause_is_logged_once(void **state)
{
	struct fixture *f = *state;

	f->log[0] = '\0';
	hbt_listeners_resume(f->listeners);
	hbt_listeners_pause(f->listeners, "it is late");
	hbt_listeners_pause(f->listeners, "it is late");
	hbt_listeners_resume(f->listeners);
	hbt_listeners_resume(f->listeners);
	assert_string_equal(f->log,
	                    "accepting no connections for now: it is late\n"
	                    "accepting connections again\n");
}

static void one_turn_ends_when_nobody_can_take_more(void **state)
{
	struct fixture *f = *state;
	int fds[3];

	for (int i = 0; i < 3; i++)
		fds[i] = dial(f);
	f->refuse = true;
	hbt_listeners_resume(f->listeners);
	event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_int_equal(f->accepted, 1);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
}

static void addresses_are_numeric(void **state)
{
	static const char *const good[] = {"1", "*:1", "127.0.0.1:1",
	                                   "[::1]:0", "0"};
	static const char *const bad[] = {"", "localhost:1", "127.0.0.1",
	                                  "127.0.0.1:x", "::1:1", "70000",
	                                  "99999999999999999999"};
	struct hbt_listen_address a;

	(void)state;
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(hbt_listen_parse(good[i], &a, NULL),
		                 HALIBUT_OK);
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(hbt_listen_parse(bad[i], &a, NULL),
		                 HALIBUT_EINVAL);
}

static void addresses_are_shown_as_people_write_them(void **state)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
	                          .sin6_port = htons(7)};
	char text[HBT_ADDRESS_TEXT];

	(void)state;
	inet_pton(AF_INET6, "::1", &v6.sin6_addr);
	hbt_sock_format((struct sockaddr *)&v6, text);
	assert_string_equal(text, "[::1]:7");
	inet_pton(AF_INET6, "::ffff:192.0.2.1", &v6.sin6_addr);
	hbt_sock_format((struct sockaddr *)&v6, text);
	assert_string_equal(text, "192.0.2.1:7");
}

static void an_address_in_use_is_told(void **state)
{
	struct fixture *f = *state;
	char address[HBT_ADDRESS_TEXT], *v[] = {address};
	const struct hbt_strings addresses = {v, 1};
	const struct hbt_listen_ops ops = {on_accepted, f};
	struct hbt_listeners *second;
	struct halibut_error err = {0};

	strcpy(address, hbt_listeners_address(f->listeners, 0));
	assert_int_equal(hbt_listeners_new(&second, f->base, &addresses, 0, &ops,
	                                   &err),
	                 HALIBUT_ESYSTEM);
	assert_null(second);
	assert_non_null(strstr(err.message, address));
	halibut_error_clear(&err);
}

/* A child of one that was killed: it holds the socket until it is executed. */
static void an_address_whose_holder_is_on_its_way_out_is_waited_for(
	void **state)
{
	static char address[HBT_ADDRESS_TEXT];
	static char *v[] = {address};
	const struct hbt_strings addresses = {v, 1};
	struct fixture *f = *state;
	const struct hbt_listen_ops ops = {on_accepted, f};
	const struct timespec late = {.tv_nsec = 300 * 1000 * 1000};
	pid_t child;
	int status;

	strcpy(address, hbt_listeners_address(f->listeners, 0));
	if ((child = fork()) == 0) {
		nanosleep(&late, NULL);
		_exit(0);
	}
	assert_true(child > 0);
	hbt_listeners_free(&f->listeners);
	assert_int_equal(hbt_listeners_new(&f->listeners, f->base, &addresses,
	                                   0, &ops, NULL),
	                 HALIBUT_OK);
	assert_int_equal(waitpid(child, &status, 0), child);
}

/* What the kernel keeps: of the socket that listens on that port. */
static unsigned backlog_of(const char *address)
{
	unsigned port = (unsigned)atoi(strrchr(address, ':') + 1);
	struct tcp_info info;

	for (int fd = 3; fd < 256; fd++) {
		struct sockaddr_in sa = {0};
		socklen_t len = sizeof(sa), size = sizeof(info);

		if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0 &&
		    sa.sin_family == AF_INET && ntohs(sa.sin_port) == port &&
		    getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
		    info.tcpi_state == TCP_LISTEN)
			return info.tcpi_sacked; /* as ss(8) shows it */
	}
	fail_msg("nobody listens on %s", address);
	return 0;
}

static unsigned somaxconn(void)
{
	FILE *f = fopen("/proc/sys/net/core/somaxconn", "r");
	unsigned n = 0;

	if (f == NULL)
		skip();
	assert_int_equal(fscanf(f, "%u", &n), 1);
	fclose(f);
	return n;
}

static void the_backlog_is_what_the_setting_says_or_all_there_can_be(void **state)
{
	static char address[] = "127.0.0.1:0";
	static char *v[] = {address};
	const struct hbt_strings addresses = {v, 1};
	struct fixture *f = *state;
	const struct hbt_listen_ops ops = {on_accepted, f};
	struct hbt_listeners *small;

	assert_int_equal(backlog_of(hbt_listeners_address(f->listeners, 0)),
	                 somaxconn());
	assert_int_equal(hbt_listeners_new(&small, f->base, &addresses, 7, &ops,
	                                   NULL),
	                 HALIBUT_OK);
	assert_int_equal(backlog_of(hbt_listeners_address(small, 0)), 7);
	hbt_listeners_free(&small);
}

static void who_waits_is_accepted_before_others_are_refused(void **state)
{
	struct fixture *f = *state;
	int fds[100];

	hbt_listeners_resume(f->listeners);
	for (int i = 0; i < 100; i++) /* more than one turn takes */
		fds[i] = dial(f);
	hbt_listeners_refuse(f->listeners);
	assert_int_equal(f->accepted, 100);
	assert_int_equal(try_to_dial(f), -1);
	hbt_listeners_resume(f->listeners);
	assert_int_equal(try_to_dial(f), -1);
	for (int i = 0; i < 100; i++)
		close(fds[i]);
}

static void the_same_address_welcomes_again(void **state)
{
	struct fixture *f = *state;
	char before[HBT_ADDRESS_TEXT];
	int fd;

	strcpy(before, hbt_listeners_address(f->listeners, 0));
	hbt_listeners_resume(f->listeners);
	hbt_listeners_refuse(f->listeners);
	assert_int_equal(hbt_listeners_welcome(f->listeners, NULL),
	                 HALIBUT_OK);
	assert_string_equal(hbt_listeners_address(f->listeners, 0), before);
	fd = dial(f);
	turn(f);
	assert_int_equal(f->accepted, 1);
	close(fd);
}

static void an_address_that_was_taken_meanwhile_is_told(void **state)
{
	struct fixture *f = *state;
	char address[HBT_ADDRESS_TEXT], *v[] = {address};
	const struct hbt_strings addresses = {v, 1};
	const struct hbt_listen_ops ops = {on_accepted, f};
	struct hbt_listeners *second;
	struct halibut_error err = {0};

	strcpy(address, hbt_listeners_address(f->listeners, 0));
	hbt_listeners_refuse(f->listeners);
	assert_int_equal(hbt_listeners_new(&second, f->base, &addresses, 0, &ops,
	                                   NULL),
	                 HALIBUT_OK);
	assert_int_equal(hbt_listeners_welcome(f->listeners, &err),
	                 HALIBUT_ESYSTEM);
	assert_non_null(strstr(err.message, address));
	halibut_error_clear(&err);
	hbt_listeners_free(&second);
	assert_int_equal(try_to_dial(f), -1);
	assert_int_equal(hbt_listeners_welcome(f->listeners, NULL),
	                 HALIBUT_OK);
}

static void another_spelling_of_an_address_keeps_its_socket(void **state)
{
	struct fixture *f = *state;
	char address[HBT_ADDRESS_TEXT], *v[] = {address};
	const struct hbt_strings addresses = {v, 1};
	struct hbt_listen_plan *plan;
	int fd;

	strcpy(address, hbt_listeners_address(f->listeners, 0)); /* was :0 */
	f->log[0] = '\0';
	assert_int_equal(hbt_listeners_plan(f->listeners, &addresses, &plan,
	                                    NULL),
	                 HALIBUT_OK);
	hbt_listeners_adopt(f->listeners, &plan);
	assert_string_equal(f->log, "");
	hbt_listeners_resume(f->listeners);
	fd = dial(f);
	turn(f);
	assert_int_equal(f->accepted, 1);
	close(fd);
}

static void a_plan_that_is_given_up_changes_nothing(void **state)
{
	struct fixture *f = *state;
	char other[] = "127.0.0.1:0", *v[] = {other, other};
	const struct hbt_strings addresses = {v, 2};
	struct hbt_listen_plan *plan;
	int fd;

	assert_int_equal(hbt_listeners_plan(f->listeners, &addresses, &plan,
	                                    NULL),
	                 HALIBUT_OK);
	hbt_listen_plan_free(&plan);
	assert_int_equal(hbt_listeners_count(f->listeners), 1);
	fd = dial(f);
	close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_port_that_was_chosen_is_logged),
		TEST(nothing_is_accepted_before_it_may_be),
		TEST(a_reason_to_pause_is_logged_once),
		TEST(one_turn_ends_when_nobody_can_take_more),
		cmocka_unit_test(addresses_are_numeric),
		cmocka_unit_test(addresses_are_shown_as_people_write_them),
		TEST(an_address_in_use_is_told),
		TEST(an_address_whose_holder_is_on_its_way_out_is_waited_for),
		TEST(the_backlog_is_what_the_setting_says_or_all_there_can_be),
		TEST(who_waits_is_accepted_before_others_are_refused),
		TEST(the_same_address_welcomes_again),
		TEST(an_address_that_was_taken_meanwhile_is_told),
		TEST(another_spelling_of_an_address_keeps_its_socket),
		TEST(a_plan_that_is_given_up_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
