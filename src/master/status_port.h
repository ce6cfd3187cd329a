/*
 * Where the status is served: sockets that the master opens, since it may, and
 * keeps, so that a status worker that dies loses none of them; and the
 * secrets that guard them.
 */
#ifndef HBT_MASTER_STATUS_PORT_H
#define HBT_MASTER_STATUS_PORT_H

#include "master/config.h"
#include "master/link.h"

struct hbt_status_port;

/*
 * Opens what status_listen names. Without it, what is opened by default is
 * left out with a warning when it is taken: several gateways may run on one
 * machine. certificate_pem is the node's.
 */
int hbt_status_port_open(struct hbt_status_port **out,
                         const struct hbt_config *cfg,
                         const char *certificate_pem,
                         struct halibut_error *err);
/* Removes the Unix sockets. */
void hbt_status_port_free(struct hbt_status_port **port);

/* Reads the secrets again. On failure the old ones stay. *changed: workers have
 * to know. */
int hbt_status_port_reload(struct hbt_status_port *port,
                           const struct hbt_config *cfg,
                           const char *certificate_pem, bool *changed,
                           struct halibut_error *err);

/* Settings and sockets, to a status worker: it ends its connections, if it has
 * any, since whoever they were let in by may be nobody's now. */
void hbt_status_port_provision(const struct hbt_status_port *port,
                               struct hbt_link *worker);

size_t hbt_status_port_count(const struct hbt_status_port *port);
/* "127.0.0.1:10949" as it was bound, or "/run/halibut/status". */
const char *hbt_status_port_address(const struct hbt_status_port *port,
                                    size_t i);

#endif
