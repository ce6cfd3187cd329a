/* The arguments of a call: JSON, and files as DataStreams. */
#include "ctl/args.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* An unnamed file that vanishes with its descriptor, or -1. */
static int open_temporary(void)
{
	const char *dir = getenv("TMPDIR");
	char *name = NULL;
	int fd;

	if (dir == NULL || dir[0] == '\0')
		dir = "/var/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0 || asprintf(&name, "%s/halibutctl.XXXXXX", dir) < 0)
		return fd;
	/* Not every file system has O_TMPFILE. */
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	free(name);
	return fd;
}

static bool write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

/* Copies what from gives up to its end. A descriptor, or -1 and err. */
static int copy_to_temporary(int from, const char *name,
                             struct halibut_error *err)
{
	int to = open_temporary();
	char buf[65536];
	ssize_t n = 0;

	while (to >= 0 && (n = read(from, buf, sizeof(buf))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || !write_all(to, buf, (size_t)n))
			break;
	}
	if (to < 0 || n != 0 || lseek(to, 0, SEEK_SET) != 0) {
		hbt_error_set(err, HALIBUT_ESYSTEM,
		              "cannot copy %s into a temporary file (TMPDIR "
		              "says where): %s",
		              name, strerror(errno));
		if (to >= 0)
			close(to);
		return -1;
	}
	return to;
}

static int open_stream(const char *path, int64_t *length,
                       struct halibut_error *err)
{
	bool is_stdin = strcmp(path, "-") == 0;
	const char *name = is_stdin ? "standard input" : path;
	int fd = is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
	                  : open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	off_t at = 0;

	if (fd < 0 || fstat(fd, &st) != 0) {
		hbt_error_set(err, HALIBUT_EINVAL, "cannot read %s: %s", name,
		              strerror(errno));
		goto fail;
	}
	if (S_ISDIR(st.st_mode)) {
		hbt_error_set(err, HALIBUT_EINVAL,
		              "%s is a directory; a DataStream is made of a "
		              "file",
		              name);
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		int copy = copy_to_temporary(fd, name, err);

		close(fd);
		fd = copy;
		if (fd < 0)
			return -1;
		if (fstat(fd, &st) != 0) {
			hbt_error_set(err, HALIBUT_ESYSTEM,
			              "cannot read %s: %s", name,
			              strerror(errno));
			goto fail;
		}
	} else {
		at = lseek(fd, 0, SEEK_CUR);
	}
	*length = st.st_size > at ? st.st_size - at : 0;
	return fd;
fail:
	if (fd >= 0)
		close(fd);
	return -1;
}

static json_t *add_stream(struct hbt_ctl_args *a, const char *path,
                          struct halibut_error *err)
{
	struct hbt_ctl_stream *grown =
		reallocarray(a->streams, a->n_streams + 1, sizeof(*grown));
	struct hbt_ctl_stream *s;

	if (grown == NULL) {
		hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
		return NULL;
	}
	a->streams = grown;
	s = &grown[a->n_streams];
	if ((s->fd = open_stream(path, &s->length, err)) < 0)
		return NULL;
	s->name = strdup(path);
	return json_pack("{s:I}", "$dataStream", (json_int_t)a->n_streams++);
}

/* {"$file": "path"}, and nothing else: the path, or NULL. */
static const char *file_object(const json_t *value)
{
	if (json_object_size(value) != 1)
		return NULL;
	return json_string_value(json_object_get(value, "$file"));
}

/*
 * Replaces the $file objects in value, in document order, and returns value
 * or what stands in its place. NULL: err says why, value is released.
 */
static json_t *open_files(struct hbt_ctl_args *a, json_t *value,
                          struct halibut_error *err)
{
	const char *path = file_object(value);
	json_t *inner, *to;
	const char *key;
	size_t i;
	void *at;

	if (path != NULL) {
		to = add_stream(a, path, err);
		json_decref(value);
		return to;
	}
	json_array_foreach(value, i, inner) {
		to = open_files(a, json_incref(inner), err);
		if (to == NULL)
			goto fail;
		if (to != inner)
			json_array_set(value, i, to);
		json_decref(to);
	}
	for (at = json_object_iter(value); at != NULL;
	     at = json_object_iter_next(value, at)) {
		key = json_object_iter_key(at);
		inner = json_object_iter_value(at);
		if (strcmp(key, "$dataStream") == 0) {
			hbt_error_set(err, HALIBUT_EINVAL,
			              "write {\"$file\": \"PATH\"} where a "
			              "DataStream belongs, instead of "
			              "{\"$dataStream\": ...}");
			goto fail;
		}
		to = open_files(a, json_incref(inner), err);
		if (to == NULL)
			goto fail;
		if (to != inner)
			json_object_iter_set(value, at, to);
		json_decref(to);
	}
	return value;
fail:
	json_decref(value);
	return NULL;
}

static json_t *read_json(const char *text, size_t number,
                         struct halibut_error *err)
{
	json_error_t why;
	json_t *v = json_loads(text, JSON_DECODE_ANY, &why);

	if (v != NULL)
		return v;
	if (strpbrk(text, "{[\"") == NULL)
		hbt_error_set(err, HALIBUT_EINVAL,
		              "argument %zu, %s, is not JSON; a text is "
		              "written with quotes inside quotes: '\"%s\"'",
		              number, text, text);
	else
		hbt_error_set(err, HALIBUT_EINVAL,
		              "argument %zu is not JSON: %s (column %d); put "
		              "single quotes around it, so that the shell "
		              "leaves its double quotes alone",
		              number, why.text, why.column);
	return NULL;
}

int hbt_ctl_args_read(struct hbt_ctl_args *a, char *const *texts, size_t n,
                      struct halibut_error *err)
{
	*a = (struct hbt_ctl_args){.values = json_array()};

	if (a->values == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		struct halibut_error why = {.status = HALIBUT_OK};
		json_t *v;

		if (texts[i][0] == '@') {
			v = add_stream(a, texts[i] + 1, &why);
		} else {
			v = read_json(texts[i], i + 1, &why);
			if (v != NULL)
				v = open_files(a, v, &why);
		}
		if (v == NULL || json_array_append_new(a->values, v) != 0) {
			if (why.status == HALIBUT_OK)
				hbt_error_set(&why, HALIBUT_ENOMEM,
				              "out of memory");
			if (err != NULL)
				hbt_error_move(err, &why);
			halibut_error_clear(&why);
			return err != NULL ? (int)err->status : HALIBUT_EINVAL;
		}
	}
	return HALIBUT_OK;
}

void hbt_ctl_args_fini(struct hbt_ctl_args *a)
{
	for (size_t i = 0; i < a->n_streams; i++) {
		close(a->streams[i].fd);
		free(a->streams[i].name);
	}
	free(a->streams);
	json_decref(a->values);
	*a = (struct hbt_ctl_args){.values = NULL};
}
