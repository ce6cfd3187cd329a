/* Where the DataStreams of a result go. */
#include "ctl/landing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int cannot_write(const struct hbt_ctl_landing *l,
                        struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_ESYSTEM,
	                     "cannot write the DataStream to %s: %s",
	                     l->path != NULL ? l->path : "standard output",
	                     strerror(errno));
}

/* The name of stream n; NULL in *path when it gets none. */
static int choose_path(const struct hbt_ctl_landing *l, size_t n, char **path)
{
	*path = NULL;
	if (n == 0 && l->file != NULL)
		*path = strdup(l->file);
	else if (l->directory == NULL)
		return HALIBUT_OK;
	else if (asprintf(path, "%s/stream-%zu", l->directory, n) < 0)
		*path = NULL;
	return *path != NULL ? HALIBUT_OK : HALIBUT_ENOMEM;
}

static int open_file(struct hbt_ctl_landing *l, struct halibut_error *err)
{
	struct stat st;
	mode_t mask;

	if (stat(l->path, &st) == 0 && !S_ISREG(st.st_mode)) {
		l->fd = open(l->path, O_WRONLY | O_CLOEXEC);
		return l->fd >= 0 ? HALIBUT_OK : cannot_write(l, err);
	}
	if (asprintf(&l->temporary, "%s.XXXXXX", l->path) < 0) {
		l->temporary = NULL;
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	}
	l->fd = mkostemp(l->temporary, O_CLOEXEC);
	if (l->fd < 0) {
		free(l->temporary);
		l->temporary = NULL;
		return cannot_write(l, err);
	}
	mask = umask(0);
	umask(mask);
	fchmod(l->fd, 0666 & ~mask);
	return HALIBUT_OK;
}

int hbt_ctl_landing_begin(struct hbt_ctl_landing *l, int64_t length,
                          struct halibut_error *err)
{
	struct hbt_ctl_landed *grown =
		reallocarray(l->landed, l->n + 1, sizeof(*grown));

	if (grown == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	l->landed = grown;
	grown[l->n] = (struct hbt_ctl_landed){.length = length};
	l->fd = -1;
	if (choose_path(l, l->n, &l->path) != HALIBUT_OK)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	if (l->path != NULL)
		return open_file(l, err);
	if (l->n == 0 && l->to_stdout) {
		l->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
		if (l->fd < 0)
			return cannot_write(l, err);
		grown[l->n].printed = true;
	}
	return HALIBUT_OK;
}

int hbt_ctl_landing_data(struct hbt_ctl_landing *l, const void *data,
                         size_t len, struct halibut_error *err)
{
	const char *p = data;

	while (l->fd >= 0 && len > 0) {
		ssize_t n = write(l->fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return cannot_write(l, err);
		p += n;
		len -= (size_t)n;
	}
	return HALIBUT_OK;
}

static void forget_current(struct hbt_ctl_landing *l)
{
	if (l->temporary != NULL)
		unlink(l->temporary);
	free(l->temporary);
	free(l->path);
	l->temporary = l->path = NULL;
	l->fd = -1;
}

int hbt_ctl_landing_end(struct hbt_ctl_landing *l, struct halibut_error *err)
{
	/* Some file systems report only now that they are full. */
	if (l->fd >= 0 && close(l->fd) != 0 && errno != EINTR) {
		l->fd = -1;
		return cannot_write(l, err);
	}
	l->fd = -1;
	if (l->temporary != NULL && rename(l->temporary, l->path) != 0)
		return cannot_write(l, err);
	free(l->temporary);
	l->temporary = NULL;
	l->landed[l->n++].path = l->path;
	l->path = NULL;
	return HALIBUT_OK;
}

void hbt_ctl_landing_fini(struct hbt_ctl_landing *l)
{
	if (l->fd > STDERR_FILENO)
		close(l->fd);
	forget_current(l);
	for (size_t i = 0; i < l->n; i++)
		free(l->landed[i].path);
	free(l->landed);
	l->landed = NULL;
	l->n = 0;
}
