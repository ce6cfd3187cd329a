/* Directories of workers and calls: see dirs.h. */
#include "dirs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define PREFIX "halibut-service-"
#define MAX_DEPTH 64 /* of what a program leaves behind */

struct hbt_svc_dirs {
	char *path;
	int fd; /* open and locked while the worker lives */
};

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Removes everything below parent/name, and that. Follows no links. */
static bool remove_tree(int parent, const char *name, int depth)
{
	struct dirent *entry;
	DIR *dir;
	int fd;

	if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return true;
	if (depth > MAX_DEPTH)
		return false;
	fd = openat(parent, name,
	            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return false;
	if ((dir = fdopendir(fd)) == NULL) {
		close(fd);
		return false;
	}
	while ((entry = readdir(dir)) != NULL) {
		if (is_dots(entry->d_name))
			continue;
		if (entry->d_type != DT_DIR &&
		    unlinkat(dirfd(dir), entry->d_name, 0) == 0)
			continue;
		remove_tree(dirfd(dir), entry->d_name, depth + 1);
	}
	closedir(dir);
	return unlinkat(parent, name, AT_REMOVEDIR) == 0;
}

/* A lock on a directory; false when somebody else has it. */
static bool lock_dir(int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* Our predecessors may have been killed, files of their calls remain. */
static void sweep(const char *spool_directory)
{
	struct dirent *entry;
	DIR *dir = opendir(spool_directory);

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL) {
		int fd;

		if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		fd = openat(dirfd(dir), entry->d_name,
		            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (lock_dir(fd) &&
		    remove_tree(dirfd(dir), entry->d_name, 0))
			log_info("removed %s/%s, left behind by a worker "
			         "that was killed",
			         spool_directory, entry->d_name);
		close(fd);
	}
	closedir(dir);
}

/* Made and locked; false with errno. */
static bool make_own(struct hbt_svc_dirs *dirs)
{
	struct stat st;

	if (mkdtemp(dirs->path) == NULL)
		return false;
	dirs->fd = open(dirs->path,
	                O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dirs->fd >= 0 && lock_dir(dirs->fd) &&
	    fstat(dirs->fd, &st) == 0 && st.st_nlink > 0)
		return true;
	/* Another worker swept it before it was locked. */
	if (dirs->fd >= 0)
		close(dirs->fd);
	dirs->fd = -1;
	rmdir(dirs->path);
	errno = EAGAIN;
	return false;
}

int hbt_svc_dirs_open(struct hbt_svc_dirs **out, const char *spool_directory,
                      struct halibut_error *err)
{
	struct hbt_svc_dirs *dirs = calloc(1, sizeof(*dirs));
	bool made = false;

	*out = NULL;
	if (dirs == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	dirs->fd = -1;
	sweep(spool_directory);
	for (int i = 0; i < 10 && !made; i++) {
		free(dirs->path);
		if (asprintf(&dirs->path, "%s/" PREFIX "%ld-XXXXXX",
		             spool_directory, (long)getpid()) < 0) {
			dirs->path = NULL;
			break;
		}
		if (!(made = make_own(dirs)) && errno != EAGAIN)
			break;
	}
	if (!made) {
		hbt_error_set(err, HALIBUT_ESYSTEM,
		              "cannot make a directory in the spool directory "
		              "%s: %s",
		              spool_directory, strerror(errno));
		hbt_svc_dirs_close(&dirs);
		return HALIBUT_ESYSTEM;
	}
	*out = dirs;
	return HALIBUT_OK;
}

void hbt_svc_dirs_close(struct hbt_svc_dirs **dirsp)
{
	struct hbt_svc_dirs *dirs = *dirsp;

	if (dirs == NULL)
		return;
	*dirsp = NULL;
	if (dirs->fd >= 0) {
		remove_tree(AT_FDCWD, dirs->path, 0);
		close(dirs->fd);
	}
	free(dirs->path);
	free(dirs);
}

int hbt_svc_dirs_make_call(struct hbt_svc_dirs *dirs, uint64_t n, char **path,
                           struct halibut_error *err)
{
	if (asprintf(path, "%s/call-%llu", dirs->path,
	             (unsigned long long)n) < 0) {
		*path = NULL;
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	}
	if (mkdir(*path, 0700) == 0)
		return HALIBUT_OK;
	hbt_error_set(err, HALIBUT_ESYSTEM,
	              "cannot make the directory %s for a call: %s", *path,
	              strerror(errno));
	free(*path);
	*path = NULL;
	return HALIBUT_ESYSTEM;
}

void hbt_svc_dirs_remove_call(struct hbt_svc_dirs *dirs, char **path)
{
	(void)dirs;
	if (*path == NULL)
		return;
	if (!remove_tree(AT_FDCWD, *path, 0))
		log_warning("cannot remove all of %s: look for files that "
		            "this user may not remove",
		            *path);
	free(*path);
	*path = NULL;
}
