/*
 * One connection to one Redis server: dialled, logged in, kept alive, ended.
 * It never comes back; the keeper makes a new one. redis-queue 5.1
 */
#ifndef HBT_REDIS_LINK_H
#define HBT_REDIS_LINK_H

#include <event2/dns.h>
#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include "redis/options.h"
#include "redis/text.h"

enum hbt_link_kind {
	HBT_LINK_COMMANDS,
	HBT_LINK_SUBSCRIBER,
	HBT_LINK_SENTINEL, /* another login, and no database */
};

struct hbt_link_config {
	struct event_base *base;
	struct evdns_base *dns;                  /* NULL: names block */
	const struct hbt_redis_options *options; /* outlives the link */
	SSL_CTX *tls;                            /* NULL: without */
	enum hbt_link_kind kind;
};

/* All from the loop. Each may free the link. */
struct hbt_link_ops {
	void (*up)(void *arg); /* logged in, to a primary */
	/* Takes the reply over. */
	void (*reply)(void *arg, redisReply *reply);
	/* What is_full() said no longer holds. */
	void (*drained)(void *arg);
	/* It is over, whatever it had reached; nothing else follows. why names
	 * the server: HALIBUT_ETIMEOUT for silence, else HALIBUT_ESYSTEM. It is
	 * valid until this returns, even if the link is freed. */
	void (*down)(void *arg, const struct halibut_error *why);
};

struct hbt_link;

int hbt_link_new(struct hbt_link **out, const struct hbt_link_config *config,
                 const struct hbt_redis_server *server,
                 const struct hbt_link_ops *ops, void *arg);
void hbt_link_free(struct hbt_link **l);

/* "host:port", "[v6]:port" or a path. */
const char *hbt_link_name(const struct hbt_link *l);
bool hbt_link_is_up(const struct hbt_link *l);

/* Written at the end of this turn, together with all else of it. A failure
 * ends the link. */
void hbt_link_write(struct hbt_link *l, struct hbt_text *text);
/* So many more replies, for what text->commands does not tell: a variadic
 * SUBSCRIBE has one a channel. */
void hbt_link_expect(struct hbt_link *l, size_t more);
/* The owner saw fewer replies than it had expected, or replies that are
 * none: messages. */
void hbt_link_unexpect(struct hbt_link *l, size_t less);
/* Enough waits to be written: write the rest when drained() is called. */
bool hbt_link_is_full(const struct hbt_link *l);

/* Since the last call. */
void hbt_link_take_counts(struct hbt_link *l, uint64_t *in, uint64_t *out);

/* A context for all links; *out NULL without TLS. */
int hbt_link_tls_new(SSL_CTX **out, const struct hbt_redis_options *o,
                     struct halibut_error *err);

#endif
