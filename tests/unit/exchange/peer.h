/*
 * The other end of an exchange: bare TLS on loopback that says what a test
 * tells it to say, and keeps what it hears, record by record.
 */
#ifndef HBT_TEST_EXCHANGE_PEER_H
#define HBT_TEST_EXCHANGE_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include <string.h>
#include "base/timespan.h"
#include "exchange/exchange.h"
#include "net/tls.h"

#define PATIENCE_MS 60000

struct peer {
	int fd;
	SSL *ssl;
	bool open, at_end;
	bool forgets; /* reads, but keeps nothing */
	uint8_t *heard; /* not yet expected */
	size_t len;
	size_t records[256]; /* the length of each that came */
	size_t n_records;
};

extern struct event_base *base;
extern struct hbt_tls *ours, *theirs;
extern struct hbt_limits limits;

/* The loop, and a certificate for either side. Returns 0, or -1. */
int peers_start(void);
void peers_stop(void);

/* Owns fd from here on, and does its half of the handshake in its turns. */
void peer_init(struct peer *p, int fd, bool accepts);
void peer_fini(struct peer *p);
/* Closes its socket, with a reset or in good order. */
void peer_leaves(struct peer *p, bool reset);

/* Reads what is there. */
void peer_turn(struct peer *p);
/* Both sides do what they can now. */
void turn(struct peer *p);
/* A few turns, for what must not happen. */
void some_turns(struct peer *p);

/* Turns the wheels of both sides until a condition holds. */
#define WAIT(p, condition)                                                     \
	do {                                                                   \
		int64_t give_up = hbt_now_ms() + PATIENCE_MS;                  \
		while (!(condition)) {                                         \
			if (hbt_now_ms() > give_up)                            \
				fail_msg("never happened: %s", #condition);    \
			turn(p);                                               \
		}                                                              \
	} while (0)

/* These wait for the handshake, and for what is to be heard. */
void peer_says(struct peer *p, const void *data, size_t len);
void peer_says_text(struct peer *p, const char *text);
void peer_skips(struct peer *p, size_t len);
void peer_hears(struct peer *p, const void *data, size_t len);
void peer_hears_text(struct peer *p, const char *text);

#endif
