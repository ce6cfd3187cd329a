/* Every conversation of the .NET original is understood, however it is cut. */
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/compose.h"
#include "wire/json.h"
#include "wire/reader.h"

/* A reader that follows a script, and what it told. */
struct replay {
	struct hbt_reader *reader;
	const char *expect; /* what is still to be expected */
	char events[64];
	uint8_t *section;
	size_t section_len;
	struct hbt_message *messages[4];
	size_t n_messages;
	int status; /* of the error, if there was one */
};

static struct hbt_limits limits;

/* Every third bit: all eight in turn, and valgrind is done in a minute. */
enum { STEP = 3 };

static void expect_next(struct replay *p)
{
	static const enum hbt_expect what[128] = {
		['P'] = HBT_EXPECT_PREAMBLE,
		['I'] = HBT_EXPECT_IDENTITY,
		['N'] = HBT_EXPECT_NEXT_OR_END,
		['R'] = HBT_EXPECT_PROCEED,
		['M'] = HBT_EXPECT_MESSAGE};

	if (*p->expect != '\0')
		hbt_reader_expect(p->reader, what[(int)*p->expect++]);
}

static void replay_begin(struct replay *p, const char *expect)
{
	memset(p, 0, sizeof(*p));
	p->reader = hbt_reader_new(&limits);
	assert_non_null(p->reader);
	p->expect = expect;
	expect_next(p);
}

static void replay_end(struct replay *p)
{
	hbt_reader_free(&p->reader);
	for (size_t i = 0; i < p->n_messages; i++)
		hbt_message_unref(&p->messages[i]);
	free(p->section);
}

static void note(struct replay *p, const struct hbt_event *ev)
{
	static const char letter[] = {
		[HBT_EVENT_PREAMBLE] = 'P', [HBT_EVENT_IDENTITY] = 'I',
		[HBT_EVENT_NEXT] = 'N',     [HBT_EVENT_END] = 'E',
		[HBT_EVENT_PROCEED] = 'R',  [HBT_EVENT_MESSAGE] = 'M',
		[HBT_EVENT_SECTION] = 's',  [HBT_EVENT_SECTION_END] = '.',
	};
	size_t n = strlen(p->events);

	if (ev->type == HBT_EVENT_MESSAGE) {
		assert_true(hbt_reader_mid_message(p->reader));
		assert_true(p->n_messages < 4);
		p->messages[p->n_messages++] = ev->message;
	}
	if (ev->type == HBT_EVENT_SECTION) {
		p->section =
			realloc(p->section, p->section_len + ev->section_len);
		memcpy(p->section + p->section_len, ev->section,
		       ev->section_len);
		p->section_len += ev->section_len;
		if (n > 0 && p->events[n - 1] == 's')
			return;
	}
	assert_true(n + 1 < sizeof(p->events));
	p->events[n] = letter[ev->type];
}

/* Feeds one piece; returns what is left because nothing more is expected. */
static size_t feed(struct replay *p, const uint8_t *data, size_t len)
{
	/* A copy of its exact size: ASan sees a reader that looks beyond. */
	uint8_t *copy = malloc(len > 0 ? len : 1);
	const uint8_t *at = copy;
	struct hbt_event ev;

	memcpy(copy, data, len);
	for (;;) {
		hbt_reader_next(p->reader, &at, &len, &ev);
		if (ev.type == HBT_EVENT_MORE)
			break;
		if (ev.type == HBT_EVENT_ERROR) {
			assert_non_null(ev.error->message);
			p->status = ev.error->status;
			break;
		}
		note(p, &ev);
		if (ev.type != HBT_EVENT_MESSAGE &&
		    ev.type != HBT_EVENT_SECTION)
			expect_next(p);
	}
	free(copy);
	return len;
}

/* The positions worth a cut: all, but only samples of a long stream. */
static size_t next_cut(size_t at, size_t len)
{
	return at < 2500 || at + 200 > len ? at + 1 : at + 1009;
}

static void assert_same(const struct replay *a, const struct replay *b)
{
	assert_int_equal(a->status, HALIBUT_OK);
	assert_string_equal(a->events, b->events);
	assert_int_equal(a->n_messages, b->n_messages);
	for (size_t i = 0; i < a->n_messages; i++)
		assert_bytes_equal(
			a->messages[i]->deflated, a->messages[i]->deflated_len,
			b->messages[i]->deflated, b->messages[i]->deflated_len);
	assert_int_equal(a->section_len, b->section_len);
	if (a->section_len > 0)
		assert_memory_equal(a->section, b->section, a->section_len);
}

typedef void (*side_fn)(const struct recording *rec, int side,
                        const struct bytes *b);

static void each_side(side_fn fn)
{
	for (size_t i = 0; i < n_recordings; i++)
		for (int side = DIALLER; side <= ACCEPTOR; side++) {
			struct bytes b =
				recorded_side(recordings[i].name, side);

			fn(&recordings[i], side, &b);
			free(b.data);
		}
}

static void whole(const struct recording *rec, int side, const struct bytes *b)
{
	struct replay p;

	replay_begin(&p, rec->expect[side]);
	assert_int_equal(feed(&p, b->data, b->len), 0);
	assert_int_equal(p.status, HALIBUT_OK);
	assert_string_equal(p.events, rec->events[side]);
	assert_false(hbt_reader_mid_message(p.reader));
	replay_end(&p);
}

static void a_recorded_side_in_one_piece_gives_its_events(void **state)
{
	(void)state;
	each_side(whole);
}

static void bytewise(const struct recording *rec, int side,
                     const struct bytes *b)
{
	struct replay p, q;

	replay_begin(&p, rec->expect[side]);
	replay_begin(&q, rec->expect[side]);
	feed(&q, b->data, b->len);
	for (size_t i = 0; i < b->len; i++)
		assert_int_equal(feed(&p, b->data + i, 1), 0);
	assert_same(&p, &q);
	replay_end(&p);
	replay_end(&q);
}

static void byte_by_byte_it_gives_the_same_events(void **state)
{
	(void)state;
	each_side(bytewise);
}

static void cut_in_two(const struct recording *rec, int side,
                       const struct bytes *b)
{
	struct replay p, q;

	replay_begin(&q, rec->expect[side]);
	feed(&q, b->data, b->len);
	for (size_t cut = 0; cut <= b->len; cut = next_cut(cut, b->len)) {
		replay_begin(&p, rec->expect[side]);
		assert_int_equal(feed(&p, b->data, cut), 0);
		assert_int_equal(feed(&p, b->data + cut, b->len - cut), 0);
		assert_same(&p, &q);
		replay_end(&p);
	}
	replay_end(&q);
}

static void cut_anywhere_it_gives_the_same_events(void **state)
{
	(void)state;
	each_side(cut_in_two);
}

static void cut_off(const struct recording *rec, int side,
                    const struct bytes *b)
{
	struct hbt_event ev;
	struct replay p;

	for (size_t n = 0; n < b->len; n = next_cut(n, b->len)) {
		replay_begin(&p, rec->expect[side]);
		assert_int_equal(feed(&p, b->data, n), 0);
		assert_int_equal(p.status, HALIBUT_OK);
		if (hbt_reader_eof(p.reader, &ev)) {
			assert_int_equal(ev.type, HBT_EVENT_PREAMBLE);
		} else {
			assert_int_equal(ev.type, HBT_EVENT_ERROR);
			assert_int_equal(ev.error->status, HALIBUT_ECLOSED);
		}
		replay_end(&p);
	}
}

static void cut_off_anywhere_it_is_a_closed_connection(void **state)
{
	(void)state;
	each_side(cut_off);
}

static void flip_bits(const struct recording *rec, int side,
                      const struct bytes *b)
{
	struct hbt_event ev;
	struct replay p;

	for (size_t bit = 0; bit < b->len * 8 && bit < 8 * 1200; bit += STEP) {
		b->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		replay_begin(&p, rec->expect[side]);
		feed(&p, b->data, b->len);
		hbt_reader_eof(p.reader, &ev);
		replay_end(&p);
		b->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void no_flipped_bit_does_any_harm(void **state)
{
	(void)state;
	each_side(flip_bits);
}

/* Everything that ends of a call do with a document. */
static void use_document(const uint8_t *bson, size_t len)
{
	struct halibut_error err = {0};
	struct hbt_envelope env;
	bson_iter_t it;
	bson_t params;
	size_t streams = 0;
	json_t *json;
	bool found;

	if (hbt_envelope_read(bson, len, 100, &env, &err) == HALIBUT_OK)
		hbt_envelope_fini(&env);
	halibut_error_clear(&err);
	hbt_request_params(bson, len, &params);
	if (bson_iter_init(&it, &params))
		while (bson_iter_next(&it)) {
			if (hbt_json_from_bson(&it, &json, &streams, NULL, NULL,
			                       &err) == HALIBUT_OK)
				json_decref(json);
			halibut_error_clear(&err);
		}
	if (hbt_response_outcome(bson, len, &it, &found, &err) == 0 && found &&
	    hbt_json_from_bson(&it, &json, &streams, NULL, NULL, &err) == 0)
		json_decref(json);
	halibut_error_clear(&err);
}

static void flip_document_bits(const struct recording *rec, int side,
                               const struct bytes *b)
{
	struct replay p;
	uint8_t *bson;
	size_t len;

	replay_begin(&p, rec->expect[side]);
	feed(&p, b->data, b->len);
	for (size_t i = 0; i < p.n_messages; i++) {
		assert_int_equal(hbt_message_to_bson(p.messages[i], 1 << 20,
		                                     &bson, &len),
		                 HALIBUT_OK);
		for (size_t bit = 0; bit < len * 8; bit += STEP) {
			bson[bit / 8] ^= (uint8_t)(1 << bit % 8);
			use_document(bson, len);
			bson[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		for (size_t n = 0; n < len; n++) {
			/* Of its exact size, for ASan. */
			uint8_t *start = malloc(n > 0 ? n : 1);

			memcpy(start, bson, n);
			use_document(start, n);
			free(start);
		}
		free(bson);
	}
	replay_end(&p);
}

static void no_flipped_bit_of_a_document_does_any_harm(void **state)
{
	(void)state;
	each_side(flip_document_bits);
}

static void a_recorded_request_has_its_envelope(void **state)
{
	struct bytes b = recorded_side("p-echo-9000", ACCEPTOR);
	struct hbt_envelope *env;
	struct replay p;

	(void)state;
	replay_begin(&p, "IMR");
	feed(&p, b.data, b.len);
	env = &p.messages[0]->env;
	assert_int_equal(env->kind, HBT_MESSAGE_REQUEST);
	assert_string_equal(env->id, "IKitchenService::EchoAsync[1] / 560009c2-"
	                             "8de8-4e08-8a76-2fc143705c51");
	assert_true(env->has_activity_id);
	assert_string_equal(env->destination, "poll://sub-abc/");
	assert_int_equal(env->queue_timeout_ms, 120000);
	assert_string_equal(env->service, "IKitchenService");
	assert_string_equal(env->method, "Echo");
	assert_int_equal(env->n_streams, 1);
	assert_int_equal(env->streams[0].length, 9000);
	assert_int_equal(p.section_len, 16 + 8 + 9000 + 8);
	assert_memory_equal(p.section, env->streams[0].id.wire, 16);
	replay_end(&p);
	free(b.data);
}

static void a_recorded_failure_is_an_invocation_error(void **state)
{
	struct bytes b = recorded_side("l-fail", ACCEPTOR);
	struct halibut_error err = {0};
	struct replay p;
	bson_iter_t it;
	uint8_t *bson;
	size_t len;
	bool found;

	(void)state;
	replay_begin(&p, "IM");
	feed(&p, b.data, b.len);
	assert_true(p.messages[0]->env.is_error);
	assert_int_equal(
		hbt_message_to_bson(p.messages[0], 1 << 20, &bson, &len),
		HALIBUT_OK);
	assert_int_equal(hbt_response_outcome(bson, len, &it, &found, &err),
	                 HALIBUT_EINVOCATION);
	assert_non_null(strstr(err.message,
	                       "Bad: \xc3\xa6\n\nServer exception: \nSystem."
	                       "Reflection.TargetInvocationException"));
	halibut_error_clear(&err);
	free(bson);
	replay_end(&p);
	free(b.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_recorded_side_in_one_piece_gives_its_events),
		cmocka_unit_test(byte_by_byte_it_gives_the_same_events),
		cmocka_unit_test(cut_anywhere_it_gives_the_same_events),
		cmocka_unit_test(cut_off_anywhere_it_is_a_closed_connection),
		cmocka_unit_test(no_flipped_bit_does_any_harm),
		cmocka_unit_test(no_flipped_bit_of_a_document_does_any_harm),
		cmocka_unit_test(a_recorded_request_has_its_envelope),
		cmocka_unit_test(a_recorded_failure_is_an_invocation_error),
	};

	hbt_limits_init(&limits);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
