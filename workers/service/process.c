/* Processes of service programs: see process.h. */
#include "process.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/timespan.h"
#include "bounds.h"
#include "stderr_log.h"

#define PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define MAX_ENDING_READS 64 /* of a dead process's pipes, 64 KiB each */

enum process_state {
	PROCESS_RUNNING,
	PROCESS_LEAVING,    /* a pipe between us ended, it should leave */
	PROCESS_TERMINATED, /* SIGTERM is sent */
	PROCESS_KILLED,     /* SIGKILL is sent */
	PROCESS_GONE,       /* reaped */
};

struct hbt_svc_process {
	enum process_state state;
	pid_t pid;
	char *name; /* for the log */
	int in, out, err; /* our ends; -1 once closed */
	struct event *writable, *readable, *err_readable;
	struct event *impatience; /* goes on to the next state */
	struct evbuffer *input;   /* what its pipe did not take */
	size_t line_bytes;        /* of the last line sent */
	struct hbt_buf output;    /* a line that has no end yet */
	struct hbt_svc_stderr words;
	bool broken;              /* broken() was called */
	const char *why;          /* what led to its end, or NULL */
	const char *suspicion;    /* why, if it does not leave by itself */
	const struct hbt_svc_process_ops *ops;
	void *arg;
};

static char scratch[SVC_READ_BYTES];

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* To the whole group: a program may have started others. */
static void signal_group(struct hbt_svc_process *p, int signo)
{
	if (kill(-p->pid, signo) != 0)
		kill(p->pid, signo);
}

/* The one place where a process is urged on. */
static void set_state(struct hbt_svc_process *p, enum process_state to)
{
	static const int patience_ms[] = {
		[PROCESS_LEAVING] = SVC_EOF_GRACE_MS,
		[PROCESS_TERMINATED] = SVC_TERM_GRACE_MS,
	};
	struct timeval tv;
	int ms = 0;

	if (to <= p->state)
		return;
	p->state = to;
	event_del(p->impatience);
	if (to == PROCESS_TERMINATED)
		signal_group(p, SIGTERM);
	else if (to == PROCESS_KILLED)
		signal_group(p, SIGKILL);
	event_del(p->writable);
	if (to == PROCESS_LEAVING || to == PROCESS_TERMINATED)
		ms = patience_ms[to];
	if (ms > 0) {
		tv.tv_sec = ms / 1000;
		tv.tv_usec = ms % 1000 * 1000;
		event_add(p->impatience, &tv);
	}
}

static void on_impatience(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_svc_process *p = arg;

	(void)fd;
	(void)what;
	if (p->why == NULL)
		p->why = p->suspicion;
	set_state(p, p->state == PROCESS_LEAVING ? PROCESS_TERMINATED
	                                         : PROCESS_KILLED);
}

/* It cannot go on: is urged to end, and its owner told, once. */
static void set_broken(struct hbt_svc_process *p, enum process_state to,
                       const char *why)
{
	bool news = !p->broken && p->state == PROCESS_RUNNING;

	set_state(p, to);
	if (!news)
		return;
	p->broken = true;
	p->why = why;
	p->ops->broken(p->arg, why);
}

/*
 * A pipe between us ended, mostly because the process did: then gone() tells
 * how, which is the better story.
 */
static void suspect(struct hbt_svc_process *p, const char *why)
{
	if (p->suspicion == NULL)
		p->suspicion = why;
	set_broken(p, PROCESS_LEAVING, NULL);
}

/* Feeding */

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_svc_process *p = arg;

	(void)what;
	if (evbuffer_write(p->input, fd) < 0 && errno != EAGAIN &&
	    errno != EINTR) {
		suspect(p, "closed its standard input");
		return;
	}
	if (evbuffer_get_length(p->input) == 0)
		event_del(p->writable);
	else
		event_add(p->writable, NULL);
}

static void free_line(const void *data, size_t len, void *arg)
{
	(void)len;
	(void)arg;
	free((void *)data);
}

int hbt_svc_process_send(struct hbt_svc_process *p, char *line, size_t len)
{
	assert(p->state == PROCESS_RUNNING);
	/* It answered without reading all: what is left is of no use. */
	p->line_bytes = evbuffer_get_length(p->input) + len;
	if (evbuffer_add_reference(p->input, line, len, free_line, NULL) != 0) {
		free(line);
		return HALIBUT_ENOMEM;
	}
	/* Not from here: a failed write calls back. */
	if (evbuffer_write(p->input, p->in) < 0 && errno != EAGAIN &&
	    errno != EINTR)
		event_active(p->writable, EV_WRITE, 0);
	else if (evbuffer_get_length(p->input) > 0)
		event_add(p->writable, NULL);
	return HALIBUT_OK;
}

bool hbt_svc_process_unread(const struct hbt_svc_process *p)
{
	size_t ours = evbuffer_get_length(p->input);
	int theirs = 0;

	return p->in >= 0 && ioctl(p->in, FIONREAD, &theirs) == 0 &&
	       ours + (size_t)theirs == p->line_bytes;
}

/* Reading */

/* Hands over the complete lines; the rest stays. from: not looked at yet. */
static void split_lines(struct hbt_svc_process *p, size_t from)
{
	size_t start = 0;
	const uint8_t *end;

	while (p->state < PROCESS_TERMINATED) {
		size_t len;

		if (p->output.len == from ||
		    (end = memchr(p->output.data + from, '\n',
		                  p->output.len - from)) == NULL)
			break;
		len = (size_t)(end - p->output.data) - start;
		from = start + len + 1;
		if (len > 0 && p->output.data[start + len - 1] == '\r')
			len--;
		if (len > 0)
			p->ops->line(p->arg,
			             (const char *)p->output.data + start,
			             len);
		start = from;
	}
	hbt_buf_consume(&p->output, start);
}

/* One read from its standard output. False at its end or when empty. */
static bool read_output(struct hbt_svc_process *p, bool *end)
{
	ssize_t n = read(p->out, scratch, sizeof(scratch));
	size_t before = p->output.len;

	*end = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
	if (n <= 0)
		return n < 0 && errno == EINTR;
	if (p->state == PROCESS_TERMINATED || p->state == PROCESS_KILLED)
		return true; /* nobody listens */
	if (hbt_buf_append(&p->output, scratch, (size_t)n) != HALIBUT_OK) {
		hbt_buf_fini(&p->output);
		set_broken(p, PROCESS_TERMINATED,
		           "printed a line of more than 16 MiB on its "
		           "standard output; larger results belong in a "
		           "DataStream");
		return true;
	}
	split_lines(p, before);
	return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_svc_process *p = arg;
	bool end;

	(void)fd;
	(void)what;
	read_output(p, &end);
	if (end) {
		event_del(p->readable);
		suspect(p, "closed its standard output");
	}
}

static bool read_words(struct hbt_svc_process *p, bool *end)
{
	ssize_t n = read(p->err, scratch, sizeof(scratch));

	*end = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
	if (n > 0)
		hbt_svc_stderr_add(&p->words, p->name, scratch, (size_t)n,
		                   hbt_now_ms());
	return n > 0 || (n < 0 && errno == EINTR);
}

static void on_err_readable(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_svc_process *p = arg;
	bool end;

	(void)fd;
	(void)what;
	read_words(p, &end);
	if (end)
		event_del(p->err_readable);
}

/* Ending */

static char *describe_end(struct hbt_svc_process *p, int status)
{
	char *last = hbt_svc_stderr_last(&p->words);
	char *text = NULL;
	char end[96];

	if (WIFSIGNALED(status))
		snprintf(end, sizeof(end), "was killed by signal %d (%s)",
		         WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(end, sizeof(end), "exited with status %d",
		         WEXITSTATUS(status));
	if (asprintf(&text, "%s%s%s%s%s", p->why != NULL ? p->why : "",
	             p->why != NULL ? " and " : "", end,
	             last != NULL && *last ? "; its last words: " : "",
	             last != NULL ? last : "") < 0)
		text = NULL;
	free(last);
	return text;
}

void hbt_svc_process_reap(struct hbt_svc_process *p)
{
	siginfo_t info = {0};
	bool end = false;
	int status = 0;
	char *how;
	bool left;

	/* Without reaping it: until then the group's number is ours. */
	if (p->state == PROCESS_GONE ||
	    waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) !=
	            0 ||
	    info.si_pid == 0)
		return;
	kill(-p->pid, SIGKILL);
	while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
		;
	left = p->state <= PROCESS_LEAVING && WIFEXITED(status) &&
	       WEXITSTATUS(status) == 0;
	/* An answer may be the last thing it said. */
	for (int i = 0; i < MAX_ENDING_READS && !end && read_output(p, &end);
	     i++)
		;
	end = false;
	for (int i = 0; i < MAX_ENDING_READS && !end && read_words(p, &end);
	     i++)
		;
	hbt_svc_stderr_end(&p->words, p->name, hbt_now_ms());
	how = describe_end(p, status);
	p->state = PROCESS_GONE;
	event_del(p->impatience);
	event_del(p->readable);
	event_del(p->err_readable);
	event_del(p->writable);
	p->ops->gone(p->arg, how != NULL ? how : "ended", left);
	free(how);
}

void hbt_svc_process_close(struct hbt_svc_process *p)
{
	set_state(p, PROCESS_LEAVING);
	close_fd(&p->in);
}

void hbt_svc_process_kill(struct hbt_svc_process *p)
{
	set_state(p, PROCESS_TERMINATED);
}

pid_t hbt_svc_process_pid(const struct hbt_svc_process *p)
{
	return p->pid;
}

/* Starting. What follows runs in the child. */

static void child_limits(uint64_t max_memory_bytes)
{
	struct rlimit core = {0, 0};
	struct rlimit memory = {max_memory_bytes, max_memory_bytes};
	struct rlimit files;

	setrlimit(RLIMIT_CORE, &core);
	if (max_memory_bytes > 0)
		setrlimit(RLIMIT_AS, &memory);
	/* Ours may be huge, and some programs try to close them all. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > 1024) {
		files.rlim_cur = 1024;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static void child_signals(void)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		sigaction(signo, &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void child_stop(const char *what, const char *name)
{
	dprintf(2, "cannot %s %s: %s\n", what, name, strerror(errno));
	_exit(127);
}

static void child_main(const struct hbt_svc_process_spec *spec,
                       char **environment, pid_t parent, const int fds[3])
{
	const char *directory = spec->directory != NULL ? spec->directory : "/";

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127); /* it died before that */
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	/* All of fds are above 2: see make_pipe(). */
	for (int i = 0; i < 3; i++) {
		if (dup2(fds[i], i) < 0)
			_exit(127);
	}
	if (close_range(3, ~0U, 0) != 0) {
		for (int fd = 3; fd < 65536; fd++)
			close(fd);
	}
	child_signals();
	if (chdir(directory) != 0)
		child_stop("enter the directory", directory);
	child_limits(spec->max_memory_bytes);
	environ = environment;
	execvp(spec->argv[0], spec->argv);
	child_stop("start", spec->argv[0]);
}

/* NAME=value in one block, NULL when memory is short. */
static char **make_environment(const struct hbt_svc_process_spec *spec)
{
	const char *values[][2] = {
		{"PATH", PATH},
		{"LANG", "C.UTF-8"},
		{"HALIBUT_SERVICE", spec->service},
		{"HALIBUT_NODE", spec->node},
	};
	size_t n = sizeof(values) / sizeof(*values);
	size_t bytes = (n + 1) * sizeof(char *);
	char **env;
	char *p;
	size_t used = 0;

	for (size_t i = 0; i < n; i++)
		bytes += strlen(values[i][0]) + 2 +
		         (values[i][1] != NULL ? strlen(values[i][1]) : 0);
	if ((env = malloc(bytes)) == NULL)
		return NULL;
	p = (char *)(env + n + 1);
	for (size_t i = 0; i < n; i++) {
		if (values[i][1] == NULL)
			continue;
		env[used++] = p;
		p += sprintf(p, "%s=%s", values[i][0], values[i][1]) + 1;
	}
	env[used] = NULL;
	return env;
}

/* Never 0 to 2, so that the child can put them there; close-on-exec. */
static bool make_pipe(int fds[2])
{
	if (pipe2(fds, O_CLOEXEC) != 0) {
		fds[0] = fds[1] = -1;
		return false;
	}
	for (int i = 0; i < 2; i++) {
		int fd;

		if (fds[i] > 2)
			continue;
		fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		close(fds[i]);
		fds[i] = fd;
	}
	return fds[0] >= 0 && fds[1] >= 0;
}

/* Forks; ours are the parent's ends: in, out, err. errno says why not. */
static bool spawn(struct hbt_svc_process *p,
                  const struct hbt_svc_process_spec *spec)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};
	char **environment = make_environment(spec);
	pid_t parent = getpid();
	bool started = false;

	if (environment != NULL && make_pipe(in) && make_pipe(out) &&
	    make_pipe(err)) {
		int theirs[3] = {in[0], out[1], err[1]};

		p->pid = fork();
		if (p->pid == 0)
			child_main(spec, environment, parent, theirs);
		started = p->pid > 0;
	}
	if (started) {
		setpgid(p->pid, p->pid); /* whoever comes first */
		p->in = in[1];
		p->out = out[0];
		p->err = err[0];
		in[1] = out[0] = err[0] = -1;
		fcntl(p->in, F_SETFL, O_NONBLOCK);
		fcntl(p->out, F_SETFL, O_NONBLOCK);
		fcntl(p->err, F_SETFL, O_NONBLOCK);
	}
	for (int i = 0; i < 2; i++) {
		close_fd(&in[i]);
		close_fd(&out[i]);
		close_fd(&err[i]);
	}
	free(environment);
	return started;
}

static bool watch(struct hbt_svc_process *p, struct event_base *base)
{
	p->writable = event_new(base, p->in, EV_WRITE | EV_PERSIST,
	                        on_writable, p);
	p->readable = event_new(base, p->out, EV_READ | EV_PERSIST,
	                        on_readable, p);
	p->err_readable = event_new(base, p->err, EV_READ | EV_PERSIST,
	                            on_err_readable, p);
	p->impatience = event_new(base, -1, 0, on_impatience, p);
	return p->writable != NULL && p->readable != NULL &&
	       p->err_readable != NULL && p->impatience != NULL &&
	       event_add(p->readable, NULL) == 0 &&
	       event_add(p->err_readable, NULL) == 0;
}

int hbt_svc_process_start(struct hbt_svc_process **out, struct event_base *base,
                          const struct hbt_svc_process_spec *spec,
                          const struct hbt_svc_process_ops *ops, void *arg)
{
	struct hbt_svc_process *p = calloc(1, sizeof(*p));

	*out = NULL;
	if (p == NULL)
		return HALIBUT_ENOMEM;
	p->in = p->out = p->err = -1;
	p->ops = ops;
	p->arg = arg;
	hbt_buf_init(&p->output, SVC_MAX_LINE);
	hbt_svc_stderr_init(&p->words, hbt_now_ms());
	if ((p->input = evbuffer_new()) == NULL)
		goto fail;
	if (!spawn(p, spec) ||
	    asprintf(&p->name, "%s (pid %ld)", spec->service, (long)p->pid) <
	            0 ||
	    !watch(p, base))
		goto fail;
	*out = p;
	return HALIBUT_OK;
fail:
	hbt_svc_process_free(&p);
	return HALIBUT_ESYSTEM;
}

void hbt_svc_process_free(struct hbt_svc_process **pp)
{
	struct hbt_svc_process *p = *pp;

	if (p == NULL)
		return;
	*pp = NULL;
	if (p->pid > 0 && p->state != PROCESS_GONE) {
		signal_group(p, SIGKILL);
		while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (p->writable != NULL)
		event_free(p->writable);
	if (p->readable != NULL)
		event_free(p->readable);
	if (p->err_readable != NULL)
		event_free(p->err_readable);
	if (p->impatience != NULL)
		event_free(p->impatience);
	if (p->input != NULL)
		evbuffer_free(p->input);
	close_fd(&p->in);
	close_fd(&p->out);
	close_fd(&p->err);
	hbt_buf_fini(&p->output);
	free(p->name);
	free(p);
}
