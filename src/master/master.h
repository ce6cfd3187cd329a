/* The master: what its parts have in common. */
#ifndef HBT_MASTER_MASTER_H
#define HBT_MASTER_MASTER_H

#include <event2/event.h>
#include <jansson.h>
#include <time.h>
#include "base/guid.h"
#include "master/admission.h"
#include "master/calls.h"
#include "master/config.h"
#include "master/control.h"
#include "master/credentials.h"
#include "master/own_certs.h"
#include "master/documents.h"
#include "master/holders.h"
#include "master/hosted.h"
#include "master/kick.h"
#include "master/listen.h"
#include "master/refused.h"
#include "master/rows.h"
#include "master/share.h"
#include "master/status_port.h"
#include "master/subscriptions.h"
#include "master/supervise.h"
#include "queue/switchboard.h"

enum hbt_master_state {
	MASTER_RUNNING,
	MASTER_RETREATING, /* by order: still serves, is no longer ready */
	MASTER_DRAINED,  /* by order: takes nothing new, until undrained */
	MASTER_LEAVING,  /* told to stop, still serves, is no longer ready */
	MASTER_DRAINING, /* connection and queue workers finish their calls */
	MASTER_CLOSING,  /* only service workers are left */
	MASTER_STOPPED,  /* but for the status worker; then the loop ends */
};

enum hbt_master_haste {
	STOP_IN_TIME,   /* calls are finished, but only until a deadline */
	STOP_PATIENTLY, /* however long they take */
	STOP_AT_ONCE,
};

#define N_SIGNALS 6

struct hbt_master {
	struct event_base *base;
	enum hbt_master_state state;
	struct hbt_config *cfg;
	struct hbt_credentials credentials;
	struct hbt_own_certs own_certs;
	struct hbt_identity identity; /* of the workers */
	char *friendly_page, *friendly_headers; /* texts; NULL: none */

	struct hbt_admission *admission;
	struct hbt_share *share; /* NULL: no section redis */
	struct hbt_switchboard *switchboard;
	struct hbt_hosted *hosted;
	struct hbt_refused *refused;
	struct hbt_holders *holders;
	struct hbt_subscriptions *subscriptions;
	struct hbt_calls *calls;
	struct hbt_listeners *listeners; /* NULL while stopping */
	struct hbt_workers *workers;
	struct hbt_rows *rows;
	struct hbt_control *control;
	struct hbt_status_port *status_port;
	struct hbt_documents *documents;
	struct hbt_kicks *kicks;
	unsigned next_worker; /* where the search for one begins */
	int max_connections_a_worker;
	bool told_ready; /* to systemd */
	bool full; /* no worker could take one more */

	struct event *signals[N_SIGNALS];
	struct event *second_timer;

	/* drain.c's and deadline.c's */
	struct event *delay_timer, *stop_timer, *drain_timer;
	bool has_deadline, past_deadline, queues_stopped, waiting_refused;
	int64_t stage_ms, extended_ms;

	char node_id[HBT_GUID_TEXT]; /* of this start, for other nodes */
	json_t *queue_state; /* as the queue worker last said; NULL: never */

	time_t started;
	int64_t started_ms;
	uint64_t accepted;
	uint64_t reloads, reloads_failed;
	char *reload_error; /* of the last one; NULL: it went well */
	time_t reload_error_at; /* 0: it went well */
};

/* master.c. On failure *out is NULL and err says why; takes cfg over. */
int hbt_master_start(struct hbt_master **out, struct hbt_config *cfg,
                     struct halibut_error *err);
/* Until it was told to stop, and all ended. */
void hbt_master_run(struct hbt_master *m);
void hbt_master_free(struct hbt_master **m);
/* How many connection workers the configuration wants here. */
unsigned hbt_master_count_workers(const struct hbt_config *cfg);

/* drain.c. The second time at once, unless it is patient: that lifts the
 * deadline of a stop under way. */
void hbt_master_stop(struct hbt_master *m, const char *why,
                     enum hbt_master_haste haste);
/*
 * For a while: not ready, nobody new, calls under way finish, polling services
 * go; and back again. who wants it? They return at once, and are no-ops when
 * it is so already. HALIBUT_ESHUTDOWN: the gateway stops anyhow.
 */
int hbt_master_drain(struct hbt_master *m, const char *who,
                     struct halibut_error *err);
int hbt_master_undrain(struct hbt_master *m, const char *who,
                       struct halibut_error *err);
/* For master.c: a worker said hello, said how far it has drained, is gone. */
int hbt_drain_init(struct hbt_master *m);
void hbt_drain_worker_ready(struct hbt_master *m, const struct hbt_worker *w);
/* A queue worker has the place of those before it. */
void hbt_drain_queue_worker_serves(struct hbt_master *m,
                                   const struct hbt_worker *w);
int hbt_drain_worker_drained(struct hbt_master *m, struct hbt_worker *w);
void hbt_drain_worker_gone(struct hbt_master *m);

/* deadline.c: stop_timer is over; what still waits is refused first, and other
 * nodes have some time to hear of the end. */
void hbt_deadline_passed(struct hbt_master *m);
/* All workers end now, queue workers a little later, or at once if that was
 * said before. why is for the log. */
void hbt_deadline_end_workers(struct hbt_master *m, const char *why);

/* dispatch.c: connections and calls to workers. */
bool hbt_dispatch_accepted(void *master, int fd, const char *peer,
                           const char *listen, const char *address);
struct hbt_link *hbt_dispatch_dialler(void *master, const char *url);
struct hbt_link *hbt_dispatch_host(void *master);
/* The status worker that is ready, or NULL. */
struct hbt_link *hbt_dispatch_status(struct hbt_master *m);
/* Accept, or do not, by what the workers can take now. */
void hbt_dispatch_review(struct hbt_master *m);
/* Connections that a worker has descriptors for. */
int hbt_dispatch_limit(void);

/* provision.c: what workers must know. */
struct hbt_told { /* all of it that they are told once, at their start */
	const struct hbt_config *cfg;
	const struct hbt_credentials *credentials;
	const char *friendly_page, *friendly_headers, *node_id;
};
/* Would a worker of that kind, started now, be told something else? */
bool hbt_provision_differs(const struct hbt_master *m,
                           const struct hbt_told *fresh,
                           enum hbt_peer_kind kind);
void hbt_provision_worker(struct hbt_master *m, struct hbt_worker *w);
/* The lists that a reload can change, to all. */
void hbt_provision_lists(struct hbt_master *m);
/* Who may see the status, and where. */
void hbt_provision_status(struct hbt_master *m);
/* Whom to trust alone. */
void hbt_provision_trust(struct hbt_master *m);
/* The workers that serve until newer ones are ready hear of identities that
 * were not there before. */
void hbt_provision_identities(struct hbt_master *m,
                              const struct hbt_credentials *before);
/* How to log; with our standard error when that is another file now. */
void hbt_provision_logs(struct hbt_master *m, bool with_file);

/* They are other ones: for the status, and warnings about dates and modes. */
void hbt_master_look_at_certificates(struct hbt_master *m);

/*
 * reload.c. who wants it? HALIBUT_OK, or err says why everything stays as it
 * was. Workers that were told something else at their start are replaced: the
 * old ones finish what they carry, when the new ones are ready. restart gets
 * the names of settings that were changed and wait for a restart, in a text
 * to free, and is left alone if there are none; it may be NULL.
 */
int hbt_master_reload(struct hbt_master *m, const char *who, char **restart,
                      struct halibut_error *err);
/* texts.c: the page that the configuration names by path, and its headers;
 * malloced, NULL: none. */
int hbt_master_load_texts(const struct hbt_config *cfg, char **page,
                          char **headers, struct halibut_error *err);

/* node.c: the row of HBT_TABLE_NODE, and what is counted in it. */
json_t *hbt_node_document(const struct hbt_master *m);
void hbt_node_stats(const struct hbt_master *m, struct hbt_node_stats *s);

/* orders.c: messages of control clients. */
int hbt_orders_message(void *master, struct hbt_client *client,
                       struct hbt_ipc_msg *msg);

/* Has the client as much under way as one may have? */
bool hbt_orders_busy(void *master, const struct hbt_client *client);

/* trust_orders.c: TRUST_ADD and TRUST_REMOVE. */
int hbt_orders_trust_add(struct hbt_master *m, struct hbt_client *c,
                         struct hbt_ipc_msg *msg);
int hbt_orders_trust_remove(struct hbt_master *m, struct hbt_client *c,
                            struct hbt_ipc_msg *msg);

#endif
