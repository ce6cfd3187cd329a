#include "master/trust_added.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "net/tls.h"

/* The file and the one that takes its place. */
struct edit {
	const char *path; /* as it is configured, for messages */
	char *target;     /* what it leads to, if it is a link */
	char *temporary;
	FILE *from; /* NULL: there is none yet */
	FILE *to;
};

static int failed(const struct edit *e, const char *what,
                  struct halibut_error *err)
{
	int error = errno;
	const char *remedy = "";

	if (error == EACCES || error == EPERM || error == EROFS)
		remedy = "; make its directory writable to halibutd, or let "
			 "trust_added_file name another file";
	else if (error == EBUSY || error == EXDEV)
		remedy = "; it is mounted by itself, so nothing can take its "
			 "place: mount its directory instead";
	else if (error == ENOSPC || error == EDQUOT)
		remedy = "; the disk is full";
	else if (error == ENOENT)
		remedy = "; create its directory";
	return hbt_error_set(err, HALIBUT_ESYSTEM,
	                     "trust_added_file %s cannot be %s: %s%s. It is "
	                     "as it was",
	                     e->path, what, strerror(error), remedy);
}

/* Calls with a copy of the path of its directory, as dirname() wants one. */
static int with_directory(const char *path, int (*call)(const char *directory))
{
	char *copy = strdup(path);
	int rc = copy != NULL ? call(dirname(copy)) : -1;

	free(copy);
	return rc;
}

static int make_directory(const char *path)
{
	return mkdir(path, 0755);
}

/* So that the new name outlives a power failure, too. */
static int sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 ? -1 : fsync(fd);

	if (fd >= 0)
		close(fd);
	return rc;
}

static void adopt_owner(int to, int from)
{
	struct stat st;

	if (fstat(from, &st) != 0)
		return;
	if (fchown(to, st.st_uid, st.st_gid) != 0) /* as far as that goes */
		(void)!fchown(to, (uid_t)-1, st.st_gid);
	(void)!fchmod(to, st.st_mode & 07777);
}

static int begin(struct edit *e, const char *path, struct halibut_error *err)
{
	int fd;

	*e = (struct edit){.path = path, .target = realpath(path, NULL)};
	if (e->target == NULL && (e->target = strdup(path)) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	e->from = fopen(e->target, "re");
	if (e->from == NULL && errno != ENOENT)
		return failed(e, "read", err);
	if (asprintf(&e->temporary, "%s.XXXXXX", e->target) < 0) {
		e->temporary = NULL;
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	}
	fd = mkostemp(e->temporary, O_CLOEXEC);
	if (fd < 0 && errno == ENOENT &&
	    with_directory(e->target, make_directory) == 0) {
		strcpy(e->temporary + strlen(e->target), ".XXXXXX");
		fd = mkostemp(e->temporary, O_CLOEXEC);
	}
	if (fd < 0) {
		free(e->temporary);
		e->temporary = NULL;
		return failed(e, "written", err);
	}
	(void)!fchmod(fd, 0640);
	if (e->from != NULL)
		adopt_owner(fd, fileno(e->from));
	if ((e->to = fdopen(fd, "w")) == NULL) {
		close(fd);
		return failed(e, "written", err);
	}
	return HALIBUT_OK;
}

static int finish(struct edit *e, struct halibut_error *err)
{
	bool written = fflush(e->to) == 0 && fsync(fileno(e->to)) == 0;

	if (!written || rename(e->temporary, e->target) != 0)
		return failed(e, "written", err);
	free(e->temporary);
	e->temporary = NULL;
	if (with_directory(e->target, sync_directory) != 0 && errno != EINVAL)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "trust_added_file %s is written, but may "
		                     "not outlive a power failure: %s",
		                     e->path, strerror(errno));
	return HALIBUT_OK;
}

static void edit_fini(struct edit *e)
{
	if (e->from != NULL)
		fclose(e->from);
	if (e->to != NULL)
		fclose(e->to);
	if (e->temporary != NULL)
		unlink(e->temporary);
	free(e->temporary);
	free(e->target);
}

/* The digits before the comment, if they are a thumbprint. */
static bool has_thumbprint(const char *line, const char *hex)
{
	char found[HBT_THUMBPRINT_TEXT];
	char *text = strndup(line, strcspn(line, "#\r\n"));
	bool has = text != NULL && hbt_thumbprint_parse(text, found) &&
	           strcmp(found, hex) == 0;

	free(text);
	return has;
}

/* Copies the lines, but those with hex (NULL: all); a last line that was not
 * ended is. */
static int copy(struct edit *e, const char *hex, struct halibut_error *err)
{
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;

	while (e->from != NULL && (len = getline(&line, &cap, e->from)) > 0) {
		if (hex != NULL && has_thumbprint(line, hex))
			continue;
		fwrite(line, 1, (size_t)len, e->to);
		if (line[len - 1] != '\n')
			fputc('\n', e->to);
	}
	free(line);
	if (e->from != NULL && ferror(e->from))
		return failed(e, "read", err);
	return ferror(e->to) ? failed(e, "written", err) : HALIBUT_OK;
}

static void write_line(FILE *f, const char *hex, const char *comment)
{
	fputs(hex, f);
	if (comment != NULL && comment[0] != '\0')
		fputs("  # ", f);
	for (; comment != NULL && *comment != '\0'; comment++)
		fputc((unsigned char)*comment < ' ' ? ' ' : *comment, f);
	fputc('\n', f);
}

int hbt_trust_added_put(const char *path, const char *hex, const char *comment,
                        struct halibut_error *err)
{
	struct edit e;
	int rc = begin(&e, path, err);

	if (rc == HALIBUT_OK && e.from == NULL)
		fputs("# Trusted by hand: halibutctl trust add, or a line "
		      "here and halibutctl reload.\n",
		      e.to);
	if (rc == HALIBUT_OK)
		rc = copy(&e, NULL, err);
	if (rc == HALIBUT_OK) {
		write_line(e.to, hex, comment);
		rc = finish(&e, err);
	}
	edit_fini(&e);
	return rc;
}

int hbt_trust_added_drop(const char *path, const char *hex,
                         struct halibut_error *err)
{
	struct edit e;
	int rc = begin(&e, path, err);

	if (rc == HALIBUT_OK)
		rc = copy(&e, hex, err);
	if (rc == HALIBUT_OK)
		rc = finish(&e, err);
	edit_fini(&e);
	return rc;
}
