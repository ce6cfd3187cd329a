/* redis-queue 3.5, vector V6. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "queue/redis_beat.h"

#define ONE "731aba31-0272-4111-80b2-8f727ef70af1"
#define TWO "0103c541-a7b6-4590-84c2-f7098816b617"
#define PROGRESS(in) "{\"DataStreamProgress\":{" in "}}"

static struct {
	char id[HBT_GUID_TEXT];
	int64_t sent;
} heard[4];
static size_t n_heard;

static void hear(void *arg, const struct hbt_guid *stream, int64_t sent)
{
	(void)arg;
	assert_true(n_heard < 4);
	hbt_guid_format(stream, heard[n_heard].id);
	heard[n_heard++].sent = sent;
}

static int listen_to(const char *json, size_t len)
{
	/* Exactly so long, that a reader too far is seen. */
	char *copy = malloc(len > 0 ? len : 1);
	int rc;

	memcpy(copy, json, len);
	n_heard = 0;
	rc = hbt_beat_read(copy, len, hear, NULL);
	free(copy);
	return rc;
}

static void beats_are_written_as_net_writes_them(void **state)
{
	struct hbt_stream_ref streams[3] = {{{{0}}, 0}};
	const int64_t sent[3] = {1024, 0, 84000};
	char *text = hbt_beat_write(NULL, NULL, 0);

	(void)state;
	assert_string_equal(text, "{\"DataStreamProgress\":{}}");
	free(text);
	hbt_guid_parse(ONE, &streams[0].id);
	hbt_guid_parse(TWO, &streams[2].id);
	text = hbt_beat_write(streams, sent, 1);
	assert_string_equal(text, PROGRESS("\"" ONE "\":1024"));
	free(text);
	text = hbt_beat_write(streams, sent, 3);
	assert_string_equal(text,
	                    PROGRESS("\"" ONE "\":1024,\"" TWO "\":84000"));
	free(text);
	text = hbt_beat_write(streams, sent + 1, 1);
	assert_string_equal(text, "{\"DataStreamProgress\":{}}");
	free(text);
}

static void what_is_written_is_read(void **state)
{
	static const char text[] =
		PROGRESS("\"" ONE "\":1024,\"" TWO "\":9223372036854775807");

	(void)state;
	assert_int_equal(listen_to(text, strlen(text)), HALIBUT_OK);
	assert_int_equal(n_heard, 2);
	assert_string_equal(heard[0].id, ONE);
	assert_int_equal(heard[0].sent, 1024);
	assert_string_equal(heard[1].id, TWO);
	assert_int_equal(heard[1].sent, INT64_MAX);
}

static void other_spellings_are_read(void **state)
{
	static const char *const texts[] = {
		" {\n\t\"DataStreamProgress\" : { \"" ONE "\" : 7 } } \n",
		"{\"datastreamprogress\":{\"" ONE "\":7}}",
		"{\"DATASTREAMPROGRESS\":{\"731ABA3102724111"
		"80B28F727EF70AF1\":7}}",
		PROGRESS("\"{" ONE "}\":7"),
		PROGRESS("\"(" ONE ")\":7"),
		PROGRESS("\"{0x731aba31,0x0272,0x4111,{0x80,0xb2,0x8f,0x72,"
		         "0x7e,0xf7,0x0a,0xf1}}\":7"),
		"{\"More\":[{}],\"DataStreamProgress\":{\"" ONE
		"\":7},\"Version\":2}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(listen_to(texts[i], strlen(texts[i])),
		                 HALIBUT_OK);
		assert_int_equal(n_heard, 1);
		assert_string_equal(heard[0].id, ONE);
		assert_int_equal(heard[0].sent, 7);
	}
}

static void no_progress_is_no_error(void **state)
{
	static const char *const texts[] = {
		"",
		"{}",
		"null",
		"{\"DataStreamProgress\":null}",
		"{\"DataStreamProgress\":{}}",
		"{\"Something\":{\"" ONE "\":7}}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(listen_to(texts[i], strlen(texts[i])),
		                 HALIBUT_OK);
		assert_int_equal(n_heard, 0);
	}
}

static void what_makes_no_sense_is_told_from_silence(void **state)
{
	static const char *const texts[] = {
		"x",   "[]",  "1", "\"\"", "{\"DataStreamProgress\":[]}",
		"{}x", "{]}", "{\"DataStreamProgress\":7}",
		PROGRESS("\"no guid\":7"), PROGRESS("\"" ONE "\":\"x\""),
		PROGRESS("\"" ONE "\":{}"), PROGRESS("\"" ONE "\":-1"),
		PROGRESS("\"" ONE "\":99999999999999999999"),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(listen_to(texts[i], strlen(texts[i])),
		                 HALIBUT_EPROTO);
		assert_int_equal(n_heard, 0);
	}
}

static void one_wrong_entry_does_not_hide_the_others(void **state)
{
	static const char text[] =
		PROGRESS("\"what\":1,\"" ONE "\":7,\"" TWO "\":null");

	(void)state;
	assert_int_equal(listen_to(text, strlen(text)), HALIBUT_EPROTO);
	assert_int_equal(n_heard, 1);
	assert_int_equal(heard[0].sent, 7);
}

static void every_cut_is_refused(void **state)
{
	static const char text[] =
		PROGRESS("\"" ONE "\":1024,\"" TWO "\":84000");

	(void)state;
	for (size_t cut = 1; cut < strlen(text); cut++) {
		assert_int_equal(listen_to(text, cut), HALIBUT_EPROTO);
		assert_int_equal(n_heard, 0);
	}
}

static void deep_and_long_payloads_are_refused(void **state)
{
	size_t len = (1 << 20) + 1;
	char *text = malloc(len);

	(void)state;
	memset(text, ' ', len);
	memcpy(text, "{}", 2);
	assert_int_equal(listen_to(text, len), HALIBUT_EPROTO);
	assert_int_equal(listen_to(text, len - 1), HALIBUT_OK);
	memset(text, '[', len);
	assert_int_equal(listen_to(text, len - 1), HALIBUT_EPROTO);
	free(text);
}

static void nobody_need_listen(void **state)
{
	static const char text[] = PROGRESS("\"" ONE "\":1024");

	(void)state;
	assert_int_equal(hbt_beat_read(text, strlen(text), NULL, NULL),
	                 HALIBUT_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(beats_are_written_as_net_writes_them),
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(other_spellings_are_read),
		cmocka_unit_test(no_progress_is_no_error),
		cmocka_unit_test(what_makes_no_sense_is_told_from_silence),
		cmocka_unit_test(one_wrong_entry_does_not_hide_the_others),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(deep_and_long_payloads_are_refused),
		cmocka_unit_test(nobody_need_listen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
