/* DataStreams into files: see intake.h. wire-protocol 11.2, 11.3 */
#include "intake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "wire/reader.h"
#include "bounds.h"

struct hbt_svc_intake {
	struct event_base *base;
	struct event *readable;
	int64_t idle_ms;
	struct hbt_message *message;
	char *directory;
	int fd;
	int out; /* the file of the current stream, or -1 */
	struct hbt_section section;
	struct hbt_svc_file *files;
	struct hbt_svc_file *current;
	const struct hbt_svc_intake_ops *ops;
	void *arg;
};

/* A section that nobody wants any more. */
struct drain {
	LIST_ENTRY(drain) link;
	struct event *readable;
	int fd;
	struct timeval idle;
};
static LIST_HEAD(, drain) drains = LIST_HEAD_INITIALIZER(drains);

/* One at a time is in use, whoever reads. */
static uint8_t scratch[SVC_READ_BYTES];

static struct timeval timeval_of(int64_t ms)
{
	return (struct timeval){.tv_sec = (time_t)(ms / 1000),
	                        .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
}

static void drain_free(struct drain *d)
{
	LIST_REMOVE(d, link);
	if (d->readable != NULL)
		event_free(d->readable);
	close(d->fd);
	free(d);
}

static void on_drainable(evutil_socket_t fd, short what, void *arg)
{
	struct drain *d = arg;
	ssize_t n;

	if (what & EV_TIMEOUT) {
		drain_free(d);
		return;
	}
	n = read(fd, scratch, sizeof(scratch));
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		drain_free(d);
}

void hbt_svc_drain(struct event_base *base, int fd, int64_t idle_ms)
{
	struct drain *d = calloc(1, sizeof(*d));

	if (d == NULL) {
		close(fd);
		return;
	}
	d->fd = fd;
	d->idle = timeval_of(idle_ms);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	LIST_INSERT_HEAD(&drains, d, link);
	d->readable =
		event_new(base, fd, EV_READ | EV_PERSIST, on_drainable, d);
	if (d->readable == NULL || event_add(d->readable, &d->idle) != 0)
		drain_free(d);
}

void hbt_svc_drain_stop(void)
{
	while (!LIST_EMPTY(&drains))
		drain_free(LIST_FIRST(&drains));
}

/* Disk errors are told as such, with what an operator can do. */
static int disk_error(struct halibut_error *err, const char *what,
                      const char *path)
{
	const char *remedy =
		errno == ENOSPC || errno == EDQUOT
			? ". Free space in the spool directory of the node, "
			  "or give it another one."
			: "";

	return hbt_error_set(err, HALIBUT_ESYSTEM,
	                     "The node that hosts the service cannot %s a "
	                     "DataStream to its disk (%s): %s%s",
	                     what, path, strerror(errno), remedy);
}

static int open_file(struct hbt_svc_intake *in, struct halibut_error *err)
{
	size_t n = in->message->env.n_streams;
	size_t i;

	for (i = 0; i < n; i++) {
		if (in->files[i].path == NULL &&
		    memcmp(&in->files[i].id, &in->section.id,
		           sizeof(in->section.id)) == 0)
			break;
	}
	if (i == n) /* hbt_section_next() lets only known ones through */
		return hbt_error_set(err, HALIBUT_EPROTO, "unexpected stream");
	in->current = &in->files[i];
	if (asprintf(&in->current->path, "%s/stream-%zu", in->directory, i) <
	    0) {
		in->current->path = NULL;
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	}
	in->out = open(in->current->path,
	               O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (in->out < 0)
		return disk_error(err, "create", in->current->path);
	return HALIBUT_OK;
}

static int write_all(struct hbt_svc_intake *in, const uint8_t *p, size_t len,
                     struct halibut_error *err)
{
	while (len > 0) {
		ssize_t n = write(in->out, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return disk_error(err, "write", in->current->path);
		p += n;
		len -= (size_t)n;
		in->current->length += n;
		in->ops->spooled(in->arg, (size_t)n);
	}
	return HALIBUT_OK;
}

static int take(struct hbt_svc_intake *in, const uint8_t *p, size_t len,
                struct halibut_error *err)
{
	int rc = HALIBUT_OK;

	while (rc == HALIBUT_OK && len > 0 &&
	       !hbt_section_finished(&in->section)) {
		const uint8_t *piece;
		size_t piece_len, used;
		bool begin, end;

		rc = hbt_section_next(&in->section, p, len, &used, &piece,
		                      &piece_len, &begin, &end, err);
		if (rc == HALIBUT_OK && begin)
			rc = open_file(in, err);
		if (rc == HALIBUT_OK && piece_len > 0)
			rc = write_all(in, piece, piece_len, err);
		if (rc == HALIBUT_OK && end) {
			close(in->out);
			in->out = -1;
		}
		p += used;
		len -= used;
	}
	return rc;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_svc_intake *in = arg;
	struct halibut_error err = {0};
	ssize_t n = 0;
	int rc;

	if (what & EV_TIMEOUT) {
		rc = hbt_error_set(&err, HALIBUT_ETIMEOUT,
		                   "The DataStreams of the request stalled for "
		                   "%lld ms.",
		                   (long long)in->idle_ms);
	} else if ((n = read(fd, scratch, sizeof(scratch))) > 0) {
		in->ops->progress(in->arg, (size_t)n);
		rc = take(in, scratch, (size_t)n, &err);
	} else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	} else {
		rc = hbt_error_set(&err, HALIBUT_ECLOSED,
		                   "The request's sender broke off inside its "
		                   "DataStreams.");
	}
	if (rc == HALIBUT_OK && !hbt_section_finished(&in->section))
		return;
	event_del(in->readable);
	/* Only after our own trouble is there somebody who still writes. */
	if (rc != HALIBUT_ESYSTEM && rc != HALIBUT_ENOMEM) {
		close(in->fd);
		in->fd = -1;
	}
	in->ops->done(in->arg, rc == HALIBUT_OK ? NULL : &err);
	halibut_error_clear(&err);
}

int hbt_svc_intake_new(struct hbt_svc_intake **out, struct event_base *base,
                       int fd, struct hbt_message *m, const char *directory,
                       int64_t idle_ms, const struct hbt_svc_intake_ops *ops,
                       void *arg)
{
	struct hbt_svc_intake *in = calloc(1, sizeof(*in));
	struct timeval idle = timeval_of(idle_ms);
	size_t n = m->env.n_streams;

	*out = NULL;
	if (in == NULL) {
		close(fd);
		return HALIBUT_ENOMEM;
	}
	in->base = base;
	in->fd = fd;
	in->out = -1;
	in->idle_ms = idle_ms;
	in->ops = ops;
	in->arg = arg;
	in->message = hbt_message_ref(m);
	in->directory = strdup(directory);
	in->files = calloc(n, sizeof(*in->files));
	if (in->directory == NULL || in->files == NULL ||
	    hbt_section_init(&in->section, m->env.streams, n) != HALIBUT_OK)
		goto fail;
	for (size_t i = 0; i < n; i++)
		in->files[i].id = m->env.streams[i].id;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	in->readable =
		event_new(base, fd, EV_READ | EV_PERSIST, on_readable, in);
	if (in->readable == NULL || event_add(in->readable, &idle) != 0)
		goto fail;
	*out = in;
	return HALIBUT_OK;
fail:
	hbt_svc_intake_free(&in);
	return HALIBUT_ENOMEM;
}

void hbt_svc_intake_free(struct hbt_svc_intake **inp)
{
	struct hbt_svc_intake *in = *inp;

	if (in == NULL)
		return;
	*inp = NULL;
	if (in->readable != NULL)
		event_free(in->readable);
	if (in->out >= 0)
		close(in->out);
	if (in->fd >= 0)
		hbt_svc_drain(in->base, in->fd, in->idle_ms);
	if (in->files != NULL) {
		for (size_t i = 0; i < in->message->env.n_streams; i++)
			free(in->files[i].path);
	}
	free(in->files);
	hbt_section_fini(&in->section);
	hbt_message_unref(&in->message);
	free(in->directory);
	free(in);
}

const struct hbt_svc_file *
hbt_svc_intake_files(const struct hbt_svc_intake *in)
{
	return in->files;
}
