/* The configuration in force, for halibutctl config show. */
#ifndef HBT_MASTER_CONFIG_SHOW_H
#define HBT_MASTER_CONFIG_SHOW_H

#include <jansson.h>
#include "master/config.h"

/*
 * {"file", "settings": [{"name", "value", "default", "secret"}...],
 * "sections": [{"section", "title", "settings": [...]}...]}. A value is a
 * text, as the file would have it, or a list of them; null: it is not set. Of
 * a secret there is only HBT_CONFIG_HIDDEN. NULL when memory is short.
 */
json_t *hbt_config_show(const struct hbt_config *cfg);

#define HBT_CONFIG_HIDDEN "(hidden)"

#endif
