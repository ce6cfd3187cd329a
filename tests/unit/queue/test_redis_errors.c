/* redis-queue 11: callers of the reference look for these texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "queue/redis_errors.h"

#define ID "8f14e45f-ceea-467f-9575-3b5f0d0c1a2b"
#define PLACE "Halibut.Queue.Redis.Exceptions."

static const struct {
	enum hbt_redis_failure what;
	const char *type, *message;
} table[] = {
	{HBT_REDIS_NOT_WATCHED,
         PLACE "CouldNotGetDataLossTokenInTimeHalibutClientException",
         "Unable to reconnect to redis to get data loss detection CT"},
	{HBT_REDIS_NOT_PREPARED,
         PLACE "ErrorWhilePreparingRequestForQueueHalibutClientException",
         "Request " ID
         " failed since an error occured when preparing request for queue"},
	{HBT_REDIS_NOT_INSERTED,
         PLACE "ErrorOccuredWhenInsertingDataIntoRedisHalibutPendingRequest"
               "QueueHalibutClientException",
         "Request " ID
         " failed since an error occured inserting the data into the queue"},
	{HBT_REDIS_DATA_LOST, PLACE "RedisDataLossHalibutClientException",
         "Request " ID " was cancelled because we detected that redis lost "
         "all of its data."},
	{HBT_REDIS_SHUTDOWN, PLACE "RedisQueueShutdownClientException",
         "Request " ID
         " was cancelled because the queue is shutting down."},
	{HBT_REDIS_OFFLINE, "Halibut.HalibutClientException",
         "The node processing the request did not send a heartbeat for long "
         "enough, and so the node is now assumed to be offline."},
	{HBT_REDIS_ABANDONED, "Halibut.HalibutClientException",
         "The request was abandoned, possibly because the node processing the "
         "request shutdown or redis lost all of its data."},
	{HBT_REDIS_UNREADABLE, "Halibut.HalibutClientException",
         "Error occured when reading data from the queue"},
};
enum { N = sizeof(table) / sizeof(table[0]) };

static void texts_and_types_are_those_of_the_reference(void **state)
{
	struct halibut_error err = {0};

	(void)state;
	for (size_t i = 0; i < N; i++) {
		hbt_redis_error(&err, table[i].what, ID, NULL);
		assert_string_equal(err.message, table[i].message);
		assert_string_equal(err.type, table[i].type);
		assert_int_not_equal(err.status, HALIBUT_OK);
		assert_null(err.details);
	}
	halibut_error_clear(&err);
}

static void a_cause_goes_to_the_details(void **state)
{
	struct halibut_error err = {0};

	(void)state;
	hbt_redis_error(&err, HBT_REDIS_NOT_INSERTED, ID, "the disk is full");
	assert_string_equal(err.message, table[2].message);
	assert_non_null(strstr(err.details, table[2].type));
	assert_non_null(strstr(err.details, table[2].message));
	assert_non_null(strstr(err.details, "\n ---> the disk is full"));
	halibut_error_clear(&err);
}

static void the_cause_may_be_the_text_of_the_error_itself(void **state)
{
	struct halibut_error err = {0};

	(void)state;
	hbt_error_set(&err, HALIBUT_ESYSTEM, "the cable is cut");
	hbt_redis_error(&err, HBT_REDIS_UNREADABLE, ID, err.message);
	assert_string_equal(err.message, table[7].message);
	assert_non_null(strstr(err.details, "the cable is cut"));
	halibut_error_clear(&err);
}

/* What never came into the queue was executed by nobody. */
static void only_what_was_not_sent_is_connecting(void **state)
{
	struct halibut_error err = {0};

	(void)state;
	for (size_t i = 0; i < N; i++) {
		hbt_redis_error(&err, table[i].what, ID, NULL);
		assert_int_equal(
			err.connection_state == HALIBUT_CONNECTION_CONNECTING,
			table[i].what == HBT_REDIS_NOT_WATCHED ||
				table[i].what == HBT_REDIS_NOT_PREPARED);
	}
	halibut_error_clear(&err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_and_types_are_those_of_the_reference),
		cmocka_unit_test(a_cause_goes_to_the_details),
		cmocka_unit_test(
			the_cause_may_be_the_text_of_the_error_itself),
		cmocka_unit_test(only_what_was_not_sent_is_connecting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
