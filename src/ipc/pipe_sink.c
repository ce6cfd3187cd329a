/*
 * A sink that writes into a pipe for another process, with a spool behind it:
 * what the pipe does not take waits there, so that whoever sends is slowed
 * down by the spool's limits and not by the reader.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/proto.h"
#include "ipc/spool.h"

#define PIPE_BYTES (256 * 1024)
#define TURN_BYTES ((size_t)1024 * 1024)

struct pipe_sink {
	struct hbt_sink sink;
	struct hbt_spool spool;
	struct hbt_spool_payer *payer;
	int fd;     /* -1 once it failed or ended */
	int failed; /* HALIBUT_OK, or what every write says */
	int failed_errno;
	struct event *writable; /* armed while there is something to do */
	struct event *retry;    /* the disk may take more then */
	bool ended;    /* the owner is gone: drain and vanish */
	bool refused;  /* somebody waits for wake() */
	int64_t wake_at; /* when no more than this many bytes are left */
};

static size_t n_sinks;

size_t hbt_pipe_sinks(void)
{
	return n_sinks;
}

static void destroy(struct pipe_sink *ps)
{
	n_sinks--;
	if (ps->writable != NULL)
		event_free(ps->writable);
	if (ps->retry != NULL)
		event_free(ps->retry);
	if (ps->fd >= 0)
		close(ps->fd);
	hbt_spool_payer_leave(ps->payer);
	hbt_spool_fini(&ps->spool);
	hbt_spool_payer_unref(&ps->payer);
	free(ps);
}

/* The reader sees the end at once, and from its framing that it is early. */
static void fail(struct pipe_sink *ps, int err)
{
	ps->failed = err == EPIPE ? HALIBUT_ECLOSED : HALIBUT_ESYSTEM;
	ps->failed_errno = err;
	event_del(ps->writable);
	close(ps->fd);
	ps->fd = -1;
	hbt_spool_drop(&ps->spool);
}

static ssize_t say_failed(const struct pipe_sink *ps,
                          struct halibut_error *err)
{
	if (ps->failed == HALIBUT_ECLOSED)
		return -hbt_error_set(err, ps->failed,
		                      "the process that was to take the "
		                      "DataStreams has closed them");
	return -hbt_error_set(err, ps->failed,
	                      "cannot pass DataStreams to another process: %s",
	                      strerror(ps->failed_errno));
}

/* Somebody who waits for wake() is to try again. ps may be gone afterwards. */
static void wake(void *arg)
{
	struct pipe_sink *ps = arg;

	if (!ps->refused)
		return;
	ps->refused = false;
	if (ps->sink.wake != NULL)
		ps->sink.wake(ps->sink.wake_arg);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	wake(arg);
}

static void retry_in(struct pipe_sink *ps, int64_t ms)
{
	const struct timeval tv = {.tv_sec = ms / 1000,
	                           .tv_usec = ms % 1000 * 1000};

	event_add(ps->retry, &tv);
}

/* What the pipe does not take: how much of it is in the spool now. */
static size_t spool(struct pipe_sink *ps, const uint8_t *data, size_t len)
{
	size_t done = hbt_spool_append(&ps->spool, data, len);

	if (done > 0)
		hbt_spool_payer_leave(ps->payer);
	if (done < len) {
		ps->refused = true;
		ps->wake_at = hbt_spool_length(&ps->spool) / 2;
		hbt_spool_payer_wait(ps->payer, wake, ps);
		if (ps->spool.retry_ms > 0)
			retry_in(ps, ps->spool.retry_ms);
	}
	return done;
}

static ssize_t pipe_sink_write(struct hbt_sink *sink, const void *data,
                               size_t len, struct halibut_error *err)
{
	struct pipe_sink *ps = (struct pipe_sink *)sink;
	size_t done = 0;

	if (ps->failed != HALIBUT_OK)
		return say_failed(ps, err);
	if (hbt_spool_is_empty(&ps->spool)) {
		ssize_t n;

		do {
			n = write(ps->fd, data, len);
		} while (n < 0 && errno == EINTR);
		if (n < 0 && errno != EAGAIN) {
			fail(ps, errno);
			return say_failed(ps, err);
		}
		done = n > 0 ? (size_t)n : 0;
	}
	if (done == len) {
		hbt_spool_payer_leave(ps->payer);
		return (ssize_t)len;
	}
	done += spool(ps, (const uint8_t *)data + done, len - done);
	/* The pipe is full, so room in it is news in either case. */
	event_add(ps->writable, NULL);
	return (ssize_t)done;
}

/* Drains a turn's worth, then says who is to go on. */
static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct pipe_sink *ps = arg;
	size_t left = TURN_BYTES;

	(void)fd;
	(void)what;
	while (left > 0 && !hbt_spool_is_empty(&ps->spool)) {
		ssize_t n = hbt_spool_drain(&ps->spool, ps->fd, left);

		if (n == -EAGAIN)
			break;
		if (n < 0) {
			fail(ps, (int)-n);
			break;
		}
		left -= (size_t)n;
	}
	if (ps->ended && (ps->failed || hbt_spool_is_empty(&ps->spool))) {
		destroy(ps);
		return;
	}
	if (!ps->failed && !hbt_spool_is_empty(&ps->spool))
		event_add(ps->writable, NULL);
	if (ps->refused && (ps->failed ||
	                    hbt_spool_length(&ps->spool) <= ps->wake_at))
		wake(ps); /* ps may be gone */
}

static void pipe_sink_end(struct hbt_sink *sink,
                          const struct halibut_error *why)
{
	struct pipe_sink *ps = (struct pipe_sink *)sink;

	if (why != NULL || ps->failed || hbt_spool_is_empty(&ps->spool)) {
		destroy(ps);
		return;
	}
	ps->ended = true;
	ps->refused = false;
	hbt_spool_payer_leave(ps->payer);
	ps->sink.wake = NULL;
}

static const struct hbt_sink_ops pipe_sink_ops = {
	.write = pipe_sink_write,
	.end = pipe_sink_end,
};

/* A reader that is gone is an error of one section, not the end of us. */
static void ignore_sigpipe(void)
{
	static bool done;
	struct sigaction now;

	if (done)
		return;
	done = true;
	if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN);
}

int hbt_pipe_sink_new(struct hbt_sink **out, struct event_base *base,
                      const struct hbt_limits *limits, const char *directory,
                      struct hbt_spool_payer *payer, int *fd)
{
	struct pipe_sink *ps = calloc(1, sizeof(*ps));
	int ends[2] = {-1, -1};
	int rc = HALIBUT_ENOMEM;

	*out = NULL;
	*fd = -1;
	if (ps == NULL)
		return rc;
	n_sinks++;
	ignore_sigpipe();
	ps->sink.ops = &pipe_sink_ops;
	ps->fd = -1;
	ps->payer = hbt_spool_payer_ref(payer);
	rc = hbt_spool_init(&ps->spool, limits->spool_memory_bytes,
	                    limits->spool_max_bytes_a_stream_section,
	                    limits->spool_max_bytes_total, directory, payer);
	if (rc != HALIBUT_OK)
		goto fail;
	rc = HALIBUT_ESYSTEM;
	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0)
		goto fail;
	ps->fd = ends[1];
	/* The kernel allows it for so many pipes a user; then less must do. */
	(void)fcntl(ps->fd, F_SETPIPE_SZ, PIPE_BYTES);
	rc = HALIBUT_ENOMEM;
	ps->writable = event_new(base, ps->fd, EV_WRITE, on_writable, ps);
	ps->retry = evtimer_new(base, on_retry, ps);
	if (ps->writable == NULL || ps->retry == NULL)
		goto fail;
	*fd = ends[0];
	*out = &ps->sink;
	return HALIBUT_OK;
fail:
	if (ends[0] >= 0)
		close(ends[0]);
	destroy(ps);
	return rc;
}
