/* TLS to a real server that asks for a certificate of ours as well. */
#include "harness.h"
#include "redis_server.h"

static char certs[] = "/tmp/halibut-certs-XXXXXX";
static struct redis_server tls_server;
static int tls_port;

static void shell(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

static void shell(const char *format, ...)
{
	char *command = NULL;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&command, format, ap) < 0)
		command = NULL;
	va_end(ap);
	assert_non_null(command);
	if (system(command) != 0)
		fail_msg("%s", command);
	free(command);
}

static void make_ca(const char *name)
{
	shell("cd %s && openssl req -x509 -newkey ec -pkeyopt "
	      "ec_paramgen_curve:P-256 -nodes -keyout %s.key -out %s.pem "
	      "-days 30 -subj /CN=%s 2>openssl.log",
	      certs, name, name, name);
}

static void make_cert(const char *ca, const char *name, const char *san)
{
	shell("cd %s && openssl req -newkey ec -pkeyopt "
	      "ec_paramgen_curve:P-256 -nodes -keyout %s.key -out %s.csr "
	      "-subj /CN=%s 2>>openssl.log && printf 'subjectAltName=%s' "
	      ">%s.ext && openssl x509 -req -in %s.csr -CA %s.pem -CAkey "
	      "%s.key -CAcreateserial -days 30 -extfile %s.ext -out %s.pem "
	      "2>>openssl.log",
	      certs, name, name, name, san, name, name, ca, ca, name, name);
}

static int start_tls(void **state)
{
	char port[8], ca[64], cert[64], key[64];
	const char *more[] = {"--tls-port", port,
	                      "--bind", "127.0.0.1",
	                      "--tls-ca-cert-file", ca,
	                      "--tls-cert-file", cert,
	                      "--tls-key-file", key,
	                      "--tls-auth-clients", "yes", NULL};

	(void)state;
	if (mkdtemp(certs) == NULL)
		return -1;
	make_ca("ca");
	make_ca("other");
	make_cert("ca", "server", "DNS:redis.example");
	make_cert("ca", "client", "DNS:client.example");
	make_cert("other", "stranger", "DNS:client.example");
	tls_port = redis_server_free_port();
	snprintf(port, sizeof(port), "%d", tls_port);
	snprintf(ca, sizeof(ca), "%s/ca.pem", certs);
	snprintf(cert, sizeof(cert), "%s/server.pem", certs);
	snprintf(key, sizeof(key), "%s/server.key", certs);
	return redis_server_start(&tls_server, more);
}

static int stop_tls(void **state)
{
	(void)state;
	redis_server_stop(&tls_server);
	shell("rm -rf %s", certs);
	return 0;
}

static void tls_url(char url[512], const char *ca, const char *client,
                    const char *host)
{
	size_t n = (size_t)snprintf(url, 512,
	                            "rediss://127.0.0.1:%d?tlsCaFile=%s/%s.pem",
	                            tls_port, certs, ca);

	if (client != NULL)
		n += (size_t)snprintf(url + n, 512 - n,
		                      "&tlsCertificateFile=%s/%s.pem"
		                      "&tlsKeyFile=%s/%s.key",
		                      certs, client, certs, client);
	if (host != NULL)
		snprintf(url + n, 512 - n, "&sslHost=%s", host);
}

static void tls_fails(const char *ca, const char *client, const char *host,
                      const char *one, const char *two)
{
	char url[512];

	tls_url(url, ca, client, host);
	h.warnings = 0;
	harness_connect(url);
	harness_fails_with(one, two);
	hbt_redis_free(&h.redis);
}

static void tls_checks_both_certificates(void **state)
{
	char url[512];
	struct hbt_redis_options o;
	struct halibut_error err = {0};
	struct outcome out = {0};
	struct hbt_redis_batch *b;
	char *value;

	(void)state;
	tls_url(url, "ca", "client", "redis.example");
	harness_connect(url);
	harness_works();
	value = calloc(1, 3 << 20);
	b = hbt_redis_batch_new(h.redis);
	hbt_redis_batch_add(b, "SET big %b", value, (size_t)3 << 20);
	hbt_redis_batch_add(b, "GET big");
	hbt_redis_batch_send(b, 20000, harness_done, &out);
	free(value);
	AWAIT(out.done);
	assert_int_equal(out.status, 0);
	hbt_redis_free(&h.redis);

	tls_fails("other", "client", "redis.example",
	          "certificate was not accepted", "tlsCaFile");
	tls_fails("ca", "client", "wrong.example",
	          "certificate was not accepted", "sslHost");
	tls_fails("ca", "client", NULL, "certificate was not accepted",
	          "127.0.0.1");
	tls_fails("ca", NULL, "redis.example", "client", "tlsCertificateFile");
	tls_fails("ca", "stranger", "redis.example", "client",
	          "tlsCertificateFile");

	snprintf(url, sizeof(url), "127.0.0.1:%d,ssl=true,tlsInsecure=true,"
	                           "tlsCertificateFile=%s/client.pem,"
	                           "tlsKeyFile=%s/client.key",
	         tls_port, certs, certs);
	harness_connect(url);
	harness_works();
	hbt_redis_free(&h.redis);

	tls_url(url, "ca", "missing", NULL);
	o = harness_options(url);
	assert_int_equal(hbt_redis_new(&h.redis, h.base, NULL, &o, &err),
	                 HALIBUT_EINVAL);
	assert_null(h.redis);
	assert_non_null(strstr(err.message, "tlsCertificateFile"));
	assert_non_null(strstr(err.message, "missing.pem"));
	hbt_redis_options_fini(&o);
	halibut_error_clear(&err);
}

static void tls_at_a_plain_port_is_told(void **state)
{
	char port[8], url[64];
	const char *more[] = {"--port", port, NULL};
	struct redis_server plain;

	(void)state;
	snprintf(port, sizeof(port), "%d", redis_server_free_port());
	assert_int_equal(redis_server_start(&plain, more), 0);
	snprintf(url, sizeof(url), "127.0.0.1:%s,ssl=true", port);
	harness_connect(url);
	AWAIT(h.warnings == 1);
	redis_server_stop(&plain);
	assert_non_null(strstr(h.warning, "TLS"));
	assert_non_null(strstr(h.warning, "tls-port"));
}

static void a_plain_login_at_a_tls_port_is_told(void **state)
{
	struct hbt_redis_options o;
	char url[64];

	(void)state;
	snprintf(url, sizeof(url), "redis://127.0.0.1:%d", tls_port);
	o = harness_options(url);
	o.connect_timeout_ms = 500;
	harness_connect_with(&o);
	AWAIT(h.warnings == 1);
	assert_non_null(strstr(h.warning, "TLS"));
}

int main(void)
{
	struct redis_server probe;
#define TEST(x) cmocka_unit_test_setup_teardown(x, harness_start, harness_stop)
	const struct CMUnitTest tests[] = {
		TEST(tls_checks_both_certificates),
		TEST(a_plain_login_at_a_tls_port_is_told),
		TEST(tls_at_a_plain_port_is_told),
	};

	if (redis_server_start(&probe, NULL) != 0) {
		printf("1..0 # SKIP there is no redis-server\n");
		return 0;
	}
	redis_server_stop(&probe);
	return cmocka_run_group_tests(tests, start_tls, stop_tls);
}
