/* The log of a node: its form, and how much is said. */
#ifndef HBT_MASTER_LOGS_H
#define HBT_MASTER_LOGS_H

#include "master/config.h"

/*
 * For the start: applies what the configuration says to this process, and to
 * those that it starts from then on. HALIBUT_OK, or err says what cannot be.
 */
int hbt_logs_open(const struct hbt_config *cfg, struct halibut_error *err);

#endif
