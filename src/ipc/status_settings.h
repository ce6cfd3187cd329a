/*
 * HBT_IPC_STATUS_SETTINGS: all that the status worker knows of the
 * configuration beside HBT_IPC_SETTINGS.
 */
#ifndef HBT_IPC_STATUS_SETTINGS_H
#define HBT_IPC_STATUS_SETTINGS_H

#include <stdint.h>
#include "base/buf.h"

struct hbt_status_settings {
	uint32_t max_connections;
	uint32_t timeout_ms; /* for a request, and for a reader that takes
	                      * nothing */
	uint32_t late_ms;    /* a loop that was not heard of for so long */
	uint32_t redis_grace_ms;
	/* Of TCP addresses alone: a Unix socket has its mode. */
	char *token;         /* NULL: none is asked for */
	char *certificate_pem, *key_pem; /* NULL: HTTP without TLS */
	char *client_ca_pem; /* NULL: clients need no certificate */
};

void hbt_status_settings_put(struct hbt_wr *w,
                             const struct hbt_status_settings *s);
/* Malloced strings; fini in every case. Failure sticks in r. */
void hbt_status_settings_get(struct hbt_rd *r, struct hbt_status_settings *s);
void hbt_status_settings_fini(struct hbt_status_settings *s); /* wipes */

#endif
