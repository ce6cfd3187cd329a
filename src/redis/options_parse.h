/* What the parsers of URLs and of connection strings share. */
#ifndef HBT_REDIS_OPTIONS_PARSE_H
#define HBT_REDIS_OPTIONS_PARSE_H

#include "redis/options.h"

#define HBT_REDIS_MAX_TEXT 8192
#define HBT_REDIS_MAX_SERVERS 64

/*
 * One key and its value, both terminated. quotable: the text may be shown in
 * an error; not when it may be the rest of a password.
 */
int hbt_redis_option_set(struct hbt_redis_options *o, const char *key,
                         const char *value, bool quotable,
                         struct halibut_error *err);

/* "host", "host:port", "[v6]:port"; port 0 when none is given. */
int hbt_redis_option_add_server(struct hbt_redis_options *o, const char *text,
                                bool quotable, struct halibut_error *err);
int hbt_redis_option_add_path(struct hbt_redis_options *o, const char *path,
                              struct halibut_error *err);

/* Replaces *to; wipes what it held. */
int hbt_redis_option_text(char **to, const char *value,
                          struct halibut_error *err);

/* A URL; text is ours to cut up. */
int hbt_redis_options_parse_url(struct hbt_redis_options *o, char *text,
                                struct halibut_error *err);

#endif
