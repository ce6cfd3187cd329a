/* Channels: what one side sends is what the other side gets, or it is told
 * that nothing follows. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/error.h"
#include "base/log.h"
#include "descriptors.h"
#include "ipc/ipc.h"

#define MAX_BODY ((size_t)4 * 1024 * 1024)
#define INLINE_BYTES ((size_t)32 * 1024)

/* One end of a channel, and what it heard. */
struct side {
	struct hbt_ipc *ipc;
	int messages, closed, lost;
	uint16_t type;
	uint32_t id;
	uint8_t *data;
	size_t len;
	int fd; /* taken from the last message; -1 */
	char why[160];
	void (*then)(struct side *s, struct hbt_ipc_msg *msg);
};

static struct event_base *base;
static struct side a, b;
static int descriptors_before;

static void on_message(void *arg, struct hbt_ipc_msg *msg)
{
	struct side *s = arg;

	assert_int_equal(s->closed, 0);
	s->messages++;
	s->lost += msg->lost;
	s->type = msg->type;
	s->id = msg->id;
	free(s->data);
	s->data = malloc(msg->len + 1);
	memcpy(s->data, msg->data, msg->len);
	s->len = msg->len;
	if (s->then != NULL)
		s->then(s, msg);
}

static void on_closed(void *arg, const char *why)
{
	struct side *s = arg;

	s->closed++;
	snprintf(s->why, sizeof(s->why), "%s", why);
}

static const struct hbt_ipc_ops ops = {.message = on_message,
                                       .closed = on_closed};

static void quiet(void *arg, enum hbt_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

static void side_init(struct side *s, int fd)
{
	*s = (struct side){.fd = -1};
	if (fd >= 0)
		assert_int_equal(hbt_ipc_new(&s->ipc, base, fd, MAX_BODY, &ops,
		                             s),
		                 HALIBUT_OK);
}

static void side_fini(struct side *s)
{
	hbt_ipc_free(&s->ipc);
	free(s->data);
	if (s->fd >= 0)
		close(s->fd);
	*s = (struct side){.fd = -1};
}

static void make_pair(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
}

static int set_up(void **state)
{
	int pair[2];

	(void)state;
	hbt_log_set_sink(quiet, NULL);
	descriptors_before = open_descriptors();
	base = event_base_new();
	make_pair(pair);
	side_init(&a, pair[0]);
	side_init(&b, pair[1]);
	return 0;
}

/* As set_up, but the test speaks for the side a by hand. */
static int raw; /* a's socket */

static int set_up_raw(void **state)
{
	int pair[2];

	(void)state;
	hbt_log_set_sink(quiet, NULL);
	descriptors_before = open_descriptors();
	base = event_base_new();
	make_pair(pair);
	raw = pair[0];
	side_init(&a, -1);
	side_init(&b, pair[1]);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	side_fini(&a);
	side_fini(&b);
	event_base_free(base);
	assert_int_equal(open_descriptors(), descriptors_before);
	return 0;
}

static int tear_down_raw(void **state)
{
	if (raw >= 0)
		close(raw);
	raw = -1;
	return tear_down(state);
}

/* The loop, until the condition holds. Everything is local: what has not come
 * after so many turns does not come. */
#define await(condition)                                                       \
	do {                                                                   \
		for (int turns = 0; !(condition); turns++) {                   \
			assert_true(turns < 20000);                            \
			event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);                \
		}                                                              \
	} while (0)

static void fill(uint8_t *data, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 31 + (i >> 8) + seed);
}

static void take(struct side *s, struct hbt_ipc_msg *msg)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = hbt_ipc_take_fd(msg);
	assert_int_equal(msg->fd, -1);
}

/* The reading end of a pipe in which the text is. */
static int pipe_with(const char *text)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], text, strlen(text)), strlen(text));
	close(ends[1]);
	return ends[0];
}

static void assert_pipe_has(int fd, const char *text)
{
	char got[64] = "";

	assert_true(fd >= 0);
	assert_true(read(fd, got, sizeof(got) - 1) >= 0);
	assert_string_equal(got, text);
}

static void a_message_arrives_as_it_was_sent(void **state)
{
	(void)state;
	assert_int_equal(hbt_ipc_send(a.ipc, 17, 0xfedcba98, "hello", 5, -1),
	                 HALIBUT_OK);
	await(b.messages == 1);
	assert_int_equal(b.type, 17);
	assert_int_equal(b.id, 0xfedcba98);
	assert_int_equal(b.len, 5);
	assert_memory_equal(b.data, "hello", 5);
	assert_int_equal(b.lost, 0);
	hbt_ipc_send(b.ipc, 18, 1, NULL, 0, -1);
	await(a.messages == 1);
	assert_int_equal(a.type, 18);
	assert_int_equal(a.len, 0);
}

static void bodies_of_any_size_arrive(void **state)
{
	static const size_t sizes[] = {1,
	                               INLINE_BYTES - 1,
	                               INLINE_BYTES,
	                               INLINE_BYTES + 1,
	                               1000000,
	                               MAX_BODY};
	uint8_t *data = malloc(MAX_BODY);

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		fill(data, sizes[i], (unsigned)i);
		hbt_ipc_send(a.ipc, 1, (uint32_t)i, data, sizes[i], -1);
		await(b.messages == (int)i + 1);
		assert_int_equal(b.len, sizes[i]);
		assert_memory_equal(b.data, data, sizes[i]);
	}
	free(data);
}

static void a_descriptor_arrives_beside_its_message(void **state)
{
	(void)state;
	b.then = take;
	hbt_ipc_send(a.ipc, 1, 1, "x", 1, pipe_with("in the pipe"));
	await(b.messages == 1);
	assert_pipe_has(b.fd, "in the pipe");
	assert_int_equal(fcntl(b.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

static void a_descriptor_that_nobody_takes_is_closed(void **state)
{
	int before = open_descriptors();

	(void)state;
	for (int i = 0; i < 100; i++)
		hbt_ipc_send(a.ipc, 1, 1, NULL, 0, pipe_with(""));
	await(b.messages == 100);
	assert_int_equal(open_descriptors(), before);
}

static void check_pairing(struct side *s, struct hbt_ipc_msg *msg)
{
	char text[32];

	if (msg->id % 3 == 0) {
		assert_int_equal(msg->fd, -1);
		return;
	}
	snprintf(text, sizeof(text), "%u", msg->id);
	assert_pipe_has(msg->fd, text);
	(void)s;
}

static void a_full_socket_never_mixes_descriptors_up(void **state)
{
	static uint8_t large[INLINE_BYTES + 5], small[3000];
	int sent = 0;

	(void)state;
	hbt_ipc_pause(b.ipc, true);
	b.then = check_pairing;
	for (uint32_t id = 0; id < 300; id++) {
		char text[32];

		snprintf(text, sizeof(text), "%u", id);
		hbt_ipc_send(a.ipc, 1, id, id % 2 ? large : small,
		             id % 2 ? sizeof(large) : sizeof(small),
		             id % 3 == 0 ? -1 : pipe_with(text));
		sent++;
	}
	assert_true(hbt_ipc_unsent(a.ipc) > 0);
	for (int i = 0; i < 10; i++)
		event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
	assert_int_equal(b.messages, 0);
	hbt_ipc_pause(b.ipc, false);
	await(b.messages == sent);
	assert_int_equal(hbt_ipc_unsent(a.ipc), 0);
}

static void check_order(struct side *s, struct hbt_ipc_msg *msg)
{
	assert_int_equal(msg->id, s->messages);
	assert_int_equal(msg->len, s->messages);
}

static void messages_keep_their_order_through_the_queue(void **state)
{
	static uint8_t body[20000];

	(void)state;
	b.then = check_order;
	for (uint32_t id = 1; id <= 500; id++)
		hbt_ipc_send(a.ipc, 1, id, body, id % 20000, -1);
	await(b.messages == 500);
	assert_int_equal(hbt_ipc_unsent(a.ipc), 0);
}

static void one_turn_handles_at_most_64_messages(void **state)
{
	(void)state;
	for (uint32_t id = 0; id < 200; id++)
		hbt_ipc_send(a.ipc, 1, id, NULL, 0, -1);
	await(b.messages > 0);
	assert_in_range(b.messages, 1, 64);
	await(b.messages == 200);
}

static void pause_me(struct side *s, struct hbt_ipc_msg *msg)
{
	(void)msg;
	hbt_ipc_pause(s->ipc, true);
}

static int packets_until_end(int fd)
{
	uint8_t buf[64 * 1024];
	int n = 0;

	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		n++;
	return n;
}

static void what_is_sent_in_one_turn_leaves_in_one_packet(void **state)
{
	(void)state;
	for (uint32_t id = 0; id < 10; id++)
		hbt_ipc_send(b.ipc, 1, id, "some body", 9, -1);
	assert_int_equal(packets_until_end(raw), 0);
	event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
	assert_int_equal(packets_until_end(raw), 1);
	assert_int_equal(hbt_ipc_unsent(b.ipc), 0);
}

static void what_is_much_does_not_wait_for_the_turns_end(void **state)
{
	static uint8_t body[INLINE_BYTES];

	(void)state;
	hbt_ipc_send(b.ipc, 1, 1, body, sizeof(body), -1);
	hbt_ipc_send(b.ipc, 1, 2, body, sizeof(body), -1);
	assert_int_equal(packets_until_end(raw), 2);
}

static void the_rest_of_a_packet_waits_for_the_end_of_a_pause(void **state)
{
	(void)state;
	b.then = pause_me;
	hbt_ipc_send(a.ipc, 1, 1, "one", 3, -1);
	hbt_ipc_send(a.ipc, 1, 2, "two", 3, -1);
	hbt_ipc_send(a.ipc, 1, 3, "three", 5, pipe_with("its pipe"));
	for (int n = 1; n <= 3; n++) {
		await(b.messages == n);
		for (int i = 0; i < 10; i++)
			event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
		assert_int_equal(b.messages, n);
		b.then = n < 2 ? pause_me : take;
		hbt_ipc_pause(b.ipc, false);
	}
	assert_pipe_has(b.fd, "its pipe");
}

static void the_rest_of_a_packet_goes_with_its_channel(void **state)
{
	int before = open_descriptors();

	(void)state;
	b.then = pause_me;
	hbt_ipc_send(a.ipc, 1, 1, "one", 3, -1);
	hbt_ipc_send(a.ipc, 1, 2, "two", 3, pipe_with("never taken"));
	await(b.messages == 1);
	hbt_ipc_free(&b.ipc);
	assert_int_equal(open_descriptors(), before - 1);
}

static void a_handler_may_pause_its_channel(void **state)
{
	(void)state;
	b.then = pause_me;
	hbt_ipc_send(a.ipc, 1, 1, NULL, 0, -1);
	hbt_ipc_send(a.ipc, 1, 2, NULL, 0, -1);
	await(b.messages == 1);
	for (int i = 0; i < 10; i++)
		event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
	assert_int_equal(b.messages, 1);
	hbt_ipc_pause(b.ipc, false);
	await(b.messages == 2);
}

static void free_me(struct side *s, struct hbt_ipc_msg *msg)
{
	hbt_ipc_free(&s->ipc);
	assert_memory_equal(msg->data, "still here", 10);
	assert_pipe_has(msg->fd, "and this");
}

static void a_handler_may_free_its_channel(void **state)
{
	(void)state;
	b.then = free_me;
	hbt_ipc_send(a.ipc, 1, 1, "still here", 10, pipe_with("and this"));
	hbt_ipc_send(a.ipc, 1, 2, NULL, 0, -1);
	await(a.closed == 1);
	assert_int_equal(b.messages, 1);
	assert_int_equal(b.closed, 0);
}

static void what_was_sent_before_free_arrives_then_the_end(void **state)
{
	(void)state;
	b.then = take;
	hbt_ipc_send(a.ipc, 1, 1, NULL, 0, -1);
	hbt_ipc_send(a.ipc, 1, 2, NULL, 0, pipe_with("last words"));
	hbt_ipc_free(&a.ipc);
	await(b.closed == 1);
	assert_int_equal(b.messages, 2);
	assert_pipe_has(b.fd, "last words");
	assert_string_equal(b.why, "the other process ended");
}

static void words_of_a_dead_peer_arrive_though_it_never_read_ours(void **state)
{
	(void)state;
	/* The kernel resets the socket of who died with unread messages. */
	hbt_ipc_send(b.ipc, 1, 1, "unread", 6, -1);
	hbt_ipc_send(a.ipc, 1, 9, "last words", 10, -1);
	hbt_ipc_free(&a.ipc);
	await(b.closed == 1);
	assert_int_equal(b.messages, 1);
	assert_memory_equal(b.data, "last words", 10);
}

static void sending_to_the_dead_reads_their_words_first(void **state)
{
	int before;

	(void)state;
	hbt_ipc_send(a.ipc, 1, 1, "last words", 10, -1);
	hbt_ipc_free(&a.ipc);
	before = open_descriptors();
	for (int i = 0; i < 10; i++)
		assert_int_equal(hbt_ipc_send(b.ipc, 1, 1, "x", 1,
		                              pipe_with("")),
		                 HALIBUT_OK);
	assert_int_equal(b.closed, 0); /* not from inside send */
	await(b.closed == 1);
	assert_int_equal(open_descriptors(), before);
	assert_int_equal(b.messages, 1);
	assert_int_equal(hbt_ipc_unsent(b.ipc), 0);
	hbt_ipc_send(b.ipc, 1, 1, "x", 1, pipe_with(""));
	assert_int_equal(open_descriptors(), before);
}

static void a_paused_channel_learns_of_death_by_sending(void **state)
{
	(void)state;
	hbt_ipc_pause(b.ipc, true);
	hbt_ipc_free(&a.ipc);
	hbt_ipc_send(b.ipc, 1, 1, "x", 1, -1);
	await(b.closed == 1);
}

static void a_killed_process_is_noticed_after_its_messages(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		event_reinit(base);
		hbt_ipc_free(&b.ipc);
		for (uint32_t id = 0; id < 100; id++)
			hbt_ipc_send(a.ipc, 1, id, "from a child", 12, -1);
		event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
		kill(getpid(), SIGKILL);
	}
	/* Our copy of the child's end would keep it open. */
	hbt_ipc_free(&a.ipc);
	await(waitpid(pid, &status, 0) == pid);
	await(b.closed == 1);
	assert_int_equal(b.messages, 100);
	assert_int_equal(b.id, 99);
}

/*
 * A child takes our descriptors away until it hears from us: when a process
 * does that to itself, valgrind only pretends.
 */
static int limiter_run(int talk, pid_t us)
{
	struct rlimit old, none;
	char byte = 0;

	if (prlimit(us, RLIMIT_NOFILE, NULL, &old) != 0)
		return 1;
	none = old;
	none.rlim_cur = 3;
	if (prlimit(us, RLIMIT_NOFILE, &none, NULL) != 0 ||
	    write(talk, &byte, 1) != 1 || read(talk, &byte, 1) != 1)
		return 1;
	return prlimit(us, RLIMIT_NOFILE, &old, NULL) != 0;
}

static pid_t limiter_start(int *talk)
{
	pid_t us = getpid();
	int pair[2];
	char byte;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(pair[0]);
		_exit(limiter_run(pair[1], us));
	}
	close(pair[1]);
	*talk = pair[0];
	assert_int_equal(read(*talk, &byte, 1), 1);
	return pid;
}

static void limiter_end(pid_t pid, int talk)
{
	int status;

	assert_int_equal(write(talk, "", 1), 1);
	close(talk);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void without_descriptors_a_message_says_what_it_lost(void **state)
{
	static uint8_t large[INLINE_BYTES + 1];
	int talk;
	pid_t limiter;

	(void)state;
	b.then = pause_me;
	hbt_ipc_send(a.ipc, 1, 1, "body", 4, pipe_with("lost"));
	hbt_ipc_send(a.ipc, 2, 2, large, sizeof(large), pipe_with("lost"));
	hbt_ipc_send(a.ipc, 3, 3, "plain", 5, -1);
	limiter = limiter_start(&talk);
	await(b.messages == 1);
	assert_int_equal(b.lost, 1);
	assert_int_equal(b.fd, -1);
	assert_memory_equal(b.data, "body", 4);
	hbt_ipc_pause(b.ipc, false);
	await(b.messages == 2);
	assert_int_equal(b.lost, 2);
	assert_int_equal(b.id, 2);
	assert_int_equal(b.len, 0);
	hbt_ipc_pause(b.ipc, false);
	await(b.messages == 3);
	assert_int_equal(b.lost, 2);
	/* Nor can a large one be sent, but a small one. */
	assert_int_equal(hbt_ipc_send(a.ipc, 1, 1, large, sizeof(large), -1),
	                 HALIBUT_ENOMEM);
	assert_int_equal(hbt_ipc_send(a.ipc, 1, 4, "small", 5, -1),
	                 HALIBUT_OK);
	limiter_end(limiter, talk);
	b.then = take;
	hbt_ipc_pause(b.ipc, false);
	await(b.messages == 4);
	hbt_ipc_send(a.ipc, 1, 5, "again", 5, pipe_with("fine again"));
	await(b.messages == 5);
	assert_pipe_has(b.fd, "fine again");
	assert_int_equal(b.closed, 0);
}

static void only_sockets_that_keep_messages_apart_will_do(void **state)
{
	struct hbt_ipc *ipc;
	int before = open_descriptors();
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(
		hbt_ipc_new(&ipc, base, pair[0], MAX_BODY, &ops, NULL),
		HALIBUT_EINVAL);
	assert_null(ipc);
	close(pair[1]);
	assert_int_equal(open_descriptors(), before);
}

/* By hand: what a broken or hostile process might send */

static uint8_t frame[64];

static size_t frame_make(uint16_t magic, uint32_t flags, const void *body,
                         size_t len)
{
	memset(frame, 0, sizeof(frame));
	frame[0] = (uint8_t)magic;
	frame[1] = (uint8_t)(magic >> 8);
	frame[2] = 1;
	frame[8] = (uint8_t)flags;
	frame[9] = (uint8_t)(flags >> 8);
	memcpy(frame + 12, body, len);
	return 12 + len;
}

/* Sends bytes with descriptors beside them and closes those. */
static void send_raw(const void *data, size_t len, const int *fds, size_t n)
{
	struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
	char control[CMSG_SPACE(8 * sizeof(int))] = {0};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n > 0) {
		struct cmsghdr *c;

		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	assert_int_equal(sendmsg(raw, &mh, 0), len);
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

static void assert_closed_with(const char *why)
{
	int before = open_descriptors();

	await(b.closed == 1);
	assert_int_equal(b.messages, 0);
	assert_string_equal(b.why, why);
	assert_int_equal(open_descriptors(), before);
}

#define MAGIC ('H' | 1 << 8)

static void a_correct_frame_by_hand_is_taken(void **state)
{
	(void)state;
	send_raw(frame, frame_make(MAGIC, 0, "abc", 3), NULL, 0);
	await(b.messages == 1);
	assert_int_equal(b.type, 1);
	assert_memory_equal(b.data, "abc", 3);
}

static void another_version_is_refused(void **state)
{
	(void)state;
	send_raw(frame, frame_make('H' | 2 << 8, 0, "", 0), NULL, 0);
	assert_closed_with(
		"the other process sent something that is no frame of this version");
}

static void a_short_frame_is_refused(void **state)
{
	(void)state;
	frame_make(MAGIC, 0, "", 0);
	send_raw(frame, 11, NULL, 0);
	assert_closed_with(
		"the other process sent something that is no frame of this version");
}

static void a_frame_over_the_limit_is_refused(void **state)
{
	static uint8_t long_frame[12 + INLINE_BYTES + 1];

	(void)state;
	frame_make(MAGIC, 0, "", 0);
	memcpy(long_frame, frame, 12);
	send_raw(long_frame, sizeof(long_frame), NULL, 0);
	assert_closed_with("the other process sent a frame over the limit");
}

static void unknown_flags_are_refused(void **state)
{
	(void)state;
	send_raw(frame, frame_make(MAGIC, 8, "", 0), NULL, 0);
	assert_closed_with("the other process sent unknown flags");
}

static void a_length_that_is_of_no_use_is_refused(void **state)
{
	(void)state;
	frame_make(MAGIC, 0, "abc", 3);
	frame[10] = 3;
	send_raw(frame, 15, NULL, 0);
	assert_closed_with("the other process sent unknown flags");
}

/* Puts a frame with FOLLOWED in front of one that is the last. */
static size_t packet_make(uint16_t first_len, uint32_t last_flags)
{
	uint8_t first[12 + 3];

	frame_make(MAGIC, 4, "abc", 3);
	frame[10] = (uint8_t)first_len;
	memcpy(first, frame, sizeof(first));
	frame_make(MAGIC, last_flags, "defg", 4);
	memmove(frame + sizeof(first), frame, 16);
	memcpy(frame, first, sizeof(first));
	return sizeof(first) + 16;
}

static void check_packet(struct side *s, struct hbt_ipc_msg *msg)
{
	assert_int_equal(msg->len, s->messages == 1 ? 3 : 4);
	assert_memory_equal(msg->data, s->messages == 1 ? "abc" : "defg",
	                    msg->len);
	assert_int_equal(msg->fd >= 0, s->messages == 2);
}

static void frames_of_a_packet_come_one_by_one(void **state)
{
	int fd = pipe_with("");

	(void)state;
	b.then = check_packet;
	send_raw(frame, packet_make(3, 2), &fd, 1);
	await(b.messages == 2);
	assert_int_equal(b.closed, 0);
}

static void a_frame_that_is_shorter_than_it_says_is_refused(void **state)
{
	(void)state;
	send_raw(frame, packet_make(20, 0), NULL, 0);
	assert_closed_with("the other process sent a frame that is shorter "
	                   "than it says");
}

static void a_packet_without_its_last_frame_is_refused(void **state)
{
	(void)state;
	packet_make(3, 0);
	send_raw(frame, 15, NULL, 0);
	await(b.closed == 1);
	assert_int_equal(b.messages, 1);
	assert_string_equal(b.why, "the other process sent something that is "
	                           "no frame of this version");
}

static void descriptors_before_a_packets_end_are_refused(void **state)
{
	int fd = pipe_with(""), before = open_descriptors() - 1;

	(void)state;
	packet_make(3, 0);
	frame[8] = 4 | 2;
	send_raw(frame, 31, &fd, 1);
	assert_closed_with("the other process sent unknown flags");
	assert_int_equal(open_descriptors(), before);
}

static void more_descriptors_than_said_are_refused_and_closed(void **state)
{
	int fds[3];

	(void)state;
	fds[0] = pipe_with("");
	send_raw(frame, frame_make(MAGIC, 0, "", 0), fds, 1);
	assert_closed_with("the other process sent more descriptors than the "
	                   "frame says");
}

static void three_descriptors_are_refused_and_closed(void **state)
{
	int fds[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		fds[i] = pipe_with("");
	send_raw(frame, frame_make(MAGIC, 3, "12345678", 8), fds, 3);
	assert_closed_with("the other process sent more descriptors than the "
	                   "frame says");
}

static void fewer_descriptors_than_said_are_refused(void **state)
{
	int fd;

	(void)state;
	fd = pipe_with("");
	send_raw(frame, frame_make(MAGIC, 3, "12345678", 8), &fd, 1);
	assert_closed_with("the other process sent fewer descriptors than the "
	                   "frame says");
}

static int memfd_of(size_t len, unsigned seals)
{
	int fd = memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static void send_memfd(int fd, uint64_t len)
{
	uint8_t body[8];

	for (int i = 0; i < 8; i++)
		body[i] = (uint8_t)(len >> (8 * i));
	send_raw(frame, frame_make(MAGIC, 1, body, 8), &fd, 1);
}

static void a_sealed_memfd_is_a_body(void **state)
{
	(void)state;
	send_memfd(memfd_of(100, ALL_SEALS), 100);
	await(b.messages == 1);
	assert_int_equal(b.len, 100);
}

static void a_memfd_that_may_shrink_is_refused(void **state)
{
	(void)state;
	send_memfd(memfd_of(100, F_SEAL_GROW | F_SEAL_WRITE), 100);
	assert_closed_with("the other process sent a body that is no sealed memfd");
}

static void a_pipe_is_no_body(void **state)
{
	(void)state;
	send_memfd(pipe_with("12345"), 5);
	assert_closed_with("the other process sent a body that is no sealed memfd");
}

static void a_memfd_of_another_length_is_refused(void **state)
{
	(void)state;
	send_memfd(memfd_of(100, ALL_SEALS), 101);
	assert_closed_with("the other process sent a body of another length "
	                   "than its frame says");
}

static void a_body_over_the_limit_is_refused_unread(void **state)
{
	(void)state;
	send_memfd(memfd_of(MAX_BODY + 1, ALL_SEALS), MAX_BODY + 1);
	assert_closed_with("the other process sent a body over the limit");
}

static void a_memfd_frame_without_a_length_is_refused(void **state)
{
	int fd;

	(void)state;
	fd = memfd_of(100, ALL_SEALS);
	send_raw(frame, frame_make(MAGIC, 1, "1234567", 7), &fd, 1);
	assert_closed_with("the other process sent a frame without its body's "
	                   "length");
}

static void one_that_takes_nothing_any_more_is_gone(void **state)
{
	(void)state;
	/* Not closed: no end of file ever comes. */
	shutdown(raw, SHUT_RD);
	hbt_ipc_send(b.ipc, 1, 1, "x", 1, -1);
	await(b.closed == 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define RAW(name)                                                              \
	cmocka_unit_test_setup_teardown(name, set_up_raw, tear_down_raw)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_message_arrives_as_it_was_sent),
		TEST(bodies_of_any_size_arrive),
		TEST(a_descriptor_arrives_beside_its_message),
		TEST(a_descriptor_that_nobody_takes_is_closed),
		TEST(a_full_socket_never_mixes_descriptors_up),
		TEST(messages_keep_their_order_through_the_queue),
		TEST(one_turn_handles_at_most_64_messages),
		RAW(what_is_sent_in_one_turn_leaves_in_one_packet),
		RAW(what_is_much_does_not_wait_for_the_turns_end),
		TEST(the_rest_of_a_packet_waits_for_the_end_of_a_pause),
		TEST(the_rest_of_a_packet_goes_with_its_channel),
		TEST(a_handler_may_pause_its_channel),
		TEST(a_handler_may_free_its_channel),
		TEST(what_was_sent_before_free_arrives_then_the_end),
		TEST(words_of_a_dead_peer_arrive_though_it_never_read_ours),
		TEST(sending_to_the_dead_reads_their_words_first),
		TEST(a_paused_channel_learns_of_death_by_sending),
		TEST(a_killed_process_is_noticed_after_its_messages),
		TEST(without_descriptors_a_message_says_what_it_lost),
		TEST(only_sockets_that_keep_messages_apart_will_do),
		RAW(a_correct_frame_by_hand_is_taken),
		RAW(another_version_is_refused),
		RAW(a_short_frame_is_refused),
		RAW(a_frame_over_the_limit_is_refused),
		RAW(unknown_flags_are_refused),
		RAW(a_length_that_is_of_no_use_is_refused),
		RAW(frames_of_a_packet_come_one_by_one),
		RAW(a_frame_that_is_shorter_than_it_says_is_refused),
		RAW(a_packet_without_its_last_frame_is_refused),
		RAW(descriptors_before_a_packets_end_are_refused),
		RAW(more_descriptors_than_said_are_refused_and_closed),
		RAW(three_descriptors_are_refused_and_closed),
		RAW(fewer_descriptors_than_said_are_refused),
		RAW(a_sealed_memfd_is_a_body),
		RAW(a_memfd_that_may_shrink_is_refused),
		RAW(a_pipe_is_no_body),
		RAW(a_memfd_of_another_length_is_refused),
		RAW(a_body_over_the_limit_is_refused_unread),
		RAW(a_memfd_frame_without_a_length_is_refused),
		RAW(one_that_takes_nothing_any_more_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
