#include "queue/redis_errors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXCEPTION(name) "Halibut.Queue.Redis.Exceptions." name

static const struct {
	int status;
	/* Nothing of it was in the queue yet. */
	enum halibut_connection_state state;
	const char *type;
	const char *before, *after; /* of the id */
	int has_id;
} failures[] = {
	[HBT_REDIS_NOT_WATCHED] =
		{HALIBUT_ESYSTEM, HALIBUT_CONNECTION_CONNECTING,
         EXCEPTION("CouldNotGetDataLossTokenInTimeHalibutClientException"),
         "Unable to reconnect to redis to get data loss detection CT", "", 0},
	[HBT_REDIS_NOT_PREPARED] =
		{HALIBUT_ESYSTEM, HALIBUT_CONNECTION_CONNECTING,
         EXCEPTION("ErrorWhilePreparingRequestForQueueHalibutClientException"),
         "Request ",
         " failed since an error occured when preparing request for queue", 1},
	[HBT_REDIS_NOT_INSERTED] =
		{HALIBUT_ESYSTEM, HALIBUT_CONNECTION_UNKNOWN,
         EXCEPTION("ErrorOccuredWhenInsertingDataIntoRedis"
                   "HalibutPendingRequestQueueHalibutClientException"),
         "Request ",
         " failed since an error occured inserting the data into the queue",
         1},
	[HBT_REDIS_DATA_LOST] =
		{HALIBUT_ENO_RESPONSE, HALIBUT_CONNECTION_UNKNOWN,
         EXCEPTION("RedisDataLossHalibutClientException"), "Request ",
         " was cancelled because we detected that redis lost all of its data.",
         1},
	[HBT_REDIS_SHUTDOWN] =
		{HALIBUT_ESHUTDOWN, HALIBUT_CONNECTION_UNKNOWN,
         EXCEPTION("RedisQueueShutdownClientException"), "Request ",
         " was cancelled because the queue is shutting down.", 1},
	[HBT_REDIS_OFFLINE] =
		{HALIBUT_ENO_RESPONSE, HALIBUT_CONNECTION_UNKNOWN,
         "Halibut.HalibutClientException",
         "The node processing the request did not send a heartbeat for long "
         "enough, and so the node is now assumed to be offline.",
         "", 0},
	[HBT_REDIS_ABANDONED] =
		{HALIBUT_EREMOTE, HALIBUT_CONNECTION_UNKNOWN,
         "Halibut.HalibutClientException",
         "The request was abandoned, possibly because the node processing the "
         "request shutdown or redis lost all of its data.",
         "", 0},
	[HBT_REDIS_UNREADABLE] =
		{HALIBUT_EREMOTE, HALIBUT_CONNECTION_UNKNOWN,
         "Halibut.HalibutClientException",
         "Error occured when reading data from the queue", "", 0},
};

void hbt_redis_error(struct halibut_error *err, enum hbt_redis_failure what,
                     const char *id, const char *cause)
{
	char *details = NULL;

	/* First: cause may be err's own text. */
	if (cause != NULL &&
	    asprintf(&details, "%s: %s%s%s\n ---> %s", failures[what].type,
	             failures[what].before, failures[what].has_id ? id : "",
	             failures[what].after, cause) < 0)
		details = NULL;
	hbt_error_set(err, failures[what].status, "%s%s%s",
	              failures[what].before, failures[what].has_id ? id : "",
	              failures[what].after);
	err->connection_state = failures[what].state;
	err->type = strdup(failures[what].type);
	err->details = details;
}
