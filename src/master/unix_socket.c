#include "master/unix_socket.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64

static bool somebody_listens(const struct sockaddr_un *sa, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool found;

	if (fd < 0)
		return true;
	found = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 ||
	        (errno != ECONNREFUSED && errno != ENOENT);
	close(fd);
	return found;
}

static void make_directory(const char *path)
{
	char *dir = strdup(path);
	char *slash = dir != NULL ? strrchr(dir, '/') : NULL;

	if (slash != NULL && slash != dir) {
		*slash = '\0';
		mkdir(dir, 0755);
	}
	free(dir);
}

static int bind_path(int fd, const struct sockaddr_un *sa, unsigned mode)
{
	/* The mode from the first moment on. */
	mode_t before = umask(0777 & ~mode);
	int rc = bind(fd, (const struct sockaddr *)sa, sizeof(*sa));

	if (rc != 0 && errno == ENOENT) {
		umask(before);
		make_directory(sa->sun_path);
		umask(0777 & ~mode);
		rc = bind(fd, (const struct sockaddr *)sa, sizeof(*sa));
	}
	umask(before);
	return rc;
}

static int fail(int *fd, const char *path, const char *setting,
                struct halibut_error *err)
{
	int rc = hbt_error_set(err, HALIBUT_ESYSTEM,
	                       "cannot listen on the socket %s: %s; see %s in "
	                       "halibutd.conf(5)",
	                       path, strerror(errno), setting);

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	return rc;
}

int hbt_unix_listen(int *fd, const char *path, int type, unsigned mode,
                    const char *setting, struct halibut_error *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int rc;

	*fd = -1;
	if (strlen(path) >= sizeof(sa.sun_path))
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "%s: \"%s\" is longer than the %zu bytes "
		                     "that a socket's path may have",
		                     setting, path, sizeof(sa.sun_path) - 1);
	strcpy(sa.sun_path, path);
	*fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = *fd < 0 ? -1 : bind_path(*fd, &sa, mode);
	if (rc != 0 && *fd >= 0 && errno == EADDRINUSE) {
		if (somebody_listens(&sa, type)) {
			close(*fd);
			*fd = -1;
			return hbt_error_set(err, HALIBUT_ESYSTEM,
			                     "another halibutd listens on the "
			                     "socket %s; stop it, or set %s to "
			                     "another path",
			                     path, setting);
		}
		unlink(path);
		rc = bind_path(*fd, &sa, mode);
	}
	if (rc == 0 && listen(*fd, BACKLOG) == 0)
		return HALIBUT_OK;
	return fail(fd, path, setting, err);
}
