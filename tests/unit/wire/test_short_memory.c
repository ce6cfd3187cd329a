/*
 * Memory that runs short at each single allocation: everything ends with
 * ENOMEM or as if nothing had happened. Linked with --wrap, for our own calls.
 */
#include "vectors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/compose.h"
#include "wire/reader.h"
#include "../short_memory.h"

WRAP(void *, malloc, (size_t n), (n))
WRAP(void *, calloc, (size_t n, size_t size), (n, size))
WRAP(void *, realloc, (void *p, size_t n), (p, n))
WRAP(void *, reallocarray, (void *p, size_t n, size_t size), (p, n, size))
WRAP(char *, strdup, (const char *s), (s))
WRAP(char *, strndup, (const char *s, size_t n), (s, n))

int __wrap_vasprintf(char **out, const char *fmt, va_list ap);
int __real_vasprintf(char **out, const char *fmt, va_list ap);
int __wrap_vasprintf(char **out, const char *fmt, va_list ap)
{
	return fails() ? -1 : __real_vasprintf(out, fmt, ap);
}

static struct hbt_limits limits;
static struct bytes message, section, bson;

/* Reads a message and its section in pieces of step bytes. */
static int read_stepwise(size_t step)
{
	struct hbt_reader *r = hbt_reader_new(&limits);
	int status = HALIBUT_EAGAIN;
	struct hbt_event ev;
	uint8_t wire[1024];
	size_t len = message.len + section.len, at = 0;

	if (r == NULL)
		return HALIBUT_ENOMEM;
	memcpy(wire, message.data, message.len);
	memcpy(wire + message.len, section.data, section.len);
	hbt_reader_expect(r, HBT_EXPECT_MESSAGE);
	while (status == HALIBUT_EAGAIN) {
		const uint8_t *p = wire + at;
		size_t n = len - at < step ? len - at : step, had = n;

		hbt_reader_next(r, &p, &n, &ev);
		at += had - n;
		if (ev.type == HBT_EVENT_MESSAGE)
			hbt_message_unref(&ev.message);
		else if (ev.type == HBT_EVENT_ERROR)
			status = ev.error->status;
		else if (ev.type == HBT_EVENT_SECTION_END)
			status = HALIBUT_OK;
	}
	hbt_reader_free(&r);
	return status;
}

static int read_whole(void)
{
	return read_stepwise(1024);
}

static int read_bytewise(void)
{
	return read_stepwise(1);
}

static int read_identity(void)
{
	static const char line[] =
		"MX-SUBSCRIBER 1.0 poll://a-rather-long-name-of-a-subscription-"
		"that-makes-the-line-grow/\r\n\r\n";
	struct hbt_reader *r = hbt_reader_new(&limits);
	const uint8_t *p = (const uint8_t *)line;
	size_t len = sizeof(line) - 1;
	struct hbt_event ev;
	int status;

	if (r == NULL)
		return HALIBUT_ENOMEM;
	hbt_reader_expect(r, HBT_EXPECT_IDENTITY);
	hbt_reader_next(r, &p, &len, &ev);
	status =
		ev.type == HBT_EVENT_ERROR ? (int)ev.error->status : HALIBUT_OK;
	hbt_reader_free(&r);
	return status;
}

static int there_and_back(void)
{
	struct hbt_deflater *d = hbt_deflater_new();
	struct halibut_error err = {0};
	struct hbt_message *m = NULL;
	uint8_t *out = NULL;
	size_t len;
	int rc;

	if (d == NULL)
		return HALIBUT_ENOMEM;
	rc = hbt_message_from_bson(d, bson.data, bson.len, &m, &err);
	if (rc == HALIBUT_OK)
		rc = hbt_message_to_bson(m, 1 << 20, &out, &len);
	free(out);
	hbt_message_unref(&m);
	hbt_deflater_free(&d);
	halibut_error_clear(&err);
	return rc;
}

static int compose(void)
{
	struct hbt_request_parts parts = {.id = "1",
	                                  .destination = "https://h:1/",
	                                  .service = "S",
	                                  .method = "M"};
	struct halibut_error err = {0};
	bson_t doc;
	int rc;

	rc = hbt_compose_request(&parts, &doc);
	bson_destroy(&doc);
	/* Without its canonical form a destination cannot be told from a bad
	 * one. */
	if (rc == HALIBUT_EINVAL)
		return HALIBUT_ENOMEM;
	if (rc != HALIBUT_OK)
		return rc;
	hbt_error_set(&err, HALIBUT_EINVOCATION, "Boom");
	rc = hbt_compose_error("1", &err, &doc);
	bson_destroy(&doc);
	halibut_error_clear(&err);
	return rc;
}

/* Runs op once for each of its allocations, with that one failing. */
static void fail_each(int (*op)(void))
{
	int n = 0, rc;

	assert_int_equal(op(), HALIBUT_OK);
	do {
		assert_true(n < 1000);
		failed = false;
		countdown = n++;
		rc = op();
		countdown = -1;
		if (rc != HALIBUT_OK)
			assert_int_equal(rc, HALIBUT_ENOMEM);
	} while (failed);
	assert_int_equal(rc, HALIBUT_OK);
	assert_true(n > 1);
}

static void reading_a_message_in_one_piece(void **state)
{
	(void)state;
	fail_each(read_whole);
}

static void reading_a_message_byte_by_byte(void **state)
{
	(void)state;
	fail_each(read_bytewise);
}

static void reading_an_identification_line(void **state)
{
	(void)state;
	fail_each(read_identity);
}

static void making_a_message_and_inflating_it_again(void **state)
{
	(void)state;
	fail_each(there_and_back);
}

static void composing_documents(void **state)
{
	(void)state;
	fail_each(compose);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reading_a_message_in_one_piece),
		cmocka_unit_test(reading_a_message_byte_by_byte),
		cmocka_unit_test(reading_an_identification_line),
		cmocka_unit_test(making_a_message_and_inflating_it_again),
		cmocka_unit_test(composing_documents),
	};
	int rc;

	hbt_limits_init(&limits);
	message = spec_vector(13, "deflated");
	section = spec_vector(13, "section");
	bson = spec_vector(10, "bson");
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	free(message.data);
	free(section.data);
	free(bson.data);
	return rc;
}
