#include "ipc/sandbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif

/* Sanitizers look at files and other threads in their own ways. */
#if defined(HBT_HAVE_SECCOMP) && !defined(HAS_SANITIZER)

#include <fcntl.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* Without regard to what their arguments are. By name: not every machine has
 * every one of them. */
static const char *const all_may[] = {
	/* what it has open */
	"read", "write", "readv", "writev", "pread64", "pwrite64", "close",
	"fstat", "lseek", "fcntl", "fcntl64", "ftruncate", "dup", "dup2",
	"dup3", "ioctl",
	/* waiting */
	"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
	"epoll_pwait2", "poll", "ppoll", "select", "pselect6", "timerfd_create",
	"timerfd_settime", "eventfd2", "pipe2", "nanosleep", "clock_nanosleep",
	"restart_syscall",
	/* sockets that it has */
	"sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg",
	"shutdown", "getsockname", "getpeername", "setsockopt", "getsockopt",
	/* long messages */
	"memfd_create",
	/* memory; see also mmap below */
	"brk", "munmap", "mremap", "madvise", "futex",
	/* time, chance, itself */
	"getrandom", "clock_gettime", "clock_getres", "gettimeofday", "time",
	"getpid", "gettid", "getuid", "geteuid", "getgid", "getegid",
	"getrlimit", "getrusage", "sysinfo", "uname", "sched_yield",
	"sched_getaffinity", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
	"sigaltstack", "rseq", "set_robust_list", "exit", "exit_group",
};

static const char *const connections_may[] = {
	/* the network; see also socket below */
	"bind", "connect",
	/* spooled DataStreams; see also openat below */
	"fallocate", "splice", "unlink", "unlinkat",
};

static const char *const status_may[] = {
	"accept", "accept4",
};

/* Nothing that we link asks for these: somebody else is at the wheel. */
static const char *const all_die_of[] = {
	"execve", "execveat", "ptrace", "process_vm_readv",
	"process_vm_writev", "open_by_handle_at", "bpf", "kexec_load",
	"init_module", "finit_module", "mount", "setns", "unshare",
};

static const char *const programs_may_not[] = {
	/* file systems and name spaces */
	"mount", "umount", "umount2", "pivot_root", "move_mount", "open_tree",
	"fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "setns",
	"unshare", "chroot", "open_by_handle_at", "quotactl", "quotactl_fd",
	/* the kernel, and the machine */
	"kexec_load", "kexec_file_load", "init_module", "finit_module",
	"delete_module", "reboot", "swapon", "swapoff", "acct", "syslog",
	"sethostname", "setdomainname", "settimeofday", "clock_settime",
	"clock_adjtime", "adjtimex", "stime", "iopl", "ioperm", "vhangup",
	"lookup_dcookie", "nfsservctl",
	/* other processes */
	"ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd",
	"kcmp", "perf_event_open", "userfaultfd", "bpf",
	/* keys of others, and ways around a filter */
	"add_key", "request_key", "keyctl", "io_uring_setup",
	"io_uring_enter", "io_uring_register",
};

static int add_all(scmp_filter_ctx f, uint32_t action,
                   const char *const *names, size_t n)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++) {
		int number = seccomp_syscall_resolve_name(names[i]);

		/* Negative: of another machine, or newer than libseccomp. */
		if (number >= 0)
			rc = seccomp_rule_add(f, action, number, 0);
	}
	return rc;
}

static int allow_if(scmp_filter_ctx f, const char *name, struct scmp_arg_cmp a)
{
	int number = seccomp_syscall_resolve_name(name);

	return number < 0 ? 0
	                  : seccomp_rule_add_array(f, SCMP_ACT_ALLOW, number,
	                                           1, &a);
}

/* Files that the call itself makes: without a name, or new. */
static int allow_new_files(scmp_filter_ctx f)
{
	const unsigned unnamed = O_TMPFILE & ~(unsigned)O_DIRECTORY;
	const unsigned new = O_CREAT | O_EXCL;
	int rc = allow_if(f, "openat",
	                  SCMP_A2(SCMP_CMP_MASKED_EQ, unnamed | O_PATH,
	                          unnamed));

	if (rc == 0)
		rc = allow_if(f, "openat",
		              SCMP_A2(SCMP_CMP_MASKED_EQ, new | O_PATH, new));
	return rc;
}

/* What all who parse bytes from outside need, and no more. */
static int allow_basics(scmp_filter_ctx f)
{
	static const char *const maps[] = {"mmap", "mmap2", "mprotect"};
	int rc = add_all(f, SCMP_ACT_ALLOW, all_may, COUNT(all_may));

	for (size_t i = 0; rc == 0 && i < COUNT(maps); i++)
		rc = allow_if(f, maps[i],
		              SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	/* fstat() of glibc; abort(); and its own limits, to read them. */
	if (rc == 0)
		rc = allow_if(f, "newfstatat",
		              SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH));
	if (rc == 0)
		rc = allow_if(f, "tgkill",
		              SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
	return rc != 0 ? rc
	               : allow_if(f, "prlimit64", SCMP_A2(SCMP_CMP_EQ, 0));
}

static int allow_connections(scmp_filter_ctx f)
{
	static const int families[] = {AF_INET, AF_INET6};
	int rc = allow_new_files(f);

	for (size_t i = 0; rc == 0 && i < COUNT(families); i++)
		rc = allow_if(f, "socket",
		              SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]));
	return rc != 0 ? rc
	               : add_all(f, SCMP_ACT_ALLOW, connections_may,
	                         COUNT(connections_may));
}

static int add_rules(scmp_filter_ctx f, enum hbt_sandbox kind, bool strict)
{
	int rc;

	if (kind == HBT_SANDBOX_PROGRAMS)
		return add_all(f, SCMP_ACT_ERRNO(EPERM), programs_may_not,
		               COUNT(programs_may_not));
	rc = allow_basics(f);
	if (rc == 0)
		rc = kind == HBT_SANDBOX_CONNECTIONS
		             ? allow_connections(f)
		             : add_all(f, SCMP_ACT_ALLOW, status_may,
		                       COUNT(status_may));
	return rc != 0 || strict
	               ? rc
	               : add_all(f, SCMP_ACT_KILL_PROCESS, all_die_of,
	                         COUNT(all_die_of));
}

int hbt_sandbox_enter(enum hbt_sandbox kind, struct halibut_error *err)
{
	const char *how = getenv("HALIBUT_SANDBOX");
	bool strict = how != NULL && strcmp(how, "strict") == 0;
	uint32_t otherwise = kind == HBT_SANDBOX_PROGRAMS ? SCMP_ACT_ALLOW
	                     : strict ? SCMP_ACT_KILL_PROCESS
	                              : SCMP_ACT_ERRNO(EPERM);
	scmp_filter_ctx f;
	int rc = -ENOMEM;

	if (how != NULL && strcmp(how, "no") == 0)
		return HALIBUT_OK;
	if ((f = seccomp_init(otherwise)) != NULL) {
		rc = add_rules(f, kind, strict);
		if (rc == 0)
			rc = seccomp_load(f);
		seccomp_release(f);
	}
	if (rc == 0)
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_ESYSTEM,
	                     "the kernel takes no seccomp filter: %s; where "
	                     "it cannot, set sandbox = no",
	                     strerror(-rc));
}

bool hbt_sandbox_is_built_in(void)
{
	return true;
}

#else

bool hbt_sandbox_is_built_in(void)
{
	return false;
}

int hbt_sandbox_enter(enum hbt_sandbox kind, struct halibut_error *err)
{
	(void)kind;
	(void)err;
	log_debug("built without a sandbox");
	return HALIBUT_OK;
}

#endif
