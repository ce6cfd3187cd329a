/* Every allocation of a connection's life fails once, at either end. */
#include "harness.h"
#include <openssl/crypto.h>

static long countdown = -1; /* allocations until one fails; < 0: never */

static bool fails_now(void)
{
	return countdown >= 0 && countdown-- == 0;
}

static void *try_malloc(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return n == 0 || fails_now() ? NULL : malloc(n);
}

static void *try_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	if (n == 0) {
		free(p);
		return NULL;
	}
	return fails_now() ? NULL : realloc(p, n);
}

static void do_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	free(p);
}

static void greet(struct side *s)
{
	hbt_conn_write(s->conn, "hello", 5);
}

static bool is_over(const struct side *s)
{
	return s->failures + s->eofs > 0 || s->len == 5;
}

/* One short life, in which one allocation of OpenSSL may fail. */
static bool live(long fail_at)
{
	uint16_t port;
	int listener = listen_on_loopback(&port, 1), fd;
	struct hbt_dial dial = dial_to(port);
	struct side c, s;
	bool failed;

	side_init(&c);
	side_init(&s);
	c.on_opened = s.on_opened = greet;
	dial.thumbprint = server_tls->thumbprint;
	start_client(&c, &dial);
	fd = accept(listener, NULL, NULL);
	close(listener);
	countdown = fail_at;
	if (hbt_conn_accept(&s.conn, base, server_tls, &limits, fd, &side_ops,
	                    &s) == 0) {
		WAIT((c.failures > 0 || c.eofs > 0) ||
		     (is_over(&c) && is_over(&s)));
	}
	failed = countdown < 0 && fail_at >= 0;
	countdown = -1;
	side_fini(&c);
	side_fini(&s);
	some_turns();
	return failed;
}

static void openssl_out_of_memory_ends_one_connection(void **state)
{
	long n, coarse = 1;

	(void)state;
	live(-1); /* what is allocated once in a process */
	/* Under valgrind, which is slow, a sample of them. */
	if (getenv("HBT_TEST_WRAPPER") != NULL)
		coarse = 29;
	for (n = 0; live(n); n += n < 400 ? coarse : 7 * coarse)
		;
	assert_true(n > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(openssl_out_of_memory_ends_one_connection),
	};

	CRYPTO_set_mem_functions(try_malloc, try_realloc, do_free);
	return cmocka_run_group_tests(tests, setup, teardown);
}
