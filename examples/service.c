/*
 * A service in C: IEchoService with three methods.
 *
 *   SayHello(name)      -> a text
 *   CountBytes(stream)  -> a number
 *   Reverse(stream)     -> a DataStream with the bytes in reverse order
 *
 * It listens, so that clients dial it:
 *
 *   service --cert service.pem --trust CLIENT --listen 127.0.0.1:10933
 *
 * or it polls a server, so that it is reached without listening:
 *
 *   service --cert service.pem --poll https://127.0.0.1:10943 \
 *           --thumbprint SERVER --name poll://service-1
 *
 * or it takes its requests from a queue in Redis, without any connection to
 * its clients:
 *
 *   service --cert service.pem --redis redis://127.0.0.1 --prefix prod \
 *           --name queue://service-1
 *
 * --trust may be repeated. CLIENT and SERVER are thumbprints, which
 * `halibutctl cert show FILE` prints. Outside this tree:
 *   cc service.c $(pkg-config --cflags --libs halibut libevent)
 */
#include <event2/event.h>
#include <getopt.h>
#include <halibut/halibut.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE "IEchoService"
#define REVERSE_MAX (64 * 1024 * 1024)

/* A handler owes its request exactly one halibut_reply_*(). */
static void say_hello(void *arg, struct halibut_request *req)
{
	char *name = halibut_request_argument_json(req, 0);
	size_t len = name != NULL ? strlen(name) : 0;
	size_t size = len + sizeof("Hello, !");
	char *json = malloc(size);

	(void)arg;
	/* Both are JSON texts with their quotes: "World", "Hello, World!". */
	if (json == NULL || len < 2 || name[0] != '"') {
		halibut_reply_error(req, "SayHello wants a text", NULL);
	} else {
		snprintf(json, size, "\"Hello, %.*s!\"", (int)(len - 2),
		         name + 1);
		halibut_reply_json(req, json, NULL, 0, NULL);
	}
	free(json);
	free(name);
}

/* A DataStream is complete before the handler is called. */
static void count_bytes(void *arg, struct halibut_request *req)
{
	struct halibut_stream *in = halibut_request_stream(req, 0);
	char buf[65536], json[32];
	long long total = 0;
	ssize_t n;

	(void)arg;
	if (in == NULL) {
		halibut_reply_error(req, "CountBytes wants a DataStream", NULL);
		return;
	}
	while ((n = halibut_stream_read(in, buf, sizeof(buf))) > 0)
		total += n;
	snprintf(json, sizeof(json), "%lld", total);
	if (n < 0)
		halibut_reply_error(req, halibut_strerror((int)-n), NULL);
	else
		halibut_reply_json(req, json, NULL, 0, NULL);
}

static void reverse(void *arg, struct halibut_request *req)
{
	struct halibut_stream *in = halibut_request_stream(req, 0), *out;
	int64_t len = in != NULL ? halibut_stream_length(in) : -1;
	char *data = NULL;
	ssize_t n = 0;
	int64_t have = 0;

	(void)arg;
	if (len >= 0 && len <= REVERSE_MAX)
		data = malloc((size_t)len + 1);
	if (data == NULL) {
		halibut_reply_error(req, "Reverse wants a DataStream of at "
		                         "most 64 MiB", NULL);
		return;
	}
	while (have < len &&
	       (n = halibut_stream_read(in, data + have,
	                                (size_t)(len - have))) > 0)
		have += n;
	for (int64_t i = 0, j = have - 1; i < j; i++, j--) {
		char c = data[i];

		data[i] = data[j];
		data[j] = c;
	}
	out = halibut_stream_from_memory(data, (size_t)have);
	free(data);
	/* The result is the first, and only, DataStream of the reply. */
	if (n < 0 || out == NULL) {
		halibut_stream_free(&out);
		halibut_reply_error(req, "the DataStream is unreadable", NULL);
		return;
	}
	halibut_reply_json(req, "{\"$dataStream\": 0}", &out, 1, NULL);
}

static void stop(evutil_socket_t signal_number, short what, void *arg)
{
	(void)signal_number;
	(void)what;
	halibut_runtime_stop(arg);
}

static int usage(void)
{
	fputs("Usage: service --cert FILE --listen ADDR:PORT --trust CLIENT\n"
	      "       service --cert FILE --poll https://HOST:PORT"
	      " --thumbprint SERVER --name poll://NAME\n"
	      "       service --cert FILE --redis URL --prefix PREFIX"
	      " [--streams KIND]\n"
	      "               --name queue://NAME\n", stderr);
	return 2;
}

static int failed(struct halibut_error *err)
{
	fprintf(stderr, "service: %s\n", err->message);
	halibut_error_clear(err);
	return 1;
}

static int start_listening(struct halibut_runtime *rt, char *listen,
                           char *const *trust, size_t n_trust,
                           struct halibut_error *err)
{
	char *colon = strrchr(listen, ':');
	uint16_t port;
	int rc;

	for (size_t i = 0; i < n_trust; i++)
		if (halibut_trust_add(rt, trust[i]) != 0)
			return usage();
	if (colon == NULL)
		return usage();
	*colon = '\0';
	rc = halibut_listen(rt, listen, (uint16_t)atoi(colon + 1), &port, err);
	if (rc != 0)
		return rc;
	printf("listening on https://%s:%u\n", listen, (unsigned)port);
	return 0;
}

static int start_polling(struct halibut_runtime *rt, const char *url,
                         const char *thumbprint, const char *name,
                         struct halibut_error *err)
{
	struct halibut_endpoint *server;
	struct halibut_polling *polling;
	int rc = halibut_endpoint_new(&server, rt, url, thumbprint, err);

	if (rc == 0)
		rc = halibut_poll(&polling, rt, server, name, 1, err);
	halibut_endpoint_free(&server);
	if (rc == 0)
		printf("polling %s as %s\n", url, name);
	return rc; /* polling ends with the runtime */
}

static int start_serving(struct halibut_runtime *rt, const char *url,
                         const char *prefix, const char *streams,
                         const char *name, struct halibut_error *err)
{
	struct halibut_setting settings[] = {
		{"streams", streams != NULL ? streams : "redis"},
	};
	struct halibut_queue_serving *serving;
	int rc = halibut_use_redis(rt, url, prefix, settings, 1, err);

	if (rc == 0)
		rc = halibut_serve_queue(&serving, rt, name, 1, err);
	if (rc == 0)
		printf("serving %s\n", name);
	return rc; /* it ends with the runtime */
}

int main(int argc, char **argv)
{
	enum { CERT, LISTEN, TRUST, POLL, THUMBPRINT, NAME, REDIS, PREFIX,
	       STREAMS, N };
	static const struct option options[] = {
		{"cert", required_argument, NULL, CERT},
		{"listen", required_argument, NULL, LISTEN},
		{"trust", required_argument, NULL, TRUST},
		{"poll", required_argument, NULL, POLL},
		{"thumbprint", required_argument, NULL, THUMBPRINT},
		{"name", required_argument, NULL, NAME},
		{"redis", required_argument, NULL, REDIS},
		{"prefix", required_argument, NULL, PREFIX},
		{"streams", required_argument, NULL, STREAMS},
		{NULL, 0, NULL, 0},
	};
	char *value[N] = {NULL}, *trust[16], *cert = NULL, *key = NULL;
	struct halibut_error err = {0};
	struct halibut_runtime *rt = NULL;
	struct event *on_int, *on_term;
	size_t n_trust = 0;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt >= N || (opt == TRUST && n_trust == 16))
			return usage();
		value[opt] = optarg;
		if (opt == TRUST)
			trust[n_trust++] = optarg;
	}
	if (value[CERT] == NULL ||
	    !!value[LISTEN] + !!value[POLL] + !!value[REDIS] != 1 ||
	    !value[LISTEN] != !value[TRUST] ||
	    !value[POLL] != !value[THUMBPRINT] ||
	    !value[REDIS] != !value[PREFIX] ||
	    !value[LISTEN] == !value[NAME])
		return usage();

	rc = halibut_certificate_load(value[CERT], NULL, &cert, &key, &err);
	if (rc == 0)
		rc = halibut_runtime_new(&rt, NULL, cert, key, &err);
	free(cert);
	free(key);
	if (rc != 0)
		return failed(&err);

	halibut_service_add(rt, SERVICE, "SayHello", say_hello, NULL);
	halibut_service_add(rt, SERVICE, "CountBytes", count_bytes, NULL);
	halibut_service_add(rt, SERVICE, "Reverse", reverse, NULL);

	if (value[LISTEN] != NULL)
		rc = start_listening(rt, value[LISTEN], trust, n_trust, &err);
	else if (value[REDIS] != NULL)
		rc = start_serving(rt, value[REDIS], value[PREFIX],
		                   value[STREAMS], value[NAME], &err);
	else
		rc = start_polling(rt, value[POLL], value[THUMBPRINT],
		                   value[NAME], &err);
	if (rc != 0) {
		halibut_runtime_free(&rt);
		return err.message != NULL ? failed(&err) : rc;
	}
	fflush(stdout);

	on_int = evsignal_new(halibut_runtime_base(rt), SIGINT, stop, rt);
	on_term = evsignal_new(halibut_runtime_base(rt), SIGTERM, stop, rt);
	event_add(on_int, NULL);
	event_add(on_term, NULL);
	rc = halibut_runtime_run(rt);
	event_free(on_int);
	event_free(on_term);
	halibut_runtime_free(&rt);
	return rc == 0 ? 0 : 1;
}
