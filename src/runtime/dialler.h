/*
 * Calls to listening services: the pool of connections, the retry rules and
 * the errors that callers see. wire-protocol 5.2, runtime-behaviour 3.2-3.3,
 * 4.1
 */
#ifndef HBT_RUNTIME_DIALLER_H
#define HBT_RUNTIME_DIALLER_H

#include "exchange/exchange.h"
#include "queue/queue.h"

/* Where and how to reach a listening service or a server to poll. */
struct hbt_endpoint {
	char *url;        /* as the user gave it; for texts */
	char *key;        /* hbt_uri_key(url) */
	char *host;
	uint16_t port;
	char *thumbprint; /* as hbt_thumbprints_parse(); NULL: any certificate */
	struct hbt_tls *tls; /* borrowed: with our certificate; NULL: the usual */
	char *proxy_host; /* NULL: none */
	uint16_t proxy_port;
	char *proxy_user, *proxy_password;
	char *connect_host; /* ForceResolveHost; NULL: none */
	uint16_t connect_port;
	/* Overrides; from the limits unless set. */
	int64_t queue_timeout_ms;
	int64_t retry_sleep_ms;
	int retry_count;
	int64_t retry_timeout_ms;
	int64_t connect_timeout_ms;
};

/*
 * Parses url (https://host:port or wss://, poll://, queue://) and takes the
 * limits' values as overrides. HALIBUT_EINVAL with a message.
 */
int hbt_endpoint_init(struct hbt_endpoint *e, const char *url,
                      const char *thumbprint, const struct hbt_limits *limits,
                      struct halibut_error *err);
/* HALIBUT_ENOMEM; *to is zero then. */
int hbt_endpoint_copy(struct hbt_endpoint *to, const struct hbt_endpoint *from);
void hbt_endpoint_fini(struct hbt_endpoint *e);
/* A view for hbt_conn_dial; valid while e is. */
struct hbt_dial hbt_endpoint_dial(const struct hbt_endpoint *e);

struct hbt_dialler;

/* All arguments outlive the dialler. NULL when memory is short. */
struct hbt_dialler *hbt_dialler_new(struct hbt_exchange_env *env,
                                    struct evdns_base *dns,
                                    struct hbt_tls *tls);
/* Calls under way fail as "no response"; pooled connections get END. */
void hbt_dialler_free(struct hbt_dialler **d);

/* Another certificate: new connections use it; pooled ones are closed. */
void hbt_dialler_set_tls(struct hbt_dialler *d, struct hbt_tls *tls);

/*
 * Carries p to the service at e (copied), which is told the outcome through
 * p: exactly one of answered and failed, never before this returned. p must
 * be IDLE. Fails with HALIBUT_ENOMEM only, p untouched.
 */
int hbt_dialler_call(struct hbt_dialler *d, const struct hbt_endpoint *e,
                     struct hbt_pending *p);

/* How far p, which hbt_dialler_call() was given and which is not over, is. */
enum hbt_exchange_phase hbt_dialler_phase(const struct hbt_pending *p);

/* Closes the idle and busy connections to exactly that endpoint: 1.2. */
void hbt_dialler_disconnect(struct hbt_dialler *d,
                            const struct hbt_endpoint *e);

struct hbt_dialler_counts {
	size_t pooled, calls;
	uint64_t dialled, reused, retries;
};
void hbt_dialler_counts(const struct hbt_dialler *d,
                        struct hbt_dialler_counts *out);

#endif
