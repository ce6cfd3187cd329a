/*
 * How calls through Redis fail, in the words of the reference: its callers
 * tell by type or text whether to try again. redis-queue 11
 */
#ifndef HBT_QUEUE_REDIS_ERRORS_H
#define HBT_QUEUE_REDIS_ERRORS_H

#include "base/error.h"

enum hbt_redis_failure {
	HBT_REDIS_NOT_WATCHED, /* C1 */
	HBT_REDIS_NOT_PREPARED, /* C3 */
	HBT_REDIS_NOT_INSERTED, /* C4 */
	HBT_REDIS_DATA_LOST,    /* C5 */
	HBT_REDIS_SHUTDOWN,     /* C6 */
	HBT_REDIS_OFFLINE,      /* C11 */
	HBT_REDIS_ABANDONED,    /* C12: told by the receiver */
	HBT_REDIS_UNREADABLE,   /* C13 */
};

/* id: the activity id's text. cause, or NULL, goes to the details. err is
 * cleared first. */
void hbt_redis_error(struct halibut_error *err, enum hbt_redis_failure what,
                     const char *id, const char *cause);

#endif
