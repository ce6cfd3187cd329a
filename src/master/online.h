/* Would it work with the servers that the configuration names? For
 * halibutd -t --online. */
#ifndef HBT_MASTER_ONLINE_H
#define HBT_MASTER_ONLINE_H

#include <stdio.h>
#include "master/config.h"

/*
 * Examines the Redis server, if there is one, and prints what it finds, with
 * what mends it. HALIBUT_EINVAL, and err, when the queue would not work there.
 */
int hbt_online(const struct hbt_config *cfg, FILE *out,
               struct halibut_error *err);

#endif
