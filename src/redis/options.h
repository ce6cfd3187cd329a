/*
 * Where Redis is and how to log in: URLs as every Redis tool knows them, and
 * the connection strings of StackExchange.Redis, which .NET nodes use.
 * redis-queue 15.2
 */
#ifndef HBT_REDIS_OPTIONS_H
#define HBT_REDIS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct hbt_redis_server {
	char *host;     /* or NULL: unix_path */
	uint16_t port;
	char *unix_path;
};

struct hbt_redis_options { /* strings malloced; NULL: not set */
	struct hbt_redis_server *servers; /* sentinels when sentinel is set */
	size_t n_servers;
	char *sentinel;   /* name of the primary that sentinels watch */
	char *sentinel_user, *sentinel_password;
	char *user, *password;
	unsigned database;
	bool tls;
	char *tls_host;   /* verified and sent as SNI; NULL: the server's */
	char *tls_ca_file;   /* PEM; NULL: the system's */
	char *tls_certificate_file, *tls_key_file; /* ours; NULL: none */
	bool tls_insecure;   /* the certificate is not verified */
	char *channel_prefix;
	char *client_name;   /* CLIENT SETNAME, best effort; NULL: none */
	int64_t connect_timeout_ms;  /* 5 s */
	int64_t command_timeout_ms;  /* 5 s */
	int64_t keep_alive_ms;       /* PING when idle for so long: 60 s */
	int64_t reconnect_min_ms;    /* with jitter, growing: 0.25 s */
	int64_t reconnect_max_ms;    /* 10 s */
};

void hbt_redis_options_init(struct hbt_redis_options *o);
void hbt_redis_options_fini(struct hbt_redis_options *o); /* wipes secrets */
int hbt_redis_options_copy(struct hbt_redis_options *to,
                           const struct hbt_redis_options *from);

/*
 * Adds what text says to *o, which was initialised:
 *
 *   redis://[[user]:password@]host[:port][,host[:port]…][/database][?key=value&…]
 *   rediss://…                                  the same over TLS
 *   unix:///path[?db=N], redis+unix:///path     Unix socket
 *   redis+sentinel://[…]host[:port],…/name[/database], rediss+sentinel://…
 *   host[:port],host[:port],key=value,…         as .NET: 15.2
 *
 * Parts of a URL are percent-decoded. Query keys are those of the connection
 * string (and db, protocol …). HALIBUT_EINVAL with a sentence that quotes the
 * part that is wrong, never a password.
 */
int hbt_redis_options_parse(struct hbt_redis_options *o, const char *text,
                            struct halibut_error *err);

/* "redis.example.com:6380 (TLS), database 2": for logs, without secrets. */
void hbt_redis_options_describe(const struct hbt_redis_options *o, char *buf,
                                size_t cap);

#endif
