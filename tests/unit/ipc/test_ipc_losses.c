/*
 * Processes that end, with words of theirs or of ours on the way, and one
 * that has no descriptors left.
 */
#include "channel.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

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

static void one_that_takes_nothing_any_more_is_gone(void **state)
{
	(void)state;
	/* Not closed: no end of file ever comes. */
	shutdown(raw, SHUT_RD);
	hbt_ipc_send(b.ipc, 1, 1, "x", 1, -1);
	await(b.closed == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_sent_before_free_arrives_then_the_end),
		TEST(words_of_a_dead_peer_arrive_though_it_never_read_ours),
		TEST(sending_to_the_dead_reads_their_words_first),
		TEST(a_paused_channel_learns_of_death_by_sending),
		TEST(a_killed_process_is_noticed_after_its_messages),
		TEST(without_descriptors_a_message_says_what_it_lost),
		RAW(one_that_takes_nothing_any_more_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
