/* Secrets that the configuration names by file, so that it holds none. */
#ifndef HBT_MASTER_CONFIG_SECRET_H
#define HBT_MASTER_CONFIG_SECRET_H

#include "base/error.h"

/*
 * The first line of the file, malloced; *text stays as it is when path is
 * NULL. A file that everybody can read is refused, unless it is in
 * /run/secrets: who puts secrets there, such as Docker and Kubernetes, lets
 * nobody else near.
 */
int hbt_secret_load(const char *path, char **text, struct halibut_error *err);

/* Is there a file at path that not everybody can read? */
int hbt_secret_check(const char *path, struct halibut_error *err);

#endif
