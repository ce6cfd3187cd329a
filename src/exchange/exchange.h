/*
 * A connection that speaks Halibut: the four roles as state machines, from
 * the first byte to END. wire-protocol 5
 *
 *   role               who dialled  requests come from  file
 *   SERVE_CLIENT       the peer     the peer            serve_client.c
 *   FEED_SUBSCRIBER    the peer     us                  feed_subscriber.c
 *   ASK_SERVICE        we           us                  ask_service.c
 *   SERVE_POLLED       we           the peer            serve_polled.c
 *
 * An accepted connection takes one of the first two when the peer has
 * identified itself (accept.c).
 */
#ifndef HBT_EXCHANGE_EXCHANGE_H
#define HBT_EXCHANGE_EXCHANGE_H

#include "base/slots.h"
#include "net/conn.h"
#include "wire/flow.h"
#include "wire/message.h"

enum hbt_role {
	HBT_ROLE_ACCEPTED, /* the peer has not said yet what it is */
	HBT_ROLE_SERVE_CLIENT,
	HBT_ROLE_FEED_SUBSCRIBER,
	HBT_ROLE_ASK_SERVICE,
	HBT_ROLE_SERVE_POLLED,
};

struct hbt_exchange;

struct hbt_exchange_ops {
	/*
	 * Accepted connections: the peer opened with MX and shows this
	 * certificate. False closes the connection without a byte.
	 */
	bool (*authorise)(void *arg, const char *thumbprint);
	/*
	 * The role is settled and the peer may be told so: the owner calls
	 * hbt_exchange_admit(), now or later. subscription is NULL unless the
	 * role is FEED_SUBSCRIBER. Dialled connections: identification is
	 * complete, nothing to admit.
	 */
	void (*identified)(void *arg, const char *subscription);
	/*
	 * FEED_SUBSCRIBER and ASK_SERVICE: one hbt_exchange_send() of a
	 * request is welcome. Null messages keep a subscriber's connection
	 * alive meanwhile without the owner's doing.
	 */
	void (*ready)(void *arg);
	/*
	 * A request or response: the callee owns m. When m has DataStreams
	 * *sink must be set, and gets the section; else it is NULL. For a
	 * request the owner sends the response with hbt_exchange_send(), not
	 * before message_end(). The null request of a polled server is not
	 * shown.
	 */
	void (*message)(void *arg, struct hbt_message *m,
	                struct hbt_sink **sink);
	/* The section is complete, the sink was ended. */
	void (*message_end)(void *arg);
	/* What hbt_exchange_send() was given has left us completely. */
	void (*sent)(void *arg);
	/*
	 * The connection is over; nothing follows, and the owner frees the
	 * exchange. err->status is HALIBUT_OK when the peer ended it as the
	 * protocol has it. Not called after hbt_exchange_free().
	 */
	void (*closed)(void *arg, const struct halibut_error *err);
};

struct hbt_exchange_env { /* what all exchanges of a process share */
	struct event_base *base;
	const struct hbt_limits *limits;
	const char *friendly_page;           /* NULL: the default */
	const char *const *friendly_headers; /* NULL: none */
	struct {
		uint64_t messages_in, messages_out;
		uint64_t streams_in, streams_out, stream_bytes_in;
		uint64_t stream_bytes_out;
		uint32_t answers_leaving; /* now; runtime/inlet.c keeps it */
	} counts;
	/* All that are there, for walks in steps. */
	struct hbt_slots all;
	uint32_t last_id;
	/* One is about to go, and why; NULL: nobody wants to know. */
	void (*ended)(void *arg, const struct hbt_exchange *ex,
	              const char *why);
	void *ended_arg;
	/* Exchanges that ended inside a callback, freed between turns. */
	struct hbt_exchange *retired;
	struct event *reaper;
};

/* HALIBUT_ENOMEM. The page may be set at any time afterwards. */
int hbt_exchange_env_init(struct hbt_exchange_env *env,
                          struct event_base *base,
                          const struct hbt_limits *limits);
/* After the last exchange was freed, before the event base is. */
void hbt_exchange_env_fini(struct hbt_exchange_env *env);

/*
 * Both make the exchange first and its connection with it; callbacks come
 * only after they returned. env outlives the exchange. HALIBUT_ENOMEM.
 */
int hbt_exchange_accept(struct hbt_exchange **out,
                        struct hbt_exchange_env *env, struct hbt_tls *tls,
                        int fd, const struct hbt_exchange_ops *ops, void *arg);
/* subscription: NULL for ASK_SERVICE, else the URI to subscribe as. */
int hbt_exchange_dial(struct hbt_exchange **out, struct hbt_exchange_env *env,
                      struct evdns_base *dns, struct hbt_tls *tls,
                      const struct hbt_dial *dial, const char *subscription,
                      const struct hbt_exchange_ops *ops, void *arg);

/* Another owner from here on (a connection leaves or enters the pool). */
void hbt_exchange_set_owner(struct hbt_exchange *ex,
                            const struct hbt_exchange_ops *ops, void *arg);

/* Answers MX-SERVER and goes on; or closes without a word. why_not, a clause,
 * is for the error of closed(); NULL: it is admitted. */
void hbt_exchange_admit(struct hbt_exchange *ex, const char *why_not);

/*
 * Sends a request (after ready()) or the response (after message_end()). m is
 * borrowed and referenced as long as needed; streams becomes the exchange's
 * in every case (NULL when m has none).
 */
void hbt_exchange_send(struct hbt_exchange *ex, struct hbt_message *m,
                       struct hbt_source *streams);

/*
 * Takes back a request of which not a byte has left yet: the connection was
 * busy with a keep-alive, or still had to prove that it lives. True: nothing
 * was sent, and *streams has the source back. Also inside closed().
 */
bool hbt_exchange_unsend(struct hbt_exchange *ex, struct hbt_source **streams);

/* Has the peer possibly seen a byte of the request sent last? */
bool hbt_exchange_request_began(const struct hbt_exchange *ex);

/* Breaks the connection from our side; closed() follows from the loop. */
void hbt_exchange_abort(struct hbt_exchange *ex);

/*
 * This side will stop: SERVE_CLIENT and SERVE_POLLED end in good order, and
 * closed() says so, as soon as no request can be lost in them. A request that
 * the peer was invited to send is awaited and answered. What it asks for after
 * that it does not get: a client that says NEXT finds the connection closed
 * instead of PROCEED, and sends its request elsewhere, because nothing of it
 * was sent (runtime-behaviour 3.3); a server that we poll hears END in place of
 * NEXT. One that was just accepted is served one request. Of no consequence
 * for the other roles: their owner knows when they are idle.
 */
void hbt_exchange_retire(struct hbt_exchange *ex);

/* A request or response is under way, or bytes still wait to leave us. */
bool hbt_exchange_is_busy(const struct hbt_exchange *ex);

/*
 * Ends an idle connection in good order: what was written still leaves, and a
 * dialled one says END. Any other is aborted.
 */
void hbt_exchange_finish(struct hbt_exchange **ex);
/* Aborts at once. Allowed in callbacks of ex. NULL allowed. */
void hbt_exchange_free(struct hbt_exchange **ex);

/* Why this side is about to end it, for those who look at it afterwards;
 * unless the reason is known already. */
void hbt_exchange_explain(struct hbt_exchange *ex, const char *why);

/* What there is to know of a connection, as long as nothing happens to it. */
struct hbt_exchange_facts {
	uint32_t id; /* unique among those of the same env */
	enum hbt_role role;
	bool is_known; /* we trust its certificate, or dialled it */
	const char *state;
	const char *subscription; /* as it was written; NULL: none */
	const char *url;          /* that was dialled; NULL: it was accepted */
	const struct hbt_guid *activity; /* of the call it carries, or NULL */
	int64_t opened_ms;               /* hbt_now_ms() */
	int64_t idle_ms; /* since its last call, or since it was opened */
	uint32_t calls, messages_in, messages_out;
};
void hbt_exchange_facts(const struct hbt_exchange *ex,
                        struct hbt_exchange_facts *facts);
uint32_t hbt_exchange_id(const struct hbt_exchange *ex);
struct hbt_exchange_env *hbt_exchange_env(const struct hbt_exchange *ex);

/* How far a request is that hbt_exchange_send() was given. */
enum hbt_exchange_phase {
	HBT_EXCHANGE_BEFORE, /* not a byte of it has left */
	HBT_EXCHANGE_SENDING,
	HBT_EXCHANGE_AWAITING, /* not a byte of the response has come */
	HBT_EXCHANGE_RECEIVING,
};
enum hbt_exchange_phase hbt_exchange_phase(const struct hbt_exchange *ex);

enum hbt_role hbt_exchange_role(const struct hbt_exchange *ex);
/* A short text for status and logs: "waits for NEXT". Static. */
const char *hbt_exchange_state_text(const struct hbt_exchange *ex);
struct hbt_conn *hbt_exchange_conn(const struct hbt_exchange *ex);

#endif
