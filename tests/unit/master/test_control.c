#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "master/control.h"

struct fixture {
	struct event_base *base;
	struct hbt_control *control;
	char *dir, *path;
	unsigned messages, lost;
	int answer; /* of the handler */
	struct hbt_ipc *ipc; /* a client's */
	bool closed;
};

static int on_message(void *arg, struct hbt_client *c, struct hbt_ipc_msg *msg)
{
	struct fixture *f = arg;

	(void)c;
	(void)msg;
	f->messages++;
	return f->answer;
}

static void on_lost(void *arg, struct hbt_client *c)
{
	(void)c;
	((struct fixture *)arg)->lost++;
}

static void drop_line(void *arg, enum hbt_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

static int open_control(struct fixture *f, struct hbt_control **control,
                        struct halibut_error *err)
{
	const struct hbt_control_ops ops = {on_message, on_lost, f};

	return hbt_control_new(control, f->base, f->path, 0600, &ops, err);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	hbt_log_set_sink(drop_line, NULL);
	f->base = event_base_new();
	f->dir = strdup("/tmp/halibut-test.XXXXXX");
	if (mkdtemp(f->dir) == NULL ||
	    asprintf(&f->path, "%s/run/control", f->dir) < 0)
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char *slash;

	hbt_ipc_free(&f->ipc);
	hbt_control_free(&f->control);
	unlink(f->path);
	slash = strrchr(f->path, '/');
	*slash = '\0';
	rmdir(f->path);
	rmdir(f->dir);
	event_base_free(f->base);
	free(f->path);
	free(f->dir);
	free(f);
	return 0;
}

static int dial(struct fixture *f)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	strcpy(sa.sun_path, f->path);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void client_hears(void *arg, struct hbt_ipc_msg *msg)
{
	(void)arg;
	(void)msg;
}

static void client_closed(void *arg, const char *why)
{
	(void)why;
	((struct fixture *)arg)->closed = true;
}

static void turn(struct fixture *f)
{
	for (int i = 0; i < 10; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
}

static void connect_client(struct fixture *f)
{
	static const struct hbt_ipc_ops ops = {client_hears, client_closed};

	assert_int_equal(open_control(f, &f->control, NULL), HALIBUT_OK);
	assert_int_equal(hbt_ipc_new(&f->ipc, f->base, dial(f), 65536, &ops, f),
	                 HALIBUT_OK);
}

static void say_hello(struct fixture *f, uint32_t protocol, uint8_t kind)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 256);
	hbt_wr_u32(&w, protocol);
	hbt_wr_u8(&w, kind);
	hbt_wr_u32(&w, 1);
	hbt_wr_cstr(&w, "1");
	hbt_ipc_send(f->ipc, HBT_IPC_HELLO, 0, w.buf.data, w.buf.len, -1);
	hbt_wr_fini(&w);
	turn(f);
}

static void ask_for_it(struct fixture *f)
{
	hbt_ipc_send(f->ipc, HBT_IPC_CONFIG, 1, NULL, 0, -1);
	turn(f);
}

static void the_socket_has_its_mode_and_is_removed(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(open_control(f, &f->control, NULL), HALIBUT_OK);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	hbt_control_free(&f->control);
	assert_int_not_equal(stat(f->path, &st), 0);
}

static void what_a_dead_process_left_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	strcpy(sa.sun_path, f->path);
	*strrchr(f->path, '/') = '\0';
	assert_int_equal(mkdir(f->path, 0700), 0);
	f->path[strlen(f->path)] = '/';
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
	assert_int_equal(dial(f), -1);
	assert_int_equal(open_control(f, &f->control, NULL), HALIBUT_OK);
	fd = dial(f);
	assert_true(fd >= 0);
	close(fd);
}

static void a_socket_that_somebody_listens_on_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct halibut_error err = {0};
	struct hbt_control *second;
	int fd;

	assert_int_equal(open_control(f, &f->control, NULL), HALIBUT_OK);
	assert_int_equal(open_control(f, &second, &err), HALIBUT_ESYSTEM);
	assert_null(second);
	assert_non_null(strstr(err.message, "another halibutd"));
	halibut_error_clear(&err);
	fd = dial(f);
	assert_true(fd >= 0);
	close(fd);
}

static void a_client_is_heard_after_its_hello(void **state)
{
	struct fixture *f = *state;

	connect_client(f);
	say_hello(f, HBT_IPC_PROTOCOL, HBT_PEER_CONTROL);
	ask_for_it(f);
	assert_int_equal(f->messages, 1);
	assert_false(f->closed);
	hbt_ipc_free(&f->ipc);
	turn(f);
	assert_int_equal(f->lost, 1);
}

static void a_client_without_hello_is_closed(void **state)
{
	struct fixture *f = *state;

	connect_client(f);
	ask_for_it(f);
	assert_int_equal(f->messages, 0);
	assert_true(f->closed);
	assert_int_equal(f->lost, 1);
}

static void a_client_of_another_version_is_closed(void **state)
{
	struct fixture *f = *state;

	connect_client(f);
	say_hello(f, HBT_IPC_PROTOCOL + 1, HBT_PEER_CONTROL);
	assert_true(f->closed);
}

static void a_worker_does_not_come_in_this_way(void **state)
{
	struct fixture *f = *state;

	connect_client(f);
	say_hello(f, HBT_IPC_PROTOCOL, HBT_PEER_CONNECTION_WORKER);
	assert_true(f->closed);
}

static void a_client_that_breaks_the_protocol_is_closed(void **state)
{
	struct fixture *f = *state;

	connect_client(f);
	say_hello(f, HBT_IPC_PROTOCOL, HBT_PEER_CONTROL);
	f->answer = HALIBUT_EPROTO;
	ask_for_it(f);
	assert_true(f->closed);
	assert_int_equal(f->lost, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_socket_has_its_mode_and_is_removed),
		TEST(what_a_dead_process_left_is_replaced),
		TEST(a_socket_that_somebody_listens_on_is_left_alone),
		TEST(a_client_is_heard_after_its_hello),
		TEST(a_client_without_hello_is_closed),
		TEST(a_client_of_another_version_is_closed),
		TEST(a_worker_does_not_come_in_this_way),
		TEST(a_client_that_breaks_the_protocol_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
