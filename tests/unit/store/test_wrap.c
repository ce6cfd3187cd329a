/* What encloses a stored message: gzip, programs, and both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <zlib.h>

#include "base/timespan.h"
#include "store/child.h"
#include "store/wrap.h"

#define BASE64                                                                 \
	"program sh -c 'case $0 in wrap) exec base64 -w0;; *) exec base64 "   \
	"-d;; esac'"

static struct event_base *base;

struct result {
	bool done;
	uint8_t *data;
	size_t len;
	struct halibut_error err;
};

static void on_done(void *arg, uint8_t *data, size_t len,
                    const struct halibut_error *err)
{
	struct result *r = arg;

	assert_false(r->done);
	r->done = true;
	r->data = data;
	r->len = len;
	if (err != NULL) {
		assert_null(data);
		hbt_error_copy(&r->err, err);
	} else {
		assert_non_null(data);
	}
}

static void result_fini(struct result *r)
{
	free(r->data);
	halibut_error_clear(&r->err);
	memset(r, 0, sizeof(*r));
}

static struct hbt_wrappers *wrappers_up_to(size_t max, int64_t timeout_ms,
                                           const char *a, const char *b)
{
	const char *list[] = {a, b};
	struct hbt_wrappers *w;
	struct halibut_error err = {0};

	if (hbt_wrappers_new(&w, base, list, (a != NULL) + (size_t)(b != NULL),
	                     max, timeout_ms, &err) != HALIBUT_OK)
		fail_msg("%s", err.message);
	return w;
}

static struct hbt_wrappers *wrappers(const char *a, const char *b)
{
	return wrappers_up_to(64 << 20, 60000, a, b);
}

static uint8_t *copy(const void *data, size_t len)
{
	uint8_t *p = malloc(len > 0 ? len : 1);

	memcpy(p, data, len);
	return p;
}

static struct result through(struct hbt_wrappers *w, bool unwrap,
                             const void *data, size_t len)
{
	struct hbt_wrapping *g;
	struct result r = {0};

	(unwrap ? hbt_unwrap : hbt_wrap)(&g, w, copy(data, len), len, on_done,
	                                 &r);
	if (hbt_wrappers_are_immediate(w)) {
		assert_true(r.done);
		assert_null(g);
	} else {
		assert_false(r.done);
		assert_non_null(g);
	}
	while (!r.done)
		assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
	return r;
}

/* There and back; returns how it was enclosed. */
static struct result round_trip(struct hbt_wrappers *w, const void *data,
                                size_t len)
{
	struct result r = through(w, false, data, len);
	struct result back;

	if (r.err.status != HALIBUT_OK)
		fail_msg("%s", r.err.message);
	back = through(w, true, r.data, r.len);
	assert_int_equal(back.err.status, HALIBUT_OK);
	assert_int_equal(back.len, len);
	assert_memory_equal(back.data, data, len);
	result_fini(&back);
	return r;
}

static void assert_fails(struct hbt_wrappers *w, bool unwrap, const void *data,
                         size_t len, int status, const char *words)
{
	struct result r = through(w, unwrap, data, len);

	assert_int_equal(r.err.status, status);
	assert_non_null(strstr(r.err.message, words));
	result_fini(&r);
}

static void without_wrappers_nothing_is_done(void **state)
{
	struct hbt_wrappers *w = wrappers(NULL, NULL);
	struct result r = round_trip(w, "BSON", 4);

	(void)state;
	assert_int_equal(r.len, 4);
	assert_memory_equal(r.data, "BSON", 4);
	result_fini(&r);
	hbt_wrappers_free(&w);
}

static void gzip_is_what_every_gzip_reads(void **state)
{
	struct hbt_wrappers *w = wrappers("gzip", NULL);
	struct result r;

	(void)state;
	/* More than once: the state is kept. */
	for (int i = 0; i < 3; i++) {
		r = round_trip(w, "BSONBSONBSON", 12);
		assert_memory_equal(r.data, "\x1f\x8b\x08", 3);
		result_fini(&r);
	}
	r = round_trip(w, "", 0);
	result_fini(&r);
	hbt_wrappers_free(&w);
}

static void large_messages_come_back(void **state)
{
	static const char *const lists[][2] = {
		{"gzip", NULL}, {"program sh -c cat", NULL}, {BASE64, "gzip"}};
	size_t len = 3 << 20;
	uint8_t *data = malloc(len);

	(void)state;
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)((i * 2654435761u) >> 13);
	for (size_t i = 0; i < 3; i++) {
		struct hbt_wrappers *w = wrappers(lists[i][0], lists[i][1]);
		struct result r;

		for (size_t cut = 0; cut < 2; cut++) {
			r = round_trip(w, data, len - cut);
			result_fini(&r);
		}
		hbt_wrappers_free(&w);
	}
	free(data);
}

static void the_first_wrapper_is_outermost(void **state)
{
	struct hbt_wrappers *w = wrappers("gzip", BASE64);
	struct result r = round_trip(w, "BSON", 4);

	(void)state;
	assert_memory_equal(r.data, "\x1f\x8b\x08", 3);
	result_fini(&r);
	hbt_wrappers_free(&w);
	w = wrappers(BASE64, "gzip");
	r = round_trip(w, "BSON", 4);
	assert_memory_equal(r.data, "H4sI", 4);
	result_fini(&r);
	hbt_wrappers_free(&w);
}

static void two_gzip_members_are_one_message(void **state)
{
	struct hbt_wrappers *w = wrappers("gzip", NULL);
	struct result a = through(w, false, "BS", 2);
	struct result b = through(w, false, "ON", 2);
	uint8_t both[200];
	struct result r;

	(void)state;
	memcpy(both, a.data, a.len);
	memcpy(both + a.len, b.data, b.len);
	memcpy(both + a.len + b.len, "rest", 4);
	r = through(w, true, both, a.len + b.len + 4);
	assert_int_equal(r.len, 4);
	assert_memory_equal(r.data, "BSON", 4);
	result_fini(&a);
	result_fini(&b);
	result_fini(&r);
	hbt_wrappers_free(&w);
}

static void a_gzip_stream_cut_anywhere_is_refused(void **state)
{
	struct hbt_wrappers *w = wrappers("gzip", NULL);
	struct result r = through(w, false, "BSONBSONBSON", 12);

	(void)state;
	for (size_t n = 0; n < r.len; n++)
		assert_fails(w, true, r.data, n, HALIBUT_EPROTO,
		             "same wrappers");
	r.data[12] ^= 0x55;
	assert_fails(w, true, r.data, r.len, HALIBUT_EPROTO, "same wrappers");
	assert_fails(w, true, "plain BSON", 10, HALIBUT_EPROTO,
	             "same wrappers");
	result_fini(&r);
	hbt_wrappers_free(&w);
}

static void a_bomb_stops_at_the_limit(void **state)
{
	struct hbt_wrappers *big = wrappers("gzip", NULL);
	struct hbt_wrappers *w = wrappers_up_to(1000, 0, "gzip", NULL);
	size_t len = 32 << 20;
	uint8_t *zeros = calloc(1, len);
	struct result r;

	(void)state;
	r = through(big, false, zeros, len);
	assert_true(r.len < len / 500);
	assert_fails(w, true, r.data, r.len, HALIBUT_ELIMIT, "1000 bytes");
	result_fini(&r);
	r = through(big, false, zeros, 1001);
	assert_fails(w, true, r.data, r.len, HALIBUT_ELIMIT, "1000 bytes");
	result_fini(&r);
	r = through(big, false, zeros, 1000);
	result_fini(&r);
	free(zeros);
	r = through(w, false, "BSON", 4);
	result_fini(&r);
	hbt_wrappers_free(&w);
	hbt_wrappers_free(&big);
	w = wrappers_up_to(1000, 60000, "program yes", NULL);
	assert_fails(w, true, "x", 1, HALIBUT_ELIMIT, "1000 bytes");
	hbt_wrappers_free(&w);
	w = wrappers_up_to(3, 0, NULL, NULL);
	assert_fails(w, true, "BSON", 4, HALIBUT_ELIMIT, "3 bytes");
	hbt_wrappers_free(&w);
}

static void a_failing_program_says_why(void **state)
{
	struct hbt_wrappers *w = wrappers(
		"program sh -c 'cat >/dev/null; echo one >&2; echo no key >&2; "
		"exit 3'",
		NULL);

	(void)state;
	assert_fails(w, false, "x", 1, HALIBUT_ESYSTEM,
	             "sh exited with status 3; its last words: no key.");
	hbt_wrappers_free(&w);
	w = wrappers("program sh -c 'kill -9 $$'", NULL);
	assert_fails(w, false, "x", 1, HALIBUT_ESYSTEM, "signal 9");
	hbt_wrappers_free(&w);
	w = wrappers("program /nonexistent/program x", NULL);
	/* Why is not told everywhere: under valgrind it starts, and ends. */
	assert_fails(w, true, "x", 1, HALIBUT_ESYSTEM, "/nonexistent/program");
	hbt_wrappers_free(&w);
}

static void a_program_has_to_read_all_of_its_input(void **state)
{
	struct hbt_wrappers *w = wrappers("program true", NULL);
	uint8_t *data = calloc(1, 1 << 20);

	(void)state;
	assert_fails(w, false, data, 1 << 20, HALIBUT_ESYSTEM,
	             "before it had read all of its input");
	free(data);
	hbt_wrappers_free(&w);
}

static void a_program_that_stands_still_is_killed(void **state)
{
	struct hbt_wrappers *w =
		wrappers_up_to(1000, 50, "program sh -c 'exec sleep 600'", NULL);

	(void)state;
	assert_fails(w, false, "x", 1, HALIBUT_ETIMEOUT, "made no progress");
	hbt_wrappers_free(&w);
	/* One that only its own child keeps open is killed with it. */
	w = wrappers("program sh -c 'cat; sleep 600 &'", NULL);
	{
		struct result r = through(w, false, "BSON", 4);

		assert_int_equal(r.err.status, HALIBUT_OK);
		assert_int_equal(r.len, 4);
		result_fini(&r);
	}
	hbt_wrappers_free(&w);
}

static void a_cancelled_wrapping_is_silent_and_leaves_no_child(void **state)
{
	struct hbt_wrappers *w = wrappers("program sh -c 'exec sleep 600'", NULL);
	int64_t began = hbt_now_ms();
	struct hbt_wrapping *g;
	struct result r = {0};

	(void)state;
	hbt_wrap(&g, w, copy("x", 1), 1, on_done, &r);
	hbt_wrapping_cancel(&g); /* before it was started */
	hbt_wrap(&g, w, copy("x", 1), 1, on_done, &r);
	for (int i = 0; i < 3; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	hbt_wrapping_cancel(&g);
	assert_null(g);
	hbt_wrapping_cancel(&g);
	hbt_wrappers_free(&w);
	assert_false(r.done);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_true(hbt_now_ms() - began < 60000);
}

static void whoever_reaps_for_us_tells_how_it_ended(void **state)
{
	struct hbt_wrappers *w = wrappers("program sh -c 'exit 7'", NULL);
	struct hbt_wrapping *g;
	struct result r = {0};
	int status;
	pid_t pid;

	(void)state;
	hbt_wrap(&g, w, copy("x", 1), 1, on_done, &r);
	event_base_loop(base, EVLOOP_NONBLOCK); /* starts it */
	if (!r.done) { /* else it was faster than we were */
		pid = waitpid(-1, &status, 0);
		assert_true(pid > 0);
		assert_true(hbt_child_reaped(pid, status));
		assert_false(hbt_child_reaped(pid, status));
	}
	while (!r.done)
		event_base_loop(base, EVLOOP_ONCE);
	assert_non_null(strstr(r.err.message, "exited with status 7"));
	assert_false(hbt_child_reaped(1, 0));
	result_fini(&r);
	hbt_wrappers_free(&w);
}

static void a_list_that_is_wrong_is_refused_with_a_reason(void **state)
{
	static const char *const wrong[] = {
		"zip", "", "program", "program ", "program 'x", "program a|b",
		"GZIP x"};
	struct halibut_error err = {0};
	struct hbt_wrappers *w;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(hbt_wrappers_new(&w, base, &wrong[i], 1, 1000,
		                                  0, &err),
		                 HALIBUT_EINVAL);
		assert_null(w);
		assert_non_null(err.message);
	}
	halibut_error_clear(&err);
}

static int make_base(void **state)
{
	(void)state;
	base = event_base_new();
	return base != NULL ? 0 : -1;
}

static int free_base(void **state)
{
	(void)state;
	event_base_free(base);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_wrappers_nothing_is_done),
		cmocka_unit_test(gzip_is_what_every_gzip_reads),
		cmocka_unit_test(large_messages_come_back),
		cmocka_unit_test(the_first_wrapper_is_outermost),
		cmocka_unit_test(two_gzip_members_are_one_message),
		cmocka_unit_test(a_gzip_stream_cut_anywhere_is_refused),
		cmocka_unit_test(a_bomb_stops_at_the_limit),
		cmocka_unit_test(a_failing_program_says_why),
		cmocka_unit_test(a_program_has_to_read_all_of_its_input),
		cmocka_unit_test(a_program_that_stands_still_is_killed),
		cmocka_unit_test(
			a_cancelled_wrapping_is_silent_and_leaves_no_child),
		cmocka_unit_test(whoever_reaps_for_us_tells_how_it_ended),
		cmocka_unit_test(a_list_that_is_wrong_is_refused_with_a_reason),
	};

	return cmocka_run_group_tests(tests, make_base, free_base);
}
