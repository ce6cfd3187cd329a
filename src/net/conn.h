/*
 * One TLS connection on an event loop: bytes out of it and into it, with
 * deadlines, back-pressure and few system calls. wire-protocol 2
 */
#ifndef HBT_NET_CONN_H
#define HBT_NET_CONN_H

#include <event2/dns.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include "base/error.h"
#include "base/limits.h"
#include "net/tls.h"

struct hbt_conn;


/* How far a dial has come. */
enum hbt_conn_step {
	HBT_STEP_CONNECT,   /* the name is resolved: an address is tried */
	HBT_STEP_UNREACHED, /* that address failed; error is an errno */
	HBT_STEP_PROXY,     /* connected to the proxy, which is asked */
	HBT_STEP_TLS,       /* the way is free: the handshake begins */
};

struct hbt_conn_ops {
	/* TLS is up; the peer's thumbprint can be asked for. */
	void (*opened)(void *arg);
	/*
	 * Plaintext. Returns how many bytes were consumed; the rest is kept
	 * and no more is read until hbt_conn_resume().
	 */
	size_t (*input)(void *arg, const uint8_t *data, size_t len);
	/* Less than the low-water mark waits to be sent: write more. Called
	 * only after hbt_conn_write() had returned HALIBUT_EAGAIN. */
	void (*drained)(void *arg);
	/*
	 * The peer sent everything it will: EOF, with or without
	 * close_notify, and input() took all of it. The connection still has
	 * to be closed by its owner.
	 */
	void (*eof)(void *arg);
	/*
	 * It failed: handshake, certificate, reset, deadline. Called at most
	 * once and nothing else after it; the owner then frees it.
	 */
	void (*failed)(void *arg, const struct halibut_error *err);
	/* For who shows a dial step by step; may be NULL, and is called inside
	 * hbt_conn_dial() as well. Closing is not allowed in it. */
	void (*step)(void *arg, enum hbt_conn_step step, const char *address,
	             int error);
};

/*
 * Accepted descriptor: starts the TLS handshake as server. Takes fd over in
 * every case. Options of wire-protocol 2.1 are set. The handshake as a whole
 * is bounded by handshake_total_timeout_ms, which begins the moment this is
 * called, and again when it is the connection's turn: of all those of the
 * event base max_handshakes are at work at a time. No callback comes before
 * the function returned.
 */
int hbt_conn_accept(struct hbt_conn **out, struct event_base *base,
                    struct hbt_tls *tls, const struct hbt_limits *limits,
                    int fd, const struct hbt_conn_ops *ops, void *arg);

/* Of all accepted connections of this process. */
struct hbt_handshake_counts {
	size_t waiting;    /* for their turn */
	uint64_t begun;    /* so far */
	uint64_t given_up; /* by peers, while they waited for their turn */
};
const struct hbt_handshake_counts *hbt_conn_handshakes(void);

struct hbt_dial {
	const char *host;  /* TLS server name, and where to connect unless … */
	uint16_t port;
	const char *connect_host; /* … ForceResolveHost says otherwise, or NULL */
	uint16_t connect_port;
	const char *proxy_host; /* HTTP CONNECT: wire-protocol 13; or NULL */
	uint16_t proxy_port;
	const char *proxy_user, *proxy_password;
	/* Expected server thumbprint (40 upper-case hex digits); NULL takes
	 * any (discovery). A mismatch fails with HALIBUT_ECERTIFICATE before a
	 * byte is sent. */
	const char *thumbprint;
	const char *url; /* for the error texts */
	bool without_certificate; /* discovery */
	int64_t connect_timeout_ms;
};

/*
 * Resolves (evdns), connects (each address in turn), goes through the proxy,
 * does the TLS handshake. All strings are copied. Failures come through
 * ops->failed with ERESOLVE, EREFUSED, ECONNECT_TIMEOUT (the handshake's too),
 * ECONNECT, EPROXY, ETLS or ECERTIFICATE, with CONNECTING as their connection
 * state, and texts as runtime-behaviour 3.3 and 3.11 have them. A proxy that is
 * not reached is an ECONNECT. dns may be NULL: names are looked up blocking.
 */
int hbt_conn_dial(struct hbt_conn **out, struct event_base *base,
                  struct evdns_base *dns, struct hbt_tls *tls,
                  const struct hbt_limits *limits, const struct hbt_dial *dial,
                  const struct hbt_conn_ops *ops, void *arg);

/*
 * Queues bytes as TLS records of their own (as many as 16 KiB pieces need).
 * What fits the socket leaves at the end of this loop turn in one send, or at
 * hbt_conn_flush(). HALIBUT_OK: more is welcome; HALIBUT_EAGAIN: it was
 * queued, but wait for drained() before the next bulk write. Never fails
 * otherwise: errors come through failed().
 */
int hbt_conn_write(struct hbt_conn *c, const void *data, size_t len);
void hbt_conn_flush(struct hbt_conn *c);

/* input() is called again, first with what was not consumed; from the loop,
 * never from inside this function. */
void hbt_conn_resume(struct hbt_conn *c);
/* No more input() until resume. A reset is still told at once; so is an EOF,
 * unless bytes that input() did not take stand before it. */
void hbt_conn_pause(struct hbt_conn *c);

/*
 * Is it the peer's turn to speak? Then what it sends is acknowledged as soon
 * as it was read: with Nagle's algorithm the rest of what it has to say waits
 * for that. Otherwise the acknowledgement goes with what we say. True at first.
 */
void hbt_conn_await_peer(struct hbt_conn *c, bool awaited);

/*
 * Deadline of reads: fails with HALIBUT_ETIMEOUT when no byte has come for
 * ms milliseconds (restarted by each read), 0 for none. Paused time does not
 * count. what goes into the text: "while waiting for {what}"; it is not
 * copied. None at first.
 */
void hbt_conn_read_timeout(struct hbt_conn *c, int64_t ms, const char *what);
/* The same for writes: no progress for ms while bytes wait. At first
 * tcp_client_send_timeout_ms. */
void hbt_conn_write_timeout(struct hbt_conn *c, int64_t ms);

/* 40 upper-case hex digits, or NULL when the peer sent no certificate. */
const char *hbt_conn_peer_thumbprint(const struct hbt_conn *c);
X509 *hbt_conn_peer_certificate(const struct hbt_conn *c); /* borrowed */
/* Of the certificate of ours that this connection shows, as long as the
 * hbt_tls is that it was made with; NULL before the handshake began, and when
 * we show none. */
const char *hbt_conn_own_thumbprint(const struct hbt_conn *c);
/*
 * Why a server may have hung up: one that does not trust us says not a word.
 * A clause with our own thumbprint, to stand behind what happened, for a
 * connection that we dialled and on which nothing has come since the TLS
 * handshake; else "".
 */
enum { HBT_HINT_TEXT = 200 };
void hbt_conn_hint(const struct hbt_conn *c, char text[HBT_HINT_TEXT]);
/* "address:port"; [v6]:port; v4-mapped addresses as v4. Static in c. */
const char *hbt_conn_peer_address(const struct hbt_conn *c);
/* How long an accepted connection has waited, with bytes to read, for its
 * turn to do the TLS handshake. That is no fault of the peer. */
int64_t hbt_conn_waited_ms(const struct hbt_conn *c);
const char *hbt_conn_tls_version(const struct hbt_conn *c);
/* NULL before the handshake is over. */
const char *hbt_conn_cipher(const struct hbt_conn *c);
size_t hbt_conn_unsent(const struct hbt_conn *c);
uint64_t hbt_conn_bytes_in(const struct hbt_conn *c);
uint64_t hbt_conn_bytes_out(const struct hbt_conn *c);
/* The same of all connections that this process ever had. */
struct hbt_conn_totals {
	uint64_t bytes_in, bytes_out;
};
const struct hbt_conn_totals *hbt_conn_totals(void);

/*
 * Closes and frees, from anywhere, callbacks of c included. flush: what is
 * queued is sent first, in the background, for at most
 * tcp_client_heartbeat_send_timeout; no close_notify. Otherwise abortive
 * (RST), as runtime-behaviour 4.4. Clears *c; NULL is allowed.
 */
void hbt_conn_close(struct hbt_conn **c, bool flush);
/* Before a base is freed: ends what is still being flushed on it. Not from
 * its callbacks. */
void hbt_conn_end_flushing(struct event_base *base);

#endif
