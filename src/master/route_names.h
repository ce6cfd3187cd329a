/* The names that routes and endpoints have, for who asks for another. */
#ifndef HBT_MASTER_ROUTE_NAMES_H
#define HBT_MASTER_ROUTE_NAMES_H

#include <stdbool.h>
#include "base/uri.h"
#include "master/config.h"

#define HBT_ROUTE_HINT 512

/* "; did you mean https://web1:10933/?", else some that there are, else "". */
void hbt_route_hint(char text[HBT_ROUTE_HINT], const struct hbt_config *cfg,
                    const struct hbt_uri *asked);

/* One of the names of this gateway that it knows itself. */
bool hbt_route_is_own_name(const struct hbt_config *cfg, const char *host);
/*
 * Is it surely this very gateway: localhost, this machine or node by its name,
 * or an address that it listens on? Where a route names that host with another
 * port, it is only if the usual port of https is asked for.
 */
bool hbt_route_is_own(const struct hbt_config *cfg, const struct hbt_uri *uri);

#endif
