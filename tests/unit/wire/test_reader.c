/* Control lines, preamble, identity, and messages that mean harm. */
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "wire/reader.h"

static struct hbt_limits limits;

struct fixture {
	struct hbt_reader *r;
	struct hbt_event ev; /* the last one */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	hbt_limits_init(&limits);
	*state = f;
	return f != NULL && (f->r = hbt_reader_new(&limits)) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	hbt_reader_free(&f->r);
	free(f);
	return 0;
}

/*
 * Feeds text byte by byte until an event comes. Returns how many bytes were
 * taken; a fresh reader each time, so that a test can try many texts.
 */
static size_t try(struct fixture *f, enum hbt_expect what, const char *text,
                  size_t len)
{
	size_t at = 0;

	hbt_reader_free(&f->r);
	f->r = hbt_reader_new(&limits);
	assert_non_null(f->r);
	hbt_reader_expect(f->r, what);
	do {
		const uint8_t *p = (const uint8_t *)text + at;
		size_t n = at < len ? 1 : 0;
		size_t had = n;

		hbt_reader_next(f->r, &p, &n, &f->ev);
		at += had - n;
		if (f->ev.type != HBT_EVENT_MORE || n == had)
			break;
	} while (true);
	return at;
}

static void expect_event(struct fixture *f, enum hbt_expect what,
                         const char *text, enum hbt_event_type type)
{
	size_t n = try(f, what, text, strlen(text));

	if (f->ev.type != type)
		fail_msg("\"%s\" gave event %d instead of %d", text,
		         (int)f->ev.type, (int)type);
	if (type != HBT_EVENT_ERROR && type != HBT_EVENT_MORE)
		assert_int_equal(n, strlen(text));
	if (type == HBT_EVENT_ERROR)
		assert_int_equal(f->ev.error->status, HALIBUT_EPROTO);
}

static void next_and_end_are_told_apart(void **state)
{
	struct fixture *f = *state;
	enum hbt_expect e = HBT_EXPECT_NEXT_OR_END;

	expect_event(f, e, "NEXT\r\n", HBT_EVENT_NEXT);
	expect_event(f, e, "END\r\n", HBT_EVENT_END);
	expect_event(f, e, "\r\n\r\n\r\nNEXT\r\n", HBT_EVENT_NEXT);
	expect_event(f, HBT_EXPECT_PROCEED, "\r\nPROCEED\r\n",
	             HBT_EVENT_PROCEED);
}

static void anything_but_the_exact_line_is_an_error(void **state)
{
	static const char *const wrong[] = {
		"next\r\n",      "NEXT \r\n",    " NEXT\r\n", "PROCEED\r\n",
		"NEXT\nEND\r\n", "NEXT\rX",      "NEXT\r\rX", "\rNEXT\r\n",
		"\nNEXT\r\n",    "NEXTNEXT\r\n", "NEX\r\n",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		expect_event(f, HBT_EXPECT_NEXT_OR_END, wrong[i],
		             HBT_EVENT_ERROR);
	expect_event(f, HBT_EXPECT_PROCEED, "END\r\n", HBT_EVENT_ERROR);
	assert_string_equal(f->ev.error->message, "Expected PROCEED, got: END");
}

static void a_bare_line_feed_does_not_end_a_line(void **state)
{
	expect_event(*state, HBT_EXPECT_NEXT_OR_END, "NEXT\n", HBT_EVENT_MORE);
}

static void a_message_shows_control_bytes_of_the_line(void **state)
{
	struct fixture *f = *state;

	expect_event(f, HBT_EXPECT_NEXT_OR_END, "A\x01\xff\n\r\n",
	             HBT_EVENT_ERROR);
	assert_string_equal(f->ev.error->message,
	                    "Expected NEXT or END, got: A\\x01\\xff\\x0a");
}

static void an_endless_line_is_an_error(void **state)
{
	struct fixture *f = *state;
	char *line = malloc(20000);
	size_t n;

	memset(line, 'N', 20000);
	n = try(f, HBT_EXPECT_NEXT_OR_END, line, 20000);
	assert_int_equal(f->ev.type, HBT_EVENT_ERROR);
	assert_in_range(n, 2048, 10000);
	free(line);
}

static void an_error_stays(void **state)
{
	struct fixture *f = *state;
	const uint8_t *p = (const uint8_t *)"NEXT\r\n";
	size_t n = 6;

	expect_event(f, HBT_EXPECT_NEXT_OR_END, "WHAT\r\n", HBT_EVENT_ERROR);
	hbt_reader_expect(f->r, HBT_EXPECT_NEXT_OR_END);
	hbt_reader_next(f->r, &p, &n, &f->ev);
	assert_int_equal(f->ev.type, HBT_EVENT_ERROR);
	assert_int_equal(n, 6);
	assert_non_null(strstr(f->ev.error->message, "WHAT"));
}

static void what_is_not_expected_is_left_where_it_is(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(try(f, HBT_EXPECT_NOTHING, "NEXT\r\n", 6), 0);
	assert_int_equal(try(f, HBT_EXPECT_NEXT_OR_END, "NEXT\r\nEND\r\n", 11),
	                 6);
}

static void identities_are_read_as_the_original_does(void **state)
{
	static const struct {
		const char *text;
		enum hbt_identity identity;
		const char *subscription;
	} good[] = {
		{"MX-CLIENT 1.0\r\n\r\n", HBT_IDENTITY_CLIENT, NULL},
		{"MX-CLIENT\r\n\r\n", HBT_IDENTITY_CLIENT, NULL},
		{"  MX-CLIENT   7 what  ever\r\n\r\n", HBT_IDENTITY_CLIENT,
	         NULL},
		{"MX-SERVER 1.0\r\n\r\n", HBT_IDENTITY_SERVER, NULL},
		{"MX-SUBSCRIBER 1.0 poll://Sub-ABC\r\n\r\n",
	         HBT_IDENTITY_SUBSCRIBER, "poll://Sub-ABC"},
		{"MX-SUBSCRIBER  2  poll://x/  more\r\n\r\n",
	         HBT_IDENTITY_SUBSCRIBER, "poll://x/"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		expect_event(f, HBT_EXPECT_IDENTITY, good[i].text,
		             HBT_EVENT_IDENTITY);
		assert_int_equal(f->ev.identity, good[i].identity);
		if (good[i].subscription == NULL)
			assert_null(f->ev.subscription);
		else
			assert_string_equal(f->ev.subscription,
			                    good[i].subscription);
	}
}

static void bad_identities_are_errors(void **state)
{
	static const char *const bad[] = {
		"\r\n",
		"   \r\n\r\n",
		"MX-CLIENT 1.0\r\nMX",
		"MX-CLIENT 1.0\r\n\n",
		"MX-CLIENT 1.0\r\n\r\r",
		"mx-client 1.0\r\n\r\n",
		"MX-WHAT 1.0\r\n\r\n",
		"MX-CLIENTS 1.0\r\n\r\n",
		"MX-SUBSCRIBER 1.0\r\n\r\n",
		"MX-SUBSCRIBER poll://x/\r\n\r\n",
		"MX-SUBSCRIBER 1.0 /relative\r\n\r\n",
		"MX-SUBSCRIBER 1.0 \r\n\r\n",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_event(f, HBT_EXPECT_IDENTITY, bad[i], HBT_EVENT_ERROR);
	try(f, HBT_EXPECT_IDENTITY, "MX-CLIENT\0 1.0\r\n\r\n", 18);
	assert_int_equal(f->ev.type, HBT_EVENT_ERROR);
}

static void the_preamble_decides_by_two_characters(void **state)
{
	static const struct {
		const char *text;
		bool is_mx;
	} good[] = {
		{"MX\n\n", true},
		{"MX\r\n\r\n", true},
		{"MX\n\r\r\r\n", true},
		{"\rM\rX\n\n", true},
		{"MXyz: anything\nmore\n\n", true},
		{"mx\n\n", false},
		{"M\n\n", false},
		{"\n\n", false},
		{"HELLO\n\n", false},
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		expect_event(f, HBT_EXPECT_PREAMBLE, good[i].text,
		             HBT_EVENT_PREAMBLE);
		assert_int_equal(f->ev.is_mx, good[i].is_mx);
		assert_false(f->ev.is_empty);
	}
}

static void a_preamble_may_end_with_the_connection(void **state)
{
	static const struct {
		const char *text;
		bool is_mx, is_empty;
	} cut[] = {
		{"", false, true},     {"\r\r", false, true},
		{"M", false, true},    {"MX", true, false},
		{"MX\n", true, false}, {"GE", false, false},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cut) / sizeof(cut[0]); i++) {
		expect_event(f, HBT_EXPECT_PREAMBLE, cut[i].text,
		             HBT_EVENT_MORE);
		assert_true(hbt_reader_eof(f->r, &f->ev));
		assert_int_equal(f->ev.type, HBT_EVENT_PREAMBLE);
		assert_int_equal(f->ev.is_mx, cut[i].is_mx);
		assert_int_equal(f->ev.is_empty, cut[i].is_empty);
	}
}

static void a_preamble_ends_after_20000_characters(void **state)
{
	struct fixture *f = *state;
	char *text = malloc(30000);

	memset(text, 'M', 30000);
	text[1] = 'X';
	assert_int_equal(try(f, HBT_EXPECT_PREAMBLE, text, 30000), 20000);
	assert_int_equal(f->ev.type, HBT_EVENT_PREAMBLE);
	assert_true(f->ev.is_mx);
	free(text);
}

static void an_end_of_the_connection_names_what_was_expected(void **state)
{
	struct fixture *f = *state;

	expect_event(f, HBT_EXPECT_PROCEED, "PROCEED\r", HBT_EVENT_MORE);
	assert_false(hbt_reader_eof(f->r, &f->ev));
	assert_int_equal(f->ev.error->status, HALIBUT_ECLOSED);
	assert_non_null(strstr(f->ev.error->message, "PROCEED"));
	assert_false(hbt_reader_eof(f->r, &f->ev));
	assert_int_equal(f->ev.error->status, HALIBUT_ECLOSED);
}

static void end_in_place_of_a_message_is_explained(void **state)
{
	struct fixture *f = *state;

	const uint8_t *p = (const uint8_t *)"END\r\n";
	size_t n = 5;

	try(f, HBT_EXPECT_MESSAGE, "END\r\n", 5);
	assert_int_equal(f->ev.type, HBT_EVENT_ERROR);
	assert_int_equal(f->ev.error->status, HALIBUT_ECLOSED);
	try(f, HBT_EXPECT_MESSAGE, "", 0);
	hbt_reader_next(f->r, &p, &n, &f->ev);
	assert_int_equal(f->ev.type, HBT_EVENT_ERROR);
	assert_int_equal(f->ev.error->status, HALIBUT_ECLOSED);
	assert_non_null(strstr(f->ev.error->message, "ended the connection"));
}

/* Feeds deflated bytes again and again until something but MORE comes. */
static size_t feed_for_ever(struct fixture *f, const uint8_t *data, size_t len,
                            size_t most)
{
	size_t fed = 0;

	while (fed < most) {
		const uint8_t *p = data;
		size_t n = len;

		hbt_reader_next(f->r, &p, &n, &f->ev);
		fed += len;
		if (f->ev.type != HBT_EVENT_MORE)
			break;
	}
	return fed;
}

static void an_endless_row_of_empty_blocks_hits_a_limit(void **state)
{
	/* Empty stored blocks, none of which is the last. */
	uint8_t blocks[5000];
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(blocks); i += 5)
		memcpy(blocks + i, "\x00\x00\x00\xff\xff", 5);
	limits.max_message_bytes = 1 << 20;
	hbt_reader_expect(f->r, HBT_EXPECT_MESSAGE);
	feed_for_ever(f, blocks, sizeof(blocks), 1 << 24);
	assert_int_equal(f->ev.type, HBT_EVENT_ERROR);
	assert_int_equal(f->ev.error->status, HALIBUT_ELIMIT);
}

/* Deflates len bytes, of which all but the first four are NUL. */
static struct bytes bomb(uint32_t claimed, size_t len)
{
	struct bytes b = {malloc(len / 500 + 1000), 0};
	uint8_t *zeros = calloc(1, len);
	z_stream z = {0};

	memcpy(zeros, &claimed, 4);
	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, -15, 8, 0), Z_OK);
	z.next_in = zeros;
	z.avail_in = (uInt)len;
	z.next_out = b.data;
	z.avail_out = (uInt)(len / 500 + 1000);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	b.len = z.total_out;
	deflateEnd(&z);
	free(zeros);
	return b;
}

static int bomb_status(struct fixture *f, uint32_t claimed, size_t len)
{
	struct bytes b = bomb(claimed, len);
	int status;

	try(f, HBT_EXPECT_MESSAGE, (const char *)b.data, b.len);
	free(b.data);
	status = f->ev.type == HBT_EVENT_ERROR ? (int)f->ev.error->status : -1;
	if (f->ev.type == HBT_EVENT_MESSAGE)
		hbt_message_unref(&f->ev.message);
	return status;
}

static void a_message_larger_than_the_limit_is_refused(void **state)
{
	limits.max_message_bytes = 1 << 20;
	assert_int_equal(bomb_status(*state, (1 << 20) + 1, 1 << 24),
	                 HALIBUT_ELIMIT);
}

static void a_message_larger_than_it_claims_is_refused(void **state)
{
	limits.max_message_bytes = 1 << 20;
	assert_int_equal(bomb_status(*state, 100, 1 << 24), HALIBUT_EPROTO);
	assert_int_equal(bomb_status(*state, 1 << 20, (1 << 20) + 1),
	                 HALIBUT_EPROTO);
}

static void a_message_smaller_than_it_claims_is_refused(void **state)
{
	limits.max_message_bytes = 1 << 20;
	assert_int_equal(bomb_status(*state, 1 << 20, 1 << 19), HALIBUT_EPROTO);
	assert_int_equal(bomb_status(*state, 5, 4), HALIBUT_EPROTO);
}

static void a_length_that_no_document_has_is_refused(void **state)
{
	limits.max_message_bytes = SIZE_MAX;
	assert_int_equal(bomb_status(*state, 4, 100), HALIBUT_EPROTO);
	assert_int_equal(bomb_status(*state, 0, 100), HALIBUT_EPROTO);
	assert_int_equal(bomb_status(*state, UINT32_MAX, 100), HALIBUT_EPROTO);
}

static void bytes_after_the_document_are_ignored_within_64_kib(void **state)
{
	/* An empty document is the null message. */
	assert_int_equal(bomb_status(*state, 5, 6), -1);
	assert_int_equal(bomb_status(*state, 5, 65536), -1);
	assert_int_equal(bomb_status(*state, 5, 65537), HALIBUT_EPROTO);
}

static void every_shape_of_deflate_is_read(void **state)
{
	static const char *const shapes[] = {
		/* stored; sync flush after each half; fixed codes */
		"010E00F1FF0E0000000A4D6573736167650000",
		"0007 00F8FF0E0000000A4D65 000000FFFF 0107 00F8FF73736167650000",
		"E3636060E0F24D2D2E4E4C4F65600000",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		char hex[200] = "";
		struct bytes b;
		size_t n = 0;

		for (const char *p = shapes[i]; *p != '\0'; p++)
			if (*p != ' ')
				hex[n++] = *p;
		b = unhex(hex);
		assert_int_equal(
			try(f, HBT_EXPECT_MESSAGE, (const char *)b.data, b.len),
			b.len);
		assert_int_equal(f->ev.type, HBT_EVENT_MESSAGE);
		assert_int_equal(f->ev.message->env.kind, HBT_MESSAGE_NULL);
		assert_bytes_equal(f->ev.message->deflated,
		                   f->ev.message->deflated_len, b.data, b.len);
		hbt_message_unref(&f->ev.message);
		free(b.data);
	}
}

static void
readers_in_the_middle_of_messages_do_not_disturb_another(void **state)
{
	enum { N = 10 };
	struct bytes b = spec_vector(9, "deflated");
	struct hbt_reader *r[N];
	struct hbt_event ev;

	(void)state;
	for (int i = 0; i < N; i++) {
		r[i] = hbt_reader_new(&limits);
		hbt_reader_expect(r[i], HBT_EXPECT_MESSAGE);
	}
	for (size_t at = 0; at < b.len; at++)
		for (int i = 0; i < N; i++) {
			const uint8_t *p = b.data + at;
			size_t n = 1;

			hbt_reader_next(r[i], &p, &n, &ev);
			assert_true(hbt_reader_mid_message(r[i]));
			if (at + 1 < b.len) {
				assert_int_equal(ev.type, HBT_EVENT_MORE);
				continue;
			}
			assert_int_equal(ev.type, HBT_EVENT_MESSAGE);
			assert_string_equal(ev.message->env.method, "SayHello");
			hbt_message_unref(&ev.message);
			hbt_reader_next(r[i], &p, &n, &ev);
			assert_int_equal(ev.type, HBT_EVENT_SECTION_END);
			assert_false(hbt_reader_mid_message(r[i]));
		}
	for (int i = 0; i < N; i++)
		hbt_reader_free(&r[i]);
	free(b.data);
}

static void a_message_keeps_its_streams_apart_from_what_follows(void **state)
{
	struct bytes message = spec_vector(13, "deflated");
	struct bytes section = spec_vector(13, "section");
	struct fixture *f = *state;
	uint8_t wire[1024];
	const uint8_t *p = wire;
	size_t n = 0;

	memcpy(wire, message.data, message.len);
	n += message.len;
	memcpy(wire + n, section.data, section.len);
	n += section.len;
	memcpy(wire + n, "NEXT\r\n", 6);
	n += 6;
	hbt_reader_expect(f->r, HBT_EXPECT_MESSAGE);
	hbt_reader_next(f->r, &p, &n, &f->ev);
	assert_int_equal(f->ev.type, HBT_EVENT_MESSAGE);
	assert_int_equal(f->ev.message->env.n_streams, 1);
	hbt_message_unref(&f->ev.message);
	hbt_reader_next(f->r, &p, &n, &f->ev);
	assert_int_equal(f->ev.type, HBT_EVENT_SECTION);
	assert_bytes_equal(f->ev.section, f->ev.section_len, section.data,
	                   section.len);
	hbt_reader_next(f->r, &p, &n, &f->ev);
	assert_int_equal(f->ev.type, HBT_EVENT_SECTION_END);
	assert_int_equal(n, 6);
	hbt_reader_next(f->r, &p, &n, &f->ev);
	assert_int_equal(f->ev.type, HBT_EVENT_MORE);
	assert_int_equal(n, 6);
	free(message.data);
	free(section.data);
}

#define reader_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		reader_test(next_and_end_are_told_apart),
		reader_test(anything_but_the_exact_line_is_an_error),
		reader_test(a_bare_line_feed_does_not_end_a_line),
		reader_test(a_message_shows_control_bytes_of_the_line),
		reader_test(an_endless_line_is_an_error),
		reader_test(an_error_stays),
		reader_test(what_is_not_expected_is_left_where_it_is),
		reader_test(identities_are_read_as_the_original_does),
		reader_test(bad_identities_are_errors),
		reader_test(the_preamble_decides_by_two_characters),
		reader_test(a_preamble_may_end_with_the_connection),
		reader_test(a_preamble_ends_after_20000_characters),
		reader_test(an_end_of_the_connection_names_what_was_expected),
		reader_test(end_in_place_of_a_message_is_explained),
		reader_test(an_endless_row_of_empty_blocks_hits_a_limit),
		reader_test(a_message_larger_than_the_limit_is_refused),
		reader_test(a_message_larger_than_it_claims_is_refused),
		reader_test(a_message_smaller_than_it_claims_is_refused),
		reader_test(a_length_that_no_document_has_is_refused),
		reader_test(bytes_after_the_document_are_ignored_within_64_kib),
		reader_test(every_shape_of_deflate_is_read),
		reader_test(
			readers_in_the_middle_of_messages_do_not_disturb_another),
		reader_test(
			a_message_keeps_its_streams_apart_from_what_follows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
