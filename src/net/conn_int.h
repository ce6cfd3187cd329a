/*
 * The inside of struct hbt_conn, for the conn*.c files alone.
 *
 *   conn.c        life, state, deadlines, the functions of conn.h
 *   conn_io.c     handshake, reading, writing
 *   conn_handshake.c  who does its TLS handshake when
 *   conn_dial.c   names, addresses, connect(), the proxy
 *   conn_turn.c   what is done at the end of a loop turn, and in the next
 *   conn_error.c  how failures read
 */
#ifndef HBT_NET_CONN_INT_H
#define HBT_NET_CONN_INT_H

#include <event2/event_struct.h>
#include <event2/util.h>
#include <sys/queue.h>
#include "base/rate.h"
#include "net/conn.h"
#include "net/proxy.h"
#include "net/sock.h"
#include "net/tls_int.h"

enum {
	CONN_SCRATCH = 64 * 1024, /* the most that one input() gets */
	CONN_RECORD = 16 * 1024,  /* the most that one TLS record holds */
	CONN_TURN_IN =
		256 * 1024, /* read in one turn, then others are served */
	CONN_TURN_OUT = 1024 * 1024, /* written in one turn, the same */
	CONN_GATHER =
		64 * 1024,      /* this much does not wait for the turn's end */
	CONN_HIGH = 256 * 1024, /* hbt_conn_write() says EAGAIN above it */
	CONN_LOW = 64 * 1024,   /* drained() is called below it */
	CONN_LINGER_READ = 256 * 1024, /* thrown away after the last byte */
	CONN_LINGER_MS = 5000,         /* how long the peer's FIN is awaited */
	CONN_PROXY_MS = 15000,         /* for each read of the proxy's reply */
};

/* A larger queue than this is a mistake of ours, or of the peer's making. */
#define CONN_UNSENT_MAX ((size_t)1 << 30)

enum conn_state {
	CONN_RESOLVING,  /* a name is looked up; there is no descriptor */
	CONN_CONNECTING, /* connect() is under way */
	CONN_PROXY,      /* connected to the proxy; its reply is awaited */
	CONN_HANDSHAKE,  /* accepted, then ssl is NULL until it begins; or
	                  * connected */
	CONN_OPEN,       /* opened() was called, or is about to be */
	CONN_LINGERING,  /* the owner is gone; the queue is being sent */
	CONN_PARTING,    /* all was sent, FIN too; the peer's FIN is awaited */
	CONN_FAILED,     /* err is set, failed() was or will be called */
	CONN_CLOSED,     /* the owner is gone; memory lives as long as depth */
};

/* Where an accepted connection stands in CONN_HANDSHAKE. */
enum conn_shake {
	SHAKE_NO,      /* no byte came so far, or it is over */
	SHAKE_WAITING, /* in line to begin; no ssl */
	SHAKE_BEGUN,   /* it is the peer's turn; at work */
	SHAKE_GOING,   /* the peer answered: in line to go on; at work */
	SHAKE_STALLED, /* the peer's turn for long; not at work */
};

TAILQ_HEAD(conn_shake_list, hbt_conn);

/* Handshakes of one event base. */
struct conn_shakes {
	struct conn_shake_list waiting, begun, going, stalled;
	size_t at_work, n_stalled;
	int max, per_second; /* 0: no limit */
	struct hbt_rate rate;
	bool stepped;         /* one was done in this turn */
	struct event step;    /* the next one; when there is nothing else */
	struct event overdue; /* the next one; now, whatever else there is */
	struct event later;   /* when one more may begin */
};

/* Bytes from a malloced block, consumed from its front. */
struct conn_queue {
	uint8_t *data; /* NULL when empty */
	size_t off, len, cap;
};

/* What only a dialler needs, and only until the connection is open. */
struct conn_dial {
	char *host, *connect_host, *proxy_host, *proxy_user, *proxy_password;
	char *thumbprint, *url;
	uint16_t port, connect_port, proxy_port;
	bool anonymous;
	SSL_CTX *ctx;
	struct hbt_keep_alive keep;
	int64_t connect_ms, handshake_ms, connect_due;
	struct conn_lookup *lookup; /* while a name is looked up */
	struct evutil_addrinfo *addresses, *next;
	bool was_refused;
	int last_errno; /* of the attempt that failed last */
	struct hbt_tls_check check;
	struct hbt_proxy_reply reply;
};

struct hbt_conn {
	struct event io, timer;
	struct conn_turn *turn;
	LIST_ENTRY(hbt_conn) ending_link; /* when ending, or without owner */
	LIST_ENTRY(hbt_conn) later_link;  /* when later */
	const struct hbt_conn_ops *ops;
	void *arg;
	SSL *ssl;
	SSL_CTX *ctx; /* of an accepted one that has not begun */
	TAILQ_ENTRY(hbt_conn) shake_link;
	struct conn_dial *dial;
	struct conn_queue out;  /* encrypted, to be sent */
	struct conn_queue rest; /* plaintext that input() left */
	struct halibut_error err;
	unsigned long tls_error; /* of OpenSSL, once it cannot go on */
	uint64_t bytes_in, bytes_out;
	size_t burst; /* written in this turn */

	/* Moments and spans in ms of hbt_now_ms(); 0 is none. */
	int64_t step_due;    /* of the state as a whole */
	int64_t attempt_due; /* of one address, or one read from the proxy */
	int64_t read_ms, read_at;
	int64_t write_ms, write_at;
	int64_t armed_at; /* when the timer fires; 0: it is not set */
	int64_t linger_ms;
	int64_t handshake_ms;
	int64_t shake_at;  /* since when shake is what it is */
	int64_t waited_ms; /* for its turn, so far */
	const char *read_what;

	int fd;
	int io_errno;  /* of recv() or send(), once the socket is broken */
	short watched; /* what io waits for */
	uint8_t state; /* enum conn_state */
	uint8_t shake; /* enum conn_shake */
	uint8_t depth; /* handlers of this connection on the stack */
	bool dialled : 1;
	bool ending : 1, later : 1; /* on the turn's lists */
	bool told : 1;              /* failed() was called */
	bool orphan : 1;            /* hbt_conn_close() was called */
	bool dry : 1;               /* the socket gave less than asked for */
	bool at_eof : 1;            /* the socket gave its end */
	bool eof_told : 1;
	bool blocked : 1; /* the socket takes no more for now */
	bool paused : 1;  /* hbt_conn_pause() */
	bool held : 1;    /* input() did not take all */
	bool resumed : 1; /* ... but asked to go on, inside input() */
	bool in_input : 1;
	bool parked : 1;      /* io waits for the end of the peer only */
	bool wants_drain : 1; /* hbt_conn_write() said EAGAIN */
	bool read_later : 1;  /* go on reading in the next turn */
	bool was_sent : 1;    /* something left since the last read */
	bool peer_awaited : 1; /* hbt_conn_await_peer() */
	char thumbprint[HBT_THUMBPRINT_TEXT]; /* the peer's, or "" */
	char address[HBT_ADDRESS_TEXT];
};

/* conn.c */

/* Around everything the loop calls. After leave c may be gone. */
void conn_enter(struct hbt_conn *c);
void conn_leave(struct hbt_conn *c);

/* Waits for what the state needs, and until its deadline. */
void conn_watch(struct hbt_conn *c);
void conn_arm(struct hbt_conn *c);

/*
 * The end by failure, wherever it is found: closes the socket; failed() is
 * called when the handlers on the stack have returned, or from the loop.
 * A second failure is ignored.
 */
void conn_fail(struct hbt_conn *c, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The end of a connection without owner. */
void conn_dispose(struct hbt_conn *c);
void conn_dial_free(struct conn_dial **dial);

/* conn_io.c */
int conn_io_init(void);
bool conn_queue_put(struct conn_queue *q, const void *data, size_t len);
void conn_queue_clear(struct conn_queue *q);
int conn_start_tls(struct hbt_conn *c, SSL_CTX *ctx, bool server);
void conn_handshake(struct hbt_conn *c);
void conn_read(struct hbt_conn *c);
/* The socket has something to say, but nobody listens: is it the end? */
void conn_look_for_end(struct hbt_conn *c);
void conn_send(struct hbt_conn *c);
static inline bool conn_is_reading(const struct hbt_conn *c)
{
	return c->state == CONN_OPEN && !c->paused && !c->held && !c->eof_told;
}

/* conn_handshake.c */
void conn_shake_accept(struct hbt_conn *c, SSL_CTX *ctx,
                       const struct hbt_limits *limits);
/* The peer said something: goes on with it now, or when it is its turn. */
void conn_shake_readable(struct hbt_conn *c);
/* Then nothing is read. */
bool conn_shake_is_queued(const struct hbt_conn *c);
/* It is over, well or not. */
void conn_shake_leave(struct hbt_conn *c);
void conn_shakes_init(struct conn_shakes *s, struct event_base *base);
void conn_shakes_fini(struct conn_shakes *s);

/* conn_dial.c */
void conn_dial_start(struct hbt_conn *c, struct evdns_base *dns);
void conn_dial_connected(struct hbt_conn *c); /* or not: SO_ERROR says */
void conn_dial_proxy_readable(struct hbt_conn *c);
void conn_dial_late(struct hbt_conn *c, int64_t now);
void conn_dial_cancel_lookup(struct conn_dial *d);

/* conn_turn.c */
int conn_turn_join(struct hbt_conn *c, struct event_base *base);
void conn_turn_part(struct hbt_conn *c);
/* conn_end_turn() is called when this turn's callbacks have all run. */
void conn_turn_ending(struct hbt_conn *c);
/* conn_next_turn() is called after the loop has looked at its sockets. */
void conn_turn_later(struct hbt_conn *c);
void conn_turn_forget(struct hbt_conn *c);
/* c has no owner any more and is on no list: hbt_conn_end_flushing(). */
void conn_turn_orphan(struct hbt_conn *c);
struct conn_shakes *conn_turn_shakes(struct hbt_conn *c);
/* It lives until released, even if its last connection ends. */
void conn_shakes_hold(struct conn_shakes *s);
void conn_shakes_release(struct conn_shakes *s);
void conn_end_turn(struct hbt_conn *c);  /* conn.c */
void conn_next_turn(struct hbt_conn *c); /* conn.c */

/* conn_error.c: each ends in conn_fail(). */
void conn_fail_broken(struct hbt_conn *c);    /* by io_errno */
void conn_fail_handshake(struct hbt_conn *c); /* by what is known */
void conn_fail_tls(struct hbt_conn *c);       /* by tls_error */
void conn_fail_deadline(struct hbt_conn *c, bool writing);
void conn_fail_connect(struct hbt_conn *c); /* by dial */
void conn_fail_connect_timeout(struct hbt_conn *c);
void conn_fail_lookup(struct hbt_conn *c, int eai);
/* EPROXY is for what a proxy said; one that is not reached, or that leaves, is
 * a matter of the network: runtime-behaviour 3.10. */
void conn_fail_proxy(struct hbt_conn *c, int status, const char *why);

#endif
