/*
 * What the queue worker must know of the queue that the nodes share, as the
 * section redis of the configuration says it. halibutd.conf(5)
 */
#ifndef HBT_IPC_QUEUE_SETTINGS_H
#define HBT_IPC_QUEUE_SETTINGS_H

#include "base/buf.h"
#include "base/error.h"
#include "queue/redis_setup.h"

struct hbt_queue_settings { /* strings malloced; NULL: not set */
	char *url;
	char *user, *password; /* instead of what url says */
	char *sentinel_user, *sentinel_password;
	int database;          /* -1: as url says */
	char *key_prefix, *channel_prefix;
	bool tls_insecure;
	char *tls_ca, *tls_certificate, *tls_key;
	int64_t connect_timeout_ms, command_timeout_ms;

	char *streams; /* kind of store */
	char *streams_directory, *streams_command;
	int64_t streams_max_bytes;
	char **wrappers;
	size_t n_wrappers;
	bool own_response_pulses; /* each call subscribes to its own */
	struct hbt_redis_times times;

	/* What may wait to be collected, of the requests of this node. */
	int max_waiting_requests, max_waiting_requests_per_endpoint;
	size_t max_waiting_bytes, max_waiting_bytes_per_endpoint;
	char *node_id; /* GUID; of this start of the node */
};

void hbt_queue_settings_put(struct hbt_wr *w,
                            const struct hbt_queue_settings *s);
/* Malloced strings; fini in every case. Failure sticks in r. */
void hbt_queue_settings_get(struct hbt_rd *r, struct hbt_queue_settings *s);
void hbt_queue_settings_fini(struct hbt_queue_settings *s); /* wipes secrets */

/*
 * What makes the queue: url, with what is said beside it in front of what it
 * says. fini out in every case. HALIBUT_EINVAL with what is wrong, never with
 * a password.
 */
int hbt_queue_settings_resolve(const struct hbt_queue_settings *s,
                               struct hbt_redis_settings *out,
                               struct halibut_error *err);

#endif
