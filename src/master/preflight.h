/* Does what the configuration names exist? For halibutd -t, before a start
 * finds out one by one. */
#ifndef HBT_MASTER_PREFLIGHT_H
#define HBT_MASTER_PREFLIGHT_H

#include "master/config.h"

/* The programs of the workers, those of services and their directories, what
 * the queue in Redis needs, the spool directory. HALIBUT_EINVAL; err names the
 * path, the setting and errno's text. */
int hbt_preflight(const struct hbt_config *cfg, struct halibut_error *err);

#endif
