#include "master/config_secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SECRET 4096

static int check_mode(const char *path, const struct stat *st,
                      struct halibut_error *err)
{
	if (!S_ISREG(st->st_mode))
		return hbt_error_set(err, HALIBUT_EINVAL, "%s is no file",
		                     path);
	if ((st->st_mode & 0007) != 0 &&
	    strncmp(path, "/run/secrets/", 13) != 0)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "%s has a password in it and mode %04o: "
		                     "everybody can read it; chmod o= %s",
		                     path, (unsigned)st->st_mode & 07777, path);
	return HALIBUT_OK;
}

static int read_first_line(int fd, const char *path, char **text,
                           struct halibut_error *err)
{
	char buf[MAX_SECRET + 1];
	ssize_t n = read(fd, buf, sizeof(buf));
	int rc = HALIBUT_OK;
	size_t len;

	if (n < 0)
		return hbt_error_set(err, HALIBUT_ESYSTEM, "%s: %s", path,
		                     strerror(errno));
	for (len = 0; len < (size_t)n && buf[len] != '\n' && buf[len] != '\r';)
		len++;
	if (len == 0 || len > MAX_SECRET || memchr(buf, '\0', len) != NULL)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "%s has no password; it is the first line of "
		                   "the file",
		                   path);
	else if ((*text = strndup(buf, len)) == NULL)
		rc = hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	explicit_bzero(buf, sizeof(buf));
	return rc;
}

int hbt_secret_load(const char *path, char **text, struct halibut_error *err)
{
	struct stat st;
	int fd, rc;

	if (path == NULL)
		return HALIBUT_OK;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) != 0)
		rc = hbt_error_set(err, HALIBUT_ESYSTEM,
		                   "%s: cannot be read: %s", path,
		                   strerror(errno));
	else
		rc = check_mode(path, &st, err);
	if (rc == HALIBUT_OK)
		rc = read_first_line(fd, path, text, err);
	if (fd >= 0)
		close(fd);
	return rc;
}

int hbt_secret_check(const char *path, struct halibut_error *err)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "%s: cannot be read: %s", path,
		                     strerror(errno));
	return check_mode(path, &st, err);
}
