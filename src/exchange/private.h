/* The inside of an exchange, for the files of this directory only. */
#ifndef HBT_EXCHANGE_PRIVATE_H
#define HBT_EXCHANGE_PRIVATE_H

#include "exchange/exchange.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum ex_state {
	EX_OPENING,    /* dialling, proxy, TLS */
	EX_PREAMBLE,   /* acceptor: the opening block */
	EX_IDENTITY,   /* the peer's identification */
	EX_ADMISSION,  /* acceptor: the owner decides about the peer */
	EX_READY,      /* asker: may send a request */
	EX_PROBING,    /* ASK_SERVICE: NEXT sent on a used connection */
	EX_SENDING,    /* a message and its DataStreams go out */
	EX_AWAIT_MESSAGE, /* not a byte of the next message has come */
	EX_RECEIVING,  /* inside a message or its DataStreams */
	EX_ANSWERING,  /* answerer: the owner prepares the response */
	EX_AWAIT_NEXT, /* acceptor: NEXT or END is due */
	EX_AWAIT_PROCEED, /* SERVE_POLLED: NEXT sent */
	EX_CLOSED,     /* the owner was told, or is being told */
	EX_STATES
};

struct hbt_exchange {
	struct hbt_exchange_env *env;
	const struct hbt_exchange_ops *ops;
	void *arg;
	struct hbt_conn *conn;
	struct hbt_reader *reader;
	const struct ex_role *role;
	enum ex_state state;
	char *subscription; /* of a polling service, whichever side it is */

	/* Outgoing: send.c */
	struct hbt_message *out;
	struct hbt_source *out_streams;
	struct hbt_section out_section;
	bool out_in_section;
	bool out_draining; /* all is written, much of it not yet sent */
	bool out_held;     /* waits for NEXT after a null, or for PROCEED */
	bool out_is_null;  /* a keep-alive of ours is on its way */
	bool request_began;
	bool used;         /* ASK_SERVICE: had a request already */
	bool retiring;     /* hbt_exchange_retire() */
	size_t message_sent;

	/* Incoming: receive.c */
	struct hbt_sink *in_sink;
	bool in_null;      /* the message was the null message */
	size_t in_scanned; /* head of the input the reader has seen already */

	int64_t waited_ms; /* of the opening: what its deadline was put off */
	/* For those who look: facts.c */
	char *url; /* that was dialled */
	char *why; /* it ended; NULL: not known, or it has not */
	struct hbt_guid activity; /* of the last call */
	int64_t opened_ms, active_ms;
	uint32_t id, slot;
	uint32_t calls, messages_in, messages_out;
	bool has_activity;
	bool is_known;   /* certificate trusted, or dialled */
	bool by_peer;    /* it ended in good order */

	struct event *tick; /* accepted: the opening; then null messages */
	struct event *aborting; /* or ending in good order: from the loop */
	struct hbt_exchange *next_retired;
};

/* What differs between the roles. Unset steps cannot happen in a role. */
struct ex_role {
	enum hbt_role role;
	void (*opened)(struct hbt_exchange *ex);
	void (*identity)(struct hbt_exchange *ex, const struct hbt_event *ev);
	void (*next)(struct hbt_exchange *ex);
	void (*proceed)(struct hbt_exchange *ex);
	void (*received)(struct hbt_exchange *ex); /* message and section */
	void (*sent)(struct hbt_exchange *ex);
};
extern const struct ex_role ex_accepted, ex_serve_client, ex_feed_subscriber,
	ex_ask_service, ex_serve_polled;

/* Do the requests come from us? */
static inline bool ex_is_asker(const struct hbt_exchange *ex)
{
	return ex->role->role == HBT_ROLE_FEED_SUBSCRIBER ||
	       ex->role->role == HBT_ROLE_ASK_SERVICE;
}

/* exchange.c: the one place where state, expectation and deadline change. */
void ex_set_state(struct hbt_exchange *ex, enum ex_state to);
/* Ends the exchange: tells the owner. err NULL: an orderly end. */
void ex_close(struct hbt_exchange *ex, const struct halibut_error *err);
void ex_close_with(struct hbt_exchange *ex, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Where a server was dialled: anybody else is told off and closed. */
bool ex_met_server(struct hbt_exchange *ex, const struct hbt_event *ev);
void ex_write_line(struct hbt_exchange *ex, const struct hbt_line *line);
/* ex_close() in good order, from the loop. */
void ex_end_soon(struct hbt_exchange *ex);

/* The one timer of an exchange beside its connection's deadlines. */
void ex_start_timer(struct hbt_exchange *ex, int64_t ms, event_callback_fn fn);
void ex_stop_timer(struct hbt_exchange *ex);

/* Nothing of a request or response is under way in either direction. */
bool ex_is_between_calls(const struct hbt_exchange *ex);

/* facts.c */
int ex_enter(struct hbt_exchange *ex);
/* It ends: whoever wants to know of it is told. */
void ex_leave(struct hbt_exchange *ex);
void ex_note_end(struct hbt_exchange *ex, const struct halibut_error *err);
/* A request or response, which is no null message, begins to pass. */
void ex_note_call(struct hbt_exchange *ex, const struct hbt_message *m,
                  bool incoming);

/* send.c */
void ex_send_start(struct hbt_exchange *ex); /* ex->out is set */
void ex_send_pump(struct hbt_exchange *ex);
void ex_send_clear(struct hbt_exchange *ex);

/* receive.c */
size_t ex_receive(struct hbt_exchange *ex, const uint8_t *data, size_t len);
void ex_receive_eof(struct hbt_exchange *ex);
void ex_receive_clear(struct hbt_exchange *ex, const struct halibut_error *why);

/* feed_subscriber.c */
void ex_feed_ready(struct hbt_exchange *ex);

#endif
