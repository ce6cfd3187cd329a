/* Private keys that more may read than should. */
#ifndef HBT_MASTER_KEY_MODES_H
#define HBT_MASTER_KEY_MODES_H

#include <stdio.h>
#include "master/config.h"

/*
 * A warning, with the command that mends it, for each file with a private key
 * that is not only for its owner and group; to out, or to the log when that is
 * NULL. Not in /run/secrets: who puts secrets there lets nobody else near.
 */
void hbt_key_modes_tell(const struct hbt_config *cfg, FILE *out);

#endif
