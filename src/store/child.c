#include "store/child.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/timespan.h"

enum {
	LOOK_MS = 20,       /* where the kernel has no pidfd_open() */
	FAREWELL_MS = 1000, /* for those that were let go, when we end */
	LAST_LINE = 256,
	ERR_READS = 16, /* of a page each, when it ended */
};

TAILQ_HEAD(child_list, hbt_child);

struct hbt_children {
	struct event_base *base;
	int64_t timeout_ms;
	struct child_list list;
};

enum child_state {
	CHILD_RUNNING,
	CHILD_LET_GO, /* like running, but nobody is told */
	CHILD_KILLED, /* freed; only to be reaped */
	CHILD_ENDED,  /* reaped */
};

struct hbt_child {
	TAILQ_ENTRY(hbt_child) link;
	struct hbt_child *next_of_all;
	struct hbt_children *all;
	const struct hbt_child_ops *ops;
	void *arg;
	enum child_state state;
	char *name;
	pid_t pid;
	int status;
	bool status_known; /* somebody else has reaped it */
	bool input_refused, timed_out;
	int pidfd, in, out, err;
	struct event *on_in, *on_out, *on_err;
	struct event *on_end;
	struct event *timer; /* pending while we wait for it */
	char line[LAST_LINE]; /* of its standard error: the last, as far as */
	size_t line_len;      /* it is there, and whether a new one begins */
	bool line_done;
};

/* Those of all owners in this process: hbt_child_reaped(). */
static struct hbt_child *all_children;

int hbt_children_new(struct hbt_children **out, struct event_base *base,
                     int64_t timeout_ms)
{
	struct hbt_children *cs = calloc(1, sizeof(*cs));

	*out = cs;
	if (cs == NULL)
		return HALIBUT_ENOMEM;
	cs->base = base;
	cs->timeout_ms = timeout_ms;
	TAILQ_INIT(&cs->list);
	return HALIBUT_OK;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void drop_event(struct event **ev)
{
	if (*ev != NULL)
		event_free(*ev);
	*ev = NULL;
}

static void close_input(struct hbt_child *c)
{
	drop_event(&c->on_in);
	close_fd(&c->in);
}

static void close_pipes(struct hbt_child *c)
{
	close_input(c);
	drop_event(&c->on_out);
	close_fd(&c->out);
	drop_event(&c->on_err);
	close_fd(&c->err);
	drop_event(&c->timer);
}

static void destroy(struct hbt_child *c)
{
	struct hbt_child **p;

	for (p = &all_children; *p != NULL; p = &(*p)->next_of_all)
		if (*p == c) {
			*p = c->next_of_all;
			break;
		}
	TAILQ_REMOVE(&c->all->list, c, link);
	close_pipes(c);
	drop_event(&c->on_end);
	close_fd(&c->pidfd);
	free(c->name);
	free(c);
}

/* We wait for it from here on; each sign of life starts the time anew. */
static void wait_for(struct hbt_child *c)
{
	struct timeval tv = {.tv_sec = c->all->timeout_ms / 1000,
	                     .tv_usec = c->all->timeout_ms % 1000 * 1000};

	if (c->all->timeout_ms > 0 && c->state <= CHILD_LET_GO &&
	    !event_pending(c->timer, EV_TIMEOUT, NULL))
		event_add(c->timer, &tv);
}

static void stop_waiting(struct hbt_child *c)
{
	if (c->timer != NULL)
		event_del(c->timer);
}

/* ---- Standard error ---- */

/* The last line that says something, without what is no text. */
static void keep_line(struct hbt_child *c, const char *data, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char ch = (unsigned char)data[i];

		if (ch == '\n' || ch == '\r') {
			c->line_done = true;
			continue;
		}
		if (ch < 0x20 || ch == 0x7f)
			ch = ' ';
		if (c->line_done) {
			c->line_len = 0;
			c->line_done = false;
		}
		if (c->line_len < sizeof(c->line) - 1)
			c->line[c->line_len++] = (char)ch;
	}
}

static bool read_stderr(struct hbt_child *c)
{
	char page[4096];
	ssize_t n = c->err >= 0 ? read(c->err, page, sizeof(page)) : 0;

	if (n > 0)
		keep_line(c, page, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		drop_event(&c->on_err);
	return n > 0;
}

static void on_stderr(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	read_stderr(arg);
}

/* ---- Its end ---- */

/*
 * Has it ended? Its group is killed before its number can be given to others:
 * what it left behind holds our pipes open.
 */
static bool reap(struct hbt_child *c)
{
	siginfo_t info = {0};
	int rc;

	if (c->state == CHILD_ENDED)
		return true;
	if (!c->status_known) {
		rc = waitid(P_PID, (id_t)c->pid, &info,
		            WEXITED | WNOHANG | WNOWAIT);
		if (rc == 0 && info.si_pid == 0)
			return false;
		if (rc == 0) {
			kill(-c->pid, SIGKILL);
			while ((rc = waitpid(c->pid, &c->status, 0)) < 0 &&
			       errno == EINTR)
				;
			c->status_known = rc == c->pid;
		}
	}
	return true;
}

static int describe_end(struct hbt_child *c, struct halibut_error *err)
{
	char end[128];

	if (c->timed_out)
		snprintf(end, sizeof(end),
		         "made no progress for %lld ms and was killed",
		         (long long)c->all->timeout_ms);
	else if (!c->status_known)
		snprintf(end, sizeof(end),
		         "ended, but this process reaps its children "
		         "elsewhere, so that its exit status is unknown");
	else if (WIFSIGNALED(c->status))
		snprintf(end, sizeof(end), "was killed by signal %d (%s)",
		         WTERMSIG(c->status), strsignal(WTERMSIG(c->status)));
	else if (WEXITSTATUS(c->status) != 0)
		snprintf(end, sizeof(end), "exited with status %d",
		         WEXITSTATUS(c->status));
	else if (c->input_refused || c->in >= 0)
		snprintf(end, sizeof(end),
		         "exited before it had read all of its input");
	else
		return HALIBUT_OK;
	return hbt_error_set(
		err, c->timed_out ? HALIBUT_ETIMEOUT : HALIBUT_ESYSTEM,
		"The program %s %s%s%.*s.", c->name, end,
		c->line_len > 0 ? "; its last words: " : "", (int)c->line_len,
		c->line);
}

static void look(struct hbt_child *c)
{
	struct halibut_error err = {0};
	enum child_state before = c->state;
	bool failed;

	if (c->state == CHILD_ENDED || !reap(c))
		return;
	if (c->state == CHILD_KILLED) {
		destroy(c);
		return;
	}
	for (int i = 0; i < ERR_READS && read_stderr(c); i++)
		;
	failed = describe_end(c, &err) != HALIBUT_OK;
	c->state = CHILD_ENDED;
	stop_waiting(c);
	event_del(c->on_end);
	close_input(c);
	if (before == CHILD_LET_GO) {
		if (failed)
			log_warning("%s", err.message);
		destroy(c);
	} else {
		c->ops->ended(c->arg, failed ? &err : NULL);
	}
	halibut_error_clear(&err);
}

static void on_end(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look(arg);
}

bool hbt_child_reaped(pid_t pid, int status)
{
	for (struct hbt_child *c = all_children; c != NULL; c = c->next_of_all)
		if (c->pid == pid && c->state != CHILD_ENDED &&
		    !c->status_known) {
			c->status = status;
			c->status_known = true;
			event_active(c->on_end, EV_READ, 0);
			return true;
		}
	return false;
}

static void kill_group(const struct hbt_child *c)
{
	if (c->state != CHILD_ENDED && !c->status_known)
		kill(-c->pid, SIGKILL);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_child *c = arg;

	(void)fd;
	(void)what;
	c->timed_out = true;
	kill_group(c);
}

void hbt_child_free(struct hbt_child **c_p)
{
	struct hbt_child *c = *c_p;

	*c_p = NULL;
	if (c == NULL)
		return;
	if (c->state == CHILD_ENDED) {
		destroy(c);
		return;
	}
	kill_group(c);
	close_pipes(c);
	c->state = CHILD_KILLED;
}

void hbt_child_let_go(struct hbt_child **c_p)
{
	struct hbt_child *c = *c_p;

	*c_p = NULL;
	close_input(c);
	if (c->state == CHILD_ENDED) {
		destroy(c);
		return;
	}
	c->state = CHILD_LET_GO;
	event_add(c->on_out, NULL);
	wait_for(c);
}

/* Waits for it, up to until. */
static bool await(struct hbt_child *c, int64_t until)
{
	struct pollfd p = {.fd = c->pidfd, .events = POLLIN};
	int64_t left;

	while (!reap(c)) {
		if ((left = until - hbt_now_ms()) <= 0)
			return false;
		if (c->pidfd < 0 && left > LOOK_MS)
			left = LOOK_MS;
		poll(&p, 1, (int)left);
	}
	return true;
}

void hbt_children_free(struct hbt_children **cs_p)
{
	struct hbt_children *cs = *cs_p;
	int64_t until = hbt_now_ms() + FAREWELL_MS;
	struct hbt_child *c;

	*cs_p = NULL;
	if (cs == NULL)
		return;
	while ((c = TAILQ_FIRST(&cs->list)) != NULL) {
		assert(c->state == CHILD_LET_GO || c->state == CHILD_KILLED);
		if (!await(c, until)) {
			kill_group(c);
			await(c, hbt_now_ms() + FAREWELL_MS);
		}
		destroy(c);
	}
	free(cs);
}

/* ---- Its beginning ---- */

/* Standard descriptors of ours may be closed: pipes must not take their
 * place, or they would be in each other's way in the child. */
static int away_from_stdio(int *fd)
{
	int moved;

	if (*fd > STDERR_FILENO)
		return 0;
	moved = fcntl(*fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	close(*fd);
	*fd = moved;
	return moved < 0 ? -1 : 0;
}

/* ours: which end is not the child's, and does not block. */
static int make_pipe(int ends[2], int ours)
{
	if (pipe2(ends, O_CLOEXEC) != 0) {
		ends[0] = ends[1] = -1;
		return -1;
	}
	if (away_from_stdio(&ends[0]) != 0 || away_from_stdio(&ends[1]) != 0)
		return -1;
	return fcntl(ends[ours], F_SETFL, O_NONBLOCK);
}

static int spawn_actions(posix_spawn_file_actions_t *fa, int in, int out,
                         int err)
{
	int rc;

	if ((rc = posix_spawn_file_actions_adddup2(fa, in, 0)) != 0 ||
	    (rc = posix_spawn_file_actions_adddup2(fa, out, 1)) != 0)
		return rc;
	rc = posix_spawn_file_actions_adddup2(fa, err, 2);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
	/* An embedding program may have descriptors without CLOEXEC. */
	if (rc == 0)
		rc = posix_spawn_file_actions_addclosefrom_np(fa, 3);
#endif
	return rc;
}

/* errno's value, or 0. */
static int spawn(pid_t *pid, char *const *argv, char *const *env, int in,
                 int out, int err)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, defaults;
	int rc;

	if ((rc = posix_spawn_file_actions_init(&fa)) != 0)
		return rc;
	if ((rc = posix_spawnattr_init(&attr)) != 0) {
		posix_spawn_file_actions_destroy(&fa);
		return rc;
	}
	sigemptyset(&none);
	sigfillset(&defaults);
	sigdelset(&defaults, SIGKILL);
	sigdelset(&defaults, SIGSTOP);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK |
	                                        POSIX_SPAWN_SETSIGDEF |
	                                        POSIX_SPAWN_SETPGROUP);
	if ((rc = spawn_actions(&fa, in, out, err)) == 0)
		rc = posix_spawnp(pid, argv[0], &fa, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	return rc;
}

static size_t count(char *const *list)
{
	size_t n = 0;

	while (list != NULL && list[n] != NULL)
		n++;
	return n;
}

/* A list of both lists' pointers; they are not copied. */
static char **join(char *const *a, const char *const *b, size_t n_b)
{
	size_t n = count(a);
	char **all = calloc(n + n_b + 1, sizeof(*all));

	if (all == NULL)
		return NULL;
	if (n > 0)
		memcpy(all, a, n * sizeof(*all));
	for (size_t i = 0; i < n_b; i++)
		all[n + i] = (char *)b[i]; /* exec does not write to it */
	return all;
}

static void on_flow(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_child *c = arg;
	char page[4096];

	(void)fd;
	(void)what;
	if (c->state != CHILD_LET_GO)
		c->ops->go_on(c->arg);
	else /* nobody's; but it shall not end by SIGPIPE for it */
		while (hbt_child_read(c, page, sizeof(page)) > 0)
			;
}

static struct event *new_end_event(struct hbt_child *c)
{
	struct timeval often = {.tv_usec = LOOK_MS * 1000};
	struct event *ev;

#ifdef SYS_pidfd_open
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	if (c->pidfd >= 0)
		fcntl(c->pidfd, F_SETFD, FD_CLOEXEC);
#endif
	if (c->pidfd >= 0) {
		ev = event_new(c->all->base, c->pidfd, EV_READ | EV_PERSIST,
		               on_end, c);
		if (ev != NULL && event_add(ev, NULL) == 0)
			return ev;
	} else {
		ev = event_new(c->all->base, -1, EV_PERSIST, on_end, c);
		if (ev != NULL && event_add(ev, &often) == 0)
			return ev;
	}
	if (ev != NULL)
		event_free(ev);
	return NULL;
}

/* The events of what is not running yet: afterwards little can fail. */
static bool make_events(struct hbt_child *c)
{
	struct event_base *base = c->all->base;

	c->on_in = event_new(base, c->in, EV_WRITE, on_flow, c);
	c->on_out = event_new(base, c->out, EV_READ, on_flow, c);
	c->on_err = event_new(base, c->err, EV_READ | EV_PERSIST, on_stderr, c);
	c->timer = event_new(base, -1, 0, on_timer, c);
	return c->on_in != NULL && c->on_out != NULL && c->on_err != NULL &&
	       c->timer != NULL && event_add(c->on_err, NULL) == 0;
}

int hbt_child_start(struct hbt_child **out, struct hbt_children *cs,
                    char *const *argv, const char *const *more, size_t n_more,
                    const char *const *env, const struct hbt_child_ops *ops,
                    void *arg, struct halibut_error *err)
{
	char **args = join(argv, more, n_more);
	char **envs = join(environ, env, count((char *const *)env));
	int in[2] = {-1, -1}, outp[2] = {-1, -1}, errp[2] = {-1, -1};
	struct hbt_child *c = calloc(1, sizeof(*c));
	int rc = HALIBUT_ENOMEM;
	int why;

	*out = NULL;
	if (c == NULL || args == NULL || envs == NULL ||
	    (c->name = strdup(argv[0])) == NULL) {
		free(c);
		c = NULL;
		goto out;
	}
	c->all = cs;
	c->ops = ops;
	c->arg = arg;
	c->pidfd = c->in = c->out = c->err = -1;
	TAILQ_INSERT_TAIL(&cs->list, c, link);
	if (make_pipe(in, 1) != 0 || make_pipe(outp, 0) != 0 ||
	    make_pipe(errp, 0) != 0) {
		why = errno;
		goto failed;
	}
	c->in = in[1];
	c->out = outp[0];
	c->err = errp[0];
	in[1] = outp[0] = errp[0] = -1;
	if (!make_events(c))
		goto out;
	why = spawn(&c->pid, args, envs, in[0], outp[1], errp[1]);
	if (why != 0)
		goto failed;
	c->next_of_all = all_children;
	all_children = c;
	if ((c->on_end = new_end_event(c)) == NULL) {
		kill(-c->pid, SIGKILL);
		await(c, hbt_now_ms() + FAREWELL_MS);
		goto out;
	}
	*out = c;
	c = NULL;
	rc = HALIBUT_OK;
	goto out;
failed:
	rc = hbt_error_set(err, HALIBUT_ESYSTEM,
	                   "The program %s cannot be started: %s.", argv[0],
	                   strerror(why));
out:
	if (rc == HALIBUT_ENOMEM)
		hbt_error_set(err, rc, "Out of memory.");
	for (int i = 0; i < 2; i++) {
		close_fd(&in[i]);
		close_fd(&outp[i]);
		close_fd(&errp[i]);
	}
	if (c != NULL)
		destroy(c);
	free(args);
	free(envs);
	return rc;
}

/* ---- Input and output ---- */

/* write() to a pipe raises SIGPIPE, which is the whole process's: it is held
 * back and taken away if the write was its cause. */
static ssize_t write_quietly(int fd, const void *data, size_t len)
{
	static const struct timespec now = {0, 0};
	sigset_t pipe_set, before, pending;
	bool was_pending;
	ssize_t n;
	int why;

	sigemptyset(&pipe_set);
	sigaddset(&pipe_set, SIGPIPE);
	sigpending(&pending);
	was_pending = sigismember(&pending, SIGPIPE) == 1;
	pthread_sigmask(SIG_BLOCK, &pipe_set, &before);
	n = write(fd, data, len);
	why = errno;
	if (n < 0 && why == EPIPE && !was_pending)
		while (sigtimedwait(&pipe_set, NULL, &now) < 0 &&
		       errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = why;
	return n;
}

size_t hbt_child_write(struct hbt_child *c, const void *data, size_t len)
{
	ssize_t n;

	if (c->in < 0 || len == 0)
		return 0;
	while ((n = write_quietly(c->in, data, len)) < 0 && errno == EINTR)
		;
	if (n > 0)
		stop_waiting(c);
	if (n < 0 && errno != EAGAIN) {
		/* How it ends says more than EPIPE does. */
		c->input_refused = true;
		close_input(c);
		wait_for(c);
		return 0;
	}
	if (n < (ssize_t)len) {
		event_add(c->on_in, NULL);
		wait_for(c);
	}
	return n > 0 ? (size_t)n : 0;
}

void hbt_child_close_input(struct hbt_child *c)
{
	close_input(c);
	stop_waiting(c);
	wait_for(c);
}

ssize_t hbt_child_read(struct hbt_child *c, void *buf, size_t cap)
{
	ssize_t n;

	if (c->out < 0)
		return 0;
	while ((n = read(c->out, buf, cap)) < 0 && errno == EINTR)
		;
	if (n > 0) {
		stop_waiting(c);
		return n;
	}
	/* Nothing is left of its group that could write any more. */
	if (n < 0 && errno == EAGAIN && c->state != CHILD_ENDED) {
		event_add(c->on_out, NULL);
		wait_for(c);
		return -HALIBUT_EAGAIN;
	}
	drop_event(&c->on_out);
	close_fd(&c->out);
	wait_for(c);
	return 0;
}
