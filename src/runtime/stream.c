/* One DataStream: where its bytes come from or wait. runtime-behaviour 9 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/stream_private.h"

enum { COPY = 65536 };

static struct halibut_stream *stream_new(enum stream_kind kind, int64_t length)
{
	struct halibut_stream *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->kind = kind;
	s->length = length;
	s->id = hbt_guid_new();
	s->fd = -1;
	s->percent = -1;
	hbt_buf_init(&s->memory, SIZE_MAX);
	return s;
}

struct halibut_stream *halibut_stream_from_memory(const void *data, size_t len)
{
	struct halibut_stream *s = stream_new(STREAM_MEMORY, (int64_t)len);

	if (s != NULL && len > 0 && hbt_buf_append(&s->memory, data, len) != 0)
		halibut_stream_free(&s);
	return s;
}

static int64_t rest_of_file(int fd)
{
	struct stat st;
	off_t at = lseek(fd, 0, SEEK_CUR);

	if (at < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return -1;
	return st.st_size > at ? st.st_size - at : 0;
}

struct halibut_stream *halibut_stream_from_fd(int fd, int64_t length)
{
	struct halibut_stream *s;

	if (length < 0 && (length = rest_of_file(fd)) < 0)
		return NULL;
	if ((s = stream_new(STREAM_FD, length)) == NULL)
		return NULL;
	if ((s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
		halibut_stream_free(&s);
	return s;
}

struct halibut_stream *halibut_stream_from_callback(int64_t length,
                                                    halibut_stream_read_fn fn,
                                                    void *arg)
{
	struct halibut_stream *s;

	if (length < 0 || fn == NULL)
		return NULL;
	if ((s = stream_new(STREAM_CALLBACK, length)) == NULL)
		return NULL;
	s->read = fn;
	s->read_arg = arg;
	return s;
}

struct halibut_stream *hbt_stream_incoming(const struct hbt_guid *id,
                                           int64_t length)
{
	struct halibut_stream *s = stream_new(STREAM_INCOMING, length);

	if (s != NULL)
		s->id = *id;
	return s;
}

void halibut_stream_set_progress(struct halibut_stream *s,
                                 halibut_progress_fn fn, void *arg)
{
	s->progress = fn;
	s->progress_arg = arg;
}

void halibut_stream_free(struct halibut_stream **sp)
{
	struct halibut_stream *s = *sp;

	if (s == NULL)
		return;
	*sp = NULL;
	if (s->progress != NULL && s->percent >= 0 && s->percent < 100)
		s->progress(s->progress_arg, 100); /* 9.4: it began */
	if (s->fd >= 0)
		close(s->fd);
	hbt_buf_fini(&s->memory);
	free(s);
}

int64_t halibut_stream_length(const struct halibut_stream *s)
{
	return s->length;
}

static ssize_t read_memory(struct halibut_stream *s, void *buf, size_t cap)
{
	size_t left = s->memory.len - (size_t)s->at;
	size_t n = cap < left ? cap : left;

	memcpy(buf, s->memory.data == NULL ? (uint8_t *)"" :
	       s->memory.data + s->at, n);
	return (ssize_t)n;
}

static ssize_t read_fd(struct halibut_stream *s, void *buf, size_t cap)
{
	ssize_t n;

	do {
		n = s->kind == STREAM_INCOMING ? pread(s->fd, buf, cap, s->at)
		                               : read(s->fd, buf, cap);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -HALIBUT_ESYSTEM : n;
}

/* What an outgoing stream's source gives, whatever was declared. */
static ssize_t read_any(struct halibut_stream *s, void *buf, size_t cap)
{
	ssize_t n;

	if (s->kind == STREAM_CALLBACK)
		n = s->read(s->read_arg, buf, cap);
	else if (s->fd >= 0)
		n = read_fd(s, buf, cap);
	else
		n = read_memory(s, buf, cap);
	if (n > 0)
		s->at += n;
	return n;
}

ssize_t halibut_stream_read(struct halibut_stream *s, void *buf, size_t cap)
{
	ssize_t n = read_any(s, buf, cap);

	return n < 0 && s->kind == STREAM_CALLBACK ? -HALIBUT_ESTREAM : n;
}

bool hbt_stream_has_more(struct halibut_stream *s)
{
	char byte;

	/* Of a descriptor only the declared part is ours. */
	return s->kind == STREAM_CALLBACK && read_any(s, &byte, 1) > 0;
}

void hbt_stream_progress(struct halibut_stream *s, int64_t done)
{
	int percent;

	if (s->progress == NULL || s->length <= 0)
		return;
	percent = (int)((__int128)done * 100 / s->length);
	if (percent == s->percent)
		return;
	s->percent = percent;
	s->progress(s->progress_arg, percent);
}

/* Incoming bytes stay in memory while they are few. */
enum { IN_MEMORY = 256 * 1024 };

static int spill(struct halibut_stream *s, struct halibut_error *err)
{
	const char *dir = getenv("TMPDIR");
	size_t done = 0;

	if (dir == NULL || dir[0] == '\0')
		dir = "/tmp";
	s->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (s->fd < 0)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "a DataStream cannot be kept in %s: %s. "
		                     "Point TMPDIR at a directory with room",
		                     dir, strerror(errno));
	while (done < s->memory.len) {
		ssize_t n = write(s->fd, s->memory.data + done,
		                  s->memory.len - done);

		if (n < 0)
			return hbt_error_set(err, HALIBUT_ESYSTEM,
			                     "a DataStream cannot be kept in "
			                     "%s: %s",
			                     dir, strerror(errno));
		done += (size_t)n;
	}
	hbt_buf_fini(&s->memory);
	return 0;
}

int hbt_stream_receive(struct halibut_stream *s, const uint8_t *data,
                       size_t len, struct halibut_error *err)
{
	int rc;

	if (s->fd < 0 && s->memory.len + len <= IN_MEMORY) {
		rc = hbt_buf_append(&s->memory, data, len);
		return rc == 0 ? 0 : hbt_error_set(err, rc, "out of memory");
	}
	if (s->fd < 0 && (rc = spill(s, err)) != 0)
		return rc;
	while (len > 0) {
		ssize_t n = write(s->fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return hbt_error_set(err, HALIBUT_ESYSTEM,
			                     "a received DataStream cannot be "
			                     "written to its temporary file: "
			                     "%s",
			                     strerror(errno));
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int copy_out(struct halibut_stream *s, int fd, const char *path,
                    struct halibut_error *err)
{
	uint8_t buf[COPY];
	ssize_t n, w;

	s->at = 0;
	while ((n = halibut_stream_read(s, buf, sizeof(buf))) > 0) {
		for (ssize_t done = 0; done < n; done += w) {
			w = write(fd, buf + done, (size_t)(n - done));
			if (w < 0)
				return hbt_error_set(err, HALIBUT_ESYSTEM,
				                     "%s: %s", path,
				                     strerror(errno));
		}
	}
	if (n < 0)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "the DataStream for %s cannot be read",
		                     path);
	return 0;
}

int halibut_stream_save(struct halibut_stream *s, const char *path,
                        struct halibut_error *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	int rc;

	if (fd < 0)
		return hbt_error_set(err, HALIBUT_ESYSTEM, "%s: %s", path,
		                     strerror(errno));
	rc = copy_out(s, fd, path, err);
	if (close(fd) != 0 && rc == 0)
		rc = hbt_error_set(err, HALIBUT_ESYSTEM, "%s: %s", path,
		                   strerror(errno));
	return rc;
}
