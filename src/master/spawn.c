#include "master/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ipc/proto.h"

static int find_user(struct hbt_identity *id, const char *user,
                     struct halibut_error *err)
{
	const struct passwd *pw = getpwnam(user);

	if (pw == NULL)
		return hbt_error_set(
			err, HALIBUT_EINVAL,
			"user \"%s\" does not exist; create it, or "
			"change user in the configuration",
			user);
	id->uid = pw->pw_uid;
	id->gid = pw->pw_gid;
	return HALIBUT_OK;
}

static int find_group(struct hbt_identity *id, const char *group,
                      struct halibut_error *err)
{
	const struct group *gr = getgrnam(group);

	if (gr == NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "group \"%s\" does not exist; create it, "
		                     "or change group in the configuration",
		                     group);
	id->gid = gr->gr_gid;
	return HALIBUT_OK;
}

int hbt_identity_find(struct hbt_identity *id, const struct hbt_config *cfg,
                      struct halibut_error *err)
{
	int rc = HALIBUT_OK;

	id->uid = getuid();
	id->gid = getgid();
	if (cfg->user != NULL)
		rc = find_user(id, cfg->user, err);
	if (rc == HALIBUT_OK && cfg->group != NULL)
		rc = find_group(id, cfg->group, err);
	id->change = id->uid != getuid() || id->gid != getgid();
	if (rc == HALIBUT_OK && id->change && geteuid() != 0)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "only root can start workers as another "
		                   "user; start halibutd as root, or remove "
		                   "user and group from the configuration");
	return rc;
}

/* Everything the master had, put back to what a program expects. */
static void reset_signals(void)
{
	struct sigaction preset = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		sigaction(i, &preset, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void become(const struct hbt_identity *id)
{
	if (id->change && (setgroups(0, NULL) != 0 || setgid(id->gid) != 0 ||
	                   setuid(id->uid) != 0))
		_exit(126);
}

/* Settings are the master's, and may be secrets: without them, except for
 * what workers and halibutctl read. */
static bool is_for_workers(const char *variable)
{
	static const char *const kept[] = {"HALIBUT_LOG_FORMAT=",
	                                   "HALIBUT_SANDBOX=",
	                                   "HALIBUT_CONTROL="};

	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
		if (strncmp(variable, kept[i], strlen(kept[i])) == 0)
			return true;
	return strncmp(variable, "HALIBUT_", 8) != 0;
}

/* The list is the caller's, its texts are not. NULL when memory is short. */
static char **make_environment(void)
{
	size_t n = 0, kept = 0;
	char **list;

	while (environ[n] != NULL)
		n++;
	if ((list = calloc(n + 1, sizeof(*list))) == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (is_for_workers(environ[i]))
			list[kept++] = environ[i];
	return list;
}

/* In the child: only async-signal-safe functions. */
static void run(const char *path, char *const *env,
                const struct hbt_identity *id, int channel)
{
	char *const argv[] = {(char *)path, NULL};
	int null;

	reset_signals();
	/* Of its own, so that an interrupt at the terminal goes to the master
	 * alone, which then stops its workers in order. */
	setpgid(0, 0);
	if (channel == HBT_CHANNEL_FD) {
		if (fcntl(channel, F_SETFD, 0) != 0)
			_exit(126);
	} else if (dup2(channel, HBT_CHANNEL_FD) < 0) {
		_exit(126);
	}
	null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0)
		_exit(126);
	if (close_range(HBT_CHANNEL_FD + 1, ~0U, 0) != 0)
		for (int i = HBT_CHANNEL_FD + 1; i < 65536; i++)
			close(i);
	become(id);
	/* Not for what it executes either: no set-user-ID program helps. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		_exit(126);
	execve(path, argv, env);
	_exit(127);
}

int hbt_spawn(const char *path, const struct hbt_identity *id, pid_t *pid,
              int *channel, struct halibut_error *err)
{
	int pair[2];
	char **env;

	if (access(path, X_OK) != 0)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "%s cannot be run: %s; see "
		                     "worker_directory in halibutd.conf(5)",
		                     path, strerror(errno));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "%s cannot be started: no channel: %s",
		                     path, strerror(errno));
	if ((env = make_environment()) == NULL) {
		close(pair[0]);
		close(pair[1]);
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	}
	*pid = fork();
	if (*pid == 0)
		run(path, env, id, pair[1]);
	free(env);
	close(pair[1]);
	if (*pid < 0) {
		close(pair[0]);
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "%s cannot be started: %s", path,
		                     strerror(errno));
	}
	*channel = pair[0];
	return HALIBUT_OK;
}

/* As the worker's user: root without CAP_KILL may end nobody else's. */
void hbt_spawn_kill(pid_t victim, const struct hbt_identity *id)
{
	pid_t child;

	if (kill(victim, SIGKILL) == 0 || errno != EPERM || !id->change)
		return;
	child = fork();
	if (child == 0) {
		become(id);
		kill(victim, SIGKILL);
		_exit(0);
	}
	/* The master reaps whatever ends; here it may not have a loop left. */
	if (child > 0)
		waitpid(child, NULL, 0);
}
