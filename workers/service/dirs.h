/*
 * Where calls keep their files: one private directory a worker inside the
 * spool directory, and in it one a call, which goes with everything that is
 * in it when the call ends.
 */
#ifndef HBT_SERVICE_DIRS_H
#define HBT_SERVICE_DIRS_H

#include <stdint.h>

#include "base/error.h"

struct hbt_svc_dirs;

/*
 * Makes the worker's directory, mode 0700, and removes those of workers that
 * died without doing so: a living one holds a lock on its own.
 * HALIBUT_ENOMEM, HALIBUT_ESYSTEM with a message.
 */
int hbt_svc_dirs_open(struct hbt_svc_dirs **out, const char *spool_directory,
                      struct halibut_error *err);
/* Removes it. */
void hbt_svc_dirs_close(struct hbt_svc_dirs **dirs);

/* Makes the directory of call n. *path is malloced and absolute. */
int hbt_svc_dirs_make_call(struct hbt_svc_dirs *dirs, uint64_t n, char **path,
                           struct halibut_error *err);
/* Removes it with its content, frees *path and clears it. NULL allowed. */
void hbt_svc_dirs_remove_call(struct hbt_svc_dirs *dirs, char **path);

#endif
