/*
 * Supervision, with this program as its own worker: started under the name of
 * one it behaves as HBT_FAKE says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "base/timespan.h"
#include "master/supervise.h"
#include "text_file.h"

#define PATIENCE_MS 20000

/* The worker */

static struct hbt_ipc *channel;

static void fake_hears(void *arg, struct hbt_ipc_msg *msg)
{
	const char *how = arg;

	if (msg->type == HBT_IPC_STOP && strstr(how, "stubborn") == NULL)
		_exit(0);
	if (msg->type == HBT_IPC_PING && strncmp(how, "deaf", 4) != 0)
		hbt_ipc_send(channel, HBT_IPC_PONG, msg->id, NULL, 0, -1);
}

static void fake_closed(void *arg, const char *why)
{
	(void)arg;
	(void)why;
	_exit(7);
}

static uint32_t open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint32_t n = 0;

	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n - 3; /* ".", "..", and dir itself */
}

static void fake_hello(const char *how, struct hbt_worker_stats *stats)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 256);
	hbt_wr_u32(&w, strcmp(how, "old") == 0 ? 0 : HBT_IPC_PROTOCOL);
	hbt_wr_u8(&w, HBT_PEER_CONNECTION_WORKER);
	hbt_wr_u32(&w, (uint32_t)getpid());
	hbt_wr_cstr(&w, "1.2.3");
	hbt_ipc_send(channel, HBT_IPC_HELLO, 0, w.buf.data, w.buf.len, -1);
	hbt_wr_fini(&w);
	hbt_wr_init(&w, 256);
	hbt_worker_stats_put(&w, stats);
	hbt_ipc_send(channel, HBT_IPC_STATS, 0, w.buf.data, w.buf.len, -1);
	hbt_wr_fini(&w);
}

static int fake_worker(void)
{
	static const struct hbt_ipc_ops ops = {fake_hears, fake_closed};
	const char *how = getenv("HBT_FAKE");
	struct hbt_worker_stats stats = {.connections = open_descriptors()};
	struct event_base *base;

	if (strcmp(how, "crash") == 0)
		return 3;
	base = event_base_new();
	if (hbt_ipc_new(&channel, base, HBT_CHANNEL_FD, HBT_IPC_MAX_BODY, &ops,
	                (void *)how) != HALIBUT_OK)
		return 4;
	if (strcmp(how, "mute") != 0)
		fake_hello(how, &stats);
	event_base_dispatch(base);
	return 5;
}

/* The master */

struct fixture {
	struct event_base *base;
	struct hbt_config *cfg;
	struct hbt_workers *workers;
	struct event *sigchld;
	char *dir, *link;
	unsigned ready, lost, gone, messages;
	char log[8192];
};

static void on_ready(void *arg, struct hbt_worker *w)
{
	(void)w;
	((struct fixture *)arg)->ready++;
}

static int on_message(void *arg, struct hbt_worker *w, struct hbt_ipc_msg *msg)
{
	(void)w;
	((struct fixture *)arg)->messages++;
	return msg->type == HBT_IPC_STATS ? HALIBUT_OK : HALIBUT_EPROTO;
}

static void on_lost(void *arg, struct hbt_worker *w)
{
	assert_non_null(w->link.ipc);
	((struct fixture *)arg)->lost++;
}

static void on_gone(void *arg, struct hbt_worker *w)
{
	(void)w;
	((struct fixture *)arg)->gone++;
}

static void on_sigchld(evutil_socket_t fd, short what, void *arg)
{
	struct fixture *f = arg;

	(void)fd;
	(void)what;
	hbt_workers_reap(f->workers);
}

static void keep_line(void *arg, enum hbt_log_level level, const char *line)
{
	struct fixture *f = arg;
	size_t n = strlen(f->log);

	(void)level;
	snprintf(f->log + n, sizeof(f->log) - n, "%s\n", line);
}

static void wake(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/* Turns of the loop until the condition holds. */
#define WAIT_FOR(f, condition)                                                 \
	do {                                                                   \
		int64_t until = hbt_now_ms() + PATIENCE_MS;                    \
		while (!(condition)) {                                         \
			if (hbt_now_ms() > until)                              \
				fail_msg("waited in vain for %s; the log: %s", \
				         #condition, (f)->log);                \
			event_base_loop((f)->base, EVLOOP_ONCE);               \
		}                                                              \
	} while (0)

static struct event *ticks;

static int setup(void **state)
{
	static const struct timeval tick = {.tv_usec = 20000};
	struct fixture *f = calloc(1, sizeof(*f));
	const char *tmp = getenv("TMPDIR");
	char text[4600], self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (f == NULL || n < 0)
		return -1;
	self[n] = '\0';
	if (asprintf(&f->dir, "%s/halibut-test.XXXXXX",
	             tmp != NULL ? tmp : "/tmp") < 0 ||
	    mkdtemp(f->dir) == NULL ||
	    asprintf(&f->link, "%s/halibut-connection-worker", f->dir) < 0 ||
	    symlink(self, f->link) != 0)
		return -1;
	snprintf(text, sizeof(text),
	         "worker_directory = '%s'\n"
	         "worker_start_timeout = 10s\n"
	         "worker_ping_interval = 50ms\n"
	         "worker_hang_timeout = 10s\n"
	         "worker_restart_delay = 2ms\n"
	         "worker_restart_delay_max = 10ms\n",
	         f->dir);
	if (config_from(text, &f->cfg, NULL) != HALIBUT_OK)
		return -1;
	f->base = event_base_new();
	f->sigchld = evsignal_new(f->base, SIGCHLD, on_sigchld, f);
	event_add(f->sigchld, NULL);
	/* So that a wait in vain ends. */
	ticks = event_new(f->base, -1, EV_PERSIST, wake, NULL);
	event_add(ticks, &tick);
	hbt_log_set_sink(keep_line, f);
	*state = f;
	return 0;
}

static void start(struct fixture *f, const char *how)
{
	const struct hbt_workers_ops ops = {on_ready, on_message, on_lost,
	                                    on_gone, f};
	struct hbt_identity identity = {.change = false};

	setenv("HBT_FAKE", how, 1);
	assert_int_equal(
		hbt_workers_new(&f->workers, f->base, f->cfg, &identity, &ops),
		HALIBUT_OK);
	assert_int_equal(
		hbt_workers_add(f->workers, HBT_PEER_CONNECTION_WORKER),
		HALIBUT_OK);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	hbt_workers_free(&f->workers);
	hbt_log_set_sink(NULL, NULL);
	event_free(ticks);
	event_free(f->sigchld);
	event_base_free(f->base);
	hbt_config_free(&f->cfg);
	unlink(f->link);
	rmdir(f->dir);
	free(f->link);
	free(f->dir);
	free(f);
	return 0;
}

static struct hbt_worker *first(struct fixture *f)
{
	return hbt_workers_at(f->workers, 0);
}

static void a_worker_is_ready_after_its_hello(void **state)
{
	struct fixture *f = *state;

	start(f, "good");
	assert_int_equal(first(f)->state, WORKER_STARTING);
	WAIT_FOR(f, f->ready == 1);
	assert_int_equal(first(f)->state, WORKER_READY);
	assert_non_null(strstr(f->log, "ready, version 1.2.3"));
}

static void a_worker_has_no_descriptor_but_its_channel(void **state)
{
	struct fixture *f = *state;
	int leak = open("/dev/null", O_RDONLY); /* not close-on-exec */
	int high = fcntl(leak, F_DUPFD, 200);

	start(f, "good");
	WAIT_FOR(f, f->messages > 0);
	assert_int_equal(first(f)->stats.connections, 4);
	close(leak);
	close(high);
}

static void a_worker_that_says_no_hello_is_killed(void **state)
{
	struct fixture *f = *state;

	f->cfg->worker_start_timeout_ms = 200;
	start(f, "mute");
	WAIT_FOR(f, first(f)->restarts > 0);
	assert_int_equal(f->ready, 0);
	assert_int_equal(f->lost, 1);
	assert_non_null(strstr(f->log, "no hello within 200ms, killed"));
	assert_non_null(strstr(f->log, "ended with signal 9"));
}

static void a_worker_of_another_version_is_killed(void **state)
{
	struct fixture *f = *state;

	start(f, "old");
	WAIT_FOR(f, first(f)->restarts > 0);
	assert_int_equal(f->ready, 0);
	assert_non_null(strstr(f->log, "another version than halibutd"));
}

static void a_worker_that_hangs_is_killed(void **state)
{
	struct fixture *f = *state;

	f->cfg->worker_hang_timeout_ms = 200;
	start(f, "deaf");
	WAIT_FOR(f, first(f)->restarts > 0);
	assert_int_equal(f->ready, 1);
	assert_int_equal(f->lost, 1);
	assert_non_null(strstr(f->log, "no answer to a ping within 200ms"));
}

static void a_worker_that_answers_lives_on(void **state)
{
	struct fixture *f = *state;
	int64_t later;

	f->cfg->worker_hang_timeout_ms = 1500;
	f->cfg->worker_ping_interval_ms = 300;
	start(f, "good");
	WAIT_FOR(f, f->ready == 1);
	later = hbt_now_ms() + 3500; /* several times the timeout */
	WAIT_FOR(f, hbt_now_ms() > later);
	assert_int_equal(first(f)->state, WORKER_READY);
	assert_int_equal(f->lost, 0);
}

static void a_worker_that_dies_is_replaced(void **state)
{
	struct fixture *f = *state;
	pid_t before;

	start(f, "good");
	WAIT_FOR(f, f->ready == 1);
	before = first(f)->pid;
	kill(before, SIGKILL);
	WAIT_FOR(f, f->ready == 2);
	assert_int_equal(f->lost, 1);
	assert_int_equal(first(f)->restarts, 1);
	assert_int_not_equal(first(f)->pid, before);
	assert_non_null(strstr(f->log, "ended with signal 9 (Killed); another "
	                               "one starts in 2ms"));
}

static void the_delay_doubles_up_to_its_limit(void **state)
{
	struct fixture *f = *state;

	hbt_log_set_level(HBT_LOG_DEBUG);
	start(f, "crash");
	WAIT_FOR(f, first(f)->restarts >= 5);
	hbt_log_set_level(HBT_LOG_INFO);
	assert_int_equal(first(f)->delay_ms, 10);
	assert_non_null(strstr(f->log, "status 3; another one starts in 2ms"));
	assert_non_null(strstr(f->log, "status 3; another one starts in 4ms"));
	assert_non_null(strstr(f->log, "status 3; another one starts in 8ms"));
	assert_non_null(strstr(f->log, "status 3; another one starts in 10ms"));
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	while ((text = strstr(text, what)) != NULL) {
		text += strlen(what);
		n++;
	}
	return n;
}

static void a_worker_that_ends_again_and_again_is_two_lines(void **state)
{
	struct fixture *f = *state;

	start(f, "crash");
	WAIT_FOR(f, first(f)->restarts >= 5);
	assert_int_equal(count(f->log, "ended with status 3"), 2);
	assert_non_null(strstr(f->log, "and so on until one stays"));
}

static void a_missing_program_is_tried_again(void **state)
{
	struct fixture *f = *state;

	unlink(f->link);
	start(f, "good");
	WAIT_FOR(f, first(f)->restarts >= 2);
	assert_non_null(strstr(f->log, "cannot be run: No such file"));
}

static void stopped_workers_end_and_are_not_replaced(void **state)
{
	struct fixture *f = *state;

	start(f, "good");
	WAIT_FOR(f, f->ready == 1);
	hbt_workers_stop(f->workers, HBT_PEER_CONNECTION_WORKER,
	                 HBT_STOP_ALL, 0);
	assert_int_equal(first(f)->state, WORKER_STOPPING);
	WAIT_FOR(f, f->gone == 1);
	assert_int_equal(
		hbt_workers_left(f->workers, HBT_PEER_CONNECTION_WORKER), 0);
	assert_non_null(strstr(f->log, "ended with status 0"));
}

static void renew(struct fixture *f, unsigned n)
{
	assert_int_equal(
		hbt_workers_renew(f->workers, HBT_PEER_CONNECTION_WORKER, n),
		HALIBUT_OK);
}

static bool renewed(const struct fixture *f)
{
	return hbt_workers_renewed(f->workers, HBT_PEER_CONNECTION_WORKER);
}

static void retire(struct fixture *f)
{
	struct hbt_worker *w, *newest = NULL;

	for (size_t i = 0; (w = hbt_workers_at(f->workers, i)) != NULL; i++)
		if (hbt_worker_is_newest(w))
			newest = w;
	hbt_workers_retire(f->workers, newest, HBT_STOP_ALL, 0);
}

static void a_new_generation_takes_over_when_all_of_it_is_ready(void **state)
{
	struct fixture *f = *state;
	struct hbt_worker *old;

	start(f, "good");
	WAIT_FOR(f, f->ready == 1);
	old = first(f);
	renew(f, 2);
	assert_false(renewed(f));
	assert_int_equal(old->state, WORKER_READY);
	WAIT_FOR(f, renewed(f));
	assert_int_equal(old->state, WORKER_READY);
	retire(f);
	assert_int_equal(old->state, WORKER_STOPPING);
	/* It ends, and its place is free again. */
	WAIT_FOR(f, f->gone == 1 && hbt_workers_at(f->workers, 2) == NULL);
	assert_int_equal(f->ready, 3);
	assert_int_equal(first(f)->index, 1);
	assert_int_equal(hbt_workers_at(f->workers, 1)->index, 2);
	assert_int_equal(hbt_worker_place(hbt_workers_at(f->workers, 1)), 1);
}

static void the_old_ones_serve_on_when_the_new_ones_do_not_start(void **state)
{
	struct fixture *f = *state;
	struct hbt_worker *fresh;

	start(f, "good");
	WAIT_FOR(f, f->ready == 1);
	setenv("HBT_FAKE", "crash", 1);
	renew(f, 1);
	fresh = hbt_workers_at(f->workers, 1);
	WAIT_FOR(f, fresh->restarts >= 3);
	assert_false(renewed(f));
	assert_int_equal(first(f)->state, WORKER_READY);
	/* A third generation, with the mistake mended. */
	setenv("HBT_FAKE", "good", 1);
	renew(f, 1);
	WAIT_FOR(f, renewed(f));
	retire(f);
	WAIT_FOR(f, f->gone == 2);
	assert_int_equal(
		hbt_workers_left(f->workers, HBT_PEER_CONNECTION_WORKER), 1);
}

static void one_that_is_retired_before_its_hello_ends_in_order(void **state)
{
	struct fixture *f = *state;

	start(f, "good");
	renew(f, 1);
	retire(f); /* whether or not the new one is ready */
	WAIT_FOR(f, f->gone == 1);
	assert_null(strstr(f->log, "hello is wrong"));
	WAIT_FOR(f, first(f)->state == WORKER_READY);
}

static void one_that_hangs_while_it_stops_is_killed(void **state)
{
	struct fixture *f = *state;

	f->cfg->worker_hang_timeout_ms = 200;
	start(f, "deaf stubborn");
	WAIT_FOR(f, f->ready == 1);
	setenv("HBT_FAKE", "good", 1);
	renew(f, 1);
	retire(f);
	WAIT_FOR(f, f->gone == 1);
	assert_non_null(strstr(f->log, "no answer to a ping within 200ms"));
}

static void there_is_a_limit_to_generations(void **state)
{
	struct fixture *f = *state;

	start(f, "good");
	assert_int_equal(hbt_workers_renew(f->workers,
	                                   HBT_PEER_CONNECTION_WORKER, 1100),
	                 HALIBUT_ELIMIT);
	assert_null(hbt_workers_at(f->workers, 1));
	assert_true(hbt_worker_is_newest(first(f)));
}

static void killed_workers_end_at_once(void **state)
{
	struct fixture *f = *state;

	start(f, "mute");
	hbt_workers_kill_all(f->workers, "for a reason");
	WAIT_FOR(f, f->gone == 1);
	assert_non_null(strstr(f->log, "for a reason, killed"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_worker_is_ready_after_its_hello),
		TEST(a_worker_has_no_descriptor_but_its_channel),
		TEST(a_worker_that_says_no_hello_is_killed),
		TEST(a_worker_of_another_version_is_killed),
		TEST(a_worker_that_hangs_is_killed),
		TEST(a_worker_that_answers_lives_on),
		TEST(a_worker_that_dies_is_replaced),
		TEST(the_delay_doubles_up_to_its_limit),
		TEST(a_worker_that_ends_again_and_again_is_two_lines),
		TEST(a_missing_program_is_tried_again),
		TEST(stopped_workers_end_and_are_not_replaced),
		TEST(a_new_generation_takes_over_when_all_of_it_is_ready),
		TEST(the_old_ones_serve_on_when_the_new_ones_do_not_start),
		TEST(one_that_is_retired_before_its_hello_ends_in_order),
		TEST(one_that_hangs_while_it_stops_is_killed),
		TEST(there_is_a_limit_to_generations),
		TEST(killed_workers_end_at_once),
	};

	if (strcmp(program_invocation_short_name,
	           "halibut-connection-worker") == 0)
		return fake_worker();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
