/*
 * What one side of a channel sends is what the other side gets: whole, in
 * order, with its descriptors, and not while it pauses.
 */
#include "channel.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void fill(uint8_t *data, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 31 + (i >> 8) + seed);
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
	some_turns();
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
		some_turns();
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
	some_turns();
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

static void only_sockets_that_keep_messages_apart_will_do(void **state)
{
	struct hbt_ipc *ipc;
	int before = open_descriptors();
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(
		hbt_ipc_new(&ipc, base, pair[0], MAX_BODY, &side_ops, NULL),
		HALIBUT_EINVAL);
	assert_null(ipc);
	close(pair[1]);
	assert_int_equal(open_descriptors(), before);
}

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
		TEST(only_sockets_that_keep_messages_apart_will_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
