#include "redis_server.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ARGS = 60, START_MS = 30000 };

static void run(const struct redis_server *s, const char *const *more,
                pid_t parent)
{
	char config[64];
	const char *plain[MAX_ARGS] = {
		"redis-server", "--port",    "0",         "--unixsocket",
		s->socket,      "--save",    "",          "--logfile",
		s->log,         "--dir",     s->dir,
	};
	const char *sentinel[] = {"redis-server", config, "--sentinel", NULL};
	int n = 11;

	snprintf(config, sizeof(config), "%s/conf", s->dir);
	for (; more != NULL && *more != NULL && n < MAX_ARGS - 1; more++)
		plain[n++] = *more;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	execvp("redis-server", (char *const *)(s->sentinel ? sentinel : plain));
	_exit(127);
}

/* Since from: what it logged, terminated. */
static char *logged(const struct redis_server *s, off_t from)
{
	int fd = open(s->log, O_RDONLY | O_CLOEXEC);
	off_t end = lseek(fd, 0, SEEK_END);
	size_t n = end > from ? (size_t)(end - from) : 0;
	char *text = calloc(1, n + 1);

	if (text != NULL && n > 0 && pread(fd, text, n, from) < 0)
		text[0] = '\0';
	close(fd);
	return text;
}

static bool is_ready(const struct redis_server *s, off_t from, bool say)
{
	char *text = logged(s, from);
	bool ready = text != NULL &&
	             (strstr(text, "eady to accept connections") != NULL ||
	              strstr(text, "Sentinel ID is") != NULL);

	if (say && text != NULL)
		fprintf(stderr, "%s", text);
	free(text);
	return ready;
}

/* Until its log says so, or it is dead. */
static int await_ready(struct redis_server *s, off_t from, int watch)
{
	struct pollfd fds[] = {
		{.fd = watch, .events = POLLIN},
		{.fd = (int)syscall(SYS_pidfd_open, s->pid, 0),
	         .events = POLLIN},
	};
	char events[4096];
	int rc = 0;

	while (!is_ready(s, from, false)) {
		if (poll(fds, 2, START_MS) > 0 && fds[1].revents == 0) {
			if (read(watch, events, sizeof(events)) < 0)
				events[0] = '\0';
			continue;
		}
		is_ready(s, from, true);
		redis_server_kill(s);
		rc = -1;
		break;
	}
	close(fds[1].fd);
	return rc;
}

int redis_server_restart(struct redis_server *s, const char *const *more)
{
	int log = open(s->log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	int watch = inotify_init1(IN_CLOEXEC);
	off_t from = lseek(log, 0, SEEK_END);
	pid_t parent = getpid();
	int rc = -1;

	close(log);
	unlink(s->socket);
	if (inotify_add_watch(watch, s->log, IN_MODIFY) >= 0) {
		if ((s->pid = fork()) == 0)
			run(s, more, parent);
		if (s->pid > 0)
			rc = await_ready(s, from, watch);
	}
	close(watch);
	return rc;
}

static int make_dir(struct redis_server *s)
{
	memset(s, 0, sizeof(*s));
	snprintf(s->dir, sizeof(s->dir), "/tmp/halibut-redis-XXXXXX");
	if (mkdtemp(s->dir) == NULL)
		return -1;
	snprintf(s->socket, sizeof(s->socket), "%s/socket", s->dir);
	snprintf(s->url, sizeof(s->url), "unix://%s", s->socket);
	snprintf(s->log, sizeof(s->log), "%s/log", s->dir);
	return 0;
}

int redis_server_start(struct redis_server *s, const char *const *more)
{
	if (make_dir(s) != 0)
		return -1;
	if (redis_server_restart(s, more) == 0)
		return 0;
	redis_server_stop(s);
	return -1;
}

int redis_server_start_sentinel(struct redis_server *s, int port,
                                int primary_port)
{
	char path[64];
	FILE *f;

	if (make_dir(s) != 0)
		return -1;
	s->sentinel = true;
	snprintf(path, sizeof(path), "%s/conf", s->dir);
	if ((f = fopen(path, "we")) == NULL)
		return -1;
	fprintf(f,
	        "port %d\nbind 127.0.0.1\nprotected-mode no\n"
	        "unixsocket %s\ndir %s\nlogfile %s\n"
	        "sentinel monitor halibut 127.0.0.1 %d 1\n"
	        "sentinel down-after-milliseconds halibut 500\n"
	        "sentinel failover-timeout halibut 3000\n",
	        port, s->socket, s->dir, s->log, primary_port);
	fclose(f);
	if (redis_server_restart(s, NULL) == 0)
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
	while (waitpid(s->pid, NULL, WUNTRACED) < 0 && errno == EINTR)
		;
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

int redis_server_free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
	                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), port = -1;
	const int on = 1;

	/* It stays open; the server may bind it all the same. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&a, len) == 0 &&
	    getsockname(fd, (struct sockaddr *)&a, &len) == 0)
		port = ntohs(a.sin_port);
	return port;
}

static void print(FILE *f, const redisReply *r)
{
	switch (r->type) {
	case REDIS_REPLY_INTEGER:
		fprintf(f, "%lld", r->integer);
		break;
	case REDIS_REPLY_ARRAY:
		for (size_t i = 0; i < r->elements; i++) {
			fprintf(f, "%s", i > 0 ? " " : "");
			print(f, r->element[i]);
		}
		break;
	case REDIS_REPLY_NIL:
		fprintf(f, "(nil)");
		break;
	default:
		fprintf(f, "%s", r->str);
	}
}

char *redis_server_ask(const struct redis_server *s, const char *format, ...)
{
	redisContext *c = redisConnectUnix(s->socket);
	char *text = NULL;
	size_t len = 0;
	redisReply *r;
	va_list ap;
	FILE *f;

	if (c == NULL || c->err != 0) {
		redisFree(c);
		return NULL;
	}
	va_start(ap, format);
	r = redisvCommand(c, format, ap);
	va_end(ap);
	if (r != NULL && (f = open_memstream(&text, &len)) != NULL) {
		print(f, r);
		fclose(f);
	}
	if (r != NULL)
		freeReplyObject(r);
	redisFree(c);
	return text;
}
