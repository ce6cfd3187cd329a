#include "master/preflight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/split.h"

static int missing(struct halibut_error *err, const char *path,
                   const char *setting)
{
	return hbt_error_set(err, HALIBUT_EINVAL, "%s, as %s has it: %s", path,
	                     setting, strerror(errno));
}

static int check_directory(const char *path, int mode, const char *setting,
                           struct halibut_error *err)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return missing(err, path, setting);
	if (!S_ISDIR(st.st_mode)) {
		errno = ENOTDIR;
		return missing(err, path, setting);
	}
	return access(path, mode) != 0 ? missing(err, path, setting) : 0;
}

static int check_program(const char *path, const char *setting,
                         struct halibut_error *err)
{
	struct stat st;

	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		errno = EACCES;
	else if (access(path, X_OK) == 0)
		return HALIBUT_OK;
	return missing(err, path, setting);
}

/* As execvp() looks for it. */
static int find_program(const char *name, const char *setting,
                        struct halibut_error *err)
{
	const char *path = getenv("PATH");
	char *copy = strdup(path != NULL ? path : "/usr/bin:/bin");
	char *rest = copy, *dir, *full;
	bool found = false;

	while (!found && copy != NULL && (dir = strsep(&rest, ":")) != NULL) {
		if (asprintf(&full, "%s/%s", dir, name) < 0)
			break;
		found = check_program(full, setting, NULL) == HALIBUT_OK;
		free(full);
	}
	free(copy);
	errno = ENOENT;
	return found ? HALIBUT_OK : missing(err, name, setting);
}

static int check_command(const char *command, const char *setting,
                         struct halibut_error *err)
{
	char **argv = NULL;
	int rc = hbt_split(command, &argv, err);

	/* One relative to a directory is not looked for. */
	if (rc == HALIBUT_OK && argv[0][0] == '/')
		rc = check_program(argv[0], setting, err);
	else if (rc == HALIBUT_OK && strchr(argv[0], '/') == NULL)
		rc = find_program(argv[0], setting, err);
	free(argv);
	return rc;
}

static int check_service(const struct hbt_program *p, struct halibut_error *err)
{
	char *setting;
	int rc = HALIBUT_OK;

	if (asprintf(&setting, "service \"%s\"", p->service) < 0)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	if (p->directory != NULL)
		rc = check_directory(p->directory, X_OK, setting, err);
	if (rc == HALIBUT_OK)
		rc = check_command(p->command, setting, err);
	free(setting);
	return rc;
}

static int check_readable(const char *path, const char *setting,
                          struct halibut_error *err)
{
	if (path == NULL || access(path, R_OK) == 0)
		return HALIBUT_OK;
	return missing(err, path, setting);
}

/* What the queue worker starts and opens. */
static int check_queue(const struct hbt_config *cfg, struct halibut_error *err)
{
	const struct hbt_queue_settings *s = &cfg->redis;
	int rc = HALIBUT_OK;

	if (strcmp(s->streams, "directory") == 0)
		rc = check_directory(s->streams_directory, R_OK | W_OK | X_OK,
		                     "streams_directory", err);
	else if (strcmp(s->streams, "program") == 0)
		rc = check_command(s->streams_command, "streams_command", err);
	for (size_t i = 0; rc == HALIBUT_OK && i < cfg->wrappers.n; i++)
		if (strncmp(cfg->wrappers.v[i], "program ", 8) == 0)
			rc = check_command(cfg->wrappers.v[i] + 8, "wrappers",
			                   err);
	if (rc == HALIBUT_OK)
		rc = check_readable(s->tls_ca, "tls_ca", err);
	if (rc == HALIBUT_OK)
		rc = check_readable(s->tls_certificate, "tls_certificate", err);
	return rc != HALIBUT_OK ? rc
	                        : check_readable(s->tls_key, "tls_key", err);
}

static int check_worker(const struct hbt_config *cfg, const char *name,
                        struct halibut_error *err)
{
	char *path;
	int rc;

	if (asprintf(&path, "%s/%s", cfg->worker_directory, name) < 0)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	rc = check_program(path, "worker_directory", err);
	free(path);
	return rc;
}

static int check_spool(const struct hbt_config *cfg, struct halibut_error *err)
{
	char *path = hbt_config_path(cfg, cfg->spool_directory);
	int rc;

	if (path == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	rc = check_directory(path, W_OK | X_OK, "spool_directory", err);
	free(path);
	return rc;
}

int hbt_preflight(const struct hbt_config *cfg, struct halibut_error *err)
{
	int rc = check_worker(cfg, "halibut-connection-worker", err);

	if (rc == HALIBUT_OK)
		rc = check_worker(cfg, "halibut-status-worker", err);
	if (rc == HALIBUT_OK && cfg->n_programs > 0)
		rc = check_worker(cfg, "halibut-service-worker", err);
	if (rc == HALIBUT_OK && cfg->shares)
		rc = check_worker(cfg, "halibut-queue-worker", err);
	for (size_t i = 0; i < cfg->n_programs && rc == HALIBUT_OK; i++)
		rc = check_service(&cfg->programs[i], err);
	if (rc == HALIBUT_OK && cfg->shares)
		rc = check_queue(cfg, err);
	return rc == HALIBUT_OK ? check_spool(cfg, err) : rc;
}
