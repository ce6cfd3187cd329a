/* The configuration of halibutd, read and checked: halibutd.conf(5). */
#ifndef HBT_MASTER_CONFIG_H
#define HBT_MASTER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include "base/error.h"
#include "base/limits.h"
#include "ipc/proto.h"
#include "ipc/queue_settings.h"
#include "master/trust.h"

struct hbt_strings {
	char **v;
	size_t n;
};

enum hbt_route_kind {
	HBT_ROUTE_QUEUE,  /* to a poll:// or queue:// endpoint */
	HBT_ROUTE_DIAL,   /* to a listening service */
	HBT_ROUTE_HOSTED, /* to a service of this node */
};

/* Where requests for a host go. */
struct hbt_route {
	char *pattern; /* as it is written in the file */
	char *host;    /* lower case; of a wildcard the part from the dot on */
	bool wildcard; /* "*.host": one label more */
	uint16_t port; /* 0: any */
	enum hbt_route_kind kind;
	char *target; /* URI; {label} stands for what the star stands for */
	/* HBT_ROUTE_DIAL. url is NULL: it comes from target. */
	struct hbt_endpoint_fields endpoint;
	int line; /* in the file, for messages */
	int thumbprint_line; /* of the section that has the thumbprint */
};

/* A further certificate of this node, for peers that know it by that one. */
struct hbt_own_identity {
	char *name;
	char *certificate, *key, *certificate_password;
	struct hbt_strings listen;       /* it is shown there, */
	struct hbt_strings server_names; /* and to who asks for these */
};

/* A queue:// endpoint whose requests are run here. */
struct hbt_queue_endpoint {
	char *uri; /* hbt_uri_key() */
	uint32_t concurrency;
};

struct hbt_config {
	char *path; /* of the file */
	char sha256[65]; /* of the file as it was read, as text */
	time_t read_at;
	char *node;
	struct hbt_strings listen; /* those of sections identity, too */
	char *certificate, *key;
	char *certificate_password; /* also when it is in the file */
	char *certificate_password_file;
	int64_t certificate_warning_ms; /* before the end of one of ours */
	struct hbt_strings trust;
	char *trust_file;
	char *trust_added_file; /* "": trust cannot be given by hand */
	bool serves_clients;

	char *user, *group; /* of the workers, when the master is root */
	char *worker_directory;
	bool sandbox;
	int workers; /* 0: one a core */
	int64_t worker_start_timeout_ms;
	int64_t worker_ping_interval_ms;
	int64_t worker_hang_timeout_ms;
	int64_t worker_restart_delay_ms;
	int64_t worker_restart_delay_max_ms;
	int64_t stop_timeout_ms, stop_delay_ms, drain_spread_ms;

	char *control_socket;
	unsigned control_mode;

	struct hbt_strings status_listen; /* none: see status_port.h */
	unsigned status_mode;
	char *status_token_file;
	char *status_certificate, *status_key, *status_client_ca;
	int status_max_connections;
	int64_t status_timeout_ms;
	int64_t status_redis_grace_ms;

	char *spool_directory;
	char *friendly_page; /* path */
	struct hbt_strings friendly_headers;
	int log_level;
	struct hbt_strings log_levels; /* "AREA=LEVEL" */
	char *log_format; /* as it is written in the file */
	char *log_file; /* NULL: standard error */
	char *audit_log; /* NULL: where the other lines go */
	bool audit_calls;

	int listen_backlog;  /* 0: as large as the system allows */
	int64_t slow_call_time_ms; /* 0: none is */
	int max_connections; /* 0: as many as descriptors allow */
	int max_connections_per_source, max_connections_per_thumbprint;
	int source_prefix_ipv4, source_prefix_ipv6; /* bits of an address */
	struct hbt_strings unlimited_sources;       /* networks */
	int max_handshakes_per_source;
	int max_handshakes_per_second_per_source;
	int max_handshakes;  /* at work; 0: HBT_HANDSHAKES_A_LOOP a worker */
	int max_handshakes_per_second; /* 0: no limit */
	int max_waiting_requests;
	int max_waiting_requests_per_endpoint;
	size_t max_waiting_bytes;
	size_t max_waiting_bytes_per_endpoint;
	int max_waiting_requests_per_source;
	size_t max_waiting_bytes_per_source;
	int max_waiting_requests_per_thumbprint;
	size_t max_waiting_bytes_per_thumbprint;
	struct hbt_limits limits;

	struct hbt_route *routes; /* most specific first */
	size_t n_routes;
	struct hbt_program *programs;
	size_t n_programs;
	struct hbt_poll *polls;
	size_t n_polls;
	struct hbt_queue_endpoint *queues;
	size_t n_queues;
	struct hbt_own_identity *identities;
	size_t n_identities;

	/* The section redis. Its wrappers and limits are in here, not there:
	 * hbt_config_queue(). */
	bool shares; /* there is one */
	struct hbt_queue_settings redis;
	char *password_file, *sentinel_password_file;
	struct hbt_strings wrappers;
	char *response_pulses;
	struct hbt_strings memory_endpoints; /* patterns of keys */

	struct hbt_trust trusted; /* of the three together */
};

/*
 * Reads the file and all that it names as lists (not certificates). On
 * failure *out is NULL and err says "FILE:LINE: what is wrong, and what would
 * be right".
 */
int hbt_config_load(struct hbt_config **out, const char *path,
                    struct halibut_error *err);
void hbt_config_free(struct hbt_config **cfg);

/*
 * Calls changed for every setting that differs between the two and cannot be
 * applied without a restart: a fixed one.
 */
void hbt_config_compare(const struct hbt_config *a, const struct hbt_config *b,
                        void (*changed)(void *arg, const char *setting),
                        void *arg);

/*
 * The section identity whose certificate is shown at an address: listen is how
 * the setting has it, NULL for a socket that systemd handed over, address how
 * it is bound. NULL: none, it is the usual one.
 */
const struct hbt_own_identity *
hbt_config_identity_at(const struct hbt_config *cfg, const char *listen,
                       const char *address);

/* Each gets the fixed settings of the other. */
void hbt_config_swap_fixed(struct hbt_config *a, struct hbt_config *b);

/* path, relative to the directory of the configuration file; none stays none.
 * NULL when memory is short. */
char *hbt_config_path(const struct hbt_config *cfg, const char *path);

/* What the section redis, which there is, says together with all else; its
 * texts stay those of cfg. No node_id. */
struct hbt_queue_settings hbt_config_queue(const struct hbt_config *cfg);

#endif
