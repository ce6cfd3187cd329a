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
	size_t document; /* so large is one, which it sends */
	bool busy;
	int64_t later_ms; /* than it is */
	struct hbt_ipc *ipc; /* a client's */
	bool closed;
};

static struct fixture *current;

int64_t __real_hbt_now_ms(void);
int64_t __wrap_hbt_now_ms(void);
int64_t __wrap_hbt_now_ms(void)
{
	return __real_hbt_now_ms() + (current != NULL ? current->later_ms : 0);
}

static int on_message(void *arg, struct hbt_client *c, struct hbt_ipc_msg *msg)
{
	struct fixture *f = arg;
	void *document = calloc(1, f->document);

	f->messages++;
	if (f->document > 0)
		hbt_ipc_send(c->link.ipc, HBT_IPC_CONFIG_DOC, msg->id, document,
		             f->document, -1);
	free(document);
	return f->answer;
}

static bool is_busy(void *arg, const struct hbt_client *c)
{
	(void)c;
	return ((struct fixture *)arg)->busy;
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
	const struct hbt_control_ops ops = {on_message, is_busy, on_lost, f};

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
	*state = current = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char *slash;

	current = NULL;
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

static void connect_again(struct fixture *f)
{
	static const struct hbt_ipc_ops ops = {client_hears, client_closed};

	assert_int_equal(hbt_ipc_new(&f->ipc, f->base, dial(f), 65536, &ops, f),
	                 HALIBUT_OK);
}

static void connect_client(struct fixture *f)
{
	assert_int_equal(open_control(f, &f->control, NULL), HALIBUT_OK);
	connect_again(f);
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

/* Until the condition holds, as it should soon. */
#define AWAIT(condition)                                                       \
	do {                                                                   \
		int64_t give_up = __real_hbt_now_ms() + 30000;                 \
                                                                               \
		while (!(condition)) {                                         \
			assert_true(__real_hbt_now_ms() < give_up);            \
			event_base_loop(f->base, EVLOOP_ONCE);                 \
		}                                                              \
	} while (0)

enum { MANY = 1000 };

/* A client that asks and asks, and reads nothing. */
static void ask_blindly(struct fixture *f)
{
	connect_client(f);
	say_hello(f, HBT_IPC_PROTOCOL, HBT_PEER_CONTROL);
	f->document = 60000;
	hbt_ipc_pause(f->ipc, true);
	for (unsigned i = 0; i < MANY; i++)
		hbt_ipc_send(f->ipc, HBT_IPC_CONFIG, i, NULL, 0, -1);
	AWAIT(hbt_control_unread(f->control) > 1024 * 1024);
	turn(f);
}

static void who_reads_nothing_is_not_read_from(void **state)
{
	struct fixture *f = *state;
	unsigned heard;

	ask_blindly(f);
	heard = f->messages;
	assert_in_range(heard, 1, 1 + 2 * 1024 * 1024 / f->document);
	turn(f);
	assert_int_equal(f->messages, heard);
	assert_true(hbt_control_unread(f->control) < 2 * 1024 * 1024 +
	                                                      f->document);
	hbt_ipc_pause(f->ipc, false); /* it reads: nothing was lost */
	AWAIT(f->messages == MANY);
	AWAIT(hbt_control_unread(f->control) == 0);
	assert_int_equal(f->lost, 0);
}

static void who_reads_nothing_for_long_is_closed(void **state)
{
	struct fixture *f = *state;

	ask_blindly(f);
	f->later_ms = 29000;
	turn(f);
	assert_int_equal(f->lost, 0);
	f->later_ms = 60000;
	AWAIT(f->lost == 1);
	assert_int_equal(hbt_control_unread(f->control), 0);
}

static void who_goes_without_reading_is_forgotten(void **state)
{
	struct fixture *f = *state;

	ask_blindly(f);
	hbt_ipc_free(&f->ipc);
	AWAIT(f->lost == 1);
}

static void who_has_enough_under_way_is_not_heard_until_that_is_less(
	void **state)
{
	struct fixture *f = *state;

	connect_client(f);
	say_hello(f, HBT_IPC_PROTOCOL, HBT_PEER_CONTROL);
	f->busy = true;
	ask_for_it(f);
	ask_for_it(f);
	assert_int_equal(f->messages, 1);
	f->busy = false;
	AWAIT(f->messages == 2);
	f->busy = true;
	ask_for_it(f);
	hbt_ipc_free(&f->ipc); /* nothing is sent that could fail */
	AWAIT(f->lost == 1);
}

static void a_user_has_so_many_clients_and_no_more(void **state)
{
	struct fixture *f = *state;
	int fds[128 + 8];
	size_t refused = 0;
	char byte;

	assert_int_equal(open_control(f, &f->control, NULL), HALIBUT_OK);
	for (size_t i = 0; i < 128 + 8; i++) {
		fds[i] = dial(f);
		assert_true(fds[i] >= 0);
		turn(f);
	}
	for (size_t i = 0; i < 128 + 8; i++)
		refused += recv(fds[i], &byte, 1, MSG_DONTWAIT) == 0;
	assert_int_equal(refused, 8);
	for (size_t i = 0; i < 128 + 8; i++)
		close(fds[i]);
	turn(f);
	AWAIT(f->lost == 128);
	connect_again(f);
	say_hello(f, HBT_IPC_PROTOCOL, HBT_PEER_CONTROL);
	ask_for_it(f);
	assert_int_equal(f->messages, 1);
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
		TEST(who_reads_nothing_is_not_read_from),
		TEST(who_reads_nothing_for_long_is_closed),
		TEST(who_goes_without_reading_is_forgotten),
		TEST(who_has_enough_under_way_is_not_heard_until_that_is_less),
		TEST(a_user_has_so_many_clients_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
