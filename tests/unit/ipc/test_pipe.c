/* Sections between processes: what goes into a pipe sink comes out of a pipe
 * source, however slow its reader is. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/timespan.h"
#include "descriptors.h"
#include "ipc/proto.h"

#define MIB ((size_t)1024 * 1024)

/* Linked with --wrap: how long the disk takes for a write, how often it did,
 * and that nothing else makes us wait. */
static long disk_ms;
static long waits;

static bool is_file(int file)
{
	char at[64], name[64] = "";

	snprintf(at, sizeof(at), "/proc/self/fd/%d", file);
	return readlink(at, name, sizeof(name) - 1) < 0 ||
	       strstr(name, "memfd") == NULL;
}

static void wait_for_disk(int file)
{
	const struct timespec slow = {.tv_nsec = disk_ms * 1000000};

	if (disk_ms > 0 && is_file(file)) {
		nanosleep(&slow, NULL);
		waits++;
	}
}

/* Which of them is called depends on how off_t was made as large as it is. */
#define WRAP_PWRITE(name)                                                      \
	ssize_t __real_##name(int file, const void *data, size_t n, off_t at); \
	ssize_t __wrap_##name(int file, const void *data, size_t n, off_t at); \
	ssize_t __wrap_##name(int file, const void *data, size_t n, off_t at)  \
	{                                                                      \
		wait_for_disk(file);                                           \
		return __real_##name(file, data, n, at);                       \
	}
WRAP_PWRITE(pwrite)
WRAP_PWRITE(pwrite64)

int __wrap_getrusage(int who, struct rusage *used);
int __wrap_getrusage(int who, struct rusage *used)
{
	(void)who;
	*used = (struct rusage){.ru_nvcsw = waits};
	return 0;
}

static struct event_base *base;
static struct hbt_limits limits;
static struct hbt_sink *sink;
static int fd; /* the reading end, until somebody takes it */
static int wakes, warnings;
static int descriptors_before;
static char directory[] = "/tmp/halibut-test-XXXXXX";

static void count_warning(void *arg, enum hbt_log_level level,
                          const char *line)
{
	(void)arg;
	(void)line;
	if (level == HBT_LOG_WARNING)
		warnings++;
}

static void on_wake(void *arg)
{
	(void)arg;
	wakes++;
}

static void open_sink(void)
{
	assert_int_equal(
		hbt_pipe_sink_new(&sink, base, &limits, directory, NULL, &fd),
		HALIBUT_OK);
	sink->wake = on_wake;
}

static int set_up(void **state)
{
	(void)state;
	hbt_log_set_sink(count_warning, NULL);
	descriptors_before = open_descriptors();
	base = event_base_new();
	hbt_limits_init(&limits);
	limits.spool_memory_bytes = MIB;
	limits.spool_max_bytes_a_stream_section = (int64_t)(8 * MIB);
	limits.spool_max_bytes_total = (int64_t)(64 * MIB);
	wakes = warnings = 0;
	fd = -1;
	open_sink();
	return 0;
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
}

/* Everything is local: what has not come after so many turns does not. */
#define await(condition)                                                       \
	do {                                                                   \
		for (int turns = 0; !(condition); turns++) {                   \
			assert_true(turns < 100000);                           \
			turn();                                                \
		}                                                              \
	} while (0)

static int tear_down(void **state)
{
	struct halibut_error why = {.status = HALIBUT_ECLOSED};

	(void)state;
	if (sink != NULL)
		hbt_sink_end(&sink, &why);
	if (fd >= 0)
		close(fd);
	await(hbt_spool_bytes() == 0);
	event_base_free(base);
	assert_int_equal(open_descriptors(), descriptors_before);
	return 0;
}

/* The byte at an offset of the section, the same for both sides. */
static uint8_t byte_at(size_t offset)
{
	return (uint8_t)(offset * 131 + (offset >> 8) * 17 + (offset >> 16));
}

static size_t written, got; /* so far, by the helpers below */

static void start_counting(void)
{
	written = got = 0;
}

/* Writes the next n bytes of the section; returns what was taken. */
static ssize_t put(size_t n)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	uint8_t *data = malloc(n);
	ssize_t taken;

	for (size_t i = 0; i < n; i++)
		data[i] = byte_at(written + i);
	taken = sink->ops->write(sink, data, n, &err);
	assert_true(taken < 0 || (size_t)taken <= n);
	if (taken > 0)
		written += (size_t)taken;
	halibut_error_clear(&err);
	free(data);
	return taken;
}

/* Reads up to n bytes from the pipe and checks them. 0 at the end, -EAGAIN. */
static ssize_t get(size_t n)
{
	static uint8_t data[65536];
	ssize_t r = read(fd, data, n < sizeof(data) ? n : sizeof(data));

	if (r < 0)
		return -errno;
	for (ssize_t i = 0; i < r; i++) {
		if (data[i] != byte_at(got + (size_t)i))
			fail_msg("byte %zu is wrong", got + (size_t)i);
	}
	got += (size_t)r;
	return r;
}

static void get_all(void)
{
	await(get(65536) == 0);
}

static size_t fill_up(size_t step)
{
	for (;;) {
		ssize_t n = put(step);

		assert_true(n >= 0);
		if ((size_t)n < step)
			return written;
	}
}

static void small_sections_go_straight_through(void **state)
{
	(void)state;
	start_counting();
	assert_int_equal(put(1000), 1000);
	assert_int_equal(hbt_spool_bytes(), 0);
	assert_int_equal(get(65536), 1000);
	assert_int_equal(get(65536), -EAGAIN);
	hbt_sink_end(&sink, NULL);
	assert_int_equal(get(65536), 0);
}

static void what_the_pipe_does_not_take_waits_in_memory(void **state)
{
	(void)state;
	start_counting();
	assert_int_equal(put(MIB), MIB);
	assert_in_range(hbt_spool_bytes(), 1, MIB);
	hbt_sink_end(&sink, NULL);
	get_all();
	assert_int_equal(got, MIB);
	assert_int_equal(hbt_spool_bytes(), 0);
	assert_int_equal(wakes, 0);
}

static void what_is_much_waits_in_a_file_without_a_name(void **state)
{
	(void)state;
	start_counting();
	for (int i = 0; i < 7; i++)
		assert_int_equal(put(MIB), MIB);
	assert_true(hbt_spool_bytes() > 6 * MIB);
	assert_int_equal(rmdir(directory), 0); /* it is empty */
	assert_int_equal(mkdir(directory, 0700), 0);
	hbt_sink_end(&sink, NULL);
	get_all();
	assert_int_equal(got, 7 * MIB);
}

static void at_the_limit_it_takes_no_more_until_there_is_room(void **state)
{
	(void)state;
	start_counting();
	fill_up(100000);
	assert_int_equal(hbt_spool_bytes(), 8 * MIB);
	assert_int_equal(put(1), 0);
	for (int i = 0; i < 100; i++)
		turn();
	assert_int_equal(wakes, 0);
	while (wakes == 0) {
		assert_true(get(65536) != 0);
		turn();
	}
	assert_true(got < written);
	assert_true(put(100000) > 0);
	hbt_sink_end(&sink, NULL);
	get_all();
	assert_int_equal(got, written);
}

static void all_sinks_share_the_limit_of_the_process(void **state)
{
	struct halibut_error why = {.status = HALIBUT_ECLOSED};
	struct hbt_sink *other;
	int other_fd;

	(void)state;
	limits.spool_max_bytes_total = (int64_t)(3 * MIB);
	other = sink;
	other_fd = fd;
	hbt_sink_end(&other, &why);
	close(other_fd);
	open_sink();
	start_counting();
	fill_up(10000);
	assert_int_equal(hbt_spool_bytes(), 3 * MIB);
	assert_int_equal(hbt_pipe_sink_new(&other, base, &limits, directory,
	                                   NULL, &other_fd),
	                 HALIBUT_OK);
	/* The pipe takes some, the spool nothing. */
	assert_true(other->ops->write(other, directory, 5, NULL) == 5);
	for (;;) {
		static uint8_t block[65536];

		if (other->ops->write(other, block, sizeof(block), NULL) <
		    (ssize_t)sizeof(block))
			break;
	}
	assert_int_equal(hbt_spool_bytes(), 3 * MIB);
	hbt_sink_end(&other, &why);
	close(other_fd);
	hbt_sink_end(&sink, NULL);
	get_all();
	assert_int_equal(got, written);
}

/* A reader that is always a bit behind: never empty, so never started anew. */
static void a_long_section_uses_little_room(void **state)
{
	size_t most = 0;

	(void)state;
	start_counting();
	while (written < 50 * MIB) {
		bool full = put(50000) < 50000;

		if (hbt_spool_bytes() > most)
			most = hbt_spool_bytes();
		turn();
		while (written - got > 3 * MIB || full) {
			full = false;
			get(40000);
			turn();
		}
	}
	assert_true(most <= 6 * MIB);
	hbt_sink_end(&sink, NULL);
	get_all();
	assert_int_equal(got, written);
}

static uint32_t chance(uint32_t below)
{
	static uint32_t x = 2463534242u;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x % below;
}

static void no_rhythm_of_both_sides_mixes_bytes_up(void **state)
{
	(void)state;
	start_counting();
	while (written < 40 * MIB) {
		for (uint32_t n = chance(6); n > 0; n--)
			put(1 + chance(chance(4) ? 3000 : 600000));
		for (uint32_t n = chance(4); n > 0; n--)
			turn();
		/* Now and then all of it, so that the spool starts anew
		 * while pages of it are still in the pipe. */
		if (chance(20) == 0) {
			while (get(1 + chance(65536)) != -EAGAIN)
				turn();
			continue;
		}
		for (uint32_t n = chance(12); n > 0; n--)
			get(1 + chance(65536));
	}
	hbt_sink_end(&sink, NULL);
	get_all();
	assert_int_equal(got, written);
}

static void a_failed_section_ends_early_and_drops_the_spool(void **state)
{
	struct halibut_error why = {.status = HALIBUT_ESTREAM};

	(void)state;
	start_counting();
	assert_int_equal(put(4 * MIB), 4 * MIB);
	hbt_sink_end(&sink, &why);
	assert_int_equal(hbt_spool_bytes(), 0);
	get_all();
	assert_true(got < 4 * MIB);
}

static void without_a_reader_writing_fails(void **state)
{
	(void)state;
	start_counting();
	close(fd);
	fd = -1;
	assert_int_equal(put(10), -HALIBUT_ECLOSED);
	assert_int_equal(put(10), -HALIBUT_ECLOSED);
}

static void who_waits_for_room_is_woken_when_the_reader_goes(void **state)
{
	(void)state;
	start_counting();
	fill_up(100000);
	close(fd);
	fd = -1;
	await(wakes == 1);
	assert_int_equal(put(10), -HALIBUT_ECLOSED);
}

static void an_ended_sink_vanishes_with_its_reader(void **state)
{
	(void)state;
	start_counting();
	assert_int_equal(put(4 * MIB), 4 * MIB);
	hbt_sink_end(&sink, NULL);
	close(fd);
	fd = -1;
	await(hbt_spool_bytes() == 0);
}

static void end_me(void *arg)
{
	struct halibut_error why = {.status = HALIBUT_ECLOSED};

	(void)arg;
	hbt_sink_end(&sink, &why);
}

static void a_sink_may_be_ended_while_it_wakes(void **state)
{
	(void)state;
	start_counting();
	sink->wake = end_me;
	fill_up(100000);
	close(fd);
	fd = -1;
	await(sink == NULL);
}

static void without_a_directory_it_slows_down_instead_of_failing(void **state)
{
	(void)state;
	assert_int_equal(rmdir(directory), 0);
	start_counting();
	fill_up(100000);
	assert_int_equal(hbt_spool_bytes(), MIB); /* memory only */
	assert_int_equal(warnings, 1);
	while (written < 20 * MIB) {
		if (put(100000) < 100000) {
			int before = wakes;

			while (wakes == before) {
				get(65536);
				turn();
			}
		}
	}
	assert_int_equal(mkdir(directory, 0700), 0);
	hbt_sink_end(&sink, NULL);
	get_all();
	assert_int_equal(got, written);
}

static void a_full_disk_slows_down_instead_of_failing(void **state)
{
	struct rlimit old, little;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	little = old;
	little.rlim_cur = 3 * MIB; /* a file takes no more */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
	start_counting();
	fill_up(100000);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(hbt_spool_bytes(), 4 * MIB);
	assert_int_equal(put(1000), 1000);
	hbt_sink_end(&sink, NULL);
	get_all();
	assert_int_equal(got, written);
}

static void a_disk_that_is_full_is_tried_again_without_a_reader(void **state)
{
	struct rlimit old, little;
	size_t before;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	little = old;
	little.rlim_cur = 3 * MIB;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
	start_counting();
	fill_up(100000);
	before = written;
	setrlimit(RLIMIT_FSIZE, &old);
	wakes = 0;
	while (wakes == 0) /* nobody reads; there is nothing else to wait for */
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(put(100000), 100000);
	assert_int_equal(written, before + 100000);
	hbt_sink_end(&sink, NULL);
	get_all();
	assert_int_equal(got, written);
}

/* What is left of the time is for everything else in the process. */
static void a_slow_disk_takes_a_part_of_the_time(void **state)
{
	int64_t began;

	(void)state;
	start_counting();
	assert_int_equal(put(2 * MIB), 2 * MIB); /* memory is full now */
	waits = 0;
	disk_ms = 20;
	began = hbt_now_ms();
	for (int n = 0; n < 10;) {
		if (put(16384) == 16384) {
			n++;
			continue;
		}
		wakes = 0;
		while (wakes == 0) /* nobody reads */
			event_base_loop(base, EVLOOP_ONCE);
	}
	assert_int_equal(waits, 10);
	assert_true(hbt_now_ms() - began > 10 * disk_ms * 4);
	disk_ms = 0;
	hbt_sink_end(&sink, NULL);
	get_all();
	assert_int_equal(got, written);
}

/* Sources */

static struct hbt_source *source;

static void open_source(void)
{
	assert_int_equal(hbt_pipe_source_new(&source, base, fd), HALIBUT_OK);
	fd = -1;
	source->wake = on_wake;
}

static void a_source_wakes_its_reader_when_there_is_more(void **state)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	char buf[100];

	(void)state;
	start_counting();
	open_source();
	assert_int_equal(source->ops->read(source, buf, 100, &err),
	                 -HALIBUT_EAGAIN);
	for (int i = 0; i < 10; i++)
		turn();
	assert_int_equal(wakes, 0);
	put(5);
	await(wakes == 1);
	assert_int_equal(source->ops->read(source, buf, 100, &err), 5);
	/* Who does not ask is not woken. */
	put(5);
	for (int i = 0; i < 10; i++)
		turn();
	assert_int_equal(wakes, 1);
	assert_int_equal(source->ops->read(source, buf, 100, &err), 5);
	assert_int_equal(source->ops->read(source, buf, 100, &err),
	                 -HALIBUT_EAGAIN);
	hbt_sink_end(&sink, NULL);
	await(wakes == 2);
	assert_int_equal(source->ops->read(source, buf, 100, &err), 0);
	hbt_source_free(&source);
}

static void free_source(void *arg)
{
	(void)arg;
	hbt_source_free(&source);
}

static void a_source_may_be_freed_while_it_wakes(void **state)
{
	char buf[100];

	(void)state;
	start_counting();
	open_source();
	source->wake = free_source;
	assert_int_equal(source->ops->read(source, buf, 100, NULL),
	                 -HALIBUT_EAGAIN);
	put(5);
	await(source == NULL);
}

static void a_detached_descriptor_goes_on_where_the_source_was(void **state)
{
	char buf[100];

	(void)state;
	start_counting();
	open_source();
	assert_int_equal(source->ops->read(source, buf, 100, NULL),
	                 -HALIBUT_EAGAIN);
	fd = hbt_pipe_source_detach(&source);
	assert_null(source);
	assert_int_equal(hbt_pipe_source_detach(&source), -1);
	put(5);
	turn();
	assert_int_equal(wakes, 0);
	assert_int_equal(get(100), 5);
}

static void only_pipes_become_sources(void **state)
{
	int before = open_descriptors();

	(void)state;
	assert_int_equal(
		hbt_pipe_source_new(&source, base, open("/dev/zero", O_RDONLY)),
		HALIBUT_EINVAL);
	assert_null(source);
	assert_int_equal(hbt_pipe_source_new(&source, base, -1),
	                 HALIBUT_EINVAL);
	assert_int_equal(open_descriptors(), before);
}

static void the_death_of_a_writer_is_an_early_end(void **state)
{
	struct halibut_error why = {.status = HALIBUT_ECLOSED};
	pid_t pid;

	(void)state;
	start_counting();
	if ((pid = fork()) == 0) {
		put(1000);
		kill(getpid(), SIGKILL);
	}
	hbt_sink_end(&sink, &why); /* our copy of that end */
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	get_all();
	assert_int_equal(got, 1000);
}

static void a_child_reads_all_of_it(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	start_counting();
	if ((pid = fork()) == 0) {
		struct halibut_error why = {.status = HALIBUT_ECLOSED};

		hbt_sink_end(&sink, &why); /* our copy of that end */
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
		while (get(65536) > 0)
			;
		_exit(got == 50 * MIB ? 0 : 1);
	}
	close(fd);
	fd = -1;
	while (written < 50 * MIB) {
		size_t left = 50 * MIB - written;
		size_t n = left < 300000 ? left : 300000;
		int before = wakes;

		/* Blocks in the loop: the child is another process. */
		if ((size_t)put(n) < n) {
			while (wakes == before)
				event_base_loop(base, EVLOOP_ONCE);
		}
	}
	hbt_sink_end(&sink, NULL);
	while (hbt_spool_bytes() > 0)
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int make_directory(void **state)
{
	(void)state;
	return mkdtemp(directory) != NULL ? 0 : -1;
}

static int remove_directory(void **state)
{
	(void)state;
	return rmdir(directory);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(small_sections_go_straight_through),
		TEST(what_the_pipe_does_not_take_waits_in_memory),
		TEST(what_is_much_waits_in_a_file_without_a_name),
		TEST(at_the_limit_it_takes_no_more_until_there_is_room),
		TEST(all_sinks_share_the_limit_of_the_process),
		TEST(a_long_section_uses_little_room),
		TEST(no_rhythm_of_both_sides_mixes_bytes_up),
		TEST(a_failed_section_ends_early_and_drops_the_spool),
		TEST(without_a_reader_writing_fails),
		TEST(who_waits_for_room_is_woken_when_the_reader_goes),
		TEST(an_ended_sink_vanishes_with_its_reader),
		TEST(a_sink_may_be_ended_while_it_wakes),
		TEST(without_a_directory_it_slows_down_instead_of_failing),
		TEST(a_full_disk_slows_down_instead_of_failing),
		TEST(a_disk_that_is_full_is_tried_again_without_a_reader),
		TEST(a_slow_disk_takes_a_part_of_the_time),
		TEST(a_source_wakes_its_reader_when_there_is_more),
		TEST(a_source_may_be_freed_while_it_wakes),
		TEST(a_detached_descriptor_goes_on_where_the_source_was),
		TEST(only_pipes_become_sources),
		TEST(the_death_of_a_writer_is_an_early_end),
		TEST(a_child_reads_all_of_it),
	};

	return cmocka_run_group_tests(tests, make_directory,
	                              remove_directory);
}
