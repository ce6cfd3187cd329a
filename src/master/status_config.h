/*
 * Where the status is served, and who may see it: the settings status_*.
 *
 * A Unix socket is guarded by its mode, and loopback by who can log in here.
 * Any other address only with a token or certificates of its clients; a
 * configuration that would open it to everybody is refused.
 */
#ifndef HBT_MASTER_STATUS_CONFIG_H
#define HBT_MASTER_STATUS_CONFIG_H

#include "ipc/status_settings.h"
#include "master/address.h"
#include "master/config.h"

/* Without status_listen: a socket beside the control socket, and this. Near
 * 10943, where gateways listen, below what systems give to clients, and not
 * registered for anything. */
#define HBT_STATUS_PORT 10949

struct hbt_status_place {
	bool none;    /* "none" */
	bool is_path; /* else address is filled in */
	struct hbt_listen_address address;
	bool loopback;
};
/* An item of status_listen. HALIBUT_OK, or HALIBUT_EINVAL with a message. */
int hbt_status_place_parse(const char *text, struct hbt_status_place *out,
                           struct halibut_error *err);
/* The same, as a check of a setting. */
int hbt_status_check_listen(const char *text, struct halibut_error *err);

/* What the settings say together. HALIBUT_EINVAL with a message. */
int hbt_status_check_config(const struct hbt_config *cfg,
                            struct halibut_error *err);

/* The path of the Unix socket if status_listen names none: that of the
 * control socket, with "status" for a "control" at its end, or else behind it.
 * Malloced; NULL when memory is short. */
char *hbt_status_default_path(const struct hbt_config *cfg);

/*
 * Reads the token, certificate and key. certificate_pem is that of the node,
 * which the status must not use as well. fini s in every case.
 */
int hbt_status_settings_load(struct hbt_status_settings *s,
                             const struct hbt_config *cfg,
                             const char *certificate_pem,
                             struct halibut_error *err);

#endif
