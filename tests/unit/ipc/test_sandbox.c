/* What a worker in the sandbox can do, and what not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/sandbox.h"

static char directory[] = "/tmp/halibut-sandbox-XXXXXX";
static char secret[64];

/* In a process of its own; its exit status, or -signal. */
static int inside(enum hbt_sandbox kind, int (*deed)(void))
{
	struct halibut_error err = {0};
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (hbt_sandbox_enter(kind, &err) != HALIBUT_OK)
			_exit(99);
		_exit(deed());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int nothing(void)
{
	return 0;
}

static void need_a_sandbox(void)
{
	unsetenv("HALIBUT_SANDBOX");
}

static int read_secret(void)
{
	return open(secret, O_RDONLY) >= 0 ? 0 : errno;
}

static int truncate_secret(void)
{
	return open(secret, O_WRONLY | O_CREAT | O_TRUNC, 0600) >= 0 ? 0
	                                                            : errno;
}

static int open_path_of_secret(void)
{
	return open(secret, O_PATH | O_TMPFILE, 0600) >= 0 ? 0 : errno;
}

static void it_opens_no_file_that_exists(void **state)
{
	(void)state;
	need_a_sandbox();
	assert_int_equal(inside(HBT_SANDBOX_CONNECTIONS, read_secret), EPERM);
	assert_int_equal(inside(HBT_SANDBOX_CONNECTIONS, truncate_secret),
	                 EPERM);
	assert_int_equal(inside(HBT_SANDBOX_CONNECTIONS, open_path_of_secret),
	                 EPERM);
	assert_int_equal(inside(HBT_SANDBOX_PROGRAMS, read_secret), 0);
}

static int make_spool(void)
{
	char name[96];
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 && errno != EOPNOTSUPP)
		return errno;
	snprintf(name, sizeof(name), "%s/spool-XXXXXX", directory);
	if ((fd = mkostemp(name, O_CLOEXEC)) < 0 || unlink(name) != 0 ||
	    write(fd, "x", 1) != 1 || ftruncate(fd, 0) != 0)
		return errno;
	return memfd_create("x", MFD_CLOEXEC) >= 0 ? 0 : errno;
}

static void it_makes_files_of_its_own(void **state)
{
	(void)state;
	assert_int_equal(inside(HBT_SANDBOX_CONNECTIONS, make_spool), 0);
}

static int dial_inet(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0)
		return errno;
	return 0;
}

static int dial_unix(void)
{
	return socket(AF_UNIX, SOCK_SEQPACKET, 0) >= 0 ? 0 : errno;
}

static int listen_inet(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return listen(fd, 1) == 0 ? 0 : errno;
}

static void it_speaks_to_the_internet_but_not_to_this_machine(void **state)
{
	(void)state;
	need_a_sandbox();
	assert_int_equal(inside(HBT_SANDBOX_CONNECTIONS, dial_inet), 0);
	assert_int_equal(inside(HBT_SANDBOX_CONNECTIONS, dial_unix), EPERM);
	assert_int_equal(inside(HBT_SANDBOX_CONNECTIONS, listen_inet), EPERM);
	assert_int_equal(inside(HBT_SANDBOX_PROGRAMS, dial_unix), 0);
}

/* It listens before the sandbox closes; see inside(). */
static int listener = -1;

static int accept_one(void)
{
	return accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) < 0
	               ? errno
	               : 0;
}

static void the_status_serves_what_it_was_given_and_reaches_nobody(void **state)
{
	(void)state;
	need_a_sandbox();
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
	                  0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(inside(HBT_SANDBOX_STATUS, accept_one), EAGAIN);
	close(listener);
	assert_int_equal(inside(HBT_SANDBOX_STATUS, dial_inet), EPERM);
	assert_int_equal(inside(HBT_SANDBOX_STATUS, dial_unix), EPERM);
	assert_int_equal(inside(HBT_SANDBOX_STATUS, read_secret), EPERM);
	assert_int_equal(inside(HBT_SANDBOX_STATUS, make_spool), EPERM);
	assert_int_equal(inside(HBT_SANDBOX_CONNECTIONS, accept_one), EPERM);
}

static int map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
	            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED
	               ? 0
	               : errno;
}

static int start_shell(void)
{
	return execl("/bin/true", "true", (char *)NULL);
}

static int start_child(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid > 0 ? 0 : errno;
}

static void it_runs_nothing_else(void **state)
{
	(void)state;
	need_a_sandbox();
	assert_int_equal(inside(HBT_SANDBOX_CONNECTIONS, map_code), EPERM);
	assert_int_equal(inside(HBT_SANDBOX_CONNECTIONS, start_child), EPERM);
	assert_int_equal(inside(HBT_SANDBOX_CONNECTIONS, start_shell),
	                 -SIGSYS);
	assert_int_equal(inside(HBT_SANDBOX_PROGRAMS, start_shell), 0);
}

static int look_into_parent(void)
{
	char byte;
	struct iovec to = {&byte, 1}, from = {&secret, 1};

	return process_vm_readv(getppid(), &to, 1, &from, 1, 0) == 1 ? 0
	                                                             : errno;
}

static void programs_do_not_look_into_other_processes(void **state)
{
	(void)state;
	need_a_sandbox();
	assert_int_equal(inside(HBT_SANDBOX_PROGRAMS, look_into_parent),
	                 EPERM);
}

static void it_can_be_switched_off_and_made_deadly(void **state)
{
	(void)state;
	need_a_sandbox();
	setenv("HALIBUT_SANDBOX", "no", 1);
	assert_int_equal(inside(HBT_SANDBOX_CONNECTIONS, read_secret), 0);
	setenv("HALIBUT_SANDBOX", "strict", 1);
	assert_int_equal(inside(HBT_SANDBOX_CONNECTIONS, read_secret),
	                 -SIGSYS);
	assert_int_equal(inside(HBT_SANDBOX_CONNECTIONS, nothing), 0);
	unsetenv("HALIBUT_SANDBOX");
}

static int make_secret(void **state)
{
	int fd;

	(void)state;
	if (mkdtemp(directory) == NULL)
		return -1;
	snprintf(secret, sizeof(secret), "%s/key", directory);
	fd = open(secret, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	return fd < 0 ? -1 : close(fd);
}

static int remove_secret(void **state)
{
	(void)state;
	unlink(secret);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_opens_no_file_that_exists),
		cmocka_unit_test(it_makes_files_of_its_own),
		cmocka_unit_test(
			it_speaks_to_the_internet_but_not_to_this_machine),
		cmocka_unit_test(
			the_status_serves_what_it_was_given_and_reaches_nobody),
		cmocka_unit_test(it_runs_nothing_else),
		cmocka_unit_test(programs_do_not_look_into_other_processes),
		cmocka_unit_test(it_can_be_switched_off_and_made_deadly),
	};

	if (!hbt_sandbox_is_built_in()) {
		printf("1..0 # SKIP no sandbox, as in a build with a "
		       "sanitizer\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, make_secret, remove_secret);
}
