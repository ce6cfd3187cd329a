/* What an operator can do about an error reply of Redis. */
#ifndef HBT_REDIS_REMEDY_H
#define HBT_REDIS_REMEDY_H

#include <stdbool.h>

/* "; …" to put behind the text of an error reply, or "". Static. */
const char *hbt_redis_remedy(const char *reply);

/* For "%.*s%s" of the text of an error reply and its remedy: how much of it
 * there is without the full stop that would stand between. */
int hbt_redis_said(const char *reply);

/* The server takes nothing new, whatever it is: no memory, no disk, too few
 * replicas. */
bool hbt_redis_is_refused_write(const char *reply);

/* The server is no primary (any more): look for another. */
bool hbt_redis_is_wrong_server(const char *reply);

#endif
