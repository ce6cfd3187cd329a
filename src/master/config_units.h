/* Values with units, and addresses, as a person writes them. */
#ifndef HBT_MASTER_CONFIG_UNITS_H
#define HBT_MASTER_CONFIG_UNITS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

/*
 * "500ms", "30s", "2min", "1h30min", "1d"; "0" needs no unit. HALIBUT_OK, or
 * HALIBUT_EINVAL with a message that says what would be right.
 */
int hbt_parse_duration(const char *text, int64_t *ms,
                       struct halibut_error *err);

/* "512B", "64KiB", "1GiB", "10MB"; "0" needs no unit. Errors as above. */
int hbt_parse_size(const char *text, uint64_t *bytes,
                   struct halibut_error *err);

/* Digits only. */
int hbt_parse_count(const char *text, uint64_t *n, struct halibut_error *err);

/* yes, no, true, false, on, off. */
int hbt_parse_flag(const char *text, bool *flag, struct halibut_error *err);

/*
 * "host:port", "[v6]:port", or without port where default_port is not 0.
 * *host is malloced, without brackets; NULL when it fails.
 */
int hbt_parse_host_port(const char *text, uint16_t default_port, char **host,
                        uint16_t *port, struct halibut_error *err);

/* As they are written above, in the largest unit that divides them. */
void hbt_format_duration(int64_t ms, char text[32]);
void hbt_format_size(uint64_t bytes, char text[32]);

#endif
