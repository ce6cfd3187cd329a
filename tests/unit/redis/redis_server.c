#include "redis_server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ARGS = 40 };

static void run(const struct redis_server *s, const char *const *more,
                pid_t parent)
{
	const char *argv[MAX_ARGS] = {
		"redis-server", "--port",    "0",         "--unixsocket",
		s->socket,      "--save",    "",          "--logfile",
		"/dev/null",    "--dir",     s->dir,
	};
	int n = 11;

	for (; more != NULL && *more != NULL && n < MAX_ARGS - 1; more++)
		argv[n++] = *more;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	execvp(argv[0], (char *const *)argv);
	_exit(127);
}

static int connects(const struct redis_server *s)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", s->socket);
	rc = connect(fd, (struct sockaddr *)&a, sizeof(a));
	close(fd);
	return rc == 0;
}

int redis_server_restart(struct redis_server *s, const char *const *more)
{
	pid_t parent = getpid();

	unlink(s->socket);
	if ((s->pid = fork()) == 0)
		run(s, more, parent);
	while (s->pid > 0 && !connects(s)) {
		/* Looked for anew a hundred times a second: a child's socket
		 * tells nobody that it listens. */
		if (waitpid(s->pid, NULL, WNOHANG) == s->pid)
			s->pid = 0;
		usleep(10000);
	}
	return s->pid > 0 ? 0 : -1;
}

int redis_server_start(struct redis_server *s, const char *const *more)
{
	memset(s, 0, sizeof(*s));
	snprintf(s->dir, sizeof(s->dir), "/tmp/halibut-redis-XXXXXX");
	if (mkdtemp(s->dir) == NULL)
		return -1;
	snprintf(s->socket, sizeof(s->socket), "%s/socket", s->dir);
	snprintf(s->url, sizeof(s->url), "unix://%s", s->socket);
	if (redis_server_restart(s, more) == 0)
		return 0;
	redis_server_stop(s);
	return -1;
}

void redis_server_kill(struct redis_server *s)
{
	if (s->pid <= 0)
		return;
	kill(s->pid, SIGKILL);
	while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	s->pid = 0;
}

void redis_server_freeze(struct redis_server *s)
{
	kill(s->pid, SIGSTOP);
}

void redis_server_thaw(struct redis_server *s)
{
	kill(s->pid, SIGCONT);
}

void redis_server_stop(struct redis_server *s)
{
	char command[80];

	redis_server_kill(s);
	if (s->dir[0] == '\0')
		return;
	snprintf(command, sizeof(command), "rm -rf '%s'", s->dir);
	if (system(command) != 0)
		fprintf(stderr, "%s stays\n", s->dir);
	s->dir[0] = '\0';
}
