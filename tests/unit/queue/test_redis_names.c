/* redis-queue 2 and 16, vector V5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/uri.h"
#include "queue/redis_names.h"

#define GUID "8f14e45f-ceea-467f-9575-3b5f0d0c1a2b"
#define ROOT "prod:HalibutRedis"
#define NS "octopus::server::halibut"

static void names_are_those_of_the_worked_example(void **state)
{
	static const struct {
		enum hbt_redis_kind kind;
		const char *name;
	} of_a_request[] = {
		{HBT_REDIS_REQUEST, ROOT ":hash:" NS "::RequestMessage::"},
		{HBT_REDIS_RESPONSE, ROOT ":hash:" NS "::Response::"},
		{HBT_REDIS_CANCELLED,
	         ROOT ":string:" NS "::RequestCancelledMarker::"},
		{HBT_REDIS_RESPONSE_PULSE,
	         ROOT ":channel:" NS "::ResponseAvailableChannel::"},
		{HBT_REDIS_CANCELLED_PULSE,
	         ROOT ":channel:" NS "::RequestCancelledChannel::"},
		{HBT_REDIS_SENDER_BEAT,
	         ROOT ":channel:" NS "::NodeHeartBeatChannel::"},
		{HBT_REDIS_RECEIVER_BEAT,
	         ROOT ":channel:" NS "::NodeHeartBeatChannel::"},
	};
	char *endpoint = hbt_uri_key("poll://SQ-TENTAPOLL", false);
	char *ref = hbt_redis_ref(endpoint, GUID);
	struct hbt_redis_name n;
	const char *rest;

	(void)state;
	assert_string_equal(ref, "poll://sq-tentapoll/::" GUID);
	for (size_t i = 0; i < sizeof(of_a_request) / sizeof(of_a_request[0]);
	     i++) {
		size_t len = strlen(of_a_request[i].name);

		hbt_redis_name(&n, "prod", of_a_request[i].kind, ref);
		assert_memory_equal(n.text, of_a_request[i].name, len);
		assert_memory_equal(n.text + len, ref, strlen(ref));
		rest = n.text + len + strlen(ref);
		assert_string_equal(
			rest, of_a_request[i].kind == HBT_REDIS_SENDER_BEAT
				      ? "::RequestSenderNode"
			      : of_a_request[i].kind == HBT_REDIS_RECEIVER_BEAT
				      ? "::RequestProcessorNode"
				      : "");
	}
	assert_string_equal(
		hbt_redis_name(&n, "prod", HBT_REDIS_LIST, endpoint),
		ROOT ":list:" NS
		     "::PendingRequestGuidsQueue::poll://sq-tentapoll/");
	assert_string_equal(
		hbt_redis_name(&n, "prod", HBT_REDIS_PULSE, endpoint),
		ROOT ":channel:" NS
		     "::RequestMessagesPulseChannel::poll://sq-tentapoll/");
	free(ref);
	free(endpoint);
}

static void the_data_loss_key_is_outside_the_name_space(void **state)
{
	struct hbt_redis_name n;

	(void)state;
	assert_string_equal(
		hbt_redis_name(&n, "prod", HBT_REDIS_LOSS,
	                       "1c7d4a52-6f0e-4a53-9a0b-0d7f1b5a8e11"),
		"prod:HalibutRedis:string:WatchForDataLoss::"
		"1c7d4a52-6f0e-4a53-9a0b-0d7f1b5a8e11");
}

static void a_queue_worker_has_the_names_of_vector_5(void **state)
{
	char *endpoint = hbt_uri_key("queue://Test-Worker", true);
	char *ref = hbt_redis_ref(endpoint, GUID);
	struct hbt_redis_name n;

	(void)state;
	assert_string_equal(
		hbt_redis_name(&n, "prod", HBT_REDIS_REQUEST, ref),
		"prod:HalibutRedis:hash:octopus::server::halibut"
		"::RequestMessage::queue://test-worker/::" GUID);
	free(ref);
	free(endpoint);
}

static void fields_are_called_alike_in_requests_and_responses(void **state)
{
	(void)state;
	assert_string_equal(HBT_REDIS_MESSAGE_FIELD, "RequestMessageField");
	assert_string_equal(HBT_REDIS_STREAMS_FIELD,
	                    "DataStreamMetaDataField");
}

/* 2.2 */
static void endpoints_are_spelled_as_uri_to_string_does(void **state)
{
	static const char *const pairs[][2] = {
		{"poll://test-endpoint", "poll://test-endpoint/"},
		{"poll://test-endpoint/", "poll://test-endpoint/"},
		{"poll://SQ-TENTAPOLL", "poll://sq-tentapoll/"},
		{"poll://Some_ID", "poll://some_id/"},
		{"POLL://Foo", "poll://foo/"},
		{"poll://123", "poll://123/"},
		{"poll://abc:8080", "poll://abc:8080/"},
		{"queue://test-worker", "queue://test-worker/"},
	};
	char *text;

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		for (int keep = 0; keep < 2; keep++) {
			text = hbt_uri_key(pairs[i][0], keep);
			assert_string_equal(text, pairs[i][1]);
			free(text);
		}
}

static void senders_drop_the_path_and_receivers_keep_it(void **state)
{
	char *text = hbt_uri_key("poll://a/Path?q", false);

	(void)state;
	assert_string_equal(text, "poll://a/");
	free(text);
	text = hbt_uri_key("poll://a/Path?q", true);
	assert_string_equal(text, "poll://a/Path?q");
	free(text);
}

static void the_longest_names_fit(void **state)
{
	struct hbt_redis_name *n = malloc(sizeof(*n));
	char prefix[HBT_REDIS_PREFIX_MAX + 1];
	char endpoint[HBT_REDIS_ENDPOINT_MAX + 1];
	char *ref;

	(void)state;
	memset(prefix, '*', sizeof(prefix) - 1);
	memset(endpoint, 'e', sizeof(endpoint) - 1);
	prefix[sizeof(prefix) - 1] = endpoint[sizeof(endpoint) - 1] = '\0';
	ref = hbt_redis_ref(endpoint, GUID);
	hbt_redis_name(n, prefix, HBT_REDIS_RECEIVER_BEAT, ref);
	assert_non_null(strstr(n->text, GUID "::RequestProcessorNode"));
	hbt_redis_response_pattern(n, prefix);
	assert_string_equal(n->text + strlen(n->text) - 29,
	                    "::ResponseAvailableChannel::*");
	free(ref);
	free(n);
}

static void the_pattern_matches_the_own_prefix_alone(void **state)
{
	static const char *const prefixes[] = {"prod", "a*", "[ab]", "b\\?c",
	                                       ""};
	struct hbt_redis_name pattern, channel;

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		hbt_redis_response_pattern(&pattern, prefixes[i]);
		for (size_t j = 0; j < 5; j++) {
			hbt_redis_name(&channel, prefixes[j],
			               HBT_REDIS_RESPONSE_PULSE, "poll://x/");
			assert_int_equal(
				fnmatch(pattern.text, channel.text, 0) == 0,
				i == j);
		}
	}
}

static void a_response_pulse_tells_its_request(void **state)
{
	struct hbt_redis_name n;
	char with_prefix[sizeof(n.text) + 10] = "chan";

	(void)state;
	hbt_redis_name(&n, "prod", HBT_REDIS_RESPONSE_PULSE,
	               "poll://x/::" GUID);
	assert_string_equal(hbt_redis_response_ref(n.text, "prod"),
	                    "poll://x/::" GUID);
	strcat(with_prefix, n.text);
	assert_string_equal(hbt_redis_response_ref(with_prefix, "prod"),
	                    "poll://x/::" GUID);
	assert_null(hbt_redis_response_ref(n.text, "other"));
	assert_null(hbt_redis_response_ref("", "prod"));
	hbt_redis_name(&n, "prod", HBT_REDIS_CANCELLED_PULSE, "poll://x/");
	assert_null(hbt_redis_response_ref(n.text, "prod"));
}

/* 2.3 */
static void guids_are_read_in_every_format(void **state)
{
	static const char *const texts[] = {
		"8f14e45fceea467f95753b5f0d0c1a2b",
		GUID,
		"8F14E45F-CEEA-467F-9575-3B5F0D0C1A2B",
		"{" GUID "}",
		"(" GUID ")",
		" " GUID "\r\n",
		"{0x8f14e45f,0xceea,0x467f,{0x95,0x75,0x3b,0x5f,0x0d,0x0c,"
		"0x1a,0x2b}}",
		"{0X8F14E45F,0xCEEA,0x467f,{0x95,0x75,0x3b,0x5f,0xd,0xc,"
		"0x1a,0x2b}}",
		"{0x8f14e45f, 0xceea, 0x467f, {0x95, 0x75, 0x3b, 0x5f, 0x0d, "
		"0x0c, 0x1a, 0x2b}}",
	};
	char text[HBT_GUID_TEXT];
	struct hbt_guid g;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		memset(&g, 0, sizeof(g));
		assert_int_equal(hbt_redis_guid_read(texts[i],
		                                     strlen(texts[i]), &g),
		                 HALIBUT_OK);
		hbt_guid_format(&g, text);
		assert_string_equal(text, GUID);
	}
}

#define X_TAIL "{0x95,0x75,0x3b,0x5f,0x0d,0x0c,0x1a,0x2b}}"
static void what_is_no_guid_is_refused(void **state)
{
	static const char *const texts[] = {
		"", " ", "{", "{}", "x", "{0x", "{0x}",
		"8f14e45fceea467f95753b5f0d0c1a2",
		"8f14e45f-ceea467f-9575-3b5f0d0c1a2b",
		"{" GUID, GUID "}", "{" GUID ")", "(" GUID "}",
		"8f14e45f-ceea-467f-9575-3b5f0d0c1a2g",
		"{0x8f14e45f,0xceea,0x467f,{0x95}}",
		"{0x18f14e45f,0xceea,0x467f," X_TAIL,
		"{0x8f14e45f 0xceea,0x467f," X_TAIL,
		"{8f14e45f,0xceea,0x467f," X_TAIL,
		"{0x8f14e45f,0xceea,0x467f," X_TAIL "}",
		"{0x8f14e45f,0xceea,0x,467f," X_TAIL,
	};
	struct hbt_guid g;
	char buf[200];
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(hbt_redis_guid_read(texts[i],
		                                     strlen(texts[i]), &g),
		                 HALIBUT_EINVAL);
	/* every cut of a long one, and text that does not end */
	strcpy(buf, "{0x8f14e45f,0xceea,0x467f," X_TAIL);
	len = strlen(buf);
	assert_int_equal(hbt_redis_guid_read(buf, len, &g), HALIBUT_OK);
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(hbt_redis_guid_read(buf, cut, &g),
		                 HALIBUT_EINVAL);
	memset(buf, '8', sizeof(buf));
	assert_int_equal(hbt_redis_guid_read(buf, sizeof(buf), &g),
	                 HALIBUT_EINVAL);
	assert_int_equal(hbt_redis_guid_read(GUID "\0", 37, &g),
	                 HALIBUT_EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_those_of_the_worked_example),
		cmocka_unit_test(the_data_loss_key_is_outside_the_name_space),
		cmocka_unit_test(a_queue_worker_has_the_names_of_vector_5),
		cmocka_unit_test(
			fields_are_called_alike_in_requests_and_responses),
		cmocka_unit_test(endpoints_are_spelled_as_uri_to_string_does),
		cmocka_unit_test(senders_drop_the_path_and_receivers_keep_it),
		cmocka_unit_test(the_longest_names_fit),
		cmocka_unit_test(the_pattern_matches_the_own_prefix_alone),
		cmocka_unit_test(a_response_pulse_tells_its_request),
		cmocka_unit_test(guids_are_read_in_every_format),
		cmocka_unit_test(what_is_no_guid_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
