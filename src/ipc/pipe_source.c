/* A source that reads what another process writes into a pipe. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/proto.h"

struct pipe_source {
	struct hbt_source source;
	int fd;
	struct event *readable; /* armed only while the reader waits */
};

static void pipe_source_free(struct hbt_source *source)
{
	struct pipe_source *ps = (struct pipe_source *)source;

	if (ps->readable != NULL)
		event_free(ps->readable);
	if (ps->fd >= 0)
		close(ps->fd);
	free(ps);
}

static ssize_t pipe_source_read(struct hbt_source *source, void *buf,
                                size_t cap, struct halibut_error *err)
{
	struct pipe_source *ps = (struct pipe_source *)source;
	ssize_t n;

	do {
		n = read(ps->fd, buf, cap);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	if (errno == EAGAIN && event_add(ps->readable, NULL) == 0)
		return -HALIBUT_EAGAIN;
	return -hbt_error_set(err, HALIBUT_ESYSTEM,
	                      "cannot read a DataStream section from another "
	                      "process: %s",
	                      strerror(errno));
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct pipe_source *ps = arg;

	(void)fd;
	(void)what;
	if (ps->source.wake != NULL)
		ps->source.wake(ps->source.wake_arg);
}

static const struct hbt_source_ops pipe_source_ops = {
	.read = pipe_source_read,
	.free = pipe_source_free,
};

int hbt_pipe_source_new(struct hbt_source **out, struct event_base *base,
                        int fd)
{
	struct pipe_source *ps = NULL;
	int flags = fcntl(fd, F_GETFL);
	int rc = HALIBUT_EINVAL;
	struct stat st;

	*out = NULL;
	/* Of other things reading may block, whatever their flags. */
	if (flags < 0 || fstat(fd, &st) != 0 || !S_ISFIFO(st.st_mode) ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
		goto fail;
	rc = HALIBUT_ENOMEM;
	if ((ps = calloc(1, sizeof(*ps))) == NULL)
		goto fail;
	ps->source.ops = &pipe_source_ops;
	ps->fd = -1;
	ps->readable = event_new(base, fd, EV_READ, on_readable, ps);
	if (ps->readable == NULL)
		goto fail;
	ps->fd = fd;
	*out = &ps->source;
	return HALIBUT_OK;
fail:
	if (ps != NULL)
		pipe_source_free(&ps->source);
	if (fd >= 0)
		close(fd);
	return rc;
}

int hbt_pipe_source_detach(struct hbt_source **src)
{
	struct pipe_source *ps = (struct pipe_source *)*src;
	int fd;

	if (*src == NULL || (*src)->ops != &pipe_source_ops)
		return -1;
	fd = ps->fd;
	/* The event first: it must not outlive its descriptor's owner. */
	event_free(ps->readable);
	ps->readable = NULL;
	ps->fd = -1;
	hbt_source_free(src);
	return fd;
}
