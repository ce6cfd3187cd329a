/* Directories of workers and calls: see dirs.h. */
#include "dirs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define PREFIX "halibut-service-"
#define MAX_DEPTH 64 /* of what a program leaves behind */
#define MAX_KEPT 64

struct hbt_svc_dir {
	SLIST_ENTRY(hbt_svc_dir) link; /* while kept */
	char *path;
	DIR *stream;
};

struct hbt_svc_dirs {
	char *path;
	int fd; /* open and locked while the worker lives */
	unsigned long made;
	SLIST_HEAD(, hbt_svc_dir) kept; /* empty ones */
	unsigned n_kept;
};

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool remove_tree(int parent, const char *name, int depth);

/* Removes everything in it. Follows no links. */
static bool empty_directory(DIR *dir, int depth)
{
	struct dirent *entry;
	bool empty = true;

	while ((entry = readdir(dir)) != NULL) {
		if (is_dots(entry->d_name))
			continue;
		if (entry->d_type != DT_DIR &&
		    unlinkat(dirfd(dir), entry->d_name, 0) == 0)
			continue;
		if (!remove_tree(dirfd(dir), entry->d_name, depth + 1))
			empty = false;
	}
	return empty;
}

static bool remove_tree(int parent, const char *name, int depth)
{
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
	empty_directory(dir, depth);
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

static void dir_free(struct hbt_svc_dir *dir)
{
	if (dir->stream != NULL)
		closedir(dir->stream);
	free(dir->path);
	free(dir);
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
	struct hbt_svc_dir *dir;

	if (dirs == NULL)
		return;
	*dirsp = NULL;
	while ((dir = SLIST_FIRST(&dirs->kept)) != NULL) {
		SLIST_REMOVE_HEAD(&dirs->kept, link);
		dir_free(dir);
	}
	if (dirs->fd >= 0) {
		remove_tree(AT_FDCWD, dirs->path, 0);
		close(dirs->fd);
	}
	free(dirs->path);
	free(dirs);
}

static int make_dir(struct hbt_svc_dirs *dirs, struct hbt_svc_dir **out,
                    struct halibut_error *err)
{
	struct hbt_svc_dir *dir = calloc(1, sizeof(*dir));

	if (dir == NULL ||
	    asprintf(&dir->path, "%s/call-%lu", dirs->path, ++dirs->made) <
	            0) {
		free(dir);
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	}
	if (mkdir(dir->path, 0700) == 0 &&
	    (dir->stream = opendir(dir->path)) != NULL) {
		*out = dir;
		return HALIBUT_OK;
	}
	hbt_error_set(err, HALIBUT_ESYSTEM,
	              "The node that hosts the service cannot make the "
	              "directory %s for a call: %s",
	              dir->path, strerror(errno));
	rmdir(dir->path);
	dir_free(dir);
	return HALIBUT_ESYSTEM;
}

int hbt_svc_dirs_take(struct hbt_svc_dirs *dirs, struct hbt_svc_dir **out,
                      struct halibut_error *err)
{
	struct hbt_svc_dir *dir;
	struct stat st;

	while ((dir = SLIST_FIRST(&dirs->kept)) != NULL) {
		SLIST_REMOVE_HEAD(&dirs->kept, link);
		dirs->n_kept--;
		/* A program may have removed it. */
		if (fstat(dirfd(dir->stream), &st) == 0 && st.st_nlink > 0) {
			*out = dir;
			return HALIBUT_OK;
		}
		dir_free(dir);
	}
	return make_dir(dirs, out, err);
}

const char *hbt_svc_dir_path(const struct hbt_svc_dir *dir)
{
	return dir->path;
}

void hbt_svc_dirs_give(struct hbt_svc_dirs *dirs, struct hbt_svc_dir **dirp,
                       bool in_use)
{
	struct hbt_svc_dir *dir = *dirp;

	if (dir == NULL)
		return;
	*dirp = NULL;
	rewinddir(dir->stream);
	if (empty_directory(dir->stream, 0) && !in_use &&
	    dirs->n_kept < MAX_KEPT) {
		SLIST_INSERT_HEAD(&dirs->kept, dir, link);
		dirs->n_kept++;
		return;
	}
	if (!remove_tree(AT_FDCWD, dir->path, 0))
		log_warning("cannot remove all of %s: look for files that "
		            "this user may not remove",
		            dir->path);
	dir_free(dir);
}
