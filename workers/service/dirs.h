/*
 * Where calls keep their files: one private directory a worker inside the
 * spool directory, and in it one a call, which is emptied when the call ends.
 */
#ifndef HBT_SERVICE_DIRS_H
#define HBT_SERVICE_DIRS_H

#include <stdbool.h>

#include "base/error.h"

struct hbt_svc_dirs;
struct hbt_svc_dir;

/*
 * Makes the worker's directory, mode 0700, and removes those of workers that
 * died without doing so: a living one holds a lock on its own.
 * HALIBUT_ENOMEM, HALIBUT_ESYSTEM with a message.
 */
int hbt_svc_dirs_open(struct hbt_svc_dirs **out, const char *spool_directory,
                      struct halibut_error *err);
/* Removes it. All that was taken has been given back. */
void hbt_svc_dirs_close(struct hbt_svc_dirs **dirs);

/* An empty directory for one call. HALIBUT_ENOMEM, HALIBUT_ESYSTEM. */
int hbt_svc_dirs_take(struct hbt_svc_dirs *dirs, struct hbt_svc_dir **out,
                      struct halibut_error *err);
const char *hbt_svc_dir_path(const struct hbt_svc_dir *dir); /* absolute */
/*
 * Removes what is in it and clears *dir; NULL allowed. in_use: somebody may
 * still write there, so that no other call must ever get it. Otherwise it is
 * kept for one: making a directory costs more than the rest of a small call.
 */
void hbt_svc_dirs_give(struct hbt_svc_dirs *dirs, struct hbt_svc_dir **dir,
                       bool in_use);

#endif
