/* Access to tests/vectors/wire for the tests of the wire layer. */
#ifndef TESTS_UNIT_WIRE_VECTORS_H
#define TESTS_UNIT_WIRE_VECTORS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

struct bytes {
	uint8_t *data;
	size_t len;
};

/* Which side sent them. */
enum { DIALLER, ACCEPTOR };

/*
 * A recorded conversation, and what a reader of each side is to expect, in
 * order: P preamble, I identity, N NEXT or END, R PROCEED, M message. It then
 * tells: P, I, N NEXT, E END, R, M message, s its section, . section end.
 */
struct recording {
	const char *name;
	const char *expect[2];
	const char *events[2];
};
extern const struct recording recordings[];
extern const size_t n_recordings;

/* All fail the test instead of returning nothing. Free data. */
struct bytes recorded_side(const char *name, int side);
/* field: "bson", "deflated" or "section" of a vector of section 17. */
struct bytes spec_vector(int n, const char *field);
/* The JSON text of a vector; free it. */
char *spec_vector_json(int n);
struct bytes unhex(const char *hex);

#define assert_bytes_equal(a, a_len, b, b_len)                                 \
	do {                                                                   \
		assert_int_equal((a_len), (b_len));                            \
		assert_memory_equal((a), (b), (b_len));                        \
	} while (0)

#endif
