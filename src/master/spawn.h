/* Starting a worker process with one descriptor, the channel. */
#ifndef HBT_MASTER_SPAWN_H
#define HBT_MASTER_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>
#include "base/error.h"
#include "master/config.h"

/* Who the workers run as. */
struct hbt_identity {
	bool change;
	uid_t uid;
	gid_t gid;
};

/*
 * From the settings user and group. Without root there is nothing to change;
 * asking for somebody else is then a failure.
 */
int hbt_identity_find(struct hbt_identity *id, const struct hbt_config *cfg,
                      struct halibut_error *err);

/*
 * Starts path. *channel is the master's end, which the caller owns. The
 * message of a failure names the program.
 */
int hbt_spawn(const char *path, const struct hbt_identity *id, pid_t *pid,
              int *channel, struct halibut_error *err);

/* SIGKILL for a process that hbt_spawn() started with this identity. */
void hbt_spawn_kill(pid_t pid, const struct hbt_identity *id);

#endif
