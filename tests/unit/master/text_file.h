/* A configuration out of a text, for the tests of the master. */
#ifndef TEXT_FILE_H
#define TEXT_FILE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "master/config.h"

/* Writes text into a new file; free and unlink the name. */
static inline char *text_file(const char *text)
{
	const char *dir = getenv("TMPDIR");
	char *name = NULL;
	int fd;

	if (asprintf(&name, "%s/halibut-test.XXXXXX",
	             dir != NULL ? dir : "/tmp") < 0)
		abort();
	fd = mkstemp(name);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	close(fd);
	return name;
}

static inline int config_from(const char *text, struct hbt_config **cfg,
                              struct halibut_error *err)
{
	char *name = text_file(text);
	int rc = hbt_config_load(cfg, name, err);

	unlink(name);
	free(name);
	return rc;
}

#endif
