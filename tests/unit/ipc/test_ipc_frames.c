/* By hand: what a broken or hostile process might send. */
#include "channel.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

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
	assert_closed_with("the other process sent a body that is no sealed "
	                   "memfd");
}

static void a_pipe_is_no_body(void **state)
{
	(void)state;
	send_memfd(pipe_with("12345"), 5);
	assert_closed_with("the other process sent a body that is no sealed "
	                   "memfd");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
