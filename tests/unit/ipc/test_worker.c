/* What each worker program does alike, heard at the master's end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/worker.h"

struct fixture {
	struct event_base *base;
	struct hbt_ipc *worker, *master;
	unsigned n_heard;
	uint16_t type;
	uint32_t id;
	uint8_t body[4096];
	size_t len;
	unsigned obeyed, left; /* messages that the worker got */
};

static void master_hears(void *arg, struct hbt_ipc_msg *msg)
{
	struct fixture *f = arg;

	f->n_heard++;
	f->type = msg->type;
	f->id = msg->id;
	assert_true(msg->len <= sizeof(f->body));
	if (msg->len > 0)
		memcpy(f->body, msg->data, msg->len);
	f->len = msg->len;
}

static void worker_hears(void *arg, struct hbt_ipc_msg *msg)
{
	struct fixture *f = arg;

	if (hbt_worker_obey(f->worker, msg))
		f->obeyed++;
	else
		f->left++;
}

static void on_closed(void *arg, const char *why)
{
	(void)arg;
	fail_msg("the channel was closed: %s", why);
}

static int set_up(void **state)
{
	static const struct hbt_ipc_ops master = {master_hears, on_closed};
	static const struct hbt_ipc_ops worker = {worker_hears, on_closed};
	struct fixture *f = calloc(1, sizeof(*f));
	int fds[2];

	*state = f;
	f->base = event_base_new();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	assert_int_equal(hbt_ipc_new(&f->worker, f->base, fds[0],
	                             HBT_IPC_MAX_BODY, &worker, f),
	                 HALIBUT_OK);
	assert_int_equal(hbt_ipc_new(&f->master, f->base, fds[1],
	                             HBT_IPC_MAX_BODY, &master, f),
	                 HALIBUT_OK);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	hbt_ipc_free(&f->worker);
	hbt_ipc_free(&f->master);
	hbt_worker_end(&f->base, NULL);
	assert_null(f->base);
	free(f);
	return 0;
}

static void wait_heard(struct fixture *f, unsigned n)
{
	while (f->n_heard < n)
		event_base_loop(f->base, EVLOOP_ONCE);
}

static void a_hello_says_what_the_process_is(void **state)
{
	struct fixture *f = *state;
	struct hbt_rd r;
	char *version;

	assert_int_equal(hbt_worker_hello(f->worker, HBT_PEER_QUEUE_WORKER),
	                 HALIBUT_OK);
	wait_heard(f, 1);
	assert_int_equal(f->type, HBT_IPC_HELLO);
	r = hbt_rd_from(f->body, f->len);
	assert_int_equal(hbt_rd_u32(&r), HBT_IPC_PROTOCOL);
	assert_int_equal(hbt_rd_u8(&r), HBT_PEER_QUEUE_WORKER);
	assert_int_equal(hbt_rd_u32(&r), getpid());
	version = hbt_rd_strdup(&r);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_string_equal(version, HBT_VERSION);
	free(version);
}

static void a_ping_is_answered_and_work_is_left_to_the_worker(void **state)
{
	struct fixture *f = *state;

	hbt_ipc_send(f->master, HBT_IPC_CALL, 7, "x", 1, -1);
	hbt_ipc_send(f->master, HBT_IPC_PING, 8, NULL, 0, -1);
	wait_heard(f, 1);
	assert_int_equal(f->type, HBT_IPC_PONG);
	assert_int_equal(f->id, 8);
	assert_int_equal(f->obeyed, 1);
	assert_int_equal(f->left, 1);
}

static void what_it_counts_is_told_once(void **state)
{
	struct fixture *f = *state;
	struct hbt_worker_stats stats = {.calls_in_flight = 3}, told = {0};
	struct hbt_worker_stats got;
	struct hbt_rd r;

	hbt_worker_second(f->worker, &stats, &told);
	wait_heard(f, 1);
	assert_int_equal(f->type, HBT_IPC_STATS);
	r = hbt_rd_from(f->body, f->len);
	hbt_worker_stats_get(&r, &got);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_int_equal(got.calls_in_flight, 3);
	assert_memory_equal(&told, &stats, sizeof(told));
}

static void what_cannot_be_told_is_an_error_and_holds_no_descriptor(
	void **state)
{
	struct fixture *f = *state;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct hbt_wr w;

	assert_true(fd >= 0);
	hbt_wr_init(&w, 4);
	hbt_wr_u64(&w, 1); /* more than fits */
	assert_int_not_equal(
		hbt_worker_tell(f->worker, HBT_IPC_RETURN, 1, &w, fd),
		HALIBUT_OK);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(hbt_worker_tell(f->worker, HBT_IPC_RETURN, 2, NULL,
	                                 -1),
	                 HALIBUT_OK);
	wait_heard(f, 1);
	assert_int_equal(f->id, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_hello_says_what_the_process_is),
		TEST(a_ping_is_answered_and_work_is_left_to_the_worker),
		TEST(what_it_counts_is_told_once),
		TEST(what_cannot_be_told_is_an_error_and_holds_no_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
